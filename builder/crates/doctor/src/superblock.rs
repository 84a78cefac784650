//! ext4 as far as the library that reads it does not tell: where the journal lies, how many blocks are free, and the superblock
//! without its flag for an unfinished journal. Format: kernel, Documentation/filesystems/ext4/.

use std::mem::offset_of;

use zerocopy::{
    FromZeros, IntoBytes,
    little_endian::{U16, U32},
};

use super::{block_reader::Shared, error::damaged};
use crate::error::Result;

pub mod features;
pub mod inodes;
mod structures;

use structures::Descriptor;
pub use structures::Superblock;

const MAGIC: u16 = 0xef53;
const HAS_JOURNAL: u32 = 0x4;
/// The journal has to be replayed first.
pub const NEEDS_RECOVERY: u32 = 0x4;
const HAS_64BIT: u32 = 0x80;
const HAS_CHECKSUMS: u32 = 0x400;
/// The seed of checksums is written down; else it is made of the UUID.
const HAS_SEED: u32 = 0x2000;
/// Files may have extents: then the kernel keeps clusters back.
const HAS_EXTENTS: u32 = 0x40;

fn wide(high: impl Into<u32>, low: U32) -> u64 {
    u64::from(high.into()) << 32 | u64::from(low.get())
}

/// Calculates CRC-32C as ext4 and its journal use it: begun with `seed`, not inverted at the end.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    static ALGORITHM: crc::Algorithm<u32> = crc::Algorithm { xorout: 0, ..crc::CRC_32_ISCSI };
    static TABLE: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&ALGORITHM);
    // The library takes a seed in the order of its own, most significant bit first.
    let mut digest = TABLE.digest_with_initial(seed.reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

impl Superblock {
    /// The place of the superblock in bytes.
    const PLACE: u64 = 1024;

    /// Reads the superblock, which may be none.
    ///
    /// # Errors
    /// The medium's.
    pub fn read(medium: &Shared) -> Result<Self> {
        Ok(medium.read(Self::PLACE)?)
    }

    /// Returns true for one of ext2 to ext4.
    pub fn is_ext(&self) -> bool {
        self.magic == MAGIC
    }

    /// Returns true if the filesystem has a journal.
    pub fn has_journal(&self) -> bool {
        self.compatible.get() & HAS_JOURNAL != 0
    }

    fn has_checksums(&self) -> bool {
        self.read_only.get() & HAS_CHECKSUMS != 0
    }

    fn sum(&self) -> U32 {
        let bytes = self.as_bytes();
        crc32c(!0, bytes.get(..offset_of!(Self, checksum)).unwrap_or(bytes)).into()
    }

    /// Returns true if the checksum is right, where there is one: else libblkid knows no filesystem there (util-linux,
    /// libblkid/src/superblocks/ext.c), and no kernel mounts it.
    pub fn is_whole(&self) -> bool {
        !self.has_checksums() || self.sum() == self.checksum
    }

    /// Reads the superblock and takes these features of [`Self::incompatible`] away; returns it with its place.
    ///
    /// # Errors
    /// The medium's.
    pub fn without(medium: &Shared, features: u32) -> Result<(u64, Vec<u8>)> {
        let mut superblock = Self::read(medium)?;
        superblock.incompatible &= U32::new(!features);
        if superblock.has_checksums() {
            superblock.checksum = superblock.sum();
        }
        Ok((Self::PLACE, superblock.as_bytes().to_vec()))
    }
}

/// Places and sizes, as the superblock has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of a block.
    pub block: u32,
    /// True if the journal has to be looked at before anything else.
    pub needs_recovery: bool,
    /// The journal's inode; none where it is on another device.
    pub journal: Option<u32>,
    blocks: u64,
    first_block: u32,
    blocks_per_group: u32,
    /// Blocks that are given out together.
    cluster: u64,
    inodes_per_group: u32,
    inode: u16,
    descriptor: u16,
    last_orphan: u32,
    has_extents: bool,
    /// The beginning of all other checksums, where there are any.
    seed: Option<u32>,
}

