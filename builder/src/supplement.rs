//! What one boot adds to a finished initramfs: a kernel's modules, as a second archive behind the first. The kernel unpacks
//! archives one after the other (`Documentation/driver-api/early-userspace/buffer-format.rst`). The initramfs itself stays
//! as it is; images that ship with their modules are made elsewhere.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

use initramfs_overlay_init::{modules::index, names};

use crate::{
    Result,
    archive::{self, Properties},
    error::IoContext,
    initramfs,
    kmod::{ModuleTree, Selection},
    manifest::Name,
    tree::{Clash, Content, Entry, Tree},
    write::OutputFile,
};

/// Makes `output`, a copy of `initrd` followed by the modules of the kernel's tree `modules` that are `wanted`, with all they
/// need. `false`, and no file, where `initrd` has modules for that kernel already.
///
/// # Errors
/// [`Error::NotInitramfs`] for something else, and whatever is wrong with the modules.
pub fn with_modules(initrd: &Path, modules: &Path, wanted: &[&str], output: &Path) -> Result<bool> {
    let tree = ModuleTree::open(modules)?;
    let file = File::open(initrd).at("open", initrd)?;
    let contents = initramfs::read(file, initrd)?;
    let listed = Name::new(index_path(tree.version()).as_bytes());
    if contents.files.iter().any(|file| file.record.path == listed) {
        return Ok(false);
    }
    let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
    let added = archived(&tree.resolve(&wanted, &[])?)?;

    let mut sink = OutputFile::create(output)?;
    let mut source = File::open(initrd).at("open", initrd)?;
    let length = io::copy(&mut source, &mut sink).at("write", output)?;
    // An archive begins at a multiple of 4; zeros between archives are passed over (init/initramfs.c).
    let padding = usize::try_from(length.next_multiple_of(4) - length).unwrap_or(0);
    sink.write_all(&[0; 4][..padding]).at("write", output)?;
    let mut buffer = BufWriter::new(&mut sink);
    archive::write(&added, Properties::default(), &mut buffer)?;
    buffer.flush().at("write", output)?;
    drop(buffer);
    sink.commit()?;
    Ok(true)
}

/// The modules and their list, where init looks for them.
fn archived(selection: &Selection) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut put = |path: String, content: Content| {
        tree.create_parents(&path)?;
        tree.insert(&path, Entry::file(0o644, content), Clash::Refuse)
    };
    for module in &selection.modules {
        let path = format!("{}/{}/{}", names::MODULES_DIR, selection.version, module.entry.path);
        put(path, Content::Bytes(module.content(false)?.bytes))?;
    }
    put(index_path(&selection.version), Content::Bytes(selection.index().to_string().into_bytes()))?;
    Ok(tree)
}

fn index_path(version: &str) -> String {
    format!("{}/{version}/{}", names::MODULES_DIR, index::FILE_NAME)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kmod;

    #[test]
    fn the_modules_and_their_list_lie_where_init_looks() {
        let module = kmod::SelectedModule {
            file: "/bin/sh".into(),
            entry: index::Module {
                name: "ext4".to_owned(),
                path: "kernel/fs/ext4/ext4.ko".to_owned(),
                ..index::Module::default()
            },
        };
        let selection = Selection { version: "6.1".to_owned(), modules: vec![module], ..Selection::default() };
        let tree = archived(&selection).unwrap();
        assert!(tree.get("lib/modules/6.1/kernel/fs/ext4/ext4.ko").is_some());
        let list = tree.get("lib/modules/6.1/initramfs.modules").unwrap();
        assert_eq!(*list, Entry::file(0o644, Content::Bytes(b"ext4 kernel/fs/ext4/ext4.ko\n".to_vec())));
        tree.check_parents().unwrap();
    }
}
