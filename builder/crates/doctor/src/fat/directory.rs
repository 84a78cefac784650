//! The entries of a FAT directory. Pure.

use super::structures::{LongEntry, ShortEntry};

const VOLUME: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
/// All that a piece of a long name has for its attributes.
const LONG: u8 = 0x0f;
/// The first byte of an entry that is deleted, of the first that was never used, and of a name that begins with the former.
const DELETED: u8 = 0xe5;
const END: u8 = 0;
const ESCAPED: u8 = 0x05;
/// Parts of a short name that are in lower case (kernel, `CASE_LOWER_BASE` and `CASE_LOWER_EXT`).
const LOWER_BASE: u8 = 0x08;
const LOWER_EXTENSION: u8 = 0x10;
/// The most pieces of a long name: 255 letters, 13 in each.
const PIECES_MAX: u8 = 20;

/// A file or a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: String,
    /// The short name, which finds it as well.
    alias: String,
    pub(super) is_directory: bool,
    pub(super) cluster: u32,
    pub(super) size: u32,
}

impl Entry {
    /// Returns true if `name` finds it: case does not count.
    pub(super) fn is_called(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.name.to_lowercase() == name || self.alias.to_lowercase() == name
    }
}

/// A directory's content, without `.` and `..`.
#[derive(Debug, Default)]
pub(super) struct Directory {
    pub(super) entries: Vec<Entry>,
    /// The filesystem's label, which is in the root directory.
    pub(super) label: Option<[u8; 11]>,
}

impl Directory {
    /// Parses all entries. `has_high` is for FAT32, where a cluster's number has two halves.
    pub(super) fn parse(bytes: &[u8], has_high: bool) -> Self {
        let mut directory = Self::default();
        let mut long = LongName::default();
        let whole = bytes.as_chunks::<32>().0;
        for bytes in whole.iter().take_while(|bytes| bytes[0] != END) {
            let entry: ShortEntry = zerocopy::transmute!(*bytes);
            if entry.name[0] == DELETED {
                long = LongName::default();
            } else if entry.attributes & 0x3f == LONG {
                long.add(&zerocopy::transmute!(*bytes));
            } else if entry.attributes & VOLUME != 0 {
                long = LongName::default();
                directory.label.get_or_insert(entry.name);
            } else {
                let alias = short_name(&entry);
                let name = std::mem::take(&mut long).finish(&entry.name).unwrap_or_else(|| alias.clone());
                if matches!(alias.as_str(), "." | "..") {
                    continue;
                }
                let high = if has_high { u32::from(entry.cluster_high.get()) << 16 } else { 0 };
                directory.entries.push(Entry {
                    name,
                    alias,
                    is_directory: entry.attributes & DIRECTORY != 0,
                    cluster: high | u32::from(entry.cluster_low.get()),
                    size: entry.size.get(),
                });
            }
        }
        directory
    }
}

fn short_name(entry: &ShortEntry) -> String {
    let mut name = entry.name;
    if name[0] == ESCAPED {
        name[0] = DELETED;
    }
    let (base, extension) = name.split_at(8);
    let text = |bytes: &[u8], lower: u8| {
        let text: String =
            bytes.iter().map(|byte| if byte.is_ascii() { char::from(*byte) } else { '\u{fffd}' }).collect();
        let text = text.trim_end().to_owned();
        if entry.case & lower != 0 { text.to_ascii_lowercase() } else { text }
    };
    match (text(base, LOWER_BASE), text(extension, LOWER_EXTENSION)) {
        (base, extension) if extension.is_empty() => base,
        (base, extension) => format!("{base}.{extension}"),
    }
}

/// A long name in the making: its pieces come last one first.
#[derive(Debug, Default)]
struct LongName {
    letters: Vec<[u16; 13]>,
    /// Number of the piece before.
    order: u8,
    checksum: u8,
}

impl LongName {
    fn add(&mut self, piece: &LongEntry) {
        let order = piece.order & !LongEntry::LAST;
        let is_first = piece.order & LongEntry::LAST != 0;
        let follows = !is_first && order.checked_add(1) == Some(self.order) && piece.checksum == self.checksum;
        if is_first {
            self.letters.clear();
        }
        if !(1..=PIECES_MAX).contains(&order) || !is_first && !follows {
            *self = Self::default();
            return;
        }
        let mut letters = [0; 13];
        letters.iter_mut().zip(piece.letters()).for_each(|(place, letter)| *place = letter);
        self.letters.push(letters);
        (self.order, self.checksum) = (order, piece.checksum);
    }