impl Layout {
    /// Reads the superblock.
    ///
    /// # Errors
    /// The medium's, that it is no ext filesystem, or one that no kernel would mount there (kernel, fs/ext4/super.c).
    pub fn read(medium: &Shared) -> Result<Self> {
        let superblock = Superblock::read(medium)?;
        let layout = Self::parse(&superblock)?;
        if !superblock.is_whole() {
            return Err(damaged("its superblock's checksum is wrong"));
        }
        let (blocks, room) = (layout.blocks, medium.size() / u64::from(layout.block));
        if blocks > room {
            return Err(damaged(format!("it has {blocks} blocks, and the device has room for {room}")));
        }
        if u64::from(layout.first_block) >= blocks {
            return Err(damaged("its first block is past its end"));
        }
        if layout.groups().saturating_mul(layout.descriptor.into()) > medium.size() {
            return Err(damaged("it has more groups than room"));
        }
        Ok(layout)
    }

    /// Checks the descriptors of the groups, as the kernel does before it looks at the journal.
    ///
    /// # Errors
    /// The medium's, or that one is damaged.
    pub fn check_descriptors(&self, medium: &Shared) -> Result<()> {
        const SUM: usize = offset_of!(Descriptor, checksum);
        let Some(seed) = self.seed else { return Ok(()) };
        let table = self.descriptor_table(medium)?;
        for (group, bytes) in (0_u32..).zip(table.chunks(self.descriptor.into())) {
            let (head, tail) = (bytes.get(..SUM), bytes.get(SUM + size_of::<U16>()..));
            let sum = [&group.to_le_bytes()[..], head.unwrap_or_default(), &[0, 0], tail.unwrap_or_default()]
                .iter()
                .fold(seed, |sum, bytes| crc32c(sum, bytes));
            if sum & 0xffff != u32::from(Descriptor::of(bytes).checksum.get()) {
                return Err(damaged(format!("the descriptor of group {group}")));
            }
        }
        Ok(())
    }

    fn parse(superblock: &Superblock) -> Result<Self> {
        let (block_bits, cluster_bits) = (superblock.block_bits.get(), superblock.cluster_bits.get());
        let incompatible = superblock.incompatible.get();
        let is_64bit = incompatible & HAS_64BIT != 0;
        let is_known = superblock.is_ext() && block_bits <= 6 && cluster_bits.wrapping_sub(block_bits) <= 16;
        if !is_known || superblock.blocks_per_group == 0 || superblock.inodes_per_group == 0 {
            return Err(damaged("its superblock"));
        }
        Ok(Self {
            block: 1024 << block_bits,
            needs_recovery: superblock.has_journal() && incompatible & NEEDS_RECOVERY != 0,
            journal: Some(superblock.journal_inode.get()).filter(|inode| *inode != 0),
            // Whatever its features say (kernel, fs/ext4/ext4.h, ext4_blocks_count).
            blocks: wide(superblock.blocks_high, superblock.blocks_low),
            first_block: superblock.first_block.get(),
            blocks_per_group: superblock.blocks_per_group.get(),
            cluster: 1 << (cluster_bits - block_bits),
            inodes_per_group: superblock.inodes_per_group.get(),
            inode: superblock.inode_size.get().max(128),
            descriptor: if is_64bit { superblock.descriptor_size.get().max(32) } else { 32 },
            last_orphan: superblock.last_orphan.get(),
            has_extents: incompatible & HAS_EXTENTS != 0,
            seed: superblock.has_checksums().then(|| match incompatible & HAS_SEED {
                0 => crc32c(!0, &superblock.uuid),
                _ => superblock.checksum_seed.get(),
            }),
        })
    }

    fn groups(&self) -> u64 {
        self.blocks.saturating_sub(self.first_block.into()).div_ceil(self.blocks_per_group.into())
    }

    fn descriptor_table(&self, medium: &Shared) -> Result<Vec<u8>> {
        let start = (u64::from(self.first_block) + 1) * u64::from(self.block);
        let mut all = vec![0; usize::try_from(self.groups() * u64::from(self.descriptor)).unwrap_or(0)];
        medium.read_at(start, &mut all)?;
        Ok(all)
    }
}

