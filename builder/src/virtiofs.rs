//! The initramfs of the virtiofs way: init, and a kernel's modules numbered in the order in which they are loaded. Nothing is
//! fetched, built or written here.

use std::path::Path;

use archive::tree::{Content, Entry, OnConflict, Tree};
use contract::names;
use kmod::{ModuleTree, Note};
use sources::target::Target;

use crate::{
    Error, Result,
    image::{self, Modules},
};

/// The inputs of an initramfs that boots from virtiofs.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Its target.
    pub target: &'a Target,
    /// Its init, built with the feature `virtiofs`.
    pub init: &'a Path,
    /// Its version.
    pub version: &'a str,
    /// The kernel's modules; none where the kernel has all built in.
    pub modules: Option<&'a Modules>,
    /// Parameters that are baked in.
    pub cmdline: Option<&'a str>,
    /// Arguments for the program that init runs.
    pub arguments: &'a [String],
}

/// The modules that virtiofs needs on a kernel, and more.
#[derive(Debug)]
pub struct Chosen {
    /// Ready to be packed.
    pub modules: Modules,
    /// Messages for the user, one line each.
    pub notes: Vec<String>,
    /// True if the kernel has `virtio_pci`, so that virtio devices on a PCI bus are found.
    pub has_pci: bool,
}

/// Chooses what virtiofs needs of the kernel in `tree`, and the modules `more`, for `target`.
///
/// # Errors
/// The kernel has no virtiofs, no bus for it, or not what was asked for; its modules are for another machine; a module that cannot be read.
pub fn choose(tree: &ModuleTree, target: &Target, more: &[String], strip: bool) -> Result<Chosen> {
    let mut wanted = vec!["virtio_pci".to_owned(), "virtiofs".to_owned()];
    wanted.extend(more.iter().cloned());
    let is_pci = |error: &kmod::Error| matches!(error, kmod::Error::UnknownModule { name, .. } if *name == wanted[0]);
    let selection = match tree.resolve(&wanted, &[]) {
        // The driver brings what bus there is: virtio_mmio.
        Err(kmod::Error::UnknownModules(errors)) if errors.iter().any(is_pci) => tree.resolve(&wanted[1..], &[])?,
        Err(error) if is_pci(&error) => tree.resolve(&wanted[1..], &[])?,
        other => other?,
    };
    selection.check_machine(target.elf)?;
    let has = |name: &str| {
        selection.modules.iter().any(|module| module.entry.name == name)
            || selection.built_in.iter().any(|built_in| built_in == name)
    };
    let has_pci = has("virtio_pci");
    let mut notes: Vec<String> = selection.notes.iter().map(Note::to_string).collect();
    if !has_pci && !has("virtio_mmio") {
        return Err(Error::Usage(format!(
            "kernel {} has neither virtio_pci nor virtio_mmio, so it would find no virtiofs device",
            selection.version
        )));
    }
    if !has_pci {
        notes.push(format!(
            "kernel {} has no PCI bus for virtio (virtio_pci): devices are found in memory (virtio_mmio) only",
            selection.version
        ));
    }
    Ok(Chosen { modules: Modules::pack(&selection, strip, None)?, notes, has_pci })
}

