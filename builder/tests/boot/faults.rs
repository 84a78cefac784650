//! Prepared faults: the card on the console names the cause and the next step.

pub mod disks;
pub mod images;
pub mod layers;

use std::{fs, os::unix::fs::symlink, path::Path, process::Command};

use base::progress::Progress;
use disk::{Disk, Source};
use initramfs_overlay::{
    busybox_image,
    busybox_rootfs::{self, RootFile},
    cache,
};
use sources::target;

use crate::{
    lab::{Lab, cut_out, partition, put_back, scribble},
    support::{program, run},
    update::debugfs,
};

/// Boots until the card with this code. Each of these words must be on it, or on the console before it.
pub fn card(lab: &Lab, machine: &vm::qemu::Machine, code: &str, words: &[&str]) {
    let said = lab.fail(machine, code);
    let missing: Vec<&&str> = words.iter().filter(|word| !said.contains(**word)).collect();
    assert!(missing.is_empty(), "not on the card: {missing:?}\n{}", said.rsplit("cannot boot").next().expect("a card"));
}

/// Boots an image of the usual root, changed, until the card.
pub fn card_of_root(lab: &Lab, change: impl FnOnce(&Path), code: &str, words: &[&str]) {
    let root = lab.root("A");
    change(&root);
    let disk = lab.make(&Disk { source: Source::Root(root), ..lab.disk() });
    card(lab, &lab.machine(&lab.initrd(""), &[&disk], ""), code, words);
}

/// The labels of img and overlay are swapped.
pub fn labels_swapped(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    for (part, label) in [("img", "overlay"), ("overlay", "img")] {
        let alone = cut_out(lab, &disk, part);
        run(program("e2label").arg(&alone).arg(label));
        put_back(&disk, part, &alone);
    }
    let words = [
        "root-squashfs.img is on /dev/vda2",
        "try next  the labels of /dev/vda4 and /dev/vda2 are swapped: correct them, or boot with rd.img=/dev/vda2 \
         rd.overlay=/dev/vda4",
    ];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk], ""), "image-missing", &words);
}

/// Both copies of the GPT are overwritten, the protective MBR is left.
pub fn table_gone(lab: &Lab) {
    /// Sectors of a GPT: its header and its entries.
    const TABLE: u64 = 33;
    let disk = lab.make(&lab.disk());
    let sectors = fs::metadata(&disk).expect("the disk").len() / 512;
    for sector in (1..=TABLE).chain(sectors - TABLE..sectors) {
        scribble(&disk, sector * 512, &[0; 512]);
    }
    let words = [
        "/dev/vda: its partition table is gone: the first sector announces a GPT, and neither that nor its backup is there",
        "try next  rewrite the disk",
    ];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk], "rd.timeout=1s"), "img-missing", &words);
}

/// The inode table of the image is damaged: its superblock is as it was.
pub fn image_flipped(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let (start, size) = partition(&disk, "img");
    let bytes = fs::read(&disk).expect("the disk");
    let from = usize::try_from(start).expect("a start");
    let part = &bytes[from..from + usize::try_from(size).expect("a size")];
    // Kernel, fs/squashfs/squashfs_fs.h: the magic, then the place of the inode table in 64 bits at 64. Files begin with a block.
    let at = (0..part.len()).step_by(1024).find(|at| part[*at..].starts_with(b"hsqs")).expect("the image");
    let table = u64::from_le_bytes(part[at + 64..at + 72].try_into().expect("eight bytes"));
    let table = at + usize::try_from(table).expect("a place");
    let flipped: Vec<u8> = part[table + 2..table + 66].iter().map(|byte| !byte).collect();
    scribble(&disk, start + u64::try_from(table + 2).expect("a place"), &flipped);
    let words = [
        "kernel    SQUASHFS error",
        "try next  put a good image in place (on newimg); if that cannot be read either, replace the disk",
    ];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk], ""), "image-mount", &words);
}

/// The image is for an ARM processor.
pub fn other_processor(lab: &Lab) {
    let cache = cache::open().expect("the cache");
    let arm = target::named("armv6l").expect("the target");
    let busybox =
        busybox_image::get(arm, None, &cache, sources::Substitute::Allow, &Progress::none()).expect("BusyBox").bytes;
    let put = |root: &Path| {
        busybox_rootfs::put(root, &RootFile { path: "sbin/init", mode: 0o755, content: &busybox }).expect("an init");
    };
    let words = [
        "/sbin/init would not start: Exec format error",
        "the image is root-squashfs.img on /dev/vda2",
        "it is a program for arm",
        "try next  put an image for this machine's processor in place (on newimg)",
    ];
    card_of_root(lab, put, "init-exec", &words);
}

/// Init is a symbolic link to a program that the image lacks.
pub fn init_link_broken(lab: &Lab) {
    let link = |root: &Path| {
        fs::remove_file(root.join("sbin/init")).expect("remove");
        symlink("/lib/systemd/systemd", root.join("sbin/init")).expect("a link");
    };
    let words = [
        "/sbin/init is a symbolic link to /lib/systemd/systemd, and /lib/systemd is not there",
        "there is /bin/sh",
        "the image is root-squashfs.img on /dev/vda2",
        "try next  boot with init=/bin/sh",
    ];
    card_of_root(lab, link, "init-missing", &words);
}

