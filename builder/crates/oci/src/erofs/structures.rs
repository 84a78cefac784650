//! EROFS' structures on the disk, as they are written here (kernel, `fs/erofs/erofs_fs.h`).

use zerocopy::{
    Immutable, IntoBytes, Unaligned,
    little_endian::{U16, U32, U64},
};

/// `struct erofs_super_block`, as far as it is not zeros.
#[derive(Default, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct Superblock {
    pub(super) magic: U32,
    pub(super) checksum: U32,
    pub(super) features: U32,
    pub(super) block_bits: u8,
    pub(super) extensions: u8,
    /// The root's inode.
    pub(super) root: U16,
    pub(super) inodes: U64,
    pub(super) time: U64,
    pub(super) time_nanoseconds: U32,
    pub(super) blocks: U32,
    /// The first block of inodes, and of shared attributes.
    pub(super) inodes_at: U32,
    pub(super) attributes_at: U32,
    pub(super) uuid: [u8; 16],
}

/// `struct erofs_inode_extended`.
#[derive(Default, IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct ExtendedInode {
    pub(super) format: U16,
    /// Words of attributes behind it, and one for their header.
    pub(super) attributes: U16,
    pub(super) mode: U16,
    pub(super) unused: U16,
    pub(super) size: U64,
    /// The first block of its content, or a device's number.
    pub(super) place: U32,
    pub(super) number: U32,
    pub(super) uid: U32,
    pub(super) gid: U32,
    pub(super) time: U64,
    pub(super) time_nanoseconds: U32,
    pub(super) links: U32,
    pub(super) reserved: [u8; 16],
}

/// `struct erofs_xattr_entry`.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct AttributeEntry {
    pub(super) name: u8,
    pub(super) prefix: u8,
    pub(super) value: U16,
}

/// `struct erofs_dirent`.
#[derive(IntoBytes, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct DirectoryEntry {
    pub(super) nid: U64,
    /// The beginning of the name in its block.
    pub(super) name: U16,
    pub(super) kind: u8,
    pub(super) unused: u8,
}
