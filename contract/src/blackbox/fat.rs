//! The place of a file on a FAT filesystem, found by reading the device alone: nothing is mounted, so nothing marks the filesystem as in use.
//! Takes less than the kernel does: FAT16 and FAT32, a file in the root directory, in one piece (Microsoft, FAT: General Overview of
//! On-Disk Format, 1.03).

use super::text::TEXT_SIZE;

/// A function that reads so many bytes of a device from an offset on; none where that is not possible.
pub type Read<'a> = &'a mut dyn FnMut(u64, usize) -> Option<Vec<u8>>;

/// The name as a directory has it.
const NAME: &[u8; 11] = b"BLACKBOXTXT";
/// Bytes of a directory's entry.
const ENTRY: usize = 32;
/// Attributes of a label and of a directory.
const NOT_A_FILE: u32 = 0x18;
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

    /// Returns the entry of the file: its first cluster and its size.
    fn find(&self, read: Read<'_>) -> Option<(u32, u32)> {
        let Some(mut cluster) = self.root_cluster else {
            let size = self.sector.saturating_mul(self.data.saturating_sub(self.root).min(ROOT_SECTORS));
            let (first, size) = find(&read(self.byte(self.root), usize::try_from(size).ok()?)?).ok()??;
            // The upper half of the number is something else here.
            return Some((first & 0xffff, size));
        };
        for _ in 0..ROOT_CLUSTERS {
            let bytes = read(self.place(cluster)?, usize::try_from(self.size()).ok()?)?;
            if let Ok(found) = find(&bytes) {
                return found;
            }
            cluster = self.entry(read, cluster)?;
        }
        None
    }
}

/// Looks for the file in a part of a directory. An error where the directory goes on behind it.
fn find(directory: &[u8]) -> Result<Option<(u32, u32)>, ()> {
    for entry in directory.chunks_exact(ENTRY) {
        if entry.starts_with(&[0]) {
            return Ok(None);
        }
        if entry.starts_with(NAME) && number(entry, 11, 1) & NOT_A_FILE == 0 {
            return Ok(Some((number(entry, 20, 2) << 16 | number(entry, 26, 2), number(entry, 28, 4))));
        }
    }
    Err(())
}

/// Returns the byte of a device at which the text of the black box begins. None where it is not there, or not as it is made: of its size,
/// in the root directory, in one piece.
pub fn locate(read: Read<'_>) -> Option<u64> {
    let layout = Layout::parse(&read(0, 512)?)?;
    let (first, size) = layout.find(read)?;
    if usize::try_from(size) != Ok(TEXT_SIZE) {
        return None;
    }
    let last = first.checked_add(size.div_ceil(layout.size().max(1)))?.checked_sub(1)?;
    layout.place(last)?;
    let is_whole = (first..last).all(|cluster| layout.entry(read, cluster) == cluster.checked_add(1));
    let end = if layout.root_cluster.is_some() { 0x0fff_fff8 } else { 0xfff8 };
    layout.place(first).filter(|_| is_whole && layout.entry(read, last).is_some_and(|entry| entry >= end))
}
