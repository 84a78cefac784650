//! The place of a file on a FAT filesystem, found by reading the device alone: nothing is mounted, so nothing marks the filesystem as in use.
//! Takes less than the kernel does: FAT16 and FAT32, a file in the root directory, in one piece (Microsoft, FAT: General Overview of
//! On-Disk Format, 1.03).

use std::ops::Range;

/// A function that reads so many bytes of a device from an offset on; none where that is not possible.
pub type Read<'a> = &'a mut dyn FnMut(u64, usize) -> Option<Vec<u8>>;

/// A name in the root directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name<'a> {
    /// A short name as a directory has it: eight and three characters.
    Short(&'a [u8; 11]),
    /// A long name, of ASCII; case does not matter.
    Long(&'a str),
}

/// A file that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Bytes of the file.
    pub size: u32,
    /// The byte of the device at which it begins; none for a file that is empty, too long or in several pieces.
    pub start: Option<u64>,
    /// The bytes of the device that the tables and the root directory take, as far as it was read.
    tables: Vec<Range<u64>>,
}

impl Place {
    /// Returns true for bytes of the device in which no table and no part of the root directory lies.
    pub fn is_apart(&self, bytes: &Range<u64>) -> bool {
        self.tables.iter().all(|table| table.end <= bytes.start || bytes.end <= table.start)
    }
}

/// Bytes of a directory's entry.
const ENTRY: usize = 32;
/// Attributes of a label and of a directory.
const NOT_A_FILE: u32 = 0x18;
/// Attributes of a part of a long name.
const LONG: u32 = 0x0f;
/// Characters of a long name in an entry, and where these are.
const PART: usize = 13;
const CHARACTERS: [usize; PART] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// Mark of the last part of a long name, which stands first.
const LAST: usize = 0x40;
/// Clusters of the root directory that are looked through.
const ROOT_CLUSTERS: usize = 64;
/// Sectors of FAT16's root directory that are looked through.
const ROOT_SECTORS: u32 = 128;
/// Clusters of FAT16: fewer are FAT12's.
const FAT16: std::ops::Range<u32> = 4085..65525;

/// Sizes and places in sectors, from the boot sector.
struct Layout {
    /// Bytes of a sector.
    sector: u32,
    table: u32,
    root: u32,
    data: u32,
    /// Sectors of a cluster.
    cluster: u32,
    clusters: u32,
    /// The root directory's first cluster; none on FAT16.
    root_cluster: Option<u32>,
}

