//! The root directory's inode in a finished squashfs image. mksquashfs gives the root the time at which it runs, its own owner and no
//! attributes when it reads a tar stream (`-root-time` and `-root-uid` count from its version 4.6 on), so the same root would be another
//! image every time. The inode is the last of its table: it is exchanged, and the tables behind it are moved. The layout is that of the kernel's `fs/squashfs/squashfs_fs.h`.

use std::io::{self, Read, Seek, SeekFrom, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};
use zerocopy::{
    FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

use super::structures::{AttributesAt, AttributesHead, Directory, InodeHead, LargeDirectory, Superblock};
use crate::merge::RootEntry;

/// `SQUASHFS_INVALID_BLK`: there is no such table.
const NONE: u64 = u64::MAX;
/// zlib, which is all that is written here.
const GZIP: u16 = 1;
/// `NO_XATTR`: the image says that it has no attributes.
const NO_XATTR: u16 = 1 << 9;
/// Metadata comes in blocks of so many bytes before their compression.
const METADATA: usize = 8192;
/// The bit in a block's length for one that is not compressed.
const PLAIN: u16 = 1 << 15;
/// The kind of a directory's inode that is not a [`LargeDirectory`].
const DIRECTORY: u16 = 1;
/// Attributes by their prefix (`SQUASHFS_XATTR_*`).
const PREFIXES: [(&[u8], u16); 3] = [(b"user.", 0), (b"trusted.", 1), (b"security.", 2)];
/// No attributes.
const NO_ATTRIBUTES: u32 = u32::MAX;
/// The file is made a multiple of this, as mksquashfs does.
const PADDING: u64 = 4096;

/// Makes the root of the image in `file` what `root` says.
///
/// # Errors
/// The file's error, or that it is no image that mksquashfs writes.
pub(super) fn settle(file: &mut (impl Read + Write + Seek), root: &RootEntry, mtime: u32) -> io::Result<u64> {
    let mut superblock = Superblock::new_zeroed();
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(superblock.as_mut_bytes())?;
    let inodes = superblock.inode_table.get();
    let start = inodes.checked_add(superblock.root_inode.get() >> 16).ok_or_else(odd)?;
    let end = superblock.bytes_used.get();
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(end.checked_sub(start).ok_or_else(odd)?).read_to_end(&mut tail)?;
    let tail = rewritten(&mut superblock, start, &tail, root, mtime)?;
    file.seek(SeekFrom::Start(start))?;
    file.write_all(&tail)?;
    let length = start + tail.len() as u64;
    let padding = length.next_multiple_of(PADDING) - length;
    file.write_all(&vec![0; padding as usize])?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(superblock.as_bytes())?;
    file.flush()?;
    Ok(length + padding)
}

fn odd() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "mksquashfs has written an image that is not understood")
}

/// Returns the structure at `at`.
fn read<T: FromBytes + KnownLayout + Immutable + Unaligned>(bytes: &[u8], at: usize) -> io::Result<&T> {
    let found = bytes.get(at..).and_then(|rest| T::ref_from_prefix(rest).ok());
    found.map(|(structure, _)| structure).ok_or_else(odd)
}

/// Rewrites everything from the root's metadata block on. `tail` is what is there, which begins at `start` in the file.
fn rewritten(
    superblock: &mut Superblock,
    start: u64,
    tail: &[u8],
    root: &RootEntry,
    mtime: u32,
) -> io::Result<Vec<u8>> {
    if superblock.compression != GZIP {
        return Err(odd());
    }
    let place = |at: U64| at.get().checked_sub(start).and_then(|at| usize::try_from(at).ok()).ok_or_else(odd);
    let directories = superblock.directory_table;
    let mut inodes = unpacked(tail.get(..place(directories)?).ok_or_else(odd)?)?;
    let offset = (superblock.root_inode.get() & 0xffff) as usize;
    let old = inodes.split_off(offset.min(inodes.len()));
    let attributes = Attributes::read(superblock.attribute_table, tail, &place)?;
    let id_index = place(superblock.id_table)?;
    let first_id = *read(tail, id_index)?;
    let mut ids = unpacked(tail.get(place(first_id)?..id_index).ok_or_else(odd)?)?;
    let owner = [id_of(&mut ids, root.entry.uid)?, id_of(&mut ids, root.entry.gid)?];
    let number = if pairs(root).next().is_none() { NO_ATTRIBUTES } else { attributes.count };
    inodes.extend(inode(&old, root, owner, mtime, number)?);
    let mut made = packed(&inodes)?;

    // All tables from the directories to the owners stay as they are, elsewhere.
    let shift = (start + made.len() as u64).wrapping_sub(directories.get());
    let moved = |at: U64| U64::new(at.get().wrapping_add(shift));
    let mut tables = tail.get(place(directories)?..place(first_id)?).ok_or_else(odd)?.to_vec();
    let (fragments, inode_count) = (superblock.fragments.get(), superblock.inodes.get());
    for (table, entries, entry_size) in
        [(&mut superblock.fragment_table, fragments, 16), (&mut superblock.export_table, inode_count, 8)]
    {
        if *table == NONE {
            continue;
        }
        // A table without entries stands where the next one begins.
        let blocks = (u64::from(entries) * entry_size).div_ceil(METADATA as u64) as usize;
        let index = table.get().checked_sub(directories.get()).ok_or_else(odd)? as usize;
        let pointers = tables.get_mut(index..).ok_or_else(odd)?;
        for pointer in <[U64]>::mut_from_prefix_with_elems(pointers, blocks).map_err(|_| odd())?.0 {
            *pointer = moved(*pointer);
        }
        *table = moved(*table);
    }
    superblock.directory_table = moved(directories);
    made.extend(tables);
    let (bytes, index) = indexed(&ids, start + made.len() as u64)?;
    superblock.id_table = (start + (made.len() + bytes.len()) as u64).into();
    superblock.ids = u16::try_from(ids.len() / 4).map_err(|_| odd())?.into();
    made.extend([bytes, index].concat());
    let table = attributes.with(root, start + made.len() as u64)?;
    superblock.attribute_table = table.at.unwrap_or(NONE).into();
    if table.at.is_some() {
        superblock.flags &= U16::new(!NO_XATTR);
    }
    made.extend(table.bytes);
    superblock.bytes_used = (start + made.len() as u64).into();
    Ok(made)
}