impl Descriptor {
    /// Parses a descriptor; a short one has zeros for the rest.
    fn of(bytes: &[u8]) -> Self {
        let mut descriptor = Self::new_zeroed();
        descriptor.as_mut_bytes().iter_mut().zip(bytes).for_each(|(place, byte)| *place = *byte);
        descriptor
    }
}

#[cfg(test)]
mod tests {
    use super::{structures::Inode, *};

    #[test]
    fn the_checksum_is_crc32c() {
        // RFC 3720, B.4: CRC-32C of 32 zero bytes, which is inverted at the end.
        assert_eq!(!crc32c(!0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(crc32c(!0, b"1234"), b"56789"), crc32c(!0, b"123456789"));
    }

    #[test]
    fn superblocks_that_are_none_are_refused() {
        let mut superblock = Superblock::new_zeroed();
        assert!(Layout::parse(&superblock).is_err());
        superblock.magic = MAGIC.into();
        assert!(Layout::parse(&superblock).is_err(), "groups without blocks");
        (superblock.blocks_per_group, superblock.inodes_per_group) = (U32::new(1), U32::new(1));
        assert_eq!(Layout::parse(&superblock).unwrap().block, 1024);
        superblock.block_bits = U32::new(200);
        assert!(Layout::parse(&superblock).is_err(), "a block size that is no number of bits");
    }

    #[test]
    fn more_blocks_or_groups_than_room_are_refused() {
        let refused = |change: fn(&mut Superblock)| {
            let mut superblock = Superblock::new_zeroed();
            (superblock.magic, superblock.blocks_low) = (MAGIC.into(), U32::new(64));
            (superblock.blocks_per_group, superblock.inodes_per_group) = (U32::new(8192), U32::new(1));
            change(&mut superblock);
            let mut disk = vec![0; 65_536];
            disk[1024..2048].copy_from_slice(superblock.as_bytes());
            Layout::read(&(std::sync::Arc::new(disk) as Shared)).map_err(|error| error.to_string()).err()
        };
        assert_eq!(refused(|_| {}), None);
        for (change, part) in [
            ((|it| it.blocks_low = U32::new(65)) as fn(&mut Superblock), "it has 65 blocks"),
            (|it| it.blocks_high = U32::new(1), "it has 4294967360 blocks"),
            (|it| it.first_block = U32::new(64), "past its end"),
            (
                |it| {
                    (it.incompatible, it.descriptor_size) = (U32::new(HAS_64BIT), U16::new(1025));
                    it.blocks_per_group = U32::new(1);
                },
                "more groups than room",
            ),
        ] {
            let error = refused(change).unwrap_or_default();
            assert!(error.contains(part), "{part}: {error}");
        }
    }

    #[test]
    fn fields_are_where_the_kernel_has_them() {
        // Documentation/filesystems/ext4/super.rst, group_descr.rst and inodes.rst.
        let places = [
            (offset_of!(Superblock, magic), 0x38),
            (offset_of!(Superblock, inode_size), 0x58),
            (offset_of!(Superblock, uuid), 0x68),
            (offset_of!(Superblock, journal_inode), 0xe0),
            (offset_of!(Superblock, last_orphan), 0xe8),
            (offset_of!(Superblock, descriptor_size), 0xfe),
            (offset_of!(Superblock, blocks_high), 0x150),
            (offset_of!(Superblock, protection_block), 0x168),
            (offset_of!(Superblock, checksum_seed), 0x270),
            (offset_of!(Superblock, checksum), 0x3fc),
            (offset_of!(Descriptor, free_inodes_low), 0xe),
            (offset_of!(Descriptor, checksum), 0x1e),
            (offset_of!(Descriptor, inode_table_high), 0x28),
            (offset_of!(Descriptor, free_blocks_high), 0x2c),
            (offset_of!(Descriptor, free_inodes_high), 0x2e),
            (offset_of!(Inode, deletion_time), 0x14),
            (offset_of!(Inode, links), 0x1a),
            (offset_of!(Inode, map), 0x28),
            (offset_of!(Inode, sectors_high), 0x74),
        ];
        for (seen, expected) in places {
            assert_eq!(seen, expected);
        }
    }
}
