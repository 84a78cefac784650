//! Directories of modules on a real disk.

use super::super::testing::{VERMAGIC, write_module};
use super::*;

fn open(path: &Path) -> Result<Catalog> {
    scan(&locate(path)?)
}

fn tree(root: &Path) {
    write_module(root, "kernel/fs/ext4/ext4.ko", "alias=fs-ext4");
    write_module(root, "kernel/crypto/crc32c-intel.ko.zst", "");
    fs::write(root.join("modules.builtin"), "kernel/fs/fat/vfat.ko\nkernel/drivers/mmc/host/sdhci-pci.ko\n").unwrap();
    fs::write(root.join("modules.builtin.modinfo"), "vfat.alias=fs-vfat\0printk.file=kernel/printk/printk\0").unwrap();
}

#[test]
fn a_tree_is_found_from_above() {
    for place in ["", "6.1.0-1-test", "lib/modules/6.1.0-1-test", "usr/lib/modules/6.1.0-1-test"] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join(place);
        fs::create_dir_all(&root).unwrap();
        tree(&root);
        let catalog = open(directory.path()).unwrap();
        assert_eq!(catalog.root, root, "{place}");
        assert_eq!(catalog.version, "6.1.0-1-test", "{place}: by the directory's name, or by the modules");
        assert_eq!(Vec::from_iter(catalog.modules.keys()), ["crc32c_intel", "ext4"]);
        assert_eq!(Vec::from_iter(&catalog.built_in.names), ["printk", "sdhci_pci", "vfat"]);
        assert_eq!(catalog.built_in.aliases, [("fs-vfat".to_string(), "vfat".to_string())]);
    }
}

#[test]
fn a_root_has_its_modules_in_one_place() {
    for links in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        // Debian's: scripts of kernel packages, systemd's kernel-install, and with a merged /usr a link, which may be absolute.
        let lib = if links { "usr/lib" } else { "lib" };
        for directory in ["etc/kernel/postinst.d", "boot", lib] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::create_dir_all(root.join(lib).join("kernel/install.d")).unwrap();
        if links {
            std::os::unix::fs::symlink("/usr/lib", root.join("lib")).unwrap();
        }
        let error = open(root).unwrap_err().to_string();
        assert!(error.contains("there is no module"), "{error}");
        // What depmod leaves of a kernel that is gone.
        let modules = root.join(lib).join("modules");
        fs::create_dir_all(modules.join("6.0")).unwrap();
        fs::write(modules.join("6.0/modules.dep"), "").unwrap();
        let error = open(root).unwrap_err().to_string();
        assert!(error.ends_with("there are no modules in its lib/modules and usr/lib/modules"), "{error}");
        tree(&modules.join("6.1.0-1-test"));
        assert_eq!(open(root).unwrap().root, modules.join("6.1.0-1-test"), "{links}");
    }
}

#[test]
fn a_tree_with_nothing_in_it_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("modules.order"), "").unwrap();
    let error = open(directory.path()).unwrap_err().to_string();
    assert!(error.ends_with("and no list of what its kernel has built in (modules.builtin)"), "{error}");
    fs::write(directory.path().join("modules.builtin"), "kernel/fs/fat/vfat.ko\n").unwrap();
    assert!(open(directory.path()).unwrap().built_in.names.contains("vfat"));
}

#[test]
fn several_kernels_are_listed() {
    let directory = tempfile::tempdir().unwrap();
    for version in ["6.1", "6.2"] {
        tree(&directory.path().join("lib/modules").join(version));
    }
    let error = open(directory.path()).unwrap_err().to_string();
    assert!(error.ends_with("it holds the modules of several kernels (6.1, 6.2). Name one of them"), "{error}");
}

