//! Block devices, as sysfs lists them: what counts as one, and what was probed before.

use contract::tag::Volume;

use crate::kernel::{Machine, exists, read_text};

/// The directory in which sysfs lists block devices, a link each.
const BLOCK: &str = "/sys/class/block";

/// The block devices that were probed before, so that a later look costs nothing, each with what was asked of it.
#[derive(Debug, Default)]
pub struct Probed(Vec<(Volume, bool)>);

impl Probed {
    /// Returns the block devices with type and label, loop devices and RAM disks left out. `details`: also with UUIDs and what their
    /// partition table says. Probes those that were not probed before.
    pub fn volumes(&mut self, kernel: &mut dyn Machine, details: bool) -> Vec<Volume> {
        let listed = list(kernel, details);
        // A device that went, or came back as another, is forgotten; one whose superblock was not known is looked at again.
        self.0.retain(|(volume, probed_details)| {
            volume.kind.is_some()
                && *probed_details == details
                && listed.iter().any(|other| other.name == volume.name && other.size == volume.size)
        });
        let mut all = Vec::new();
        for volume in &listed {
            if let Some((probed, _)) = self.0.iter().find(|(probed, _)| probed.name == volume.name) {
                all.push(probed.clone());
                continue;
            }
            // A disk with partitions holds no filesystem of its own.
            if listed.iter().any(|other| other.disk == volume.name && other.name != volume.name) {
                continue;
            }
            let mut volume = volume.clone();
            kernel.probe(&mut volume, details);
            self.0.push((volume.clone(), details));
            all.push(volume);
        }
        all
    }
}

/// Lists block devices by name. Loop devices, RAM disks, floppy drives and devices without a medium are left out. `details`: with the
/// names that the partition table gives, as far as the kernel tells.
fn list(kernel: &mut dyn Machine, details: bool) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    for name in kernel.list(BLOCK).unwrap_or_default() {
        // A floppy drive turns for seconds before it says that it is empty.
        let is_numbered =
            |prefix| name.strip_prefix(prefix).is_some_and(|rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit()));
        if ["ram", "zram", "fd"].into_iter().any(is_numbered) || name.starts_with("loop") {
            continue;
        }
        let place = [BLOCK, "/", &name].concat();
        let sectors: u64 = read_text(kernel, &[&place, "/size"].concat()).trim_end().parse().unwrap_or(0);
        // The link leads to `…/<disk>` for a disk, to `…/<disk>/<partition>` for a part of one.
        let Ok(link) = kernel.read_link(&place) else { continue };
        if sectors == 0 {
            continue;
        }
        // Only a partition is a part of its disk: an eMMC has boot partitions that are disks of their own below it.
        let is_partition = exists(kernel, &[&place, "/partition"].concat());
        let disk = if is_partition { link.rsplit('/').nth(1).unwrap_or_default().into() } else { name.clone() };
        // sysfs counts in sectors of 512 bytes whatever the device's own size (kernel, Documentation/ABI/stable/sysfs-block).
        let mut volume = Volume { disk, name, size: sectors.saturating_mul(512), ..Volume::default() };
        if details {
            let uevent = read_text(kernel, &[&place, "/uevent"].concat());
            volume.part_label = uevent.lines().find_map(|line| line.strip_prefix("PARTNAME=")).map(String::from);
        }
        volumes.push(volume);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::recorder::{Device, Node, Recorder};

    #[test]
    fn disks_with_a_medium_count() {
        let mut kernel = Recorder::default();
        for (name, disk) in [
            ("loop0", "loop0"),
            ("ram15", "ram15"),
            ("zram0", "zram0"),
            ("fd0", "fd0"),
            ("sdb1", "sdb"),
            ("ramdisk", "ramdisk"),
            ("mmcblk0boot0", "mmcblk0boot0"),
            ("mmcblk0", "mmcblk0"),
        ] {
            let size = 1 << 20;
            let volume =
                Volume { name: name.into(), disk: disk.into(), size, kind: Some("ext4".into()), ..Volume::default() };
            kernel.devices.push(Device { volume, ..Device::default() });
        }
        // A drive without a medium.
        kernel.files.insert("sys/class/block/sr0/size".into(), Node::file("0\n", 0o444));
        let mut probed = Probed::default();
        let volumes = probed.volumes(&mut kernel, false);
        let seen: Vec<(&str, &str, u64)> =
            volumes.iter().map(|volume| (volume.name.as_str(), volume.disk.as_str(), volume.size)).collect();
        let size = 1 << 20;
        let names = [("sdb1", "sdb"), ("ramdisk", "ramdisk"), ("mmcblk0boot0", "mmcblk0boot0"), ("mmcblk0", "mmcblk0")];
        assert_eq!(seen, names.map(|(name, disk)| (name, disk, size)));
    }

    #[test]
    fn what_was_probed_is_remembered_until_it_changes() {
        let volume = |kind: Option<&str>, size| Volume {
            name: "sda".into(),
            disk: "sda".into(),
            size,
            kind: kind.map(String::from),
            ..Volume::default()
        };
        let mut kernel = Recorder { devices: vec![Device::default()], ..Recorder::default() };
        let mut probed = Probed::default();
        for (there, wanted, details) in [
            (volume(None, 512), None, false),
            // Without a superblock it is looked at again, with one it is not.
            (volume(Some("ext4"), 512), Some("ext4"), false),
            (volume(Some("vfat"), 512), Some("ext4"), false),
            (volume(Some("vfat"), 1024), Some("vfat"), false),
            (volume(Some("ext4"), 1024), Some("ext4"), true),
        ] {
            kernel.devices[0].volume = there;
            let volumes = probed.volumes(&mut kernel, details);
            assert_eq!(volumes.iter().map(|volume| volume.kind.as_deref()).collect::<Vec<_>>(), [wanted]);
        }
    }
}
