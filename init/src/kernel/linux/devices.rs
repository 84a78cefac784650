//! Block devices of the real machine, as sysfs lists them.

use std::fs;

use super::files::{BLOCK, names, read_number, stat, text};
use contract::tag::Volume;

/// Lists the block devices and probes those that were not probed before.
pub(super) fn volumes(known: &mut Vec<(Volume, bool)>, details: bool) -> Vec<Volume> {
    let listed = list(details);
    // A device that went, or came back as another, is forgotten; one whose superblock was not known is looked at again.
    known.retain(|(volume, probed_details)| {
        volume.kind.is_some()
            && *probed_details == details
            && listed.iter().any(|other| other.name == volume.name && other.size == volume.size)
    });
    let mut all = Vec::new();
    #[cfg(feature = "disks")]
    let mut prober = super::disks::probe::Prober::new(details).ok();
    for volume in &listed {
        if let Some((known, _)) = known.iter().find(|(known, _)| known.name == volume.name) {
            all.push(known.clone());
            continue;
        }
        // A disk with partitions holds no filesystem of its own.
        if listed.iter().any(|other| other.disk == volume.name && other.name != volume.name) {
            continue;
        }
        #[allow(unused_mut, reason = "without the overlay way nothing is probed")]
        let mut volume = volume.clone();
        #[cfg(feature = "disks")]
        if let Some(prober) = &mut prober {
            prober.probe(&mut volume, details);
        }
        known.push((volume.clone(), details));
        all.push(volume);
    }
    all
}

/// What sysfs says about block devices, by name. Loop devices, RAM disks, floppy drives and devices without a medium are left
/// out. `details`: with the names that the partition table gives, as far as the kernel tells.
fn list(details: bool) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    for name in names(BLOCK).unwrap_or_default() {
        // A floppy drive turns for seconds before it says that it is empty.
        let is_numbered =
            |prefix| name.strip_prefix(prefix).is_some_and(|rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit()));
        if ["ram", "zram", "fd"].into_iter().any(is_numbered) || name.starts_with("loop") {
            continue;
        }
        let sectors = read_number(&format!("{BLOCK}/{name}/size")).unwrap_or(0);
        // The link leads to `…/<disk>` for a disk, to `…/<disk>/<partition>` for a part of one.
        let Ok(link) = fs::read_link(format!("{BLOCK}/{name}")) else { continue };
        let link = link.to_string_lossy();
        // Only a partition is a part of its disk: an eMMC has boot partitions that are disks of their own below it.
        let is_partition = stat(&format!("{BLOCK}/{name}/partition")).is_ok();
        let disk = if is_partition { link.rsplit('/').nth(1).unwrap_or_default().into() } else { name.clone() };
        if sectors == 0 {
            continue;
        }
        // sysfs counts in sectors of 512 bytes whatever the device's own size (kernel, Documentation/ABI/stable/sysfs-block).
        let mut volume = Volume { disk, name, size: sectors.saturating_mul(512), ..Volume::default() };
        if details {
            let uevent = text(&format!("{BLOCK}/{}/uevent", volume.name));
            volume.part_label = uevent.lines().find_map(|line| line.strip_prefix("PARTNAME=")).map(String::from);
        }
        let place = volumes.iter().position(|other| other.name > volume.name).unwrap_or(volumes.len());
        volumes.insert(place, volume);
    }
    let names: Vec<String> = volumes.iter().map(|volume| volume.name.clone()).collect();
    for volume in &mut volumes {
        // What a disk itself hangs on is no block device.
        if !names.contains(&volume.disk) {
            volume.disk.clone_from(&volume.name);
        }
    }
    volumes
}
