//! Block devices as init lists them: the partitions of a disk with what probing each says. The rules are libblkid's, as far as the
//! boot contract needs them.

use std::{path::PathBuf, rc::Rc, sync::Arc};

use contract::{
    container::{self, Content},
    partitions::{Fault, State},
    tag::Volume,
};
use uuid::Uuid;

use super::{
    block_reader::{Part, Shared},
    copy_on_write::Base,
    error::{Error, Result},
    ext4, fat,
    filesystem::Directory,
    superblock::Superblock,
    table,
};

/// A block device, or a directory that stands for one.
#[derive(Debug)]
pub struct Device {
    /// The device as init knows it.
    pub volume: Volume,
    /// True for a filesystem that has a label which is not read here.
    pub has_unread_label: bool,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Disk(Shared),
    Directory(PathBuf),
}

impl Device {
    /// Makes a device of a directory. `volume` has the tags that it answers to.
    pub fn directory(volume: Volume, path: PathBuf) -> Self {
        Self { volume, has_unread_label: false, place: Place::Directory(path) }
    }

    /// Opens the filesystem on it.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the kernel would not mount it; [`Error::Unreadable`] where nothing here reads it.
    pub fn open(&self) -> Result<Base> {
        let medium = match &self.place {
            Place::Directory(path) => return Ok(Rc::new(Directory::new(path.clone()))),
            Place::Disk(medium) => medium.clone(),
        };
        match self.volume.kind.as_deref() {
            Some("vfat") => Ok(Rc::new(fat::Volume::open(medium)?)),
            None | Some("ext2" | "ext3" | "ext4") => Ok(Rc::new(ext4::Volume::open(medium)?)),
            Some(kind) => Err(Error::Unreadable(format!("the doctor does not read {kind}"))),
        }
    }

    /// Returns the first bytes of the device; none for a directory.
    pub fn head(&self, length: usize) -> Vec<u8> {
        let Place::Disk(medium) = &self.place else { return Vec::new() };
        let mut head = vec![0; usize::try_from(medium.size()).unwrap_or(length).min(length)];
        if medium.read_at(0, &mut head).is_ok() { head } else { Vec::new() }
    }
}

/// Returns the devices of a disk that the kernel calls `name`: its partitions, or itself where it has none. With the sentence about a table that the
/// kernel does not take. `sector`: bytes of its sectors, where they are known.
pub fn devices(disk: Shared, name: &str, sector: Option<u64>) -> (Vec<Device>, Option<String>) {
    // A drive without a medium is no device.
    if disk.size() == 0 {
        return (Vec::new(), None);
    }
    let table = table::read(&disk, sector);
    let is_short = (table.missing > 0).then(|| table::describe_short(name, &disk, table.missing));
    let partitions = table.partitions;
    if partitions.is_empty() {
        let volume = Volume { name: name.to_owned(), disk: name.to_owned(), ..Volume::default() };
        let device = device(volume, disk.clone());
        let finding = match table.state {
            State::Fault(fault) if fault == Fault::Gone || device.volume.kind.is_none() => {
                Some(table::describe(&device.volume.path(), &disk, fault, sector))
            }
            State::None if device.volume.kind.is_none() => {
                let path = device.volume.path();
                Some(match container::recognize(&device.head(container::HEAD)) {
                    Some(Content { words, remedy: Some(remedy) }) => format!("{path} is {words}: {remedy}"),
                    Some(Content { words, .. }) => format!("{path} is {words}"),
                    None => format!("{path}: it has neither a partition table nor a filesystem that is known here"),
                })
            }
            _ => None,
        };
        return (vec![device], finding);
    }
    // A name that ends in a digit is kept apart from the number (kernel, block/genhd.c, disk_name).
    let separator = if name.ends_with(|c: char| c.is_ascii_digit()) { "p" } else { "" };
    let devices = partitions
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
        .collect();
    (devices, is_short)
}

fn device(mut volume: Volume, medium: Shared) -> Device {
    volume.size = medium.size();
    let mut has_unread_label = false;
    if let Some(probed) = probe(&medium) {
        has_unread_label = probed.has_unread_label;
        (volume.kind, volume.label, volume.uuid) = (Some(probed.kind.to_owned()), probed.label, probed.uuid);
    }
    Device { volume, has_unread_label, place: Place::Disk(medium) }
}

/// A filesystem as probing tells it.
#[derive(Default)]
struct Probed {
    kind: &'static str,
    label: Option<String>,
    uuid: Option<String>,
    has_unread_label: bool,
}

/// The place of a label.
enum Label {
    /// There is none.
    None,
    /// Bytes at an offset, filled with NULs or spaces.
    At(u64, usize),
    /// Letters of 16 bits at an offset.
    Wide(u64, usize),
    /// Elsewhere.
    Unread,
}

/// A filesystem by name, the place of some bytes and these, the place of its label and that of its UUID.
type Other = (&'static str, u64, &'static [u8], Label, Option<u64>);

