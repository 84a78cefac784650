//! The kernel modules of a build: from what the command line says to their bytes. Choosing them is [`kmod`]'s.

use std::{path::Path, slice};

use base::progress::Progress;
use kmod::{ModuleTree, SETS, Selection};
use sources::{kernel_package, target::Target};

use crate::{Error, Result, image::Modules};

/// The options about modules.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// `--modules`.
    pub modules: &'a [String],
    /// `--load-modules`.
    pub always: &'a [String],
    /// `--module-tree`.
    pub tree: Option<&'a Path>,
    /// `--strip-modules`.
    pub strip: bool,
}

/// Modules of the debug variant beside those that are asked for, as far as the kernel has them: keyboards, disks and sticks, network
/// cards, FAT.
const DEBUG: [&str; 4] = ["@keyboard", "@storage", "@network", "vfat"];

/// The modules of a build's images.
#[derive(Debug, Default)]
pub struct Chosen {
    /// The modules of any variant.
    pub usual: Option<Modules>,
    /// The modules of the debug variant, where it has more.
    pub debug: Option<Modules>,
}

impl Chosen {
    /// Returns the modules of an image, with a shell or without.
    pub fn of(&self, has_shell: bool) -> Option<&Modules> {
        self.debug.as_ref().filter(|_| has_shell).or(self.usual.as_ref())
    }
}

/// Returns the modules of the images, none where none are wanted; with `debug`, also those of the debug variant. `cmdline` is what is baked in.
///
/// # Errors
/// [`Error::Usage`] where the options do not go together, and what [`kmod`] says.
pub fn choose(
    wanted: &Wanted<'_>,
    targets: &[&Target],
    cmdline: &str,
    debug: bool,
    progress: &Progress,
) -> Result<Chosen> {
    let Some((directory, names)) = directory_and_names(wanted)? else { return Ok(Chosen::default()) };
    let [target] = targets else {
        return Err(Error::Usage(format!(
            "a kernel's modules are for one target, and {} were asked for; name it with --target",
            targets.len()
        )));
    };
    let tree = ModuleTree::open(directory)?;
    if names.is_empty() && wanted.always.is_empty() && !tree.is_plain() {
        let sets: Vec<String> = SETS.iter().map(|set| format!("@{}", set.name)).collect();
        return Err(Error::Usage(format!(
            "{} holds all modules of kernel {}; name those that the image needs, with --module-tree {0} --modules NAMES: \
             modules, aliases, or the sets {}",
            directory.display(),
            tree.version(),
            sets.join(", ")
        )));
    }
    if wanted.strip {
        tree.check_strip(cmdline)?;
    }
    let selection = tree.resolve(names, wanted.always)?;
    selection.check_machine(target.elf)?;
    for note in selection.notes.iter().chain(&selection.never_loaded()) {
        progress.say(format!("modules: {note}"));
    }
    let pack = |selection: &Selection| {
        let packed = Modules::pack(selection, wanted.strip, kernel_package::origin_of(directory))?;
        for module in &packed.files {
            if let Some(reason) = &module.removed.sections_kept {
                progress.say(format!("modules: the debugging sections of {} stay: {reason}", module.name));
            }
        }
        Ok::<_, Error>(packed)
    };
    let mut chosen = Chosen { usual: Some(pack(&selection)?), debug: None };
    if debug && !tree.is_plain() {
        let mut all = names.to_vec();
        all.extend(
            DEBUG.map(str::to_owned).into_iter().filter(|name| tree.resolve(slice::from_ref(name), &[]).is_ok()),
        );
        chosen.debug = Some(pack(&tree.resolve(&all, wanted.always)?)?);
    }
    Ok(chosen)
}

/// Returns the directory of modules, and the names asked for.
fn directory_and_names<'a>(wanted: &Wanted<'a>) -> Result<Option<(&'a Path, &'a [String])>> {
    let Wanted { modules, always, tree, strip } = *wanted;
    let usage = |text: &str| Err(Error::Usage(text.to_owned()));
    match (tree, modules) {
        (Some(tree), names) => Ok(Some((tree, names))),
        (None, [directory]) if Path::new(directory).is_dir() => Ok(Some((Path::new(directory), &[]))),
        (None, []) if always.is_empty() && !strip => Ok(None),
        (None, []) if always.is_empty() => usage("--strip-modules: there are no modules without --modules"),
        (None, []) => usage("--load-modules names modules: say with --module-tree DIR where they are"),
        (None, [directory]) if directory.contains('/') => {
            Err(Error::Usage(format!("--modules {directory}: there is no such directory")))
        }
        (None, names) => Err(Error::Usage(format!(
            "--modules {}: these are names; say with --module-tree DIR which kernel's they are, such as \
             /lib/modules/<version>",
            names.join(",")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_need_a_tree_and_a_directory_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_str().unwrap().to_owned();
        let names = ["ext4".to_owned(), "@virtio".to_owned()];
        let none = Wanted { modules: &[], always: &[], tree: None, strip: false };
        assert_eq!(directory_and_names(&none).unwrap(), None);
        let by_name = Wanted { modules: &names, tree: Some(directory.path()), ..none };
        assert_eq!(directory_and_names(&by_name).unwrap(), Some((directory.path(), &names[..])));
        let by_directory = Wanted { modules: std::slice::from_ref(&path), ..none };
        assert_eq!(directory_and_names(&by_directory).unwrap(), Some((directory.path(), &[][..])));
        let absent = ["no/such/directory".to_owned()];
        for (wanted, part) in [
            (Wanted { modules: &names, ..none }, "--modules ext4,@virtio: these are names"),
            (Wanted { modules: &absent, ..none }, "--modules no/such/directory: there is no such directory"),
            (Wanted { always: &names, ..none }, "--load-modules names modules"),
            (Wanted { strip: true, ..none }, "--strip-modules"),
        ] {
            let error = directory_and_names(&wanted).unwrap_err().to_string();
            assert!(error.starts_with(part), "{error}");
        }
    }
}