/// Lists the root's attributes that squashfs has a place for: the name without its prefix, the prefix' number, the value.
fn pairs(root: &RootEntry) -> impl Iterator<Item = (&[u8], u16, &Vec<u8>)> {
    root.xattrs.iter().filter(|(name, _)| keeps(name)).filter_map(|(name, value)| {
        let (prefix, kind) = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix))?;
        Some((name.get(prefix.len()..)?, *kind, value))
    })
}

/// Returns true for an attribute that squashfs has a place for. A PAX record, in which mksquashfs gets it, is UTF-8.
pub(crate) fn keeps(name: &[u8]) -> bool {
    let has_prefix = |prefix: &[u8]| name.len() > prefix.len() && name.starts_with(prefix);
    str::from_utf8(name).is_ok() && PREFIXES.iter().any(|(prefix, _)| has_prefix(prefix))
}

/// Finds an owner's number in the table of them, or adds it; returns its place.
fn id_of(ids: &mut Vec<u8>, id: u32) -> io::Result<u16> {
    let id = id.to_le_bytes();
    let place = ids.as_chunks::<4>().0.iter().position(|known| *known == id);
    let place = place.unwrap_or_else(|| {
        ids.extend(id);
        ids.len() / 4 - 1
    });
    u16::try_from(place).map_err(|_| odd())
}

/// Packs metadata that is to lie at `at`; returns its blocks and the index of their places.
fn indexed(bytes: &[u8], at: u64) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut blocks, mut index) = (Vec::new(), Vec::new());
    for chunk in bytes.chunks(METADATA) {
        index.extend((at + blocks.len() as u64).to_le_bytes());
        blocks.extend(packed_block(chunk)?);
    }
    Ok((blocks, index))
}

/// Makes the root's inode as `root` says. It must be all that `old` holds.
fn inode(old: &[u8], root: &RootEntry, owner: [u16; 2], mtime: u32, attributes: u32) -> io::Result<Vec<u8>> {
    let settle = |head: &mut InodeHead| {
        head.mode = (root.entry.mode as u16).into();
        head.owner = owner.map(U16::new);
        head.mtime = root.entry.mtime.unwrap_or(mtime).into();
    };
    let (mut large, index) = match read::<U16>(old, 0)?.get() {
        DIRECTORY => {
            let mut basic = Directory::read_from_bytes(old).map_err(|_| odd())?;
            if attributes == NO_ATTRIBUTES {
                settle(&mut basic.head);
                return Ok(basic.as_bytes().to_vec());
            }
            (LargeDirectory::from(basic), &[][..])
        }
        LargeDirectory::KIND => LargeDirectory::read_from_prefix(old).map_err(|_| odd())?,
        _ => return Err(odd()),
    };
    settle(&mut large.head);
    large.attributes = attributes.into();
    Ok([large.as_bytes(), index].concat())
}

/// The attributes of all files: names and values, and where those of each number begin.
struct Attributes {
    pairs: Vec<u8>,
    numbers: Vec<AttributesAt>,
    count: u32,
    /// The offsets of the blocks of the pairs, as they are stored.
    blocks: Vec<u64>,
}

/// A table that was made, and where its head lies.
struct Table {
    bytes: Vec<u8>,
    at: Option<u64>,
}

