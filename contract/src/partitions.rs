//! Partition tables as the kernel reads them: GPT (UEFI 2.10, chapter 5; kernel, block/partitions/efi.c) and MBR (msdos.c), and the fault
//! of a table that the kernel does not take.
//!
//! ```
//! use initramfs_overlay_contract::partitions::{Disk, State, read};
//!
//! // Zeros: neither a table nor the remains of one.
//! let mut zeros = |_: u64, buffer: &mut [u8]| { buffer.fill(0); true };
//! let table = read(&mut Disk { read: &mut zeros, size: 1 << 20, sector: 512 });
//! assert_eq!((table.state, table.partitions), (State::None, Vec::new()));
//! ```

use crate::{
    bytes::{array, u32_at, u64_at},
    crc32::crc32,
    hex,
};

/// Sizes of a sector in bytes that disks have.
pub const SECTORS: [u64; 4] = [512, 1024, 2048, 4096];

/// Types of partitions in an MBR: one that stands for a whole GPT, and those that hold further tables.
const PROTECTIVE: u8 = 0xee;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
/// Bytes of a GPT's header and of an entry.
const HEADER: usize = 92;
const ENTRY: usize = 128;
/// The most entries that are read; tables have 128.
const ENTRIES_MAX: u32 = 1 << 12;

/// A disk to be read.
pub struct Disk<'r> {
    /// Fills a buffer with the bytes at an offset; returns false where it cannot.
    pub read: &'r mut dyn FnMut(u64, &mut [u8]) -> bool,
    /// Size in bytes.
    pub size: u64,
    /// Bytes in a logical sector, which the tables count in.
    pub sector: u64,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Its start in bytes.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its name, which only a GPT has.
    pub name: Option<String>,
    /// Its value of `PARTUUID=`, lower case.
    pub uuid: String,
}

/// The table of a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    /// Its kind, or its fault.
    pub state: State,
    /// The partitions that the kernel makes of it; none of a table with a fault.
    pub partitions: Vec<Partition>,
    /// Bytes of an MBR's partitions past the end of the disk, which the kernel cuts off (block/partitions/core.c).
    pub missing: u64,
}

/// The kind of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No table.
    None,
    /// An MBR.
    Mbr,
    /// A GPT.
    Gpt,
    /// A table that the kernel does not take.
    Fault(Fault),
}

/// The reason why the kernel does not take a table. On a disk that is one filesystem as a whole, all but [`Fault::Gone`] may be remains of
/// an earlier use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A protective MBR announces a GPT, and there is none: neither the table nor its backup.
    Gone,
    /// The GPT is damaged, its backup at the end of the disk is whole.
    BackupOnly,
    /// The GPT is whole, and the protective MBR before it is gone.
    Unprotected,
    /// The GPT is for a larger disk.
    Short {
        /// The size in bytes of that disk.
        wanted: u64,
    },
    /// The GPT counts in sectors of another size.
    Sector {
        /// Bytes in a sector of the disk that it is for.
        table: u64,
    },
}

impl Fault {
    /// Returns the words for it, and the remedy.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Gone => (
                "its partition table is gone: the first sector announces a GPT, and neither that nor its backup is there",
                "rewrite the disk",
            ),
            Self::BackupOnly => (
                "its partition table is damaged, but the backup at the end of the disk is whole",
                "the kernel parameter `gpt` boots with the backup; gdisk (w) restores the table from it",
            ),
            Self::Unprotected => (
                "its first sector was overwritten, but the partition table (GPT) behind it is whole",
                "the kernel parameter `gpt` boots with it; gdisk (w) restores the first sector",
            ),
            Self::Short { .. } => (
                "its partition table is for a larger disk",
                "the copy was truncated, or the disk is too small: write the whole image to a disk that holds it",
            ),
            Self::Sector { .. } => (
                "its partition table is for a disk with sectors of another size",
                "make the image for this disk's sectors (`initramfs-overlay disk --sector-size`)",
            ),
        }
    }
}

/// Reads the table of a disk.
pub fn read(disk: &mut Disk<'_>) -> Table {
    let records = records(disk, 0).unwrap_or_default();
    let mut protective = records.iter().filter(|record| record.kind == PROTECTIVE).peekable();
    let is_mbr = protective.peek().is_none();
    // It has to begin behind the MBR itself.
    let is_protected = protective.any(|record| record.first == 1);
    if is_mbr {
        let (partitions, end) = mbr(disk, &records);
        if !partitions.is_empty() {
            return Table { state: State::Mbr, partitions, missing: end.saturating_sub(disk.size) };
        }
    }
    let (state, partitions) = match gpt(disk, is_protected) {
        Ok(Some(header)) => (State::Gpt, header.partitions(disk)),
        Ok(None) => (State::None, Vec::new()),
        Err(fault) => (State::Fault(fault), Vec::new()),
    };
    Table { state, partitions, missing: 0 }
}

