//! An inode of an EROFS image, as it is stored.

use std::{fs::File, io, os::unix::fs::FileExt};

use archive::tree::{Device, Entry, Kind};
use base::escape::escape;
use zerocopy::IntoBytes;

use super::{
    directory::BLOCK,
    structures::{AttributeEntry, ExtendedInode},
};
use crate::merge::Attributes;

pub(super) const INODE: u64 = size_of::<ExtendedInode>() as u64;
/// The alignment of inodes: a `nid` counts these.
pub(super) const SLOT: u64 = 32;
/// `i_format`: an extended inode with its data in whole blocks, or behind the inode.
const PLAIN: u16 = 1;
const INLINE: u16 = 1 | 2 << 1;
/// `struct erofs_xattr_ibody_header`, in bytes.
const ATTRIBUTES_HEAD: usize = 12;
/// Names of attributes are stored without these (`EROFS_XATTR_INDEX_*`).
const PREFIXES: [(&[u8], u8); 5] = [
    (b"user.", 1),
    (b"system.posix_acl_access", 2),
    (b"system.posix_acl_default", 3),
    (b"trusted.", 4),
    (b"security.", 6),
];

/// A file's end among the others.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tail {
    pub(super) at: u64,
    pub(super) length: usize,
}

/// An inode and its place.
pub(super) struct Inode<'a> {
    pub(super) entry: &'a Entry,
    pub(super) links: u32,
    /// Its attributes as they are stored.
    pub(super) attributes: Vec<u8>,
    /// A link's target or a directory's entries: behind the inode, or in blocks of its own where they do not fit.
    pub(super) data: Vec<u8>,
    /// The end of a file that lies behind it.
    pub(super) tail: Option<Tail>,
    /// The first block of its contents.
    pub(super) start: u64,
    /// Its place in bytes from the first inode.
    pub(super) offset: u64,
}

impl<'a> Inode<'a> {
    pub(super) fn new(entry: &'a Entry, links: u32) -> Self {
        let data = match &entry.kind {
            Kind::Symlink(target) => target.clone(),
            _ => Vec::new(),
        };
        Self { entry, links, attributes: Vec::new(), data, tail: None, start: 0, offset: 0 }
    }

    fn size(&self) -> u64 {
        match &self.entry.kind {
            Kind::File(content) => content.size(),
            _ => self.data.len() as u64,
        }
    }

    pub(super) fn nid(&self) -> u64 {
        self.offset / SLOT
    }

    pub(super) fn is_inline(&self) -> bool {
        self.tail.is_some()
            || !self.data.is_empty() && self.data.len() as u64 + INODE + self.attributes.len() as u64 <= BLOCK
    }

    pub(super) fn length(&self) -> u64 {
        let behind = self.tail.map_or(self.data.len(), |tail| tail.length);
        INODE + self.attributes.len() as u64 + if self.is_inline() { behind as u64 } else { 0 }
    }

    /// Takes the next place from `offset` on: an inode with something behind it must be in one block.
    pub(super) fn place(&mut self, offset: u64) {
        self.offset = offset.next_multiple_of(SLOT);
        if self.is_inline() && self.offset % BLOCK + self.length() > BLOCK {
            self.offset = self.offset.next_multiple_of(BLOCK);
        }
    }

    pub(super) fn to_bytes(&self, number: u32, mtime: u32, tails: Option<&File>) -> io::Result<Vec<u8>> {
        let Entry { mode, uid, gid, kind, .. } = self.entry;
        let place = match kind {
            Kind::CharDevice(device) | Kind::BlockDevice(device) => encode(*device),
            _ => self.start as u32,
        };
        let count = if self.attributes.is_empty() { 0 } else { (self.attributes.len() - ATTRIBUTES_HEAD) / 4 + 1 };
        let inode = ExtendedInode {
            format: if self.is_inline() { INLINE } else { PLAIN }.into(),
            attributes: (count as u16).into(),
            mode: ((self::kind(kind).0 | mode) as u16).into(),
            size: self.size().into(),
            place: place.into(),
            number: number.into(),
            uid: (*uid).into(),
            gid: (*gid).into(),
            time: u64::from(self.entry.mtime.unwrap_or(mtime)).into(),
            links: self.links.into(),
            ..ExtendedInode::default()
        };
        let mut bytes = inode.as_bytes().to_vec();
        bytes.extend(&self.attributes);
        match (self.tail, tails) {
            (Some(Tail { at, length }), Some(tails)) => {
                let mut tail = vec![0; length];
                tails.read_exact_at(&mut tail, at)?;
                bytes.extend(tail);
            }
            _ if self.is_inline() => bytes.extend(&self.data),
            _ => {}
        }
        Ok(bytes)
    }
}

/// Encodes a device's number as `new_encode_dev` does (`include/linux/kdev_t.h`).
fn encode(device: Device) -> u32 {
    (device.minor & 0xff) | (device.major << 8) | ((device.minor & !0xff) << 12)
}

/// Splits the name of an attribute that EROFS has a place for into the number of its prefix and the rest.
fn split(name: &[u8]) -> Option<(u8, &[u8])> {
    let known = PREFIXES.iter().find_map(|(prefix, index)| Some((*index, name.strip_prefix(*prefix)?)));
    // An access control list has no name behind its prefix.
    known.filter(|(index, rest)| rest.is_empty() == matches!(index, 2 | 3))
}

/// Returns true for an attribute that EROFS has a place for.
pub(crate) fn keeps(name: &[u8]) -> bool {
    split(name).is_some()
}

/// Returns the attributes of an inode as they are stored, in the order of their names; empty where EROFS keeps none of them.
pub(super) fn attributes(attributes: &Attributes) -> Result<Vec<u8>, String> {
    if !attributes.keys().any(|name| keeps(name)) {
        return Ok(Vec::new());
    }
    let mut bytes = vec![0; ATTRIBUTES_HEAD];
    for (name, value) in attributes {
        let Some((index, rest)) = split(name) else { continue };
        let refuse = |why: &str| format!("its attribute `{}` {why}", escape(name));
        let length = u8::try_from(rest.len()).map_err(|_| refuse("has too long a name"))?;
        let size = u16::try_from(value.len()).map_err(|_| refuse("has too long a value"))?;
        bytes.extend(AttributeEntry { name: length, prefix: index, value: size.into() }.as_bytes());
        bytes.extend(rest);
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
    }
    // `i_xattr_icount` has 16 bits.
    if bytes.len() / 4 > usize::from(u16::MAX) {
        return Err("its attributes are too long together".to_owned());
    }
    Ok(bytes)
}

/// Returns the kind in an inode's mode, and in a directory's entry (`FT_*`).
pub(super) fn kind(kind: &Kind) -> (u32, u8) {
    match kind {
        Kind::File(_) => (0o100_000, 1),
        Kind::Directory => (0o040_000, 2),
        Kind::CharDevice(_) => (0o020_000, 3),
        Kind::BlockDevice(_) => (0o060_000, 4),
        Kind::Fifo => (0o010_000, 5),
        Kind::Symlink(_) => (0o120_000, 7),
    }
}
