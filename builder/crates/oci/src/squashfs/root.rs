//! The root directory's inode in a finished squashfs image. mksquashfs gives the root the time at which it runs, its own owner and no
//! attributes when it reads a tar stream (`-root-time` and `-root-uid` count from its version 4.6 on), so the same root would be another
//! image every time. The inode is the last of its table: it is exchanged, and the tables behind it are moved. The layout is that of the kernel's `fs/squashfs/squashfs_fs.h`.

use std::io::{self, Read, Seek, SeekFrom, Write};

use flate2::{Compression, read::ZlibDecoder, write::ZlibEncoder};

use crate::merge::RootEntry;

/// The superblock, in bytes, and where its fields are.
const SUPERBLOCK: usize = 96;
const INODES: usize = 4;
const FRAGMENTS: usize = 16;
const COMPRESSION: usize = 20;
const IDS: usize = 26;
const ROOT_INODE: usize = 32;
const BYTES_USED: usize = 40;
const ID_TABLE: usize = 48;
const XATTR_TABLE: usize = 56;
const INODE_TABLE: usize = 64;
const DIRECTORY_TABLE: usize = 72;
const FRAGMENT_TABLE: usize = 80;
const EXPORT_TABLE: usize = 88;
const FLAGS: usize = 24;
/// `SQUASHFS_INVALID_BLK`: there is no such table.
const NONE: u64 = u64::MAX;
/// zlib, which is all that is written here.
const GZIP: u16 = 1;
/// `NO_XATTR`: the image says that it has no attributes.
const NO_XATTR: u16 = 1 << 9;
/// Metadata comes in blocks of so many bytes before their compression.
const METADATA: usize = 8192;
/// In a block's length: it is not compressed.
const PLAIN: u16 = 1 << 15;
/// Kinds of inodes.
const DIRECTORY: u16 = 1;
const LARGE_DIRECTORY: u16 = 8;
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
    let mut superblock = vec![0; SUPERBLOCK];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut superblock)?;
    let inode = u64_at(&superblock, ROOT_INODE)?;
    let start = u64_at(&superblock, INODE_TABLE)?.checked_add(inode >> 16).ok_or_else(odd)?;
    let end = u64_at(&superblock, BYTES_USED)?;
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
    file.write_all(&superblock)?;
    file.flush()?;
    Ok(length + padding)
}

fn odd() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "mksquashfs has written an image that is not understood")
}

fn bytes_at<const N: usize>(bytes: &[u8], at: usize) -> io::Result<[u8; N]> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or_else(odd)
}