/// Returns the fault of the table of a disk on which the kernel found no partition: as [`read`], but no partitions are read.
pub fn fault(disk: &mut Disk<'_>) -> Option<Fault> {
    let records = records(disk, 0).unwrap_or_default();
    gpt(disk, records.iter().any(|record| record.kind == PROTECTIVE && record.first == 1)).err()
}

/// Reads the GPT of a disk whose protective MBR is there or not. None where nothing is left of one.
fn gpt(disk: &mut Disk<'_>, is_protected: bool) -> Result<Option<Header>, Fault> {
    let sector = disk.sector;
    match Header::read(disk, sector, 1) {
        Some(header) if header.last_usable >= disk.sectors() => {
            Err(Fault::Short { wanted: header.backup.max(header.last_usable).saturating_add(1).saturating_mul(sector) })
        }
        Some(header) if is_protected => Ok(Some(header)),
        Some(_) => Err(Fault::Unprotected),
        None => match (remains(disk), is_protected) {
            (Some(fault), _) => Err(fault),
            (None, true) => Err(Fault::Gone),
            (None, false) => Ok(None),
        },
    }
}

/// Looks for what is left of a GPT where none begins at the second sector.
fn remains(disk: &mut Disk<'_>) -> Option<Fault> {
    let (sector, last) = (disk.sector, disk.sectors().checked_sub(1)?);
    let others = SECTORS.into_iter().filter(|other| *other != sector);
    for other in others {
        if Header::read(disk, other, 1).is_some() {
            return Some(Fault::Sector { table: other });
        }
    }
    Header::read(disk, sector, last).map(|_| Fault::BackupOnly)
}

impl Disk<'_> {
    fn sectors(&self) -> u64 {
        self.size.checked_div(self.sector).unwrap_or(0)
    }

    fn bytes(&mut self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let end = offset.checked_add(u64::try_from(length).ok()?)?;
        let mut bytes = vec![0; length];
        (end <= self.size && (self.read)(offset, &mut bytes)).then_some(bytes)
    }
}

/// A header of a GPT whose checksums are right, with its entries.
struct Header {
    /// The sector of the other header.
    backup: u64,
    /// The last sector that partitions may have.
    last_usable: u64,
    entries: Vec<u8>,
}

impl Header {
    /// Reads the header in the sector `lba`, counted in sectors of `sector` bytes.
    fn read(disk: &mut Disk<'_>, sector: u64, lba: u64) -> Option<Self> {
        let head = disk.bytes(lba.checked_mul(sector)?, usize::try_from(sector).ok()?)?;
        let size = usize::try_from(u32_at(&head, 12)?).ok().filter(|size| *size >= HEADER)?;
        let mut summed = head.get(..size)?.to_vec();
        let sum = u32_at(&head, 16)?;
        summed.get_mut(16..20)?.fill(0);
        let (first, last_usable) = (u64_at(&head, 40)?, u64_at(&head, 48)?);
        let (count, entry) = (u32_at(&head, 80)?, u32_at(&head, 84)?);
        let is_whole = head.starts_with(b"EFI PART") && crc32(&summed) == sum && u64_at(&head, 24)? == lba;
        if !is_whole || last_usable < first || count > ENTRIES_MAX || usize::try_from(entry) != Ok(ENTRY) {
            return None;
        }
        let length = usize::try_from(count).ok()?.checked_mul(ENTRY)?;
        let entries = disk.bytes(u64_at(&head, 72)?.checked_mul(sector)?, length)?;
        (crc32(&entries) == u32_at(&head, 88)?).then_some(Self { backup: u64_at(&head, 32)?, last_usable, entries })
    }

    /// Returns the partitions, without those that do not lie on the disk.
    fn partitions(&self, disk: &Disk<'_>) -> Vec<Partition> {
        let entries = (1..).zip(self.entries.chunks_exact(ENTRY));
        entries.filter_map(|(number, entry)| gpt_partition(disk, number, entry)).collect()
    }
}

