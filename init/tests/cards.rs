//! The faults that a technician meets, each with the golden boot that ends in its card: the card names the cause and the right next step.

use std::{fs, path::Path};

/// The golden boots.
const BOOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boots");

/// A fault, the golden boot, words of the cause and words of the next step.
type Row = (&'static str, &'static str, &'static str, &'static str);

const FAULTS: [Row; 42] = [
    ("no disk", "no-disk", "no block device at all", "check the disk and its cable"),
    ("an NVMe controller without a driver", "no-disk-driver", "an NVMe controller has no driver", "--modules nvme"),
    ("AHCI without sd_mod", "no-disk-layer", "a SCSI disk has no driver", "--modules sd_mod"),
    ("a disk that does not answer, or slowly", "no-disk-answers", "no disk answers behind it", "rd.timeout=30s"),
    ("a disk that fails", "disk-unreadable", "/dev/vda2 cannot be read", "replace the disk"),
    ("a wiped partition table", "disk-table-gone", "its partition table is gone", "rewrite the disk"),
    ("a label that differs by case", "label-case", "case matters", "label the partition (LABEL=img)"),
    ("a misspelt label", "label-missing", "root-squashfs.img is on /dev/vda2", "e2label /dev/vda2 img"),
    ("no label", "label-none", "root-squashfs.img is on /dev/vda2", "e2label /dev/vda2 img"),
    ("swapped labels", "labels-swapped", "root-squashfs.img is on /dev/vda3", "are swapped"),
    ("cloned disks", "disks-cloned", "one is a copy of the other", "remove the copy"),
    ("two disks with the label", "img-ambiguous", "LABEL=img", "remove one of the disks"),
    ("a damaged superblock of img", "img-damaged", "the filesystem is damaged", "e2fsck -f /dev/vda2"),
    ("a lost superblock of overlay", "overlay-unreadable", "no known filesystem", "e2fsck"),
    ("a damaged overlay", "overlay-damaged", "the filesystem is damaged", "e2fsck -f /dev/vda3"),
    ("a root directory that cannot be read", "overlay-damaged-inside-card", "Input/output error", "replace the disk"),
    ("an image that cannot be read", "unreadable-image", "Input/output error", "replace the disk"),
    ("no image", "image-missing", "root-squashfs.img on /dev/vda2", "copy the image to /dev/vda2"),
    ("an empty image", "image-empty", "0 B", "it is empty"),
    ("an image cut short", "image-truncated", "bytes", "copy the image again"),
    ("an image without padding", "image-unpadded", "a loop device does not show the last", "truncate -s %4096"),
    ("a flipped image", "image-damaged", "Invalid argument", "put a good image in place"),
    ("a flipped image with a signature", "trust-damaged", "the signature is for another file", "the image is damaged"),
    ("an unknown compressor", "image-compressor", "compression. This is not supported", "mksquashfs -comp gzip"),
    ("an image for another processor", "init-foreign", "a program for aarch64", "for this machine's processor"),
    ("init a broken link", "init-link-broken", "is a symbolic link to /lib/systemd/systemd", "init=/bin/sh"),
    ("init without its loader", "init-loader-missing", "its loader is missing", "correct the root"),
    ("init without its interpreter", "init-interpreter-missing", "its interpreter is missing", "correct the root"),
    ("no init", "init-missing", "/bin/systemd is not there", "boot with init=/sbin/init"),
    ("overlay full of blocks", "full-blocks-kept", "No space left on device", "delete from its persistent/"),
    ("overlay full of inodes", "overlay-full-kept", "No space left on device", "delete from its persistent/"),
    ("overlay write-protected", "protected-overlay", "Permission denied", "it is write-protected"),
    ("overlay on vfat", "overlay-vfat", "/dev/vda3 is vfat", "mke2fs -t ext4 -L overlay"),
    ("overlay with casefold", "overlay-casefold", "folds the case of names", "mke2fs -t ext4 -L overlay"),
    ("overlay encrypted", "overlay-encrypted", "an encrypted container (LUKS)", "put a filesystem on /dev/vda3"),
    ("persistent that breaks init", "persistent-init-empty", "comes from persistent/", "rd.persistent=no"),
    ("persistent that hides the loader", "persistent-hides-loader", "hidden by it", "rd.persistent=no"),
    (
        "modules of another kernel",
        "modules-other-kernel-no-disk",
        "6.",
        "start the kernel that this image was built for",
    ),
    ("a module that is not baked in", "squashfs-nowhere", "it is not in /proc/filesystems", "--modules squashfs"),
    ("a forbidden module", "module-blacklist-needed", "forbids loading squashfs", "list of forbidden modules"),
    ("a misspelt value", "parameter-value", "rd.img=", "correct rd.img"),
    ("little memory", "memory-full", "No space left on device", "too little memory"),
];

/// Returns the card in a record, its wrapped lines joined, split before the next step.
fn card(record: &str) -> Option<(String, String)> {
    let start = record.find(" cannot boot: ")?;
    let words: Vec<&str> = record.get(start..)?.split_whitespace().collect();
    let card = words.join(" ");
    let (cause, next) = card.split_once(" try next ")?;
    Some((cause.to_owned(), next.split(" then ").next()?.to_owned()))
}

#[test]
fn each_fault_has_a_card_with_its_cause_and_the_next_step() {
    let mut wrong = Vec::new();
    for (fault, boot, cause, next) in FAULTS {
        let record = fs::read_to_string(Path::new(BOOTS).join(boot).join("steps.expected"));
        let card = record.ok().as_deref().and_then(card);
        match card {
            Some((seen, step)) if seen.contains(cause) && step.contains(next) => {}
            card => wrong.push(format!("{fault} ({boot}): wanted {cause:?} and {next:?}, got {card:?}")),
        }
    }
    println!("cards: {} of {} faults with cause and next step", FAULTS.len() - wrong.len(), FAULTS.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