impl Attributes {
    fn read(head: U64, tail: &[u8], place: &dyn Fn(U64) -> io::Result<usize>) -> io::Result<Self> {
        if head == NONE {
            return Ok(Self { pairs: Vec::new(), numbers: Vec::new(), count: 0, blocks: Vec::new() });
        }
        let at = place(head)?;
        let &AttributesHead { pairs: start, count, .. } = read(tail, at)?;
        let first = if count == 0 { head } else { *read(tail, at + size_of::<AttributesHead>())? };
        let packed = tail.get(place(start)?..place(first)?).ok_or_else(odd)?;
        let numbers = unpacked(tail.get(place(first)?..at).ok_or_else(odd)?)?;
        let numbers = <[AttributesAt]>::ref_from_bytes(&numbers).map_err(|_| odd())?.to_vec();
        let mut blocks = Vec::new();
        let mut offset = 0;
        while offset < packed.len() {
            blocks.push(offset as u64);
            offset += 2 + usize::from(read::<U16>(packed, offset)?.get() & !PLAIN);
        }
        Ok(Self { pairs: unpacked(packed)?, numbers, count: count.get(), blocks })
    }

    /// Makes the table with the root's attributes added, to lie at `at`.
    fn with(mut self, root: &RootEntry, at: u64) -> io::Result<Table> {
        let own: Vec<(&[u8], u16, &Vec<u8>)> = pairs(root).collect();
        if own.is_empty() && self.count == 0 {
            return Ok(Table { bytes: Vec::new(), at: None });
        }
        let begin = self.pairs.len();
        for (name, kind, value) in &own {
            let length = |length: usize| u16::try_from(length).map_err(|_| odd());
            self.pairs.extend(kind.to_le_bytes());
            self.pairs.extend(length(name.len())?.to_le_bytes());
            self.pairs.extend(*name);
            self.pairs.extend(u32::from(length(value.len())?).to_le_bytes());
            self.pairs.extend(*value);
        }
        // The blocks before the last were whole, so they come out as they were and the places in them stay right.
        let mut bytes = Vec::new();
        let mut blocks = Vec::new();
        for chunk in self.pairs.chunks(METADATA) {
            blocks.push(bytes.len() as u64);
            bytes.extend(packed_block(chunk)?);
        }
        self.replace(&blocks)?;
        if !own.is_empty() {
            // At the end of the last whole block the next one begins.
            let block = blocks.get(begin / METADATA).ok_or_else(odd)?;
            self.numbers.push(AttributesAt {
                place: (block << 16 | (begin % METADATA) as u64).into(),
                count: (own.len() as u32).into(),
                size: ((self.pairs.len() - begin) as u32).into(),
            });
            self.count += 1;
        }
        let (numbers, index) = indexed(self.numbers.as_bytes(), at + bytes.len() as u64)?;
        bytes.extend(numbers);
        let head = at + bytes.len() as u64;
        let table = AttributesHead { pairs: at.into(), count: self.count.into(), unused: U32::ZERO };
        bytes.extend([table.as_bytes(), &index].concat());
        Ok(Table { bytes, at: Some(head) })
    }

    /// Puts the places of `blocks` in the numbers for those that were read.
    fn replace(&mut self, blocks: &[u64]) -> io::Result<()> {
        for AttributesAt { place, .. } in &mut self.numbers {
            let block = self.blocks.binary_search(&(place.get() >> 16)).map_err(|_| odd())?;
            *place = (blocks.get(block).ok_or_else(odd)? << 16 | place.get() & 0xffff).into();
        }
        Ok(())
    }
}

/// Unpacks all blocks of metadata.
fn unpacked(mut blocks: &[u8]) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while !blocks.is_empty() {
        let head = read::<U16>(blocks, 0)?.get();
        let length = usize::from(head & !PLAIN);
        let stored = blocks.get(2..2 + length).ok_or_else(odd)?;
        match head & PLAIN {
            0 => drop(ZlibDecoder::new(stored).take(METADATA as u64).read_to_end(&mut all)?),
            _ => all.extend(stored),
        }
        blocks = blocks.get(2 + length..).unwrap_or_default();
    }
    Ok(all)
}

/// Packs metadata into blocks.
fn packed(bytes: &[u8]) -> io::Result<Vec<u8>> {
    bytes.chunks(METADATA).map(packed_block).collect::<io::Result<Vec<_>>>().map(|blocks| blocks.concat())
}

fn packed_block(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes)?;
    let stored = encoder.finish()?;
    let (head, stored) = match stored.len() < bytes.len() {
        true => (stored.len() as u16, stored.as_slice()),
        false => (bytes.len() as u16 | PLAIN, bytes),
    };
    Ok([&head.to_le_bytes(), stored].concat())
}
