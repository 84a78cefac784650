//! The start and the size of each partition. Numbers only: what the partitions hold is known elsewhere.

use contract::failure::Role as BootRole;

use crate::{Error, Result};

use super::size::{self, MIB};

/// Bytes of a sector, for disks that are not said to have others.
pub const SECTOR: u64 = 512;
/// Bytes of a sector of 4Kn disks.
pub const LARGE_SECTOR: u64 = 4096;
/// Partitions begin and end at multiples of this: a whole number of any flash's erase blocks worth caring for.
pub const ALIGNMENT: u64 = MIB;

/// The two kinds of partition table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Table {
    /// GUID partition table: PCs, and boards with U-Boot.
    Gpt,
    /// Master boot record: Raspberry Pi, old BIOSes.
    Mbr,
}

/// The partitions that the init knows, in the order in which they lie on the disk. `overlay` is the last one, so that it
/// can grow where the disk turns out to be larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Kernel, initramfs, squashfs' module: vfat.
    Boot,
    /// The OS image, twice during an update: ext4.
    Img,
    /// An update: ext4.
    Newimg,
    /// The writable layer: ext4.
    Overlay,
}

impl Role {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Boot, Self::Img, Self::Newimg, Self::Overlay];

    /// Returns the filesystem's label and the partition's name: what `rd.<name>=` defaults to.
    pub fn label(self) -> &'static str {
        match self {
            Self::Boot => BootRole::Boot.name(),
            Self::Img => BootRole::Img.name(),
            Self::Newimg => BootRole::NewImg.name(),
            Self::Overlay => BootRole::Overlay.name(),
        }
    }

    /// Returns the filesystem's name as the kernel has it.
    pub fn filesystem(self) -> &'static str {
        if self == Self::Boot { "vfat" } else { "ext4" }
    }
}

/// The wishes for a partition.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Its role.
    pub role: Role,
    /// The least that works, in bytes.
    pub least: u64,
    /// Why it is the least, for the end of a sentence.
    pub reason: String,
    /// Its size where nobody asks for another.
    pub usual: u64,
    /// The size that the user asked for.
    pub asked: Option<u64>,
}

/// A partition's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Its role.
    pub role: Role,
    /// Its number in the table, from 1.
    pub number: u32,
    /// Its start in bytes.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
}

/// A disk's places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The kind of table.
    pub table: Table,
    /// The disk's size in bytes.
    pub disk: u64,
    /// Bytes of its sectors, which the table counts in.
    pub sector: u64,
    /// The partitions, in order.
    pub slots: Vec<Slot>,
}

/// The size of the disk, and that of its sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// The disk's size in bytes, where the user gave it.
    pub disk: Option<u64>,
    /// True for a size that is a power of two, as QEMU's SD card wants it.
    pub power_of_two: bool,
    /// Bytes of a sector.
    pub sector: u64,
}

impl Default for Extent {
    fn default() -> Self {
        Self { disk: None, power_of_two: false, sector: SECTOR }
    }
}

