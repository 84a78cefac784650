//! Disks that a running system, a failing card or somebody with bad intentions left: they boot, and what cannot is said.

use std::{fs, path::Path, process::Command};

use disk::{Disk, Source};
use initramfs_overlay::busybox_rootfs::{self, RootFile};

use crate::{
    lab::{Lab, cut_out, put_back},
    support::run,
    update::{self, Signer, debugfs},
};

/// Changes a partition of a disk with debugfs.
fn change(lab: &Lab, disk: &Path, partition: &str, commands: &[&str]) {
    let alone = cut_out(lab, disk, partition);
    for command in commands {
        debugfs(&alone, command);
    }
    put_back(disk, partition, &alone);
}

/// Writes small files until no inode is left, then says so.
const FILLER: &str = r#"#!/bin/busybox sh
export PATH=/bin
busybox sleep 3
busybox mkdir /many
i=0
while busybox cp /etc/mark /many/$i 2>/dev/null; do i=$((i+1)); done
busybox sync
busybox echo "FILLED $i"
busybox poweroff -f
"#;

/// A system fills the writable partition to its last inode; the next boots go on all the same, and free it.
pub fn full_overlay(lab: &Lab) {
    let root = lab.root("A");
    busybox_rootfs::put(&root, &RootFile { path: "sbin/filler", mode: 0o755, content: FILLER.as_bytes() })
        .expect("a filler");
    busybox_rootfs::put(&root, &RootFile { path: "etc/mark", mode: 0o644, content: b"" }).expect("a file");
    let disk = lab.make(&Disk { source: Source::Root(root), newimg: None, ..lab.disk() });
    // A filesystem with few inodes is full at once.
    let alone = cut_out(lab, &disk, "overlay");
    run(Command::new("mke2fs").args(["-q", "-F", "-t", "ext4", "-N", "1024", "-L", "overlay"]).arg(&alone));
    put_back(&disk, "overlay", &alone);
    let initrd = lab.initrd("");
    let mut guest = vm::qemu::Guest::start(&lab.machine(&initrd, &[&disk], "init=/sbin/filler")).expect("QEMU");
    guest.wait_for("FILLED", crate::lab::PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.finish(Some(crate::lab::PATIENCE)).expect("the machine's end");
    for _ in 0..2 {
        let marks = lab.boot(&initrd, &disk, "");
        assert_eq!((marks.get("image"), marks.get("writable")), ("A", "yes"), "{}", marks.report());
        assert_eq!(marks.report()["overlay"], "/dev/vda3", "{}", marks.report());
    }
}

/// The root directory of the writable partition is damaged, though it mounts: the fallback boots; without one the card names it.
pub fn damaged_inside(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let alone = cut_out(lab, &disk, "overlay");
    let block: usize = debugfs(&alone, "blocks /").trim().parse().expect("the block of the root directory");
    let mut bytes = fs::read(&alone).expect("the partition");
    bytes[block * 4096..][..4096].fill(0);
    fs::write(&alone, bytes).expect("the partition");
    put_back(&disk, "overlay", &alone);
    let initrd = lab.initrd("");
    let marks = lab.boot(&initrd, &disk, "rd.overlay.fallback=tmpfs");
    let report = marks.report();
    assert_eq!((marks.get("image"), &report["status"], &report["overlay"]), ("A", &"degraded".into(), &"tmpfs".into()));
    let card = lab.fail(&lab.machine(&initrd, &[&disk], ""), "overlay-unusable");
    assert!(card.contains("overlay, /dev/vda4, cannot be used: cannot read "), "{card}");
}

/// The image is behind a link to a file beside it, and other things stand under names of ours.
pub fn links_and_obstacles(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let rename =
        ["ln root-squashfs.img v2.squashfs", "unlink root-squashfs.img", "symlink root-squashfs.img v2.squashfs"];
    change(lab, &disk, "img", &rename);
    change(
        lab,
        &disk,
        "img",
        &["mkdir root-squashfs.img.new", "mknod root-squashfs-old.img p", "symlink updates.txt /dev/vda"],
    );
    change(lab, &disk, "overlay", &["symlink discarded /dev", "symlink spare /proc", "mknod upper p", "mkdir trial"]);
    let marks = lab.boot(&lab.initrd(""), &disk, "");
    assert_eq!((marks.get("image"), marks.get("persistent"), marks.get("writable")), ("A", "kept", "yes"));
    assert_eq!(marks.report()["status"], "ok", "{}", marks.report());
}

/// A factory reset deletes a file that `chattr +i` protects as well.
pub fn reset_of_protected_files(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    change(lab, &disk, "overlay", &["mkdir persistent/etc", "write /dev/null persistent/etc/secret"]);
    change(lab, &disk, "overlay", &["set_inode_field persistent/etc/secret flags 0x80010"]);
    let marks = lab.boot(&lab.initrd(""), &disk, "rd.overlay.reset");
    let notices = marks.report()["notices"].to_string();
    assert!(notices.contains("factory reset: persistent is emptied") && !notices.contains("could not"), "{notices}");
    // The emptied directory itself goes behind the boot, or the next one.
    let left = debugfs(&cut_out(lab, &disk, "overlay"), "ls -p discarded/persistent.0");
    assert!(!left.contains("/etc/"), "{left}");
}

/// The recipe of docs/threat-model.md: final parameters, signed images, nothing of a disk but the image, in memory.
pub fn hardened(lab: &Lab) {
    let signer = Signer::new(lab);
    let key = signer.public_key();
    let key = key.to_str().expect("a path");
    let modules = "ext4,loop,squashfs,overlay,virtio_pci,virtio_blk";
    let image = update::update(lab);
    let disk =
        update::disk(lab, &[("root-squashfs.img", image.clone()), ("root-squashfs.img.minisig", signer.sign(&image))]);
    let parameters =
        "rd.overlay=tmpfs rd.toram rd.persistent=no rd.image=root-squashfs.img init=/sbin/init rd.onerror=poweroff --";
    let initrd = lab.build(&["--trust", key, "--modules", modules, "--cmdline-final", parameters]);
    // Somebody at the boot loader asks for other things; the unsigned image that the disk came with does not boot, the signed one does.
    let marks = lab.boot(
        &initrd,
        &disk,
        "rd.overlay=LABEL=overlay rd.persistent=yes rd.image=root-squashfs-old.img init=/bin/sh",
    );
    let report = marks.report();
    assert_eq!(
        (marks.get("image"), &report["overlay"], &report["toram"]),
        ("B", &"tmpfs".into(), &"yes".into()),
        "{report}"
    );
    assert_eq!(marks.get("persistent"), "", "no unsigned layer: {report}");
    assert_eq!(marks.mount("/run/initramfs/img"), None, "nothing of the disk is in use");
    let unsigned = lab.make(&Disk { newimg: None, ..lab.disk() });
    lab.fail(&lab.machine(&initrd, &[&unsigned], "rd.overlay=LABEL=overlay"), "image-untrusted");
}
