//! What libblkid reads from block devices: superblocks and partition tables. Only reads.

use std::path::Path;

use libblkid_rs::{BlkidPartlist, BlkidProbe, BlkidSafeprobeRet, BlkidSublks, BlkidSublksFlags};

use super::devices::read_number;
use crate::tag::Volume;

/// The device with what its superblock says; `table`: and its partition table.
pub(super) fn probed(mut volume: Volume, table: bool) -> Volume {
    superblock(&mut volume);
    if table && volume.disk != volume.name {
        partition(&mut volume);
    }
    volume
}

/// Reads type, label and UUID from the superblock. A device that cannot be read has none.
fn superblock(volume: &mut Volume) {
    let read = || -> libblkid_rs::Result<Option<[Option<String>; 3]>> {
        let mut probe = BlkidProbe::new_from_filename(Path::new(&volume.path()))?;
        probe.enable_superblocks(true)?;
        probe.set_superblock_flags(BlkidSublksFlags::new(vec![
            BlkidSublks::Label,
            BlkidSublks::Uuid,
            BlkidSublks::Type,
        ]))?;
        probe.enable_partitions(false)?;
        if probe.do_safeprobe()? != BlkidSafeprobeRet::Success {
            return Ok(None);
        }
        Ok(Some(["TYPE", "LABEL", "UUID"].map(|name| probe.lookup_value(name).ok())))
    };
    if let Ok(Some([kind, label, uuid])) = read() {
        volume.kind = kind;
        volume.label = label;
        volume.uuid = uuid.map(|uuid| uuid.to_ascii_lowercase());
    }
}

/// Reads the partition's name and UUID from the table of its disk.
fn partition(volume: &mut Volume) {
    let number = read_number(&Path::new("/sys/class/block").join(&volume.name).join("partition"));
    let disk = Volume { name: volume.disk.clone(), ..Volume::default() };
    let read = || -> libblkid_rs::Result<(Option<String>, Option<String>)> {
        let mut probe = BlkidProbe::new_from_filename(Path::new(&disk.path()))?;
        probe.enable_superblocks(false)?;
        probe.enable_partitions(true)?;
        let mut table = probe.get_partitions()?;
        let number = number.and_then(|number| libc::c_int::try_from(number).ok()).unwrap_or(0);
        let name = table.get_partition_by_partno(number)?.get_name().ok().flatten();
        Ok((name, part_uuid(&mut table, number)))
    };
    if let Ok((name, uuid)) = read() {
        volume.part_label = name.or(volume.part_label.take());
        volume.part_uuid = uuid;
    }
}

/// PARTUUID: from a GPT the partition's own, from an MBR the disk's signature and the number (libblkid does the same).
fn part_uuid(table: &mut BlkidPartlist<'_>, number: libc::c_int) -> Option<String> {
    if let Ok(Some(uuid)) = table.get_partition_by_partno(number).and_then(|partition| partition.get_uuid()) {
        return Some(uuid.to_string());
    }
    let signature = table.get_table().and_then(|table| table.get_id()).ok()?;
    Some(format!("{}-{number:02x}", signature.to_ascii_lowercase()))
}