/// Init is a program of this machine, which is linked dynamically, without its loader.
pub fn loader_missing(lab: &Lab) {
    let init = fs::read("/bin/true").expect("a program");
    let put = |root: &Path| {
        busybox_rootfs::put(root, &RootFile { path: "sbin/init", mode: 0o755, content: &init }).expect("an init");
    };
    let words = [
        "its loader is missing: /lib",
        "the image is root-squashfs.img on /dev/vda2",
        "try next  correct the root (a new image on newimg), or boot with another init=",
    ];
    card_of_root(lab, put, "init-unusable", &words);
}

/// An empty init in `persistent` replaces the image's; what the card advises boots.
pub fn persistent_init(lab: &Lab) {
    let persistent = lab.persistent("kept");
    busybox_rootfs::put(&persistent, &RootFile { path: "sbin/init", mode: 0o755, content: b"" }).expect("an init");
    let disk = lab.make(&Disk { overlay: Some(Some(persistent)), ..lab.disk() });
    let initrd = lab.initrd("");
    let words = [
        "/sbin/init comes from persistent/ on /dev/vda4, or is hidden by it; the image has a good one",
        "it is empty",
        "try next  boot with rd.persistent=no, then remove what replaces it from persistent/ on /dev/vda4",
    ];
    card(lab, &lab.machine(&initrd, &[&disk], ""), "init-unusable", &words);
    let marks = lab.boot(&initrd, &disk, "rd.persistent=no");
    assert_eq!((marks.get("image"), marks.get("persistent"), marks.get("writable")), ("A", "", "yes"));
}

/// A disk and its copy, told apart by serial number.
pub fn cloned_disks(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let mut machine = lab.machine(&lab.initrd(""), &[], "");
    for (name, path) in [("S3Z1", &disk), ("S3Z2", &lab.copy(&disk))] {
        let drive = format!("file={},format=raw,if=none,id={name}", path.display());
        machine.extra.extend(["-drive".into(), drive.into()]);
        machine.extra.extend(["-device".into(), format!("virtio-blk-pci,drive={name},serial={name}").into()]);
    }
    let words = [
        "/dev/vda2: ext4 LABEL=img",
        "/dev/vdb2: ext4 LABEL=img",
        "/dev/vda: serial number S3Z1",
        "/dev/vdb: serial number S3Z2",
        "one is a copy of the other",
        "try next  remove the copy, or name the partition by a path below /dev",
    ];
    card(lab, &machine, "img-ambiguous", &words);
}

/// The writable partition has FAT, on which overlayfs cannot write.
pub fn overlay_vfat(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let alone = cut_out(lab, &disk, "overlay");
    run(program("mkfs.vfat").args(["-n", "overlay"]).arg(&alone));
    put_back(&disk, "overlay", &alone);
    let initrd = lab.initrd("");
    let words = [
        "/dev/vda4 is vfat, on which overlayfs cannot write",
        "try next  make an ext4 filesystem there (mke2fs -t ext4 -L overlay /dev/vda4), which deletes all that it holds; \
         until then boot with rd.overlay=tmpfs",
    ];
    card(lab, &lab.machine(&initrd, &[&disk], ""), "overlay-unusable", &words);
    let marks = lab.boot(&initrd, &disk, "rd.overlay.fallback=tmpfs");
    let report = marks.report();
    assert_eq!((&report["status"], &report["overlay"]), (&"degraded".into(), &"tmpfs".into()), "{report}");
    assert!(report["notices"].to_string().contains("/dev/vda4 is vfat"), "{report}");
    assert_eq!((marks.get("image"), marks.get("writable")), ("A", "yes"));
}

/// The disk is write-protected, as a worn-out SD card is, and img has a journal to replay: the image is read without it.
pub fn read_only_disk(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    leave_journal(lab, &disk);
    let mut machine = lab.machine(&lab.initrd(""), &[], "");
    let drive = format!("file={},format=raw,if=virtio,readonly=on", disk.display());
    machine.extra = ["-drive".to_owned(), drive].map(Into::into).to_vec();
    let words = [
        "img, /dev/vda2, is write-protected and was not unmounted cleanly: it is read without its journal",
        "booting root-squashfs.img",
        "/dev/vda4 is write-protected: by its switch, or because it is worn out",
        "try next  take the write protection off /dev/vda4, or replace the disk; until then rd.overlay=tmpfs",
    ];
    card(lab, &machine, "overlay-mount", &words);
}

/// Leaves a transaction in the journal of img, for a block that nothing uses.
fn leave_journal(lab: &Lab, disk: &Path) {
    let alone = cut_out(lab, disk, "img");
    let free = debugfs(&alone, "ffb 1");
    let free = free.split_whitespace().last().expect("a free block").to_owned();
    let block = lab.directory().join("block");
    fs::write(&block, [0x5a; 4096]).expect("a block");
    let commands = lab.directory().join("commands");
    fs::write(&commands, format!("jo\njw -b {free} {}\njc\n", block.display())).expect("commands");
    run(Command::new("debugfs").arg("-w").arg("-f").arg(&commands).arg(&alone));
    let features = debugfs(&alone, "features");
    assert!(features.contains("needs_recovery"), "{features}");
    put_back(disk, "img", &alone);
}