fn u16_at(bytes: &[u8], at: usize) -> io::Result<u16> {
    bytes_at(bytes, at).map(u16::from_le_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> io::Result<u32> {
    bytes_at(bytes, at).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> io::Result<u64> {
    bytes_at(bytes, at).map(u64::from_le_bytes)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) -> io::Result<()> {
    bytes.get_mut(at..at + value.len()).ok_or_else(odd)?.copy_from_slice(value);
    Ok(())
}

/// Makes what follows from the root's metadata block on anew. `tail` is what is there, which begins at `start` in the file.
fn rewritten(superblock: &mut [u8], start: u64, tail: &[u8], root: &RootEntry, mtime: u32) -> io::Result<Vec<u8>> {
    if u16_at(superblock, COMPRESSION)? != GZIP {
        return Err(odd());
    }
    let place = |at: u64| at.checked_sub(start).and_then(|at| usize::try_from(at).ok()).ok_or_else(odd);
    let directories = u64_at(superblock, DIRECTORY_TABLE)?;
    let mut inodes = unpacked(tail.get(..place(directories)?).ok_or_else(odd)?)?;
    let offset = (u64_at(superblock, ROOT_INODE)? & 0xffff) as usize;
    let old = inodes.split_off(offset.min(inodes.len()));
    let attributes = Attributes::read(superblock, tail, &place)?;
    let id_index = place(u64_at(superblock, ID_TABLE)?)?;
    let first_id = u64_at(tail, id_index)?;
    let mut ids = unpacked(tail.get(place(first_id)?..id_index).ok_or_else(odd)?)?;
    let owner = [id_of(&mut ids, root.entry.uid)?, id_of(&mut ids, root.entry.gid)?];
    let number = if pairs(root).next().is_none() { NO_ATTRIBUTES } else { attributes.count };
    inodes.extend(inode(&old, root, owner, mtime, number)?);
    let mut made = packed(&inodes)?;

    // All tables from the directories to the owners stay as they are, elsewhere.
    let moved = |at: u64| at.wrapping_sub(directories).wrapping_add(start + made.len() as u64);
    let mut tables = tail.get(place(directories)?..place(first_id)?).ok_or_else(odd)?.to_vec();
    let base = directories;
    for (field, entries, entry_size) in [
        (FRAGMENT_TABLE, u64::from(u32_at(superblock, FRAGMENTS)?), 16),
        (EXPORT_TABLE, u64::from(u32_at(superblock, INODES)?), 8),
    ] {
        let at = u64_at(superblock, field)?;
        if at == NONE || entries == 0 {
            continue;
        }
        let blocks = (entries * entry_size).div_ceil(METADATA as u64) as usize;
        let index = at.checked_sub(base).ok_or_else(odd)? as usize;
        for block in 0..blocks {
            let pointer = u64_at(&tables, index + 8 * block)?;
            put(&mut tables, index + 8 * block, &moved(pointer).to_le_bytes())?;
        }
        put(superblock, field, &moved(at).to_le_bytes())?;
    }
    // A table without entries stands where the next one begins.
    if u32_at(superblock, FRAGMENTS)? == 0 && u64_at(superblock, FRAGMENT_TABLE)? != NONE {
        let at = u64_at(superblock, FRAGMENT_TABLE)?;
        put(superblock, FRAGMENT_TABLE, &moved(at).to_le_bytes())?;
    }
    put(superblock, DIRECTORY_TABLE, &moved(directories).to_le_bytes())?;
    made.extend(tables);
    let (bytes, index) = indexed(&ids, start + made.len() as u64)?;
    put(superblock, ID_TABLE, &(start + (made.len() + bytes.len()) as u64).to_le_bytes())?;
    put(superblock, IDS, &u16::try_from(ids.len() / 4).map_err(|_| odd())?.to_le_bytes())?;
    made.extend([bytes, index].concat());
    let table = attributes.with(root, start + made.len() as u64)?;
    put(superblock, XATTR_TABLE, &table.at.unwrap_or(NONE).to_le_bytes())?;
    if table.at.is_some() {
        let flags = u16_at(superblock, FLAGS)? & !NO_XATTR;
        put(superblock, FLAGS, &flags.to_le_bytes())?;
    }
    made.extend(table.bytes);
    put(superblock, BYTES_USED, &(start + made.len() as u64).to_le_bytes())?;
    Ok(made)
}

/// Lists the root's attributes that squashfs has a place for: the name without its prefix, the prefix' number, the value.
fn pairs(root: &RootEntry) -> impl Iterator<Item = (&[u8], u16, &Vec<u8>)> {
    root.xattrs.iter().filter_map(|(name, value)| {
        let (prefix, kind) = PREFIXES.iter().find(|(prefix, _)| name.starts_with(prefix))?;
        Some((name.get(prefix.len()..)?, *kind, value))
    })
}

/// Returns true for an attribute of a kind that squashfs knows.
pub(super) fn has_place(name: &[u8]) -> bool {
    PREFIXES.iter().any(|(prefix, _)| name.starts_with(prefix))
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
    const BASIC: usize = 32;
    const LARGE: usize = 40;
    const MODE: usize = 2;
    const OWNER: usize = 4;
    const MTIME: usize = 8;
    const ATTRIBUTES: usize = 36;
    let kind = u16_at(old, 0)?;
    let mut new = old.to_vec();
    match kind {
        DIRECTORY if old.len() == BASIC && attributes == NO_ATTRIBUTES => {}
        DIRECTORY if old.len() == BASIC => {
            new.truncate(16);
            put(&mut new, 0, &LARGE_DIRECTORY.to_le_bytes())?;
            let (block, links) = (u32_at(old, 16)?, u32_at(old, 20)?);
            let (size, offset, parent) = (u16_at(old, 24)?, u16_at(old, 26)?, u32_at(old, 28)?);
            for word in [links, size.into(), block, parent] {
                new.extend(word.to_le_bytes());
            }
            // No index of its names.
            new.extend(0_u16.to_le_bytes());
            new.extend(offset.to_le_bytes());
            new.extend(attributes.to_le_bytes());
        }
        LARGE_DIRECTORY if old.len() >= LARGE => put(&mut new, ATTRIBUTES, &attributes.to_le_bytes())?,
        _ => return Err(odd()),
    }
    put(&mut new, MODE, &(root.entry.mode as u16).to_le_bytes())?;
    put(&mut new, OWNER, &owner.map(u16::to_le_bytes).concat())?;
    put(&mut new, MTIME, &root.entry.mtime.unwrap_or(mtime).to_le_bytes())?;
    Ok(new)
}

/// The attributes of all files: names and values, and where those of each number begin.
struct Attributes {
    pairs: Vec<u8>,
    /// Pieces of 16 bytes.
    numbers: Vec<u8>,
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
    fn read(superblock: &[u8], tail: &[u8], place: &dyn Fn(u64) -> io::Result<usize>) -> io::Result<Self> {
        let head = u64_at(superblock, XATTR_TABLE)?;
        if head == NONE {
            return Ok(Self { pairs: Vec::new(), numbers: Vec::new(), count: 0, blocks: Vec::new() });
        }
        let at = place(head)?;
        let (start, count) = (u64_at(tail, at)?, u32_at(tail, at + 8)?);
        let first = if count == 0 { head } else { u64_at(tail, at + 16)? };
        let packed = tail.get(place(start)?..place(first)?).ok_or_else(odd)?;
        let numbers = unpacked(tail.get(place(first)?..at).ok_or_else(odd)?)?;
        let mut blocks = Vec::new();
        let mut offset = 0;
        while offset < packed.len() {
            blocks.push(offset as u64);
            offset += 2 + usize::from(u16_at(packed, offset)? & !PLAIN);
        }
        Ok(Self { pairs: unpacked(packed)?, numbers, count, blocks })
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
            self.numbers.extend((block << 16 | (begin % METADATA) as u64).to_le_bytes());
            self.numbers.extend((own.len() as u32).to_le_bytes());
            self.numbers.extend(((self.pairs.len() - begin) as u32).to_le_bytes());
            self.count += 1;
        }
        let (numbers, index) = indexed(&self.numbers, at + bytes.len() as u64)?;
        bytes.extend(numbers);
        let head = at + bytes.len() as u64;
        bytes.extend(at.to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        bytes.extend([0; 4]);
        bytes.extend(index);
        Ok(Table { bytes, at: Some(head) })
    }

    /// Puts the places of `blocks` in the numbers for those that were read.
    fn replace(&mut self, blocks: &[u64]) -> io::Result<()> {
        for at in (0..self.numbers.len()).step_by(16) {
            let place = u64_at(&self.numbers, at)?;
            let block = self.blocks.binary_search(&(place >> 16)).map_err(|_| odd())?;
            let new = blocks.get(block).ok_or_else(odd)? << 16 | place & 0xffff;
            put(&mut self.numbers, at, &new.to_le_bytes())?;
        }
        Ok(())
    }
}

/// Unpacks all blocks of metadata.
fn unpacked(mut blocks: &[u8]) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    while !blocks.is_empty() {
        let head = u16_at(blocks, 0)?;
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
