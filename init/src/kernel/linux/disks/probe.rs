//! Superblocks and partition tables of block devices, as read by libblkid. Never writes.

use std::{
    fs::File,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::Path,
};

use libblkid_rs::{BlkidPartlist, BlkidProbe, BlkidSafeprobeRet};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::kernel::linux::files::text;
use contract::tag::Volume;

/// A reader of the superblock of a device.
pub(super) struct Prober(BlkidProbe);

impl Prober {
    /// Returns a prober that asks for what the library gives by itself: type, label and UUID (the builder sees to the last).
    pub(super) fn new() -> libblkid_rs::Result<Self> {
        let mut probe = BlkidProbe::new()?;
        probe.enable_superblocks(true)?;
        probe.enable_partitions(false)?;
        Ok(Self(probe))
    }

    /// Adds what the device's superblock says; `details`: and its partition table.
    pub(super) fn probe(&mut self, volume: &mut Volume, details: bool) {
        // A device that cannot be read has no superblock.
        if let Ok(Some([kind, label, uuid])) = self.superblock(&volume.path()) {
            volume.kind = kind;
            volume.label = label;
            volume.uuid = uuid.map(|uuid| uuid.to_ascii_lowercase());
        }
        if details && volume.disk != volume.name {
            partition(volume);
        }
    }

    /// Reads type, label and UUID.
    fn superblock(&mut self, path: &str) -> libblkid_rs::Result<Option<[Option<String>; 3]>> {
        // Superblocks are looked for up to here, and at the very end: one read instead of one for each.
        const HEAD: libc::off_t = 68 << 10;
        // Without O_NONBLOCK a CD-ROM drive would pull in its tray.
        let device = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        self.0.set_device(device.as_raw_fd(), 0, 0)?;
        // Advice: where it is not taken the same is read piece by piece.
        let _ = posix_fadvise(&device, 0, HEAD, PosixFadviseAdvice::POSIX_FADV_WILLNEED);
        if self.0.do_safeprobe()? != BlkidSafeprobeRet::Success {
            return Ok(None);
        }
        Ok(Some(["TYPE", "LABEL", "UUID"].map(|name| self.0.lookup_value(name).ok())))
    }
}

/// Reads the partition's name and UUID from the table of its disk.
fn partition(volume: &mut Volume) {
    let number = text(&format!("/sys/class/block/{}/partition", volume.name)).trim_end().parse().unwrap_or(0);
    let disk = Volume { name: volume.disk.clone(), ..Volume::default() };
    let read = || -> libblkid_rs::Result<(Option<String>, Option<String>)> {
        let mut probe = BlkidProbe::new_from_filename(Path::new(&disk.path()))?;
        probe.enable_superblocks(false)?;
        probe.enable_partitions(true)?;
        let mut table = probe.get_partitions()?;
        let name = table.get_partition_by_partno(number)?.get_name().ok().flatten();
        Ok((name, part_uuid(&mut table, number)))
    };
    if let Ok((name, uuid)) = read() {
        volume.part_label = name.or(volume.part_label.take());
        volume.part_uuid = uuid;
    }
}

/// Returns the PARTUUID: from a GPT the partition's own, from an MBR the disk's signature and the number (libblkid does the same).
fn part_uuid(table: &mut BlkidPartlist<'_>, number: libc::c_int) -> Option<String> {
    if let Ok(Some(uuid)) = table.get_partition_by_partno(number).and_then(|partition| partition.get_uuid()) {
        return Some(uuid.to_string());
    }
    let signature = table.get_table().and_then(|table| table.get_id()).ok()?;
    Some(format!("{}-{number:02x}", signature.to_ascii_lowercase()))
}
