//! Modules of a kernel that are added to a finished initramfs for one boot, as a second archive behind the first. The kernel
//! unpacks archives one after the other (`Documentation/driver-api/early-userspace/buffer-format.rst`). The initramfs itself
//! stays as it is; images that ship with their modules are made elsewhere.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use archive::{
    listing,
    manifest::Name,
    newc::{self, Properties},
    tree::Tree,
};
use base::{IoContext, atomic_file::AtomicFile};
use contract::{module_index, names};
use kmod::ModuleTree;

use crate::{
    Result,
    image::{self, Modules},
};

/// The modules that were added.
#[derive(Debug, PartialEq, Eq)]
pub enum Added {
    /// None: the initramfs has modules for this kernel.
    HasOwn,
    /// None: the kernel has all of them built in.
    BuiltIn,
    /// These, by name.
    Modules(Vec<String>),
}

/// Makes `output`, a copy of `initrd` followed by the modules of the kernel's tree `modules` that are `wanted`, with all they
/// need. No file where none are added.
///
/// # Errors
/// [`archive::Error::NotInitramfs`] for something else, and whatever is wrong with the modules.
pub fn with_modules(initrd: &Path, modules: &Path, wanted: &[&str], output: &Path) -> Result<Added> {
    let tree = ModuleTree::open(modules)?;
    let file = File::open(initrd).at("open", initrd)?;
    let contents = listing::read(file, initrd)?;
    let listed = Name::new(index_path(tree.version()).as_bytes());
    if contents.files.iter().any(|file| file.record.path == listed) {
        return Ok(Added::HasOwn);
    }
    let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
    let selection = tree.resolve(&wanted, &[])?;
    if let Some(machine) = contents.machine {
        selection.check_machine(machine)?;
    }
    if selection.modules.is_empty() {
        return Ok(Added::BuiltIn);
    }
    let mut added = Tree::new();
    image::put_modules(&mut added, &Modules::pack(&selection, false, None)?)?;

    let mut sink = AtomicFile::create(output)?;
    let mut source = File::open(initrd).at("open", initrd)?;
    let length = io::copy(&mut source, &mut sink).at("write", output)?;
    // An archive begins at a multiple of 4; zeros between archives are passed over (init/initramfs.c).
    let padding = usize::try_from(length.next_multiple_of(4) - length).unwrap_or(0);
    sink.write_all(&[0; 4][..padding]).at("write", output)?;
    let mut buffer = BufWriter::new(&mut sink);
    newc::write(&added, Properties::default(), &mut buffer)?;
    buffer.flush().at("write", output)?;
    drop(buffer);
    sink.commit()?;
    Ok(Added::Modules(selection.modules.into_iter().map(|module| module.entry.name).collect()))
}

fn index_path(version: &str) -> String {
    format!("{}/{version}/{}", names::MODULES_DIR, module_index::FILE_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use archive::tree::{Entry, OnConflict};
    use kmod::testing::write_module;

    fn compressed(count: usize) -> Vec<u8> {
        let mut tree = Tree::new();
        for number in 0..count {
            tree.insert(format!("directory-{number}"), Entry::directory(0o755), OnConflict::Refuse).unwrap();
        }
        let mut sink = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        newc::write(&tree, Properties::default(), &mut sink).unwrap();
        sink.finish().unwrap()
    }

    #[test]
    fn modules_follow_the_initramfs_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let modules = path("lib/modules/6.1.0-1-test");
        write_module(&modules, "kernel/fs/ext4/ext4.ko", "depends=crc16");
        write_module(&modules, "kernel/lib/crc16.ko", "");
        write_module(&modules, "kernel/fs/fat/fat.ko", "");
        // One that does not end where the next archive may begin.
        let first = (1..20).map(compressed).find(|bytes| !bytes.len().is_multiple_of(4)).unwrap();
        std::fs::write(path("initrd"), &first).unwrap();

        let added = with_modules(&path("initrd"), &modules, &["ext4"], &path("both")).unwrap();
        assert_eq!(added, Added::Modules(vec!["crc16".to_owned(), "ext4".to_owned()]));
        let both = std::fs::read(path("both")).unwrap();
        assert!(both.starts_with(&first));
        let contents = listing::read(&both[..], &path("both")).unwrap();
        assert_eq!((contents.segments.len(), contents.problems.len()), (2, 0));
        assert_eq!(contents.segments[1].offset % 4, 0);
        let names: Vec<&str> = contents.files.iter().map(|file| file.record.path.text.as_str()).collect();
        assert!(names.contains(&"lib/modules/6.1.0-1-test/kernel/lib/crc16.ko"), "{names:?}");
        assert!(names.contains(&"lib/modules/6.1.0-1-test/initramfs.modules"), "{names:?}");
        assert!(!names.iter().any(|name| name.ends_with("fat.ko")), "{names:?}");

        assert_eq!(with_modules(&path("both"), &modules, &["ext4"], &path("third")).unwrap(), Added::HasOwn);
        std::fs::write(modules.join("modules.builtin"), "kernel/fs/squashfs/squashfs.ko\n").unwrap();
        assert_eq!(with_modules(&path("initrd"), &modules, &["squashfs"], &path("third")).unwrap(), Added::BuiltIn);
        assert!(!path("third").exists());
        assert!(with_modules(&modules.join("kernel/lib/crc16.ko"), &modules, &[], &path("third")).is_err());
    }
}