/// Returns the number of `width` bytes at a place; what is missing is zero.
fn number(bytes: &[u8], at: usize, width: usize) -> u32 {
    let cells = bytes.iter().skip(at).take(width).rev();
    cells.fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

impl Layout {
    /// Checks the boot sector. No sum of its numbers overflows: whoever made it may be hostile.
    fn parse(boot: &[u8]) -> Option<Self> {
        let (sector, cluster) = (number(boot, 11, 2), number(boot, 13, 1));
        let (reserved, tables) = (number(boot, 14, 2), number(boot, 16, 1));
        let is_fat32 = number(boot, 22, 2) == 0;
        let table_sectors = if is_fat32 { number(boot, 36, 4) } else { number(boot, 22, 2) };
        let sectors = number(boot, 19, 2).max(number(boot, 32, 4));
        let root_sectors = number(boot, 17, 2).saturating_mul(32).div_ceil(sector.max(1));
        let root = reserved.saturating_add(tables.saturating_mul(table_sectors));
        let data = root.saturating_add(root_sectors);
        let clusters = sectors.saturating_sub(data).checked_div(cluster)?;
        let entries = table_sectors.saturating_mul(sector) >> if is_fat32 { 2_u32 } else { 1 };
        let is_sane = number(boot, 510, 2) == 0xaa55
            && (512..=4096).contains(&sector)
            && sector.is_power_of_two()
            && cluster.is_power_of_two()
            && reserved > 0
            && tables > 0
            && is_fat32 == (root_sectors == 0)
            && (is_fat32 || FAT16.contains(&clusters))
            && clusters.saturating_add(2) <= entries;
        is_sane.then_some(Self {
            sector,
            table: reserved,
            root,
            data,
            cluster,
            clusters,
            root_cluster: is_fat32.then(|| number(boot, 44, 4)),
        })
    }

    /// Returns the byte at which a sector begins.
    fn byte(&self, sector: u32) -> u64 {
        u64::from(sector).saturating_mul(self.sector.into())
    }

    /// Returns the bytes of a cluster.
    fn size(&self) -> u32 {
        self.sector.saturating_mul(self.cluster)
    }

    /// Returns the byte at which a cluster begins, if there is one of that number.
    fn place(&self, cluster: u32) -> Option<u64> {
        let index = cluster.checked_sub(2).filter(|index| *index < self.clusters)?;
        Some(self.byte(self.data).saturating_add(u64::from(index).saturating_mul(self.size().into())))
    }

    /// Returns the table's entry of a cluster: the number of the next one, or one that ends the file.
    fn entry(&self, read: Read<'_>, cluster: u32) -> Option<u32> {
        let width: u8 = if self.root_cluster.is_some() { 4 } else { 2 };
        let at = self.byte(self.table).saturating_add(u64::from(cluster).saturating_mul(width.into()));
        Some(number(&read(at, width.into())?, 0, width.into()) & 0x0fff_ffff)
    }

    /// Returns the entry of the file: its first cluster and its size. Adds the bytes of the tables to `tables`, and those
    /// of the root directory that were read.
    fn find(&self, read: Read<'_>, search: &mut Search<'_>, tables: &mut Vec<Range<u64>>) -> Option<(u32, u32)> {
        tables.push(0..self.byte(self.data));
        let Some(mut cluster) = self.root_cluster else {
            let size = self.sector.saturating_mul(self.data.saturating_sub(self.root).min(ROOT_SECTORS));
            let directory = read(self.byte(self.root), usize::try_from(size).ok()?)?;
            let (first, size) = search.look_in(&directory).ok()??;
            // The upper half of the number is something else here.
            return Some((first & 0xffff, size));
        };
        for _ in 0..ROOT_CLUSTERS {
            let place = self.place(cluster)?;
            let bytes = read(place, usize::try_from(self.size()).ok()?)?;
            tables.push(place..place.saturating_add(self.size().into()));
            if let Ok(found) = search.look_in(&bytes) {
                return found;
            }
            cluster = self.entry(read, cluster)?;
        }
        None
    }

    /// Returns the byte at which a file begins that lies in one piece from this cluster on.
    fn start(&self, read: Read<'_>, first: u32, size: u32) -> Option<u64> {
        let last = first.checked_add(size.div_ceil(self.size().max(1)))?.checked_sub(1)?;
        self.place(last)?;
        let is_whole = (first..last).all(|cluster| self.entry(read, cluster) == cluster.checked_add(1));
        let end = if self.root_cluster.is_some() { 0x0fff_fff8 } else { 0xfff8 };
        self.place(first).filter(|_| is_whole && self.entry(read, last).is_some_and(|entry| entry >= end))
    }
}

/// A search for a name through a directory.
struct Search<'a> {
    name: Name<'a>,
    /// The number of the part of the long name that was seen last, and the checksum in it; 0 where none was.
    part: usize,
    sum: u32,
}

impl Search<'_> {
    /// Looks for the file in a part of the directory. An error where the directory goes on behind it.
    fn look_in(&mut self, directory: &[u8]) -> Result<Option<(u32, u32)>, ()> {
        for entry in directory.chunks_exact(ENTRY) {
            if entry.starts_with(&[0]) {
                return Ok(None);
            }
            if self.is_named(entry) && number(entry, 11, 1) & NOT_A_FILE == 0 {
                return Ok(Some((number(entry, 20, 2) << 16 | number(entry, 26, 2), number(entry, 28, 4))));
            }
        }
        Err(())
    }

    /// Returns true for the entry of the file itself. The parts of a long name stand before it, the last one first, each with the checksum
    /// of the short name.
    fn is_named(&mut self, entry: &[u8]) -> bool {
        let name = match self.name {
            Name::Short(name) => return entry.starts_with(name),
            Name::Long(name) => name.as_bytes(),
        };
        if number(entry, 11, 1) & 0x3f != LONG {
            let short = entry.iter().take(11);
            let sum = short.fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
            return std::mem::take(&mut self.part) == 1 && self.sum == u32::from(sum);
        }
        let (parts, sum) = (name.len().div_ceil(PART), number(entry, 13, 1));
        let order = usize::try_from(number(entry, 0, 1)).unwrap_or(0);
        let part = if order == parts | LAST {
            parts
        } else if order.checked_add(1) == Some(self.part) && sum == self.sum {
            order
        } else {
            0
        };
        let wanted = part.checked_sub(1).and_then(|part| name.chunks(PART).nth(part)).unwrap_or_default();
        // Behind its end a name has a zero.
        let characters = wanted.iter().map(|byte| u32::from(byte.to_ascii_lowercase())).chain([0]);
        let is_same = characters
            .zip(CHARACTERS)
            .all(|(character, at)| number(entry, at, 2) | u32::from(is_upper(number(entry, at, 2))) << 5 == character);
        (self.part, self.sum) = (if is_same && !wanted.is_empty() { part } else { 0 }, sum);
        false
    }
}

fn is_upper(character: u32) -> bool {
    (u32::from(b'A')..=u32::from(b'Z')).contains(&character)
}