fn gpt_partition(disk: &Disk<'_>, number: u32, entry: &[u8]) -> Option<Partition> {
    let (first, last) = (u64_at(entry, 32)?, u64_at(entry, 40)?);
    let is_used = entry.get(..16)?.iter().any(|byte| *byte != 0);
    if !is_used || last < first || last >= disk.sectors() {
        return None;
    }
    let units = entry.get(56..ENTRY)?.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
    let name: String = char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|letter| letter.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    Some(Partition {
        number,
        start: first.checked_mul(disk.sector)?,
        size: last.checked_sub(first)?.checked_add(1)?.checked_mul(disk.sector)?,
        name: (!name.is_empty()).then_some(name),
        uuid: guid(entry.get(16..32)?),
    })
}

/// Writes a GUID as text: its first three parts are numbers, least byte first.
fn guid(bytes: &[u8]) -> String {
    let mut text = String::new();
    for part in [&[3_usize, 2, 1, 0][..], &[5, 4], &[7, 6], &[8, 9], &[10, 11, 12, 13, 14, 15]] {
        if !text.is_empty() {
            text.push('-');
        }
        for place in part {
            hex::push(&mut text, bytes.get(*place).map(std::slice::from_ref).unwrap_or_default());
        }
    }
    text
}

/// A record of an MBR that is in use.
#[derive(Clone, Copy)]
struct Record {
    number: u32,
    kind: u8,
    /// In sectors.
    first: u32,
    count: u32,
}

impl Record {
    fn is_extended(&self) -> bool {
        EXTENDED.contains(&self.kind)
    }
}

/// Reads the table in a sector. None where there is none: a filesystem's boot sector ends like an MBR, but an MBR's records begin with 0
/// or 0x80.
fn records(disk: &mut Disk<'_>, offset: u64) -> Option<Vec<Record>> {
    let sector = disk.bytes(offset, 512)?;
    if array(&sector, 510) != Some([0x55, 0xaa]) {
        return None;
    }
    let mut records = Vec::new();
    for (number, bytes) in (1..).zip(sector.get(446..510)?.chunks_exact(16)) {
        let [flag] = array(bytes, 0)?;
        let [kind] = array(bytes, 4)?;
        if flag & 0x7f != 0 {
            return None;
        }
        records.push(Record { number, kind, first: u32_at(bytes, 8)?, count: u32_at(bytes, 12)? });
    }
    records.retain(|record| record.kind != 0 && record.count > 0);
    Some(records)
}

/// Makes the partitions of an MBR. Returns them and the end of the last one, in bytes.
fn mbr(disk: &mut Disk<'_>, records: &[Record]) -> (Vec<Partition>, u64) {
    let signature = disk.bytes(440, 4).and_then(|bytes| u32_at(&bytes, 0)).unwrap_or(0);
    let sector = disk.sector;
    let mut places = Vec::new();
    for record in records {
        if record.is_extended() {
            logical(disk, u64::from(record.first), &mut places);
        } else {
            places.push((record.number, u64::from(record.first), record.count));
        }
    }
    places.sort_unstable_by_key(|(number, ..)| *number);
    let ends = places.iter().map(|(_, first, count)| first.saturating_add(u64::from(*count)).saturating_mul(sector));
    let end = ends.max().unwrap_or(0);
    let partition = |(number, first, count): (u32, u64, u32)| {
        let start = first.checked_mul(sector)?;
        let left = disk.size.checked_sub(start).filter(|left| *left > 0)?;
        let mut uuid = String::new();
        hex::push(&mut uuid, &signature.to_be_bytes());
        uuid.push('-');
        hex::push(&mut uuid, &[u8::try_from(number).unwrap_or(u8::MAX)]);
        Some(Partition { number, start, size: u64::from(count).checked_mul(sector)?.min(left), name: None, uuid })
    };
    (places.into_iter().filter_map(partition).collect(), end)
}

/// Follows the chain of tables in an extended partition: each has one partition, and the place of the next table.
fn logical(disk: &mut Disk<'_>, extended: u64, places: &mut Vec<(u32, u64, u32)>) {
    let mut here = extended;
    let mut numbers = 5..;
    // The kernel stops after 100 tables as well: a chain may be a circle.
    for _ in 0..100 {
        let Some(records) = here.checked_mul(disk.sector).and_then(|offset| records(disk, offset)) else { return };
        let own = records.iter().find(|record| !record.is_extended());
        let place = |own: &Record| Some((numbers.next()?, here.saturating_add(own.first.into()), own.count));
        places.extend(own.and_then(place));
        let Some(next) = records.iter().find(|record| record.is_extended()) else { return };
        here = extended.saturating_add(next.first.into());
    }
}

#[cfg(test)]
mod tests;
