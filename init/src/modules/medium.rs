//! Modules outside this initramfs: in the image that boots, or on the `boot` partition. What a filesystem says about them is not believed:
//! files are counted, paths stay below the directory, and from `boot` each file is read once, verified where keys are baked in, and
//! loaded as it was read.

use super::{fault::load_error, file, options::Options};
use crate::{
    error::{Error, IoContext, Result},
    kernel::{Level, Machine, ModuleFile, exists, read_file},
    switch_root, trust,
};
use contract::{inventory::Kind, names};

/// The most modules that one filesystem may need.
const MOST: usize = 64;

/// The largest `modules.dep`; that of a distribution's kernel has about 600 KB.
const LONGEST_LIST: u64 = 4 << 20;

/// The most bytes of module files that are in memory together.
const MOST_BYTES: usize = 64 << 20;

/// A directory on the `boot` partition.
#[derive(Debug, Clone, Copy)]
pub struct OnBoot<'a> {
    /// The directory.
    pub directory: &'a str,
    /// Its path on the partition, for people.
    pub shown: &'a str,
    /// The partition's device.
    pub device: &'a str,
    /// True where modules need a signature.
    pub signed: bool,
}

/// Loads the module `name` from a directory of the image that holds modules of the running kernel: `directory/kernel/…` with a
/// `modules.dep`, or the file itself right in `directory`. Returns false where there is none.
///
/// # Errors
/// The module is there and would not load, or is for another kernel.
pub fn load_from(kernel: &mut dyn Machine, options: &Options, directory: &str, name: &str) -> Result<bool> {
    if options.is_blacklisted(name) {
        return Ok(false);
    }
    let files = gather(kernel, directory, name, in_image, &mut |kernel, path| {
        let parameters = options.parameters(&path);
        Ok(ModuleFile { path: in_image(kernel, path), parameters, ..ModuleFile::default() })
    })?;
    load(kernel, &files)
}

/// Returns where a path of the image leads through the image's own links, which distributions make.
fn in_image(kernel: &mut dyn Machine, path: String) -> String {
    let below = path.strip_prefix(names::IMAGE_DIR);
    below.and_then(|below| switch_root::resolve(kernel, names::IMAGE_DIR, below).ok()).unwrap_or(path)
}

/// Loads the module `name` from the `boot` partition, as [`load_from`] does from the image.
///
/// # Errors
/// As [`load_from`]; [`Error::ModuleUntrusted`] for a module without a good signature.
pub fn load_from_boot(kernel: &mut dyn Machine, options: &Options, place: &OnBoot<'_>, name: &str) -> Result<bool> {
    if options.is_blacklisted(name) {
        return Ok(false);
    }
    let mut left = MOST_BYTES;
    let files = gather(kernel, place.directory, name, |_, path| path, &mut |kernel, path| {
        let content = read_once(kernel, place, &path, left)?;
        left = left.saturating_sub(content.len());
        let parameters = options.parameters(&path);
        Ok(ModuleFile { path, parameters, content: Some(content), ..ModuleFile::default() })
    })?;
    load(kernel, &files)
}

/// Loads modules one after the other.
fn load(kernel: &mut dyn Machine, files: &[ModuleFile]) -> Result<bool> {
    for file in files {
        if let Some(Err(source)) = kernel.load_modules(std::slice::from_ref(file), 1, false).pop() {
            return Err(load_error(kernel, file, source));
        }
    }
    Ok(!files.is_empty())
}

/// Reads a module file of `boot`, and verifies what was read.
fn read_once(kernel: &mut dyn Machine, place: &OnBoot<'_>, path: &str, most: usize) -> Result<Vec<u8>> {
    let stat = kernel.stat(path).at("read", path)?;
    if stat.kind != Kind::File {
        return Err(refused(path, "it is not a regular file".into()));
    }
    if stat.size > most as u64 {
        return Err(refused(path, "it is too large".into()));
    }
    let content = kernel.read(path, 0, most.saturating_add(1)).at("read", path)?;
    if content.len() > most {
        return Err(refused(path, "it is too large".into()));
    }
    if trust::CAN_CHECK && place.signed {
        let signature = [path, ".minisig"].concat();
        trust::check_content(kernel, &content, &signature).map_err(|reason| {
            let below = path.strip_prefix(place.directory).unwrap_or(path);
            Error::ModuleUntrusted { path: [place.shown, below].concat(), device: place.device.into(), reason }
        })?;
    }
    Ok(content)
}

fn refused(path: &str, reason: String) -> Error {
    Error::ModuleLoad { path: path.into(), source: std::io::Error::new(std::io::ErrorKind::InvalidInput, reason) }
}

/// A function that takes a file, by its path, out of a directory.
type Take<'a> = &'a mut dyn FnMut(&mut dyn Machine, String) -> Result<ModuleFile>;

