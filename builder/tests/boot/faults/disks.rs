//! Disks that are not there, have no driver, fail, or are labelled otherwise.

use std::{
    ffi::OsString,
    fs::{self, File},
    path::{Path, PathBuf},
};

use vm::qemu::Machine;

use super::card;
use crate::{
    lab::{Lab, cut_out, put_back},
    support::{program, run},
};

/// Modules of the overlay way without those of any disk.
const OVERLAY: [&str; 4] = ["ext4", "loop", "squashfs", "overlay"];

/// Returns a machine with devices of its own and these modules beside those of the overlay way.
fn with_devices(lab: &Lab, modules: &[&str], devices: &[&str], append: &str) -> Machine {
    let initrd = lab.initrd_with("", &[&OVERLAY[..], modules].concat());
    let mut machine = lab.machine(&initrd, &[], append);
    machine.extra = devices.iter().map(OsString::from).collect();
    machine
}

/// Returns QEMU's option for a disk that a device names.
fn drive(disk: &Path) -> String {
    format!("file={},format=raw,if=none,id=disk", disk.display())
}

pub fn no_disk(lab: &Lab) {
    let words = ["seen      no block device at all", "else check the disk and its cable"];
    card(lab, &lab.machine(&lab.initrd(""), &[], "rd.timeout=1s"), "img-missing", &words);
}

pub fn nvme_without_driver(lab: &Lab) {
    let disk = drive(&lab.make(&lab.disk()));
    let devices = ["-drive", &disk, "-device", "nvme,drive=disk,serial=1"];
    let words = [
        "an NVMe controller has no driver (nvme)",
        "try next  if the disk is behind that, build this initramfs with --modules ata_piix,nvme; else check the disk",
    ];
    card(lab, &with_devices(lab, &[], &devices, "rd.timeout=1s"), "img-missing", &words);
}

pub fn sata_without_driver(lab: &Lab) {
    let disk = drive(&lab.make(&lab.disk()));
    let devices = ["-drive", &disk, "-device", "ahci,id=ahci", "-device", "ide-hd,drive=disk,bus=ahci.0"];
    let words = [
        "a SATA controller has no driver (ahci)",
        "try next  if the disk is behind that, build this initramfs with --modules ata_piix,ahci; else check the disk",
    ];
    card(lab, &with_devices(lab, &[], &devices, "rd.timeout=1s"), "img-missing", &words);
}

/// The controller's driver is there, the disk's is not.
pub fn sata_without_disk_driver(lab: &Lab) {
    let disk = drive(&lab.make(&lab.disk()));
    let devices = ["-drive", &disk, "-device", "ahci,id=ahci", "-device", "ide-hd,drive=disk,bus=ahci.0"];
    let words = [
        "a SCSI disk has no driver (sd_mod)",
        "try next  bake its driver in: build this initramfs with --modules sd_mod",
    ];
    card(lab, &with_devices(lab, &["ahci"], &devices, "rd.timeout=3s"), "img-missing", &words);
}

pub fn no_disk_answers(lab: &Lab) {
    let devices = ["-device", "ahci"];
    let words = ["there is a controller (scsi_host), but no disk answers behind it", "rd.timeout=30s"];
    card(lab, &with_devices(lab, &["ahci", "sd_mod"], &devices, "rd.timeout=3s"), "img-missing", &words);
}

/// Returns a machine whose disk answers with an error whenever something of this kind is done to it; everywhere, or at a sector.
pub fn failing(lab: &Lab, disk: &Path, event: &str, sector: Option<u64>, append: &str) -> Machine {
    let rules = lab.directory().join("rules");
    let at = sector.map_or(String::new(), |sector| format!("sector = \"{sector}\"\n"));
    fs::write(&rules, format!("[inject-error]\nevent = \"{event}\"\nerrno = \"5\"\n{at}")).expect("the rules");
    let mut machine = lab.machine(&lab.initrd(""), &[], append);
    let drive = format!("file=blkdebug:{}:{},format=raw,if=virtio", rules.display(), disk.display());
    machine.extra = ["-drive".to_owned(), drive].map(Into::into).to_vec();
    machine
}

pub fn unreadable(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let words = ["/dev/vda cannot be read", "try next  replace the disk vda: it fails"];
    card(lab, &failing(lab, &disk, "read_aio", None, "rd.timeout=1s"), "img-missing", &words);
}

/// The disk is smaller than its table says.
pub fn table_cut(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let file = File::options().write(true).open(&disk).expect("the disk");
    let size = file.metadata().expect("its size").len();
    file.set_len(size / 2).expect("a smaller disk");
    let words =
        ["its partition table is for a larger disk", "try next  the copy was truncated, or the disk is too small"];
    card(lab, &lab.machine(&lab.initrd(""), &[&disk], "rd.timeout=1s"), "img-missing", &words);
}

/// The table was written for sectors of 512 bytes, the disk's have 4096.
pub fn other_sectors(lab: &Lab) {
    let disk = drive(&lab.make(&lab.disk()));
    let devices =
        ["-drive", &disk, "-device", "virtio-blk-pci,drive=disk,logical_block_size=4096,physical_block_size=4096"];
    let words = ["its partition table is for a disk with sectors of another size", "disk --sector-size"];
    card(lab, &with_devices(lab, &["virtio_pci", "virtio_blk"], &devices, "rd.timeout=1s"), "img-missing", &words);
}

/// Returns a disk whose partition img is labelled otherwise.
fn labelled(lab: &Lab, label: &str) -> PathBuf {
    let disk = lab.make(&lab.disk());
    let alone = cut_out(lab, &disk, "img");
    run(program("e2label").arg(&alone).arg(label));
    put_back(&disk, "img", &alone);
    disk
}

pub fn label_case(lab: &Lab) {
    let words = ["the label of /dev/vda2 is IMG, and case matters", "try next  label it (e2label /dev/vda2 img)"];
    card(lab, &lab.machine(&lab.initrd(""), &[&labelled(lab, "IMG")], "rd.timeout=1s"), "img-missing", &words);
}

pub fn label_misspelt(lab: &Lab) {
    let words = ["root-squashfs.img is on /dev/vda2", "try next  label it (e2label /dev/vda2 img)"];
    card(lab, &lab.machine(&lab.initrd(""), &[&labelled(lab, "imgg")], "rd.timeout=1s"), "img-missing", &words);
}

pub fn label_none(lab: &Lab) {
    let words = ["/dev/vda2: ext4 PARTLABEL=img", "try next  label it (e2label /dev/vda2 img)"];
    card(lab, &lab.machine(&lab.initrd(""), &[&labelled(lab, "")], "rd.timeout=1s"), "img-missing", &words);
}

/// Two disks that were made apart have the same labels.
pub fn two_disks(lab: &Lab) {
    let disks =
        [lab.make(&lab.disk()), lab.make(&disk::Disk { source: disk::Source::Root(lab.root("B")), ..lab.disk() })];
    let words = ["/dev/vda2: ext4 LABEL=img", "/dev/vdb2: ext4 LABEL=img", "try next  remove one of the disks"];
    card(lab, &lab.machine(&lab.initrd(""), &[&disks[0], &disks[1]], ""), "img-ambiguous", &words);
}