/// Returns the tree of the initramfs.
///
/// # Errors
/// A file that cannot be read; an argument with a NUL in it.
pub fn tree(parts: &Parts<'_>) -> Result<Tree> {
    let image = image::Parts { cmdline: parts.cmdline, ..image::Parts::bare(parts.target, parts.version) };
    let mut tree = image::tree(&image, parts.init)?;
    let mut put = |path: &str, content: Content| {
        tree.create_parents(path)?;
        tree.insert(path, Entry::file(0o644, content), OnConflict::Refuse)
    };
    let directory = names::NUMBERED_MODULES_DIR.trim_start_matches('/');
    for (number, module) in parts.modules.iter().flat_map(|modules| &modules.files).enumerate() {
        put(&format!("{directory}/{number:03}-{}.ko", module.name), module.content.clone())?;
    }
    if !parts.arguments.is_empty() {
        let text: String = parts.arguments.iter().map(|argument| format!("{argument}\0")).collect();
        put(names::BAKED_ARGUMENTS.trim_start_matches('/'), Content::Bytes(text.into_bytes()))?;
    }
    Ok(tree)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kmod::testing::write_module;
    use sources::target;

    fn kernel(directory: &std::path::Path, files: &[(&str, &str)], built_in: &str) -> ModuleTree {
        let tree = directory.join("lib/modules/6.1.0");
        std::fs::create_dir_all(tree.join("kernel")).unwrap();
        std::fs::write(tree.join("modules.builtin"), built_in).unwrap();
        for (path, info) in files {
            write_module(&tree, path, info);
        }
        ModuleTree::open(&tree).unwrap()
    }

    fn paths(chosen: &Chosen) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let init = directory.path().join("init");
        std::fs::write(&init, "program").unwrap();
        let parts = Parts {
            target: target::named("x86_64").unwrap(),
            init: &init,
            version: "1.2.3",
            modules: Some(&chosen.modules),
            cmdline: None,
            arguments: &["-c".to_owned(), "a \"b\"\nc".to_owned()],
        };
        let tree = tree(&parts).unwrap();
        tree.check_parents().unwrap();
        let arguments = tree.get("etc/init.arguments").unwrap();
        assert_eq!(arguments.kind, archive::tree::Kind::File(Content::Bytes(b"-c\0a \"b\"\nc\0".to_vec())));
        let modules = tree.iter().map(|node| String::from_utf8_lossy(node.path).into_owned());
        modules.filter(|path| path.ends_with(".ko")).collect()
    }

    #[test]
    fn modules_are_numbered_in_load_order() {
        let directory = tempfile::tempdir().unwrap();
        let files = [
            ("kernel/fs/fuse/virtiofs.ko", "depends=fuse,virtio alias=fs-virtiofs alias=virtio:d0000001Av*"),
            ("kernel/fs/fuse/fuse.ko", "depends="),
            ("kernel/drivers/virtio/virtio.ko", "depends="),
            ("kernel/drivers/virtio/virtio_pci.ko", "depends=virtio"),
            ("kernel/drivers/virtio/virtio_mmio.ko", "depends=virtio"),
            ("kernel/fs/overlayfs/overlay.ko", "depends="),
        ];
        let kernel = kernel(directory.path(), &files, "");
        let target = target::named("x86_64").unwrap();
        let chosen = choose(&kernel, target, &["overlay".to_owned()], false).unwrap();
        assert!(chosen.has_pci && chosen.notes.is_empty(), "{:?}", chosen.notes);
        let paths = paths(&chosen);
        let place = |name: &str| paths.iter().position(|path| path.ends_with(&format!("-{name}.ko"))).unwrap();
        assert_eq!(paths.len(), 5, "{paths:?}");
        assert!(paths[0].starts_with("usr/lib/modules/000-"), "{paths:?}");
        assert!(place("fuse") < place("virtiofs") && place("virtio") < place("virtio_pci"), "{paths:?}");
        let error = choose(&kernel, target, &["overlai".to_owned()], false).unwrap_err().to_string();
        assert!(error.contains("overlai") && error.contains("overlay"), "{error}");
    }

    #[test]
    fn what_is_built_in_is_not_missing_and_a_kernel_without_pci_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let target = target::named("x86_64").unwrap();
        let all = "kernel/fs/fuse/virtiofs.ko\nkernel/drivers/virtio/virtio_pci.ko\n";
        let chosen = choose(&kernel(directory.path(), &[], all), target, &[], false).unwrap();
        assert!(chosen.has_pci && chosen.modules.files.is_empty());
        let directory = tempfile::tempdir().unwrap();
        let files = [
            ("kernel/fs/fuse/virtiofs.ko", "depends= alias=virtio:d0000001Av*"),
            ("kernel/drivers/virtio/virtio_mmio.ko", "depends="),
        ];
        let chosen = choose(&kernel(directory.path(), &files, ""), target, &[], false).unwrap();
        assert!(!chosen.has_pci && chosen.notes.iter().any(|note| note.contains("no PCI bus")), "{:?}", chosen.notes);
        assert_eq!(paths(&chosen).len(), 2);
        let directory = tempfile::tempdir().unwrap();
        let error = choose(&kernel(directory.path(), &files[..1], ""), target, &[], false).unwrap_err().to_string();
        assert!(error.contains("neither virtio_pci nor virtio_mmio"), "{error}");
        let directory = tempfile::tempdir().unwrap();
        let error = choose(&kernel(directory.path(), &files[1..], ""), target, &[], false).unwrap_err().to_string();
        assert!(error.contains("has no module virtiofs"), "{error}");
    }
}