/// Returns the files of module `name` and of all it needs, in load order. `find` says where the list of all modules is.
fn gather(
    kernel: &mut dyn Machine,
    directory: &str,
    name: &str,
    find: fn(&mut dyn Machine, String) -> String,
    take: Take<'_>,
) -> Result<Vec<ModuleFile>> {
    let list = find(kernel, [directory, "/modules.dep"].concat());
    let length = match kernel.stat(&list) {
        Ok(stat) if stat.kind == Kind::File && stat.size <= LONGEST_LIST => usize::try_from(stat.size).unwrap_or(0),
        Ok(_) => {
            // Without the list the files themselves say what they need.
            let line = format!("{list} is not used: it is not a regular file of at most {LONGEST_LIST} bytes");
            kernel.log(Level::Warning, &line);
            0
        }
        Err(_) => 0,
    };
    let dependencies = if length > 0 { kernel.read(&list, 0, length).unwrap_or_default() } else { Vec::new() };
    let listed = file::dependency_order(&String::from_utf8_lossy(&dependencies), name);
    if listed.len() > MOST {
        return Err(refused(&list, format!("{name} needs more than {MOST} modules")));
    }
    if let Some(path) = listed.iter().find(|path| !is_below(path)) {
        return Err(refused(&list, format!("it names {path}, which is not below it")));
    }
    if listed.is_empty() {
        let mut search = Search { directory, seen: Vec::new(), files: Vec::new(), take };
        search.visit(kernel, name)?;
        return Ok(search.files);
    }
    listed.into_iter().map(|path| take(kernel, [directory, "/", &path].concat())).collect()
}

/// Returns true for a relative path that leads nowhere but down.
fn is_below(path: &str) -> bool {
    !path.split('/').any(|part| matches!(part, "" | "." | ".."))
}

/// A search for a module's files without a `modules.dep`: each says itself what it needs.
struct Search<'a> {
    directory: &'a str,
    seen: Vec<String>,
    files: Vec<ModuleFile>,
    take: Take<'a>,
}

impl Search<'_> {
    /// Adds the file of module `name` behind those that it needs. One that is not there may be built into the kernel.
    fn visit(&mut self, kernel: &mut dyn Machine, name: &str) -> Result<()> {
        if name.is_empty() || name.contains('/') || self.seen.iter().any(|seen| seen == name) {
            return Ok(());
        }
        if self.seen.len() >= MOST {
            return Err(refused(self.directory, format!("{name} is one of more than {MOST} modules that are needed")));
        }
        self.seen.push(name.into());
        let Some(path) = find_file(kernel, self.directory, name) else { return Ok(()) };
        let file = (self.take)(kernel, [self.directory, "/", &path].concat())?;
        for need in needs(kernel, &file).split(',') {
            self.visit(kernel, need)?;
        }
        self.files.push(file);
        Ok(())
    }
}

/// Returns the names of the modules that a file needs, with commas between. A file that cannot be read says nothing; loading it will
/// tell why.
fn needs(kernel: &mut dyn Machine, module: &ModuleFile) -> String {
    let bytes = match &module.content {
        Some(content) => Ok(content.clone()),
        None => read_file(kernel, &module.path),
    };
    let module = bytes.and_then(|bytes| file::decompress(&module.path, bytes)).unwrap_or_default();
    file::modinfo(&module, "depends").unwrap_or_default()
}