#[test]
fn a_directory_without_modules_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let error = open(directory.path()).unwrap_err();
    assert!(error.to_string().contains("there is no module"), "{error}");
    fs::write(directory.path().join("file"), "").unwrap();
    let error = open(&directory.path().join("file")).unwrap_err();
    assert!(error.to_string().contains("it is not a directory"), "{error}");
    let error = open(&directory.path().join("absent")).unwrap_err();
    assert!(matches!(error, Error::Base(base::Error::Io { .. })), "{error}");
}

#[test]
fn a_plain_directory_has_its_version_from_the_modules() {
    let directory = tempfile::tempdir().unwrap();
    write_module(directory.path(), "overlay.ko", "");
    write_module(directory.path(), "fs/squashfs.ko.zst", "");
    let place = locate(directory.path()).unwrap();
    assert!(place.plain);
    let catalog = scan(&place).unwrap();
    assert_eq!(catalog.version, "6.1.0-1-test");
    assert_eq!(Vec::from_iter(catalog.modules.keys()), ["overlay", "squashfs"]);
    assert!(!catalog.built_in.known);
}

#[test]
fn two_kernels_in_a_plain_directory_are_both_named() {
    let directory = tempfile::tempdir().unwrap();
    write_module(directory.path(), "a.ko", "");
    write_module(directory.path(), "b.ko", "vermagic=6.2.0+SMP");
    let error = open(directory.path()).unwrap_err().to_string();
    assert!(error.contains(&format!("a.ko is for \"{VERMAGIC}\"")), "{error}");
    assert!(error.contains("b.ko for \"6.2.0 SMP\""), "{error}");
}

#[test]
fn bad_files_in_a_plain_directory_are_named() {
    let good = {
        let directory = tempfile::tempdir().unwrap();
        write_module(directory.path(), "a.ko", "");
        fs::read(directory.path().join("a.ko")).unwrap()
    };
    for (bytes, reason) in [
        (&b""[..], "it is empty"),
        (b"#!/bin/sh\necho this is a script and no module\n", "it is not an ELF file"),
        (&good[..good.len() / 2], "damaged or cut short"),
        (&good[..20], "damaged or cut short"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("bad.ko"), bytes).unwrap();
        let error = open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("bad.ko: ") && error.contains(reason), "{error}");
        // In a kernel's tree it matters only once it is needed.
        fs::write(directory.path().join("modules.order"), "").unwrap();
        assert!(open(directory.path()).unwrap().modules["bad"].info.is_err());
    }
}

#[test]
fn one_name_twice() {
    let directory = tempfile::tempdir().unwrap();
    write_module(directory.path(), "a/overlay.ko", "");
    write_module(directory.path(), "b/overlay.ko", "");
    let error = open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("a/overlay.ko is module overlay too"), "{error}");

    write_module(directory.path(), "kernel/fs/overlay.ko", "");
    write_module(directory.path(), "updates/dkms/overlay.ko", "");
    let catalog = open(directory.path()).unwrap();
    assert_eq!(catalog.modules["overlay"].path, "updates/dkms/overlay.ko");
    assert_eq!(catalog.notes.len(), 3);
}

#[test]
fn what_the_index_cannot_hold_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    write_module(directory.path(), "my modules/overlay.ko", "");
    let error = open(directory.path()).unwrap_err().to_string();
    assert!(error.contains("there is a space in its path"), "{error}");
}

#[test]
fn links_to_files_count_and_links_to_directories_do_not() {
    let directory = tempfile::tempdir().unwrap();
    write_module(directory.path(), "elsewhere/overlay.ko", "");
    let root = directory.path().join("6.1.0-1-test");
    fs::create_dir_all(root.join("kernel")).unwrap();
    fs::write(root.join("modules.builtin"), "").unwrap();
    std::os::unix::fs::symlink("../elsewhere", root.join("build")).unwrap();
    assert!(open(&root).unwrap().modules.is_empty());
    std::os::unix::fs::symlink("../../elsewhere/overlay.ko", root.join("kernel/overlay.ko")).unwrap();
    assert_eq!(open(&root).unwrap().modules.len(), 1);
}
