//! Block devices as init lists them: the partitions of a disk with what probing each says. The rules are libblkid's, as far as the
//! boot contract needs them: ext2 to ext4 and FAT with label and UUID, others by their name only.

use std::{io, path::PathBuf, rc::Rc, sync::Arc};

use contract::tag::Volume;
use uuid::Uuid;

use super::{
    block_reader::{Part, Shared},
    copy_on_write::Base,
    ext4, fat,
    filesystem::Folder,
    superblock::Superblock,
    table,
};

/// A block device, or a folder that stands for one.
#[derive(Debug)]
pub struct Device {
    /// What init would know of it.
    pub volume: Volume,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Disk(Shared),
    Folder(PathBuf),
}

impl Device {
    /// A folder in the place of a partition. `volume` says which tags it answers to.
    pub fn folder(volume: Volume, path: PathBuf) -> Self {
        Self { volume, place: Place::Folder(path) }
    }

    /// The filesystem on it.
    ///
    /// # Errors
    /// Where the kernel would not mount it.
    pub fn open(&self) -> io::Result<Base> {
        let medium = match &self.place {
            Place::Folder(path) => return Ok(Rc::new(Folder::new(path.clone()))),
            Place::Disk(medium) => medium.clone(),
        };
        match self.volume.kind.as_deref() {
            Some("vfat") => Ok(Rc::new(fat::Volume::open(medium)?)),
            None | Some("ext2" | "ext3" | "ext4") => Ok(Rc::new(ext4::Volume::open(medium)?)),
            Some(kind) => Err(io::Error::new(io::ErrorKind::Unsupported, format!("{kind} cannot be looked into here"))),
        }
    }
}

/// The devices of a disk that the kernel calls `name`: its partitions, or itself where it has none.
pub fn devices(disk: Shared, name: &str) -> Vec<Device> {
    // A drive without a medium is no device.
    if disk.size() == 0 {
        return Vec::new();
    }
    let partitions = table::read(&disk);
    if partitions.is_empty() {
        let volume = Volume { name: name.to_owned(), disk: name.to_owned(), ..Volume::default() };
        return vec![device(volume, disk)];
    }
    // A name that ends in a digit is kept apart from the number (kernel, block/genhd.c, disk_name).
    let separator = if name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    partitions
        .into_iter()
        .map(|partition| {
            let volume = Volume {
                name: format!("{name}{separator}{}", partition.number),
                disk: name.to_owned(),
                part_label: partition.name,
                part_uuid: Some(partition.uuid),
                ..Volume::default()
            };
            device(volume, Arc::new(Part::new(disk.clone(), partition.start, partition.size)))
        })
        .collect()
}

fn device(mut volume: Volume, medium: Shared) -> Device {
    volume.size = medium.size();
    if let Some(Probed { kind, label, uuid }) = probe(&medium) {
        (volume.kind, volume.label, volume.uuid) = (Some(kind.to_owned()), label, uuid);
    }
    Device { volume, place: Place::Disk(medium) }
}

/// A filesystem as probing tells it.
struct Probed {
    kind: &'static str,
    label: Option<String>,
    uuid: Option<String>,
}

/// Filesystems that are only named: bytes at an offset.
const OTHERS: [(&str, u64, &[u8]); 6] = [
    ("squashfs", 0, b"hsqs"),
    ("erofs", 1024, &[0xe2, 0xe1, 0xf5, 0xe0]),
    ("xfs", 0, b"XFSB"),
    ("crypto_LUKS", 0, b"LUKS\xba\xbe"),
    ("btrfs", 0x1_0040, b"_BHRfS_M"),
    ("swap", 4096 - 10, b"SWAPSPACE2"),
];

fn probe(medium: &Shared) -> Option<Probed> {
    probe_ext(medium).or_else(|| probe_fat(medium)).or_else(|| {
        let is_there = |offset: u64, magic: &[u8]| {
            let mut seen = vec![0; magic.len()];
            medium.read_at(offset, &mut seen).is_ok_and(|()| seen == magic)
        };
        let kind = OTHERS.into_iter().find(|(_, offset, magic)| is_there(*offset, magic))?.0;
        Some(Probed { kind, label: None, uuid: None })
    })
}

/// Tells the family's members apart by their features, as libblkid does (util-linux, libblkid/src/superblocks/ext.c).
fn probe_ext(medium: &Shared) -> Option<Probed> {
    let superblock = Superblock::read(medium).ok().filter(|found| found.is_ext() && found.is_whole())?;
    // Everything that ext3 knows; whatever is beyond that is ext4.
    let is_ext4 = superblock.incompatible.get() & !0x16 != 0 || superblock.read_only.get() & !0x7 != 0;
    let kind = match (is_ext4, superblock.has_journal()) {
        (true, _) => "ext4",
        (false, true) => "ext3",
        (false, false) => "ext2",
    };
    let label = superblock.label.split(|byte| *byte == 0).next().unwrap_or_default();
    let label = String::from_utf8_lossy(label).into_owned();
    let uuid = Uuid::from_bytes(superblock.uuid).to_string();
    Some(Probed { kind, label: (!label.is_empty()).then_some(label), uuid: Some(uuid) })
}

fn probe_fat(medium: &Shared) -> Option<Probed> {
    let volume = fat::Volume::open(medium.clone()).ok().filter(fat::Volume::is_named)?;
    Some(Probed { kind: "vfat", label: volume.label(), uuid: Some(volume.uuid()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_without_a_table_are_devices_themselves() {
        let found = devices(Arc::new(vec![0_u8; 8192]), "sdb");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].volume.path(), found[0].volume.kind.clone()), ("/dev/sdb".to_owned(), None));
        assert!(found[0].open().is_err());
    }

    #[test]
    fn partitions_are_named_as_the_kernel_does() {
        let mut disk = vec![0_u8; 1 << 20];
        disk[446 + 4] = 0x83;
        disk[446 + 8] = 64;
        disk[446 + 12] = 64;
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        disk[64 * 512..64 * 512 + 4].copy_from_slice(b"hsqs");
        for (name, path) in [("vda", "/dev/vda1"), ("mmcblk0", "/dev/mmcblk0p1")] {
            let found = devices(Arc::new(disk.clone()), name);
            assert_eq!(found[0].volume.path(), path);
            assert_eq!(found[0].volume.kind.as_deref(), Some("squashfs"));
            assert_eq!(found[0].volume.size, 64 * 512);
        }
    }
}
