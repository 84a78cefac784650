//! ext4's structures on the disk, with names for the fields that are used (kernel, Documentation/filesystems/ext4/).

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// The superblock, with the fields that are used here.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Superblock {
    inodes: U32,
    pub(super) blocks_low: U32,
    counts: [U32; 3],
    pub(super) first_block: U32,
    pub(super) block_bits: U32,
    pub(super) cluster_bits: U32,
    pub(super) blocks_per_group: U32,
    clusters_per_group: U32,
    pub(super) inodes_per_group: U32,
    mounts: [U32; 3],
    pub(super) magic: U16,
    state: [u8; 30],
    pub(super) inode_size: U16,
    group: U16,
    pub(super) compatible: U32,
    /// Features without which a kernel does not mount it.
    pub incompatible: U32,
    /// Features without which a kernel does not write to it.
    pub read_only: U32,
    /// The filesystem's UUID.
    pub uuid: [u8; 16],
    /// The filesystem's label, filled with NULs.
    pub label: [u8; 16],
    mounted_on: [u8; 88],
    pub(super) journal_inode: U32,
    journal_device: U32,
    pub(super) last_orphan: U32,
    hash: [u8; 18],
    pub(super) descriptor_size: U16,
    options: [u8; 80],
    pub(super) blocks_high: U32,
    more: [u8; 20],
    pub(super) protection_block: U64,
    features: [u8; 256],
    pub(super) checksum_seed: U32,
    rest: [u8; 392],
    pub(super) checksum: U32,
}

/// The descriptor of a group, as long as it is with 64 bits.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Descriptor {
    bitmaps_low: [U32; 2],
    pub(super) inode_table_low: U32,
    pub(super) free_blocks_low: U16,
    pub(super) free_inodes_low: U16,
    counts: [u8; 14],
    pub(super) checksum: U16,
    bitmaps_high: [U32; 2],
    pub(super) inode_table_high: U32,
    pub(super) free_blocks_high: U16,
    pub(super) free_inodes_high: U16,
    rest: [u8; 16],
}

/// The part of an inode that all have.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Inode {
    pub(super) mode: U16,
    owner: U16,
    size_low: U32,
    times: [U32; 3],
    /// For an inode that is not freed yet, the number of the next one.
    pub(super) deletion_time: U32,
    group: U16,
    pub(super) links: U16,
    pub(super) sectors_low: U32,
    pub(super) flags: U32,
    version: U32,
    /// Blocks, or the root of the extents.
    pub(super) map: [u8; 60],
    generation: [U32; 4],
    pub(super) sectors_high: U16,
    rest: [u8; 10],
}

/// An entry of a directory, without its name.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct DirectoryEntry {
    pub(super) inode: U32,
    pub(super) length: U16,
    pub(super) name_length: u8,
    kind: u8,
}

#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ExtentHeader {
    pub(super) magic: U16,
    pub(super) entries: U16,
    entries_max: U16,
    pub(super) depth: U16,
    generation: U32,
}

/// An extent, in the leaves.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Extent {
    block: U32,
    pub(super) length: U16,
    pub(super) start_high: U16,
    pub(super) start_low: U32,
}

/// A node of the next level.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ExtentIndex {
    block: U32,
    pub(super) child_low: U32,
    pub(super) child_high: U16,
    unused: U16,
}

const _: () = assert!(size_of::<Superblock>() == 1024 && size_of::<Descriptor>() == 64 && size_of::<Inode>() == 128);
