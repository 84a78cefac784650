//! FAT's structures on the disk.

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32},
};

/// Bytes of a directory's entry.
pub(super) const DIRECTORY_ENTRY: usize = size_of::<ShortEntry>();

/// The first sector, with the BIOS parameter block.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct BootSector {
    jump: [u8; 3],
    system: [u8; 8],
    /// Bytes of a sector.
    pub(super) sector: U16,
    pub(super) sectors_per_cluster: u8,
    /// Sectors before the first table.
    pub(super) reserved: U16,
    /// Copies of the table.
    pub(super) tables: u8,
    /// Entries of the root directory; 0 on FAT32.
    pub(super) root_entries: U16,
    /// Sectors of the filesystem, if they fit; else 0.
    pub(super) sectors_16: U16,
    pub(super) media: u8,
    /// Sectors of a table; 0 on FAT32.
    pub(super) table_sectors: U16,
    geometry: [U16; 2],
    hidden: U32,
    pub(super) sectors_32: U32,
    /// An [`Identity`], or a [`Fat32`].
    pub(super) variant: [u8; 474],
    pub(super) signature: [u8; 2],
}

/// The rest of the parameters on FAT32.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Fat32 {
    pub(super) table_sectors: U32,
    flags: U16,
    version: U16,
    pub(super) root_cluster: U32,
    information: U16,
    backup: U16,
    reserved: [u8; 12],
    pub(super) identity: Identity,
}

/// Names of the filesystem.
#[derive(Debug, Clone, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct Identity {
    drive: u8,
    flags: u8,
    signature: u8,
    pub(super) serial: U32,
    pub(super) label: [u8; 11],
    pub(super) kind: [u8; 8],
}

/// A directory's entry.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct ShortEntry {
    /// Eight bytes and the three behind the dot, filled with spaces.
    pub(super) name: [u8; 11],
    pub(super) attributes: u8,
    /// Parts of the name that are in lower case.
    pub(super) case: u8,
    created: [u8; 5],
    accessed: U16,
    pub(super) cluster_high: U16,
    written: [U16; 2],
    pub(super) cluster_low: U16,
    pub(super) size: U32,
}

/// A piece of a long name, in front of the entry that it names.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct LongEntry {
    /// The piece's number from 1, with [`LongEntry::LAST`] on the first that comes.
    pub(super) order: u8,
    pub(super) first: [U16; 5],
    attributes: u8,
    kind: u8,
    /// Of the short name.
    pub(super) checksum: u8,
    pub(super) middle: [U16; 6],
    cluster: U16,
    pub(super) last: [U16; 2],
}

impl LongEntry {
    pub(super) const LAST: u8 = 0x40;

    /// Returns the piece's letters in UTF-16.
    pub(super) fn letters(&self) -> impl Iterator<Item = u16> {
        [&self.first[..], &self.middle, &self.last].into_iter().flatten().map(|letter| letter.get())
    }
}

const _: () = assert!(size_of::<BootSector>() == 512 && size_of::<LongEntry>() == DIRECTORY_ENTRY);
