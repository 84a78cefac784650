//! Entries of an archive as records, and what they cost.

use super::newc::{Header, TYPE_MASK};
use crate::{
    manifest::{Name, Record, Type},
    tree::Device,
};

/// Bytes of memory that the list of entries may take: some 580 000 entries of a usual name. An archive of nothing but empty entries,
/// which compresses to nothing, would take any amount.
pub const BUDGET: u64 = 256 << 20;

/// Returns the bytes of memory that an entry takes at most: its record, its name there and in a table of names, its digest.
pub fn cost(path: &[u8], target: &[u8]) -> u64 {
    /// Bytes of a table's row, and of what an allocator adds to the four blocks of an entry.
    const TABLES: usize = 160;
    /// The digits of a SHA-256.
    const DIGEST: usize = 64;
    (size_of::<Record>() + size_of::<usize>() + TABLES + DIGEST + 2 * path.len() + target.len()) as u64
}

/// Returns the record of the entry with this header, without what only its content tells: size, digest, target.
pub fn record(path: &[u8], kind: Type, header: &Header) -> Record {
    let (major, minor) = header.device;
    Record {
        path: Name::new(path),
        kind,
        mode: header.mode & 0o7777,
        uid: header.uid,
        gid: header.gid,
        mtime: header.mtime,
        size: None,
        sha256: None,
        target: None,
        device: matches!(kind, Type::CharDevice | Type::BlockDevice).then_some(Device { major, minor }),
        hard_link: None,
    }
}

/// Returns the type in the bits of a mode.
pub fn kind(mode: u32) -> Type {
    match mode & TYPE_MASK {
        0o040_000 => Type::Directory,
        0o100_000 => Type::File,
        0o120_000 => Type::Symlink,
        0o020_000 => Type::CharDevice,
        0o060_000 => Type::BlockDevice,
        0o010_000 => Type::Fifo,
        0o140_000 => Type::Socket,
        _ => Type::Unknown,
    }
}