/// Lays out `wishes`, which stand in the order of [`Role`]. What is left of a disk with a given size goes to `overlay`,
/// unless its size was asked for.
///
/// # Errors
/// [`Error::Usage`] for a size that is too small, or too large for the table.
pub fn plan(table: Table, extent: Extent, wishes: &[Wish]) -> Result<Layout> {
    let mut start = ALIGNMENT;
    let mut slots = Vec::with_capacity(wishes.len());
    for (number, wish) in (1..).zip(wishes) {
        let label = wish.role.label();
        if let Some(asked) = wish.asked.filter(|asked| *asked < wish.least) {
            return Err(Error::Usage(format!(
                "--size {label}={} is too small: `{label}` needs {} {}",
                size::show(asked),
                size::show(wish.least.next_multiple_of(ALIGNMENT)),
                wish.reason
            )));
        }
        let size = wish.asked.unwrap_or(wish.usual).max(wish.least).next_multiple_of(ALIGNMENT);
        slots.push(Slot { role: wish.role, number, start, size });
        start += size;
    }
    // A GPT has its second copy at the end of the disk.
    let least = if table == Table::Gpt { start + ALIGNMENT } else { start };
    let mut disk = least;
    if let Some(asked) = extent.disk {
        disk = asked / ALIGNMENT * ALIGNMENT;
        if disk < least {
            return Err(Error::Usage(format!(
                "--disk-size {} is too small: these partitions need {}",
                size::show(asked),
                size::show(least)
            )));
        }
    }
    if extent.power_of_two {
        disk = disk.next_power_of_two();
        if extent.disk.is_some_and(|asked| asked != disk) {
            return Err(Error::Usage(format!(
                "--disk-size is not a power of two, which --power-of-two asks for: use {} or --power-of-two=false",
                size::show(disk)
            )));
        }
    }
    // An MBR counts sectors in 32 bits.
    let most = extent.sector << 32;
    if table == Table::Mbr && disk > most {
        return Err(Error::Usage(format!(
            "a disk of {} is more than an MBR can describe ({}): use --table gpt",
            size::show(disk),
            size::show(most)
        )));
    }
    if let (Some(last), Some(wish)) = (slots.last_mut(), wishes.last())
        && last.role == Role::Overlay
        && wish.asked.is_none()
    {
        last.size += disk - least;
    }
    Ok(Layout { table, disk, sector: extent.sector, slots })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::GIB;

    fn wish(role: Role, least: u64, usual: u64, asked: Option<u64>) -> Wish {
        Wish { role, least, reason: "for one".to_owned(), usual, asked }
    }

    fn sizes(layout: &Layout) -> Vec<u64> {
        layout.slots.iter().map(|slot| slot.size / MIB).collect()
    }

    #[test]
    fn partitions_follow_each_other_aligned() {
        let wishes = [
            wish(Role::Boot, 1, 64 * MIB, None),
            wish(Role::Img, 10 * MIB + 1, 0, None),
            wish(Role::Overlay, 1, 1, None),
        ];
        let layout = plan(Table::Gpt, Extent::default(), &wishes).unwrap();
        assert_eq!(sizes(&layout), [64, 11, 1]);
        let starts: Vec<u64> = layout.slots.iter().map(|slot| slot.start / MIB).collect();
        assert_eq!(starts, [1, 65, 76]);
        assert_eq!(layout.disk, 78 * MIB);
        assert_eq!(plan(Table::Mbr, Extent::default(), &wishes).unwrap().disk, 77 * MIB);
    }

    #[test]
    fn what_is_left_goes_to_overlay_unless_its_size_was_asked_for() {
        let extent = Extent { disk: Some(GIB), power_of_two: true, ..Extent::default() };
        let mut wishes = [wish(Role::Img, 1, 100 * MIB, None), wish(Role::Overlay, 1, MIB, None)];
        assert_eq!(sizes(&plan(Table::Mbr, extent, &wishes).unwrap()), [100, 923]);
        wishes[1].asked = Some(MIB);
        let layout = plan(Table::Mbr, extent, &wishes).unwrap();
        assert_eq!((sizes(&layout), layout.disk), (vec![100, 1], GIB));
    }

    #[test]
    fn a_power_of_two_rounds_up() {
        let extent = Extent { power_of_two: true, ..Extent::default() };
        let layout = plan(Table::Mbr, extent, &[wish(Role::Img, 1, 100 * MIB, None)]).unwrap();
        assert_eq!((layout.disk, sizes(&layout)), (128 * MIB, vec![100]));
    }

    #[test]
    fn sizes_that_cannot_be_are_refused_with_the_right_one() {
        let small = [wish(Role::Img, 10 * MIB, 10 * MIB, Some(5 * MIB))];
        let text = plan(Table::Gpt, Extent::default(), &small).unwrap_err().to_string();
        assert_eq!(text, "--size img=5 MiB is too small: `img` needs 10 MiB for one");
        let wishes = [wish(Role::Img, 1, 10 * MIB, None)];
        let disk = |bytes| Extent { disk: Some(bytes), ..Extent::default() };
        assert!(plan(Table::Gpt, disk(11 * MIB), &wishes).is_err());
        assert!(plan(Table::Gpt, disk(12 * MIB), &wishes).is_ok());
        assert!(plan(Table::Mbr, disk(11 * MIB), &wishes).is_ok());
        assert!(plan(Table::Gpt, Extent { power_of_two: true, ..disk(12 * MIB) }, &wishes).is_err());
        let large = [wish(Role::Img, 1, 3000 * GIB, None)];
        assert!(plan(Table::Mbr, Extent::default(), &large).is_err());
        assert!(plan(Table::Mbr, Extent { sector: LARGE_SECTOR, ..Extent::default() }, &large).is_ok());
        assert!(plan(Table::Gpt, Extent::default(), &large).is_ok());
    }
}
