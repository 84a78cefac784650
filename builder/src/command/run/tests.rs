//! Tests of `run` without a machine.

use super::*;
use archive::{
    newc::{self, Properties},
    tree::{Content, Entry, OnConflict, Tree},
};
use std::fs;

#[test]
fn the_end_is_told_with_its_exit_status() {
    let judged = |verdict, console| {
        let Judged { text, status, .. } = judge(verdict, console);
        (text, status == 0)
    };
    let off = Verdict::Ended(End::PoweredOff);
    assert_eq!(judged(off, "login:"), ("The machine powered off.".to_owned(), true));
    assert!(judged(Verdict::Ended(End::Halted), "").1);
    assert!(!judged(Verdict::Ended(End::Panicked), "").1);
    assert!(!judged(Verdict::TimedOut, "").1);
    let card =
        format!(" initramfs-overlay {} cannot boot: img-missing\r\n  step  devices\r\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(judged(off, &card), ("The boot failed: img-missing".to_owned(), false));
}

#[test]
fn an_initramfs_of_another_machine_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let initrd = directory.path().join("initrd");
    let write = |program: &[u8]| {
        let mut tree = Tree::new();
        let init = Entry::file(0o755, Content::Bytes(program.to_vec()));
        tree.insert("init", init, OnConflict::Refuse).unwrap();
        let mut bytes = Vec::new();
        newc::write(&tree, Properties::default(), &mut bytes).unwrap();
        fs::write(&initrd, bytes).unwrap();
    };
    let check = |name| check_machine(&initrd, target::named(name).unwrap()).map_err(|error| error.to_string());
    let elf = |class, machine| [&b"\x7fELF"[..], &[class, 1, 1], &[0; 9], &[2, 0, machine, 0]].concat();
    write(&elf(1, 3));
    assert_eq!((check("i686"), check("x86_64")), (Ok(()), Ok(())));
    let error = check("armv6l").unwrap_err();
    assert!(error.contains("is for 32-bit x86, and") && error.ends_with("with --target i686"), "{error}");
    write(&elf(2, 62));
    assert!(check("i686").is_err() && check("aarch64").is_err() && check("x86_64").is_ok());
    write(b"#!/bin/sh\n");
    assert_eq!(check("armv6l"), Ok(()), "a script may be for any machine");
    fs::write(&initrd, "no archive").unwrap();
    assert_eq!(check("armv6l"), Ok(()));
}

#[test]
fn modules_for_one_run_are_told() {
    let target = target::named("x86_64").unwrap();
    let names = ["virtio_blk".to_owned()];
    let text = lacking(Path::new("init.gz"), Path::new("/lib/modules/6.1"), target, &names);
    assert!(text.contains("A real machine would not have them"), "{text}");
    assert!(
        text.ends_with("(build --module-tree /lib/modules/6.1 --modules @overlay,virtio_pci,virtio_blk)"),
        "{text}"
    );
}

#[test]
fn the_newest_artifact_of_the_variant_is_taken() {
    let directory = tempfile::tempdir().unwrap();
    let target = target::named("i686").unwrap();
    let newest = |variant| newest_artifact(directory.path(), target, variant);
    let text = newest(Variant::Debug).unwrap_err().to_string();
    assert!(text.contains("i686-debug.gz") && text.contains("build.sh"), "{text}");
    let version = env!("CARGO_PKG_VERSION");
    for (age, suffix) in ["i686.gz", "i686.zst", "i686-debug.gz", "x86_64.gz"].iter().enumerate() {
        let file = fs::File::create(directory.path().join(format!("init-{version}-{suffix}"))).unwrap();
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 - age as u64);
        file.set_modified(time).unwrap();
    }
    let name = |variant| newest(variant).unwrap().file_name().unwrap().to_string_lossy().into_owned();
    assert_eq!(name(Variant::Standard), format!("init-{version}-i686.gz"));
    assert_eq!(name(Variant::Debug), format!("init-{version}-i686-debug.gz"));
}

#[test]
fn every_target_has_the_modules_for_its_disk() {
    let modules = |name| modules_for(target::named(name).unwrap());
    assert_eq!(modules("armv6l"), ["@overlay", "mmc_block"]);
    assert_eq!(modules("i686"), ["@overlay", "virtio_pci", "virtio_blk"]);
}
