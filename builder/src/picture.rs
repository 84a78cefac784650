//! A disk as a picture: its partitions to scale, with what is used and what is free in each.

use base::escape::escape;
use contract::{
    bytes::u32_at,
    superblock::{HEAD_OF_FEATURES, Superblock},
};
use disk::size;
use doctor::{block_reader::Shared, table};

use crate::svg::{Anchor, COLOURS, EMPTY, Svg};

/// A partition in a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    /// Its number and label.
    pub name: String,
    /// Its start on the disk, in bytes.
    pub offset: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes in use, where that is known.
    pub used: Option<u64>,
}

const WIDTH: f64 = 960.0;
const BAR: f64 = 60.0;

/// Draws a disk of `size` bytes: a bar to scale, and a line for each partition below it, as thin ones have no room for words.
#[must_use]
pub fn draw(name: &str, size: u64, areas: &[Area]) -> String {
    let height = 3.0 * Svg::LINE + BAR + Svg::LINE * (areas.len() as f64 + 1.0);
    let mut svg = Svg::new(WIDTH, height);
    let scale = |bytes: u64| if size == 0 { 0.0 } else { bytes as f64 / size as f64 * WIDTH };
    svg.label([0.0, 0.0, WIDTH, Svg::LINE], &format!("{name}: {}", size::show(size)));
    let top = 1.5 * Svg::LINE;
    svg.rectangle([0.0, top, WIDTH, BAR], EMPTY, "not in a partition");
    for (number, area) in areas.iter().enumerate() {
        let colour = COLOURS.get(number % COLOURS.len()).copied().unwrap_or_default();
        let used = area.used.unwrap_or(area.size).min(area.size);
        let (x, width) = (scale(area.offset), scale(area.size));
        let words = words(area);
        svg.rectangle([x, top, width, BAR], "#ffffff", &words);
        svg.rectangle([x, top, scale(used), BAR], colour, &words);
        svg.label([x, top, width, BAR], &area.name);
        let y = top + BAR + Svg::LINE * (number as f64 + 1.0);
        svg.rectangle([4.0, y, 12.0, 12.0], colour, &area.name);
        svg.text(24.0, y + 11.0, Anchor::Start, &words);
    }
    svg.finish()
}

fn words(area: &Area) -> String {
    let size = size::show(area.size);
    match area.used {
        Some(used) => {
            let free = area.size.saturating_sub(used);
            format!("{}: {size}, {} used, {} free", area.name, size::show(used), size::show(free))
        }
        None => format!("{}: {size}", area.name),
    }
}

/// Reads the partitions of a disk, as [`table::read`], and of each filesystem how much of it is in use where its superblock says so.
#[must_use]
pub fn areas_of(disk: &Shared, sector: Option<u64>) -> Vec<Area> {
    let found = table::read(disk, sector);
    let whole = |partition: &contract::partitions::Partition| {
        let mut head = vec![0; HEAD_OF_FEATURES.min(usize::try_from(partition.size).unwrap_or(HEAD_OF_FEATURES))];
        let used = disk.read_at(partition.start, &mut head).is_ok().then(|| used(&head)).flatten();
        let name = partition.name.as_deref().or(label(&head)).unwrap_or_default();
        let name = format!("{} {}", partition.number, escape(name.as_bytes()));
        Area { name: name.trim_end().to_owned(), offset: partition.start, size: partition.size, used }
    };
    found.partitions.iter().map(whole).collect()
}

/// Returns the bytes in use of the filesystem that begins with `head`: squashfs, EROFS or ext4 (kernel, fs/ext4/ext4.h, `struct ext4_super_block`).
fn used(head: &[u8]) -> Option<u64> {
    if let Some(superblock) = Superblock::read(head) {
        return Some(superblock.size);
    }
    let field = |at: usize| u32_at(head, 1024 + at);
    if !is_ext(head) {
        return None;
    }
    // The high halves count only with the feature 64bit.
    let high = |at: usize| if field(0x60)? & 0x80 == 0 { Some(0) } else { field(at).map(u64::from) };
    let blocks = u64::from(field(0x4)?) | high(0x150)? << 32;
    let free = u64::from(field(0xc)?) | high(0x158)? << 32;
    let block = 1024_u64.checked_shl(field(0x18)?.min(6))?;
    blocks.checked_sub(free)?.checked_mul(block)
}

fn is_ext(head: &[u8]) -> bool {
    head.get(1080..1082) == Some(&[0x53, 0xef])
}

/// Returns the label of an ext4 or FAT filesystem.
fn label(head: &[u8]) -> Option<&str> {
    let place = if is_ext(head) {
        1024 + 0x78..1024 + 0x88
    } else if head.get(82..87) == Some(b"FAT32") {
        71..82
    } else if head.get(54..57) == Some(b"FAT") {
        43..54
    } else {
        return None;
    };
    let label = str::from_utf8(head.get(place)?).ok()?;
    Some(label.split('\0').next().unwrap_or_default().trim_end()).filter(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_to_scale() {
        let area = |name: &str, offset, size, used| Area { name: name.to_owned(), offset, size, used };
        let gib = 1 << 30;
        let picture =
            draw("a<b", 4 * gib, &[area("1 img", 0, gib, Some(gib / 2)), area("2 overlay", gib, 2 * gib, None)]);
        assert!(picture.contains("a&lt;b: 4 GiB"));
        assert!(picture.contains("1 img: 1 GiB, 512 MiB used, 512 MiB free") && picture.contains(">2 overlay: 2 GiB<"));
        assert!(picture.contains(r#"x="240.0" y="27.0" width="480.0""#), "{picture}");
        assert!(picture.contains(r#"x="0.0" y="27.0" width="120.0""#), "{picture}");
        assert!(!draw("x", 0, &[area("1", 0, 0, Some(9))]).contains("NaN"));
    }

    #[test]
    fn superblocks_tell_what_is_used() {
        let mut head = vec![0; HEAD_OF_FEATURES];
        assert_eq!((used(&head), label(&head)), (None, None));
        for (at, bytes) in [
            (1080, &[0x53, 0xef][..]),
            (1024 + 0x4, &1000_u32.to_le_bytes()),
            (1024 + 0xc, &400_u32.to_le_bytes()),
            (1024 + 0x18, &2_u32.to_le_bytes()),
            (1024 + 0x78, b"img\0"),
        ] {
            head[at..at + bytes.len()].copy_from_slice(bytes);
        }
        assert_eq!((used(&head), label(&head)), (Some(600 * 4096), Some("img")));
        assert_eq!(used(&head[..1100]), None);
    }
}
