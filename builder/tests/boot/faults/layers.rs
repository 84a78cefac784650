//! Writable layers that cannot be used, and filesystems of img that do not mount.

use std::{fs, path::PathBuf};

use disk::Disk;

use super::{card, disks};
use crate::{
    lab::{Lab, cut_out, partition, put_back, scribble},
    support::{noise, program, run},
};

/// Returns a disk whose partition was recreated by mke2fs with these options.
fn remade(lab: &Lab, partition: &str, options: &[&str]) -> PathBuf {
    let disk = lab.make(&lab.disk());
    let alone = cut_out(lab, &disk, partition);
    run(program("mke2fs").args(["-q", "-F", "-t", "ext4", "-L", partition]).args(options).arg(&alone));
    put_back(&disk, partition, &alone);
    disk
}

pub fn casefold(lab: &Lab) {
    let disk = remade(lab, "overlay", &["-O", "casefold", "-E", "encoding=utf8"]);
    let words =
        ["it folds the case of names (feature casefold)", "try next  make an ext4 filesystem there (mke2fs -t ext4"];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk], ""), "overlay-unusable", &words);
}

/// Version 2 of LUKS (on-disk format specification, 2.1): its header at the start, named by its label.
pub fn encrypted(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let (start, size) = partition(&disk, "overlay");
    scribble(&disk, start, &vec![0; usize::try_from(size).expect("a size")]);
    let mut header = vec![0; 4096];
    header[..6].copy_from_slice(b"LUKS\xba\xbe");
    header[7] = 2;
    header[14..16].copy_from_slice(&0x4000_u16.to_be_bytes());
    header[24..31].copy_from_slice(b"overlay");
    scribble(&disk, start, &header);
    let words = ["an encrypted container (LUKS), and nothing in this initramfs opens it", "rd.overlay="];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk], ""), "overlay-mount", &words);
}

/// Windows encrypts the partition: by the first bytes, as of Vista (libblkid, bitlocker.c).
pub fn encrypted_by_windows(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let (start, size) = partition(&disk, "overlay");
    scribble(&disk, start, &vec![0; usize::try_from(size).expect("a size")]);
    scribble(&disk, start, b"\xeb\x52\x90-FVE-FS-");
    let words = ["an encrypted container (BitLocker), and nothing in this initramfs opens it", "deletes what it holds"];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk], "rd.overlay=/dev/vda4"), "overlay-mount", &words);
}

/// Fills the filesystem to its last block with files that are kept.
pub fn full(lab: &Lab) {
    let persistent = lab.persistent("kept");
    let disk = lab.make(&Disk { overlay: Some(Some(persistent)), ..lab.disk() });
    let alone = cut_out(lab, &disk, "overlay");
    let (file, size) = (lab.directory().join("noise"), fs::metadata(&alone).expect("its size").len());
    fs::write(&file, noise(usize::try_from(size).expect("a size"))).expect("noise");
    // debugfs stops where nothing is free any more, and says so.
    let command = format!("write {} persistent/noise", file.display());
    let filled = program("debugfs").args(["-w", "-R", &command]).arg(&alone).output().expect("debugfs");
    let said = String::from_utf8_lossy(&filled.stderr);
    assert!(said.contains("Could not allocate block"), "{said}");
    put_back(&disk, "overlay", &alone);
    let words = ["No space left on device", "is full of what must be kept: delete from its persistent/"];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk], ""), "overlay-unusable", &words);
}

/// Takes every inode for files that are kept.
pub fn without_inodes(lab: &Lab) {
    let disk = remade(lab, "overlay", &["-N", "16"]);
    let alone = cut_out(lab, &disk, "overlay");
    let mut commands = "mkdir persistent\n".to_owned();
    for number in 0..20 {
        commands += &format!("write /dev/null persistent/{number}\n");
    }
    let list = lab.directory().join("commands");
    fs::write(&list, commands).expect("commands");
    program("debugfs").args(["-w", "-f"]).arg(&list).arg(&alone).output().expect("debugfs");
    put_back(&disk, "overlay", &alone);
    let words = ["No space left on device", "is full of what must be kept: delete from its persistent/"];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk], ""), "overlay-unusable", &words);
}

/// Nothing that is written to the disk arrives.
pub fn write_error(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let words = ["try next", "replace the disk"];
    card(lab, &disks::failing(lab, &disk, "write_aio", None, ""), "overlay-mount", &words);
}

/// The superblock of the writable partition is gone.
pub fn superblock_lost(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    scribble(&disk, partition(&disk, "overlay").0, &[0; 4096]);
    let words = ["/dev/vda4: no known filesystem", "repair the one without a filesystem (e2fsck)"];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk], "rd.timeout=1s"), "overlay-missing", &words);
}

/// The group descriptors of img are damaged; its superblock with the label stays.
pub fn img_damaged(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    scribble(&disk, partition(&disk, "img").0 + 4096, &[0xff; 4096]);
    let words = ["the filesystem is damaged", "repair it with e2fsck -f /dev/vda2 from another system"];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk], ""), "img-mount", &words);
}

/// The root directory of img cannot be read.
pub fn img_root_unreadable(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let alone = cut_out(lab, &disk, "img");
    let block: u64 =
        crate::update::debugfs(&alone, "blocks /").trim().parse().expect("the block of the root directory");
    let sector = partition(&disk, "img").0 / 512 + block * 8;
    let words = ["/dev/vda2 cannot be read", "try next  replace the disk vda: it fails"];
    card(lab, &disks::failing(lab, &disk, "read_aio", Some(sector), "rd.timeout=1s"), "img-missing", &words);
}
