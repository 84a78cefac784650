//! Module files that no index names: in an archive that somebody else packed they are loaded in the order of their names, as whoever
//! numbered them wanted. Those that miss a symbol are tried again once others are in, so the order may also be any.

use super::{fault::load_error, file, options::Options};
use crate::{
    kernel::{Level, Machine, ModuleFile, release},
    switch_root,
};
use contract::{errno::ENOENT, inventory::Kind, names};

/// The most files that are loaded like this. Where there are more they are all modules of a kernel, and which of them this machine
/// needs cannot be told from their names.
const MOST: usize = 256;

/// Depth down to which module files are looked for.
const DEEPEST: u32 = 16;

/// A directory of module files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// [`names::NUMBERED_MODULES_DIR`] with all below it.
    Numbered,
    /// `/lib/modules` itself, without what is below it.
    Flat,
    /// `/lib/modules/<release>` with all below it.
    Release,
}

impl Place {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Numbered, Self::Flat, Self::Release];
    /// Modules in `/lib/modules`.
    pub const USUAL: [Self; 2] = [Self::Flat, Self::Release];
}

/// Loads the module files at these places, each place's in the order of their names. What would not load is logged: whether that
/// matters shows when it is missed.
pub fn load(kernel: &mut dyn Machine, options: &Options, places: &[Place], debug: bool) {
    let usual = ["/", names::MODULES_DIR].concat();
    // In an archive with a merged /usr the one is the other.
    let is_one = switch_root::resolve(kernel, "", &usual).ok().as_deref() == Some(names::NUMBERED_MODULES_DIR);
    let mut files = Vec::new();
    for place in places {
        match place {
            Place::Numbered => collect(kernel, names::NUMBERED_MODULES_DIR, &mut files, DEEPEST),
            _ if is_one => {}
            Place::Flat => collect(kernel, &usual, &mut files, 0),
            Place::Release => {
                let directory = [&usual, "/", &release(kernel)].concat();
                collect(kernel, &directory, &mut files, DEEPEST);
            }
        }
    }
    if files.len() > MOST {
        let index = super::module_index::FILE_NAME;
        kernel.log(
            Level::Warning,
            &format!("more than {MOST} module files and no {index} for this kernel: none of them is loaded"),
        );
        return;
    }
    files.retain(|path| !options.is_blacklisted(path));
    load_all(kernel, options, files, debug);
}

/// Loads module files until those that are left miss symbols that none of them brings.
fn load_all(kernel: &mut dyn Machine, options: &Options, mut files: Vec<String>, debug: bool) {
    loop {
        let before = files.len();
        let mut left = Vec::new();
        for path in files {
            if debug {
                kernel.log(Level::Info, &format!("loading {path}"));
            }
            let file = ModuleFile { parameters: options.parameters(&path), path, ..ModuleFile::default() };
            let result = kernel.load_modules(std::slice::from_ref(&file), 1, false).pop();
            let Some(Err(source)) = result else { continue };
            // ENOENT stands for a symbol that the kernel does not know (kernel, kernel/module/main.c, simplify_symbols).
            if source.raw_os_error() == Some(ENOENT) {
                left.push((file, source));
            } else {
                log_failure(kernel, &file, source);
            }
        }
        if left.is_empty() || left.len() == before {
            for (file, source) in left {
                log_failure(kernel, &file, source);
            }
            return;
        }
        files = left.into_iter().map(|(file, _)| file.path).collect();
    }
}

fn log_failure(kernel: &mut dyn Machine, file: &ModuleFile, source: std::io::Error) {
    let error = load_error(kernel, file, source);
    kernel.log(Level::Info, &error.with_cause());
}

/// Adds the module files in `directory`, and down to so many levels below it, by name; not many more than [`MOST`].
fn collect(kernel: &mut dyn Machine, directory: &str, files: &mut Vec<String>, levels: u32) {
    for name in kernel.list(directory).unwrap_or_default() {
        if files.len() > MOST {
            return;
        }
        let path = [directory, "/", name.as_str()].concat();
        match kernel.stat(&path).map(|stat| stat.kind) {
            Ok(Kind::Directory) if levels > 0 => collect(kernel, &path, files, levels.saturating_sub(1)),
            Ok(Kind::File | Kind::Symlink) if file::is_module(&name) => files.push(path),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::recorder::{Node, Recorder};

    fn loaded(count: usize) -> Vec<String> {
        let mut kernel = Recorder { release: "6.1.0".into(), ..Recorder::default() };
        for number in 0..count {
            kernel.files.insert(format!("lib/modules/6.1.0/kernel/{number:04}.ko"), Node::file("m", 0o644));
        }
        load(&mut kernel, &Options::default(), &Place::ALL, false);
        kernel.record
    }

    #[test]
    fn all_modules_of_a_kernel_are_too_many() {
        assert_eq!(loaded(MOST).len(), MOST);
        let record = loaded(MOST + 1000);
        assert_eq!(
            record,
            ["warning: more than 256 module files and no initramfs.modules for this kernel: none of them is loaded"]
        );
    }
}