/// Filesystems and containers that are told by bytes at an offset (util-linux, libblkid/src/superblocks/).
const OTHERS: [Other; 17] = [
    ("squashfs", 0, b"hsqs", Label::None, None),
    ("erofs", 1024, &[0xe2, 0xe1, 0xf5, 0xe0], Label::At(1024 + 64, 16), Some(1024 + 48)),
    ("xfs", 0, b"XFSB", Label::At(108, 12), Some(32)),
    ("btrfs", 0x1_0040, b"_BHRfS_M", Label::At(0x1_012b, 256), Some(0x1_0020)),
    ("f2fs", 1024, &[0x10, 0x20, 0xf5, 0xf2], Label::Wide(1024 + 124, 512), Some(1024 + 108)),
    ("crypto_LUKS", 0, b"LUKS\xba\xbe\0\x02", Label::At(24, 48), None),
    ("crypto_LUKS", 0, b"LUKS\xba\xbe", Label::None, None),
    ("BitLocker", 0, b"\xeb\x52\x90-FVE-FS-", Label::None, None),
    ("BitLocker", 0, b"\xeb\x58\x90-FVE-FS-", Label::None, None),
    (
        "bcache",
        0x1018,
        b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca\x82\x65\xf5\x7f\x48\xba\x6d\x81",
        Label::At(0x1048, 32),
        Some(0x1028),
    ),
    ("swap", 4096 - 10, b"SWAPSPACE2", Label::At(1024 + 28, 16), Some(1024 + 12)),
    ("LVM2_member", 512, b"LABELONE", Label::None, None),
    ("linux_raid_member", 4096, &[0xfc, 0x4e, 0x2b, 0xa9], Label::At(4096 + 32, 32), Some(4096 + 16)),
    ("DM_verity_hash", 0, b"verity\0\0", Label::None, Some(16)),
    ("exfat", 3, b"EXFAT   ", Label::Unread, None),
    ("ntfs", 3, b"NTFS    ", Label::Unread, None),
    ("iso9660", 0x8001, b"CD001", Label::At(0x8028, 32), None),
];

fn probe(medium: &Shared) -> Option<Probed> {
    probe_ext(medium).or_else(|| probe_fat(medium)).or_else(|| probe_others(medium))
}

fn probe_others(medium: &Shared) -> Option<Probed> {
    let read = |offset: u64, length: usize| {
        let mut seen = vec![0; length];
        medium.read_at(offset, &mut seen).is_ok().then_some(seen)
    };
    let is_there = |offset: u64, magic: &[u8]| read(offset, magic.len()).is_some_and(|seen| seen == magic);
    let (kind, .., label, uuid) = OTHERS.into_iter().find(|(_, offset, magic, ..)| is_there(*offset, magic))?;
    let has_unread_label = matches!(label, Label::Unread);
    let label = match label {
        Label::None | Label::Unread => None,
        Label::At(offset, length) => read(offset, length).map(|bytes| {
            String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
        }),
        Label::Wide(offset, length) => read(offset, length).map(|bytes| {
            let units = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
            String::from_utf16_lossy(&units.take_while(|unit| *unit != 0).collect::<Vec<_>>())
        }),
    };
    let label = label.map(|label| label.trim_end().to_owned()).filter(|label| !label.is_empty());
    let uuid = uuid.and_then(|offset| Uuid::from_slice(&read(offset, 16)?).ok()).map(|uuid| uuid.to_string());
    Some(Probed { kind, label, uuid, has_unread_label })
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
    Some(Probed { kind, label: (!label.is_empty()).then_some(label), uuid: Some(uuid), ..Probed::default() })
}

fn probe_fat(medium: &Shared) -> Option<Probed> {
    let volume = fat::Volume::open(medium.clone()).ok().filter(fat::Volume::is_named)?;
    Some(Probed { kind: "vfat", label: volume.label(), uuid: Some(volume.uuid()), ..Probed::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_without_a_table_are_devices_themselves() {
        let (found, finding) = devices(Arc::new(vec![0_u8; 8192]), "sdb", None);
        assert_eq!(found.len(), 1);
        assert!(finding.unwrap().starts_with("/dev/sdb: it has neither a partition table"));
        assert_eq!((found[0].volume.path(), found[0].volume.kind.clone()), ("/dev/sdb".to_owned(), None));
        assert!(found[0].open().is_err());
        let mut disk = vec![0_u8; 8192];
        disk[..4].copy_from_slice(b"PK\x03\x04");
        assert!(devices(Arc::new(disk), "sdb", None).1.unwrap().starts_with("/dev/sdb is a zip archive: unpack"));
    }

    #[test]
    fn bytes_tell_filesystems_and_containers() {
        for (kind, offset, magic, ..) in OTHERS {
            let mut disk = vec![0_u8; 128 << 10];
            disk[usize::try_from(offset).unwrap()..][..magic.len()].copy_from_slice(magic);
            assert_eq!(devices(Arc::new(disk), "sdb", None).0[0].volume.kind.as_deref(), Some(kind));
        }
        // What nothing mounts is said in words.
        let containers = OTHERS.iter().filter(|(kind, ..)| contract::container::describe(kind).is_some());
        assert_eq!(containers.count(), 9);
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
            let found = devices(Arc::new(disk.clone()), name, None).0;
            assert_eq!(found[0].volume.path(), path);
            assert_eq!(found[0].volume.kind.as_deref(), Some("squashfs"));
            assert_eq!(found[0].volume.size, 64 * 512);
        }
    }
}