    /// Returns the name, if it is whole and of the entry with this short name.
    fn finish(self, short: &[u8; 11]) -> Option<String> {
        let sum = short.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        if self.order != 1 || sum != self.checksum {
            return None;
        }
        let letters: Vec<u16> =
            self.letters.iter().rev().flatten().copied().take_while(|letter| *letter != 0).collect();
        (!letters.is_empty()).then(|| String::from_utf16_lossy(&letters))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn short(name: &[u8; 11], attributes: u8, case: u8) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..11].copy_from_slice(name);
        (bytes[11], bytes[12]) = (attributes, case);
        bytes[20..22].copy_from_slice(&[1, 0]);
        bytes[26..32].copy_from_slice(&[2, 0, 3, 0, 0, 0]);
        bytes
    }

    fn long(order: u8, checksum: u8, text: &str) -> [u8; 32] {
        let mut letters: Vec<u16> = text.encode_utf16().collect();
        if letters.len() < 13 {
            letters.push(0);
        }
        letters.resize(13, 0xffff);
        let mut bytes = [0; 32];
        (bytes[0], bytes[11], bytes[13]) = (order, LONG, checksum);
        for (place, letter) in [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30].into_iter().zip(letters) {
            bytes[place..place + 2].copy_from_slice(&letter.to_le_bytes());
        }
        bytes
    }

    fn names(entries: &[[u8; 32]]) -> Vec<String> {
        let directory = Directory::parse(entries.as_flattened(), false);
        directory.entries.into_iter().map(|entry| entry.name).collect()
    }

    #[test]
    fn an_entry_has_its_parts() {
        let bytes = [short(b"BOOT       ", VOLUME, 0), short(b"KERNEL  IMG", 0, LOWER_BASE | LOWER_EXTENSION)];
        let directory = Directory::parse(bytes.as_flattened(), true);
        assert_eq!(directory.label, Some(*b"BOOT       "));
        let name = "kernel.img".to_owned();
        let entry = Entry { alias: name.clone(), name, is_directory: false, cluster: 0x1_0002, size: 3 };
        assert_eq!(directory.entries, [entry]);
        assert!(directory.entries[0].is_called("Kernel.IMG") && !directory.entries[0].is_called("kernel"));
        assert_eq!(Directory::parse(bytes.as_flattened(), false).entries[0].cluster, 2);
    }

    #[test]
    fn long_names_must_be_whole() {
        // The checksum of `LONG-N~1TXT`.
        let sum = 0x10_u8;
        let (last, first, own) = (long(0x42, sum, "e.txt"), long(1, sum, "A long, längr"), short(b"LONG-N~1TXT", 0, 0));
        assert_eq!(names(&[last, first, own]), ["A long, längre.txt"]);
        let short_only = ["LONG-N~1.TXT"];
        assert_eq!(names(&[first, own]), short_only, "no beginning");
        assert_eq!(names(&[last, own]), short_only, "no end");
        assert_eq!(names(&[last, long(1, sum ^ 1, "x"), own]), short_only, "a piece of another name");
        assert_eq!(names(&[long(0x42, 0, "x"), long(1, 0, "x"), own]), short_only, "of another entry");
        assert_eq!(names(&[last, first, short(b"\xe5THER      ", 0, 0), own]), short_only, "of a deleted entry");
        assert_eq!(names(&[long(0x40, sum, "x"), long(0x7f, sum, "x"), own]), short_only, "numbers out of range");
    }

    #[test]
    fn odd_names() {
        let ended = [
            short(b".          ", DIRECTORY, 0),
            short(b"\x05\xffA        ", 0, 0),
            [0; 32],
            short(b"B          ", 0, 0),
        ];
        assert_eq!(names(&ended), ["\u{fffd}\u{fffd}A"]);
        assert_eq!(names(&[]), [""; 0]);
        assert!(Directory::parse(&[1; 31], false).entries.is_empty());
    }
}