/// Returns where a directory without `modules.dep` keeps a filesystem's module, below it.
fn find_file(kernel: &mut dyn Machine, directory: &str, name: &str) -> Option<String> {
    for place in ["".into(), format!("kernel/fs/{name}/"), format!("kernel/fs/{name}fs/"), "kernel/lib/".into()] {
        for suffix in file::SUFFIXES {
            let path = format!("{place}{name}{suffix}");
            if exists(kernel, &format!("{directory}/{path}")) {
                return Some(path);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::recorder::{Node, Recorder};

    /// Returns what is loaded from a directory with these files.
    fn loaded(files: &[(&str, Node)]) -> (Result<bool>, Vec<String>) {
        let mut kernel = Recorder::default();
        for (path, node) in files {
            kernel.files.insert(format!("b/{path}"), node.clone());
        }
        let place = OnBoot { directory: "/b", shown: "modules/6.1.0", device: "/dev/vda1", signed: false };
        let outcome = load_from_boot(&mut kernel, &Options::default(), &place, "squashfs");
        (outcome, kernel.record)
    }

    fn file(text: impl Into<Vec<u8>>) -> Node {
        Node::file(text, 0o644)
    }

    /// Returns a module that needs others (the smallest ELF file with a `.modinfo`).
    fn module(depends: &str) -> Node {
        let names = b"\0.modinfo\0";
        let info = format!("depends={depends}\0");
        let mut elf = vec![0_u8; 52];
        elf[..7].copy_from_slice(b"\x7fELF\x01\x01\x01");
        elf[0x20..0x24].copy_from_slice(&u32::try_from(52 + names.len() + info.len()).unwrap().to_le_bytes());
        elf[0x2e..0x34].copy_from_slice(&[40, 0, 2, 0, 0, 0]);
        elf.extend_from_slice(names);
        elf.extend_from_slice(info.as_bytes());
        for (name, at, size) in [(0_u32, 52, names.len()), (1, 52 + names.len(), info.len())] {
            let mut header = [0_u8; 40];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[0x10..0x14].copy_from_slice(&u32::try_from(at).unwrap().to_le_bytes());
            header[0x14..0x18].copy_from_slice(&u32::try_from(size).unwrap().to_le_bytes());
            elf.extend_from_slice(&header);
        }
        file(elf)
    }

    #[test]
    fn what_a_module_needs_is_loaded_first_and_once() {
        let (outcome, record) = loaded(&[
            ("squashfs.ko", module("a,b")),
            ("a.ko", module("c,squashfs")),
            ("b.ko", module("c,gone,../x")),
            ("c.ko", module("")),
        ]);
        assert!(outcome.unwrap());
        assert_eq!(record, ["c", "a", "b", "squashfs"].map(|name| format!("load /b/{name}.ko as it was read")));
    }

    #[test]
    fn a_list_names_a_few_files_below_it() {
        let (outcome, record) = loaded(&[
            ("modules.dep", file("kernel/squashfs.ko: kernel/a.ko\n")),
            ("kernel/squashfs.ko", file("m")),
            ("kernel/a.ko", file("m")),
        ]);
        assert!(outcome.unwrap());
        assert_eq!(record, ["load /b/kernel/a.ko as it was read", "load /b/kernel/squashfs.ko as it was read"]);
        let many: String = (0..=MOST).map(|number| format!(" {number}.ko")).collect();
        for (list, part) in [
            (format!("squashfs.ko:{many}"), "more than 64 modules"),
            ("squashfs.ko: ../x.ko".into(), "names ../x.ko"),
            ("squashfs.ko: a/../../x.ko".into(), "names a/../../x.ko"),
            ("squashfs.ko: /x.ko".into(), "names /x.ko"),
        ] {
            let (outcome, record) = loaded(&[("modules.dep", file(list)), ("squashfs.ko", file("m"))]);
            let error = outcome.unwrap_err().with_cause();
            assert!(error.contains(part), "{error}");
            assert_eq!(record, Vec::<String>::new());
        }
    }

    #[test]
    fn links_in_an_image_stay_in_it() {
        let mut kernel = Recorder::default();
        let link = |target: &str| Node::Symlink(target.into());
        for (path, node) in [
            ("lib/modules/6/modules.dep", link("/store/modules.dep")),
            ("lib/modules/6/kernel/overlay.ko", link("../../../../store/overlay.ko")),
            ("store/modules.dep", file("kernel/overlay.ko:\n")),
            ("store/overlay.ko", file("m")),
        ] {
            kernel.files.insert(format!("run/initramfs/image/{path}"), node);
        }
        assert!(load_from(&mut kernel, &Options::default(), "/run/initramfs/image/lib/modules/6", "overlay").unwrap());
        assert_eq!(kernel.record, ["load /run/initramfs/image/store/overlay.ko"]);
    }

    #[test]
    fn modules_that_need_each_other_without_end_are_refused() {
        let files: Vec<(String, Node)> = (0..100)
            .map(|number| {
                let name = if number == 0 { "squashfs".into() } else { format!("m{number}") };
                (format!("{name}.ko"), module(&format!("m{}", number + 1)))
            })
            .collect();
        let files: Vec<(&str, Node)> = files.iter().map(|(name, node)| (name.as_str(), node.clone())).collect();
        let (outcome, record) = loaded(&files);
        assert!(outcome.unwrap_err().with_cause().contains("more than 64 modules"));
        assert_eq!(record, Vec::<String>::new());
    }

    #[test]
    fn a_list_that_cannot_be_read_is_not_used() {
        let long = file(format!("squashfs.ko:{}", " ".repeat(4 << 20)));
        for list in [Node::Symlink("/dev/vda".into()), Node::Directory, Node::Special, long] {
            let (outcome, record) = loaded(&[("modules.dep", list), ("squashfs.ko", file("m"))]);
            assert!(outcome.unwrap());
            assert_eq!(record.last().map(String::as_str), Some("load /b/squashfs.ko as it was read"));
            assert!(record[0].contains("modules.dep is not used"), "{record:?}");
        }
    }

    #[test]
    fn only_regular_files_are_read() {
        for node in [Node::Symlink("/dev/vda".into()), Node::Directory] {
            let (outcome, record) = loaded(&[("squashfs.ko", node.clone())]);
            assert!(outcome.unwrap_err().with_cause().contains("not a regular file"));
            assert_eq!(record, Vec::<String>::new());
        }
        let large = Node::File(vec![0; MOST_BYTES + 1], MOST_BYTES as u64 + 1, 0o644);
        let (outcome, _) = loaded(&[("squashfs.ko", large)]);
        assert!(outcome.unwrap_err().with_cause().contains("too large"));
    }
}