/// Looks for a regular file in the root directory of a device. None where there is none, or where the device cannot be read or holds
/// neither FAT16 nor FAT32. The clusters of a file of more than `most` bytes are not looked at.
pub fn look_up(read: Read<'_>, name: Name<'_>, most: u32) -> Option<Place> {
    let layout = Layout::parse(&read(0, 512)?)?;
    let mut tables = Vec::new();
    let (first, size) = layout.find(read, &mut Search { name, part: 0, sum: 0 }, &mut tables)?;
    let start = if size <= most { layout.start(read, first, size) } else { None };
    Some(Place { size, start, tables })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG_NAME: Name<'_> = Name::Long("initramfs-overlay.txt");

    /// Returns the entries of a file with a long name: its parts, the last one first, and the short name.
    fn entries(name: &str, attributes: u8) -> Vec<[u8; ENTRY]> {
        let short = *b"INITRA~1TXT";
        let sum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let mut characters: Vec<u16> = name.encode_utf16().collect();
        if !characters.len().is_multiple_of(PART) {
            characters.push(0);
        }
        characters.resize(characters.len().next_multiple_of(PART), 0xffff);
        let count = characters.len() / PART;
        let mut all: Vec<[u8; ENTRY]> = Vec::new();
        for (number, part) in characters.chunks(PART).enumerate().rev() {
            let mut entry = [0; ENTRY];
            entry[0] = number as u8 + 1 + if number + 1 == count { 0x40 } else { 0 };
            (entry[11], entry[13]) = (0x0f, sum);
            for (at, character) in CHARACTERS.into_iter().zip(part) {
                entry[at..at + 2].copy_from_slice(&character.to_le_bytes());
            }
            all.push(entry);
        }
        let mut entry = [0; ENTRY];
        entry[..11].copy_from_slice(&short);
        entry[11] = attributes;
        (entry[26], entry[28]) = (9, 77);
        all.push(entry);
        all
    }

    /// Looks through a directory in pieces of so many entries.
    fn search(directory: &[[u8; ENTRY]], name: Name<'_>, piece: usize) -> Option<(u32, u32)> {
        let mut search = Search { name, part: 0, sum: 0 };
        directory.chunks(piece).find_map(|part| search.look_in(&part.concat()).ok())?
    }

    #[test]
    fn a_long_name_is_found_whatever_its_case() {
        for name in ["initramfs-overlay.txt", "INITRAMFS-OVERLAY.TXT", "Initramfs-Overlay.txt"] {
            let directory = [entries("another-long-name.text", 0x20), entries(name, 0x20)].concat();
            for piece in 1..=directory.len() {
                assert_eq!(search(&directory, LONG_NAME, piece), Some((9, 77)), "{name} in pieces of {piece}");
            }
        }
        let exact = entries("thirteen-long", 0);
        assert_eq!((exact.len(), search(&exact, Name::Long("thirteen-long"), 9)), (2, Some((9, 77))));
    }

    #[test]
    fn other_names_are_others() {
        for name in ["initramfs-overlay.tx", "initramfs-overlay.txt2", "initramfs_overlay.txt", "overlay.txt", "i"] {
            assert_eq!(search(&entries(name, 0x20), LONG_NAME, 9), None, "{name}");
        }
        assert_eq!(search(&entries("initramfs-overlay.txt", 0x10), LONG_NAME, 9), None, "a directory");
        let good = entries("initramfs-overlay.txt", 0x20);
        for (what, entry, at, byte) in [
            ("deleted", 2, 0, 0xe5),
            ("a deleted part", 0, 0, 0xe5),
            ("no last part", 0, 0, 2),
            ("another short name", 2, 3, b'X'),
            ("another checksum", 1, 13, 0),
            ("the end before it", 0, 0, 0),
        ] {
            let mut directory = good.clone();
            directory[entry][at] = byte;
            assert_eq!(search(&directory, LONG_NAME, 9), None, "{what}");
        }
        for order in [vec![1, 0, 2], vec![0, 2], vec![1, 2], vec![2], vec![0, 1], vec![0, 0, 2]] {
            let directory: Vec<[u8; ENTRY]> = order.iter().map(|number| good[*number]).collect();
            assert_eq!(search(&directory, LONG_NAME, 9), None, "{order:?}");
        }
    }

    #[test]
    fn bytes_are_apart_from_the_tables() {
        let place = Place { size: 1, start: None, tables: vec![0..1000, 3000..4000] };
        for (bytes, is_apart) in [(1000..3000, true), (999..1001, false), (2000..3001, false), (4000..9000, true)] {
            assert_eq!(place.is_apart(&bytes), is_apart, "{bytes:?}");
        }
    }
}
