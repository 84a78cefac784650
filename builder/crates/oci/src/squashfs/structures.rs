//! squashfs' structures on the disk (kernel, `fs/squashfs/squashfs_fs.h`).

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

/// The superblock.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Superblock {
    magic: U32,
    pub(super) inodes: U32,
    time: U32,
    block: U32,
    pub(super) fragments: U32,
    pub(super) compression: U16,
    block_bits: U16,
    pub(super) flags: U16,
    /// Entries of the table of owners.
    pub(super) ids: U16,
    version: [U16; 2],
    /// The place of its block in the table of inodes, and its place in the block in the lower 16 bits.
    pub(super) root_inode: U64,
    pub(super) bytes_used: U64,
    pub(super) id_table: U64,
    pub(super) attribute_table: U64,
    pub(super) inode_table: U64,
    pub(super) directory_table: U64,
    pub(super) fragment_table: U64,
    pub(super) export_table: U64,
}

/// The beginning of every inode.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct InodeHead {
    pub(super) kind: U16,
    pub(super) mode: U16,
    /// User and group, as places in the table of owners.
    pub(super) owner: [U16; 2],
    pub(super) mtime: U32,
    number: U32,
}

/// A directory's inode.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Directory {
    pub(super) head: InodeHead,
    block: U32,
    links: U32,
    size: U16,
    offset: U16,
    parent: U32,
}

/// A directory's inode with attributes, or an index of its names behind it.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct LargeDirectory {
    pub(super) head: InodeHead,
    links: U32,
    size: U32,
    block: U32,
    parent: U32,
    indexes: U16,
    offset: U16,
    pub(super) attributes: U32,
}

impl LargeDirectory {
    pub(super) const KIND: u16 = 8;
}

impl From<Directory> for LargeDirectory {
    fn from(Directory { head, block, links, size, offset, parent }: Directory) -> Self {
        let head = InodeHead { kind: Self::KIND.into(), ..head };
        let size = U32::new(size.get().into());
        Self { head, links, size, block, parent, indexes: U16::ZERO, offset, attributes: U32::ZERO }
    }
}

/// The head of the table of attributes; the places of its blocks follow.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct AttributesHead {
    /// The beginning of names and values.
    pub(super) pairs: U64,
    pub(super) count: U32,
    pub(super) unused: U32,
}

/// The attributes of one number.
#[derive(Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct AttributesAt {
    /// The place of the block, and the place in the block in the lower 16 bits.
    pub(super) place: U64,
    pub(super) count: U32,
    pub(super) size: U32,
}

const _: () = assert!(size_of::<Superblock>() == 96 && size_of::<LargeDirectory>() == 40);
