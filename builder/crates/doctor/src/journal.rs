//! The journal of an ext4 filesystem that was not unmounted: which blocks the next mount would put back, laid over the
//! filesystem without writing to it. (The library that reads ext4 takes journals of one format only, and not where the log goes
//! round its end.) Format and rules: kernel, Documentation/filesystems/ext4/journal.rst and fs/jbd2/recovery.c.

use std::{collections::BTreeMap, io, mem::offset_of, sync::Arc};

use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    big_endian::{U16, U32},
};

use super::{
    block_reader::{Medium, Replaced, Shared, overlay},
    error::{Error, damaged},
    superblock::{Layout, NEEDS_RECOVERY, Superblock, crc32c, inodes::Inodes},
};
use crate::error::Result;

const MAGIC: u32 = 0xc03b_3998;
/// Kinds of block.
const DESCRIPTOR: u32 = 1;
const COMMIT: u32 = 2;
const SUPERBLOCKS: [u32; 2] = [3, 4];
const REVOKE: u32 = 5;
/// Features that change how the log is read.
const HAS_64BIT: u32 = 0x2;
const ASYNC_COMMIT: u32 = 0x4;
const CHECKSUM_2: u32 = 0x8;
const CHECKSUM_3: u32 = 0x10;
const KNOWN: u32 = 0x1 | HAS_64BIT | ASYNC_COMMIT | CHECKSUM_2 | CHECKSUM_3;
/// Flags of a tag.
const ESCAPED: u32 = 0x1;
const SAME_UUID: u32 = 0x2;
const LAST: u32 = 0x8;

/// The beginning of a block that describes.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    magic: U32,
    kind: U32,
    sequence: U32,
}

/// The journal's superblock; from `compatible` on, only kind 4 has it.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Head {
    header: Header,
    block: U32,
    end: U32,
    first: U32,
    sequence: U32,
    start: U32,
    error: U32,
    compatible: U32,
    incompatible: U32,
    read_only: U32,
    uuid: [u8; 16],
    more: [u8; 188],
    checksum: U32,
    users: [u8; 768],
}

/// A tag of a descriptor with checksums of the third kind.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Tag3 {
    target_low: U32,
    flags: U32,
    target_high: U32,
    checksum: U32,
}

/// Any other tag, without the upper half of its target, which only a journal of 64 bits has.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Tag {
    target_low: U32,
    checksum: U16,
    flags: U16,
}

/// The beginning of a block that commits.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Commit {
    header: Header,
    sum_kind: [u8; 4],
    checksum: U32,
}

/// The beginning of a list of freed blocks.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Revoked {
    header: Header,
    /// Bytes of the block in use, with this.
    used: U32,
}

const _: () = assert!(size_of::<Head>() == 1024);

/// Returns the filesystem in `medium` as the next mount would see it, and the number of blocks replayed from its journal. A
/// filesystem that was unmounted cleanly needs no replay and is returned as it is.
///
/// # Errors
/// Any error of `medium`; [`Error::Damaged`] if the filesystem or its journal is damaged, so that the kernel would not mount it;
/// [`Error::Unreadable`] for a journal on another device or with features that are not supported here.
pub fn replayed(medium: Shared) -> Result<(Shared, usize)> {
    let layout = Layout::read(&medium)?;
    if !layout.needs_recovery {
        return Ok((medium, 0));
    }
    layout.check_descriptors(&medium)?;
    let places = Log::open(&medium, &layout)?.blocks()?;
    let count = places.len();
    let replayed: Shared = Arc::new(Replayed { below: medium, block: u64::from(layout.block), places });
    // The superblock goes through the journal too. Its flag comes off, as a mount takes it off.
    let (offset, clean) = Superblock::without(&replayed, NEEDS_RECOVERY)?;
    Ok((Arc::new(Replaced::new(replayed, offset, clean)), count))
}

/// A filesystem with the blocks of its journal in their places.
#[derive(Debug)]
struct Replayed {
    below: Shared,
    block: u64,
    /// For a block of the filesystem the one in the journal, and whether its first word was changed so that it does not look like
    /// a part of the journal.
    places: BTreeMap<u64, (u64, bool)>,
}

impl Medium for Replayed {
    fn size(&self) -> u64 {
        self.below.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.below.read_at(offset, buffer)?;
        let end = offset + buffer.len() as u64;
        for (target, (source, is_escaped)) in self.places.range(offset / self.block..end.div_ceil(self.block)) {
            let mut content = vec![0; usize::try_from(self.block).unwrap_or(0)];
            self.below.read_at(source * self.block, &mut content)?;
            if *is_escaped {
                content[..4].copy_from_slice(&MAGIC.to_be_bytes());
            }
            overlay(buffer, offset, &content, target * self.block);
        }
        Ok(())
    }
}

/// Returns the structure that `block` begins with.
fn structure<T: FromBytes + KnownLayout + Immutable + Unaligned>(block: &[u8]) -> Result<&T> {
    T::ref_from_prefix(block).map(|(structure, _)| structure).map_err(|_| damaged("its journal has a block too short"))
}

/// The journal, as its own superblock describes it.
struct Log<'a> {
    medium: &'a Shared,
    /// The filesystem's block number of each of its blocks.
    places: Vec<u64>,
    block: usize,
    first: u32,
    end: u32,
    start: u32,
    sequence: u32,
    features: u32,
    seed: u32,
}

/// A tag of any kind.
struct Tagged {
    target: u64,
    flags: u32,
    sum: u32,
}

/// A block that a transaction wrote.
struct Written {
    target: u64,
    /// Its place in the log.
    place: u32,
    sequence: u32,
    is_escaped: bool,
}

impl<'a> Log<'a> {
    fn open(medium: &'a Shared, layout: &Layout) -> Result<Self> {
        let block = layout.block as usize;
        let elsewhere = || Error::Unreadable("the journal of this ext4 is on another device".into());
        let inode = layout.journal.ok_or_else(elsewhere)?;
        let places = Inodes { medium, layout }.blocks(inode)?;
        let mut log =
            Self { medium, places, block, first: 0, end: u32::MAX, start: 0, sequence: 0, features: 0, seed: 0 };
        let block = log.read(0)?;
        let head: &Head = structure(&block)?;
        let kind = head.header.kind.get();
        if head.header.magic != MAGIC || !SUPERBLOCKS.contains(&kind) || head.block != layout.block {
            return Err(damaged("its journal has no superblock"));
        }
        log.features = if kind == SUPERBLOCKS[1] { head.incompatible.get() } else { 0 };
        if log.features & !KNOWN != 0 {
            let features = log.features & !KNOWN;
            return Err(Error::Unreadable(format!("the doctor does not read a journal with features {features:#x}")));
        }
        (log.end, log.first) = (head.end.get(), head.first.get());
        (log.sequence, log.start) = (head.sequence.get(), head.start.get());
        if log.end as usize > log.places.len() || log.first == 0 || log.first >= log.end || log.start >= log.end {
            return Err(damaged("its journal's superblock does not fit the journal"));
        }
        if log.has_checksums() {
            if sum_without(!0, head.as_bytes(), offset_of!(Head, checksum)) != head.checksum {
                return Err(damaged("its journal's superblock has a wrong checksum"));
            }
            log.seed = crc32c(!0, &head.uuid);
        }
        Ok(log)
    }

    fn has_checksums(&self) -> bool {
        self.features & (CHECKSUM_2 | CHECKSUM_3) != 0
    }

    fn read(&self, place: u32) -> Result<Vec<u8>> {
        let target = self.places.get(place as usize).ok_or_else(|| damaged("its journal is too short"))?;
        let mut block = vec![0; self.block];
        self.medium.read_at(target * self.block as u64, &mut block)?;
        Ok(block)
    }

    fn after(&self, place: u32) -> u32 {
        if place + 1 >= self.end { self.first } else { place + 1 }
    }

    /// Returns, for each block of the filesystem that gets another content, the block that has it, and whether that was changed.
    fn blocks(&self) -> Result<BTreeMap<u64, (u64, bool)>> {
        let (written, revoked) = self.scan()?;
        let mut blocks = BTreeMap::new();
        for Written { target, place, sequence, is_escaped } in written {
            // What was freed later must not come back: the block may belong to a file by then.
            if revoked.get(&target).is_none_or(|freed| is_later(sequence, *freed)) {
                blocks.insert(target, (self.places[place as usize], is_escaped));
            }
        }
        Ok(blocks)
    }

    /// Returns everything that whole transactions wrote and freed, in order.
    fn scan(&self) -> Result<(Vec<Written>, BTreeMap<u64, u32>)> {
        let (mut written, mut revoked) = (Vec::new(), BTreeMap::new());
        let (mut new, mut freed): (Vec<Written>, Vec<u64>) = (Vec::new(), Vec::new());
        let (mut place, mut sequence) = (self.start, self.sequence);
        // Start 0: the journal is empty. A log that never ends goes round once.
        let mut left = if self.start == 0 { 0 } else { self.end };
        let mut is_damaged = false;
        while left > 0 {
            left -= 1;
            let block = self.read(place)?;
            let header: &Header = structure(&block)?;
            if header.magic != MAGIC || header.sequence != sequence {
                break;
            }
            place = self.after(place);
            match header.kind.get() {
                DESCRIPTOR => {
                    is_damaged |= !self.has_good_tail(&block);
                    for Tagged { target, flags, sum } in self.tags(&block) {
                        is_damaged |= !self.is_good_content(&self.read(place)?, sequence, sum);
                        new.push(Written { target, place, sequence, is_escaped: flags & ESCAPED != 0 });
                        place = self.after(place);
                        left = left.saturating_sub(1);
                    }
                }
                REVOKE => {
                    is_damaged |= !self.has_good_tail(&block);
                    freed.extend(self.revoked(&block)?);
                }
                // The end that was never written whole: the transaction did not happen.
                COMMIT if !self.is_good_commit(&block)? => break,
                // It did happen, and cannot be repeated: the kernel refuses to mount.
                COMMIT if is_damaged => return Err(damaged("its journal has a block with a wrong checksum")),
                COMMIT => {
                    written.append(&mut new);
                    for target in freed.drain(..) {
                        revoked.insert(target, sequence);
                    }
                    sequence = sequence.wrapping_add(1);
                }
                _ => break,
            }
        }
        Ok((written, revoked))
    }

    /// Returns what a descriptor says of the blocks behind it.
    fn tags(&self, block: &[u8]) -> Vec<Tagged> {
        let end = block.len() - if self.has_checksums() { size_of::<U32>() } else { 0 };
        let mut rest = block.get(size_of::<Header>()..end).unwrap_or_default();
        let mut tags = Vec::new();
        while let Some((tag, after)) = self.tag(rest) {
            let flags = tag.flags;
            tags.push(tag);
            if flags & LAST != 0 {
                break;
            }
            rest = after.get(if flags & SAME_UUID == 0 { 16 } else { 0 }..).unwrap_or_default();
        }
        tags
    }

    /// Splits a tag from `bytes`.
    fn tag<'b>(&self, bytes: &'b [u8]) -> Option<(Tagged, &'b [u8])> {
        let is_64 = self.features & HAS_64BIT != 0;
        let target = |high: U32, low: U32| u64::from(if is_64 { high.get() } else { 0 }) << 32 | u64::from(low.get());
        if self.features & CHECKSUM_3 != 0 {
            let (tag, rest) = Tag3::ref_from_prefix(bytes).ok()?;
            let (flags, sum) = (tag.flags.get(), tag.checksum.get());
            return Some((Tagged { target: target(tag.target_high, tag.target_low), flags, sum }, rest));
        }
        let (tag, mut rest) = Tag::ref_from_prefix(bytes).ok()?;
        let mut high = U32::ZERO;
        if is_64 {
            (high, rest) = U32::read_from_prefix(rest).ok()?;
        }
        // The second kind of checksums made the tag longer and the field no larger (`journal_tag_bytes`).
        let rest = rest.get(if self.features & CHECKSUM_2 != 0 { 2 } else { 0 }..)?;
        let (flags, sum) = (tag.flags.get().into(), tag.checksum.get().into());
        Some((Tagged { target: target(high, tag.target_low), flags, sum }, rest))
    }

    fn revoked(&self, block: &[u8]) -> Result<Vec<u64>> {
        let used = structure::<Revoked>(block)?.used.get() as usize;
        let size = if self.features & HAS_64BIT != 0 { 8 } else { 4 };
        let records = block.get(size_of::<Revoked>()..used);
        let records = records.ok_or_else(|| damaged("its journal has a bad list of freed blocks"))?;
        let number = |record: &[u8]| record.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        Ok(records.chunks_exact(size).map(number).collect())
    }

    fn has_good_tail(&self, block: &[u8]) -> bool {
        let (_, sum) = block.split_at(block.len() - size_of::<U32>());
        !self.has_checksums() || sum_without(self.seed, block, block.len() - sum.len()).as_bytes() == sum
    }

    fn is_good_content(&self, content: &[u8], sequence: u32, sum: u32) -> bool {
        let seen = || crc32c(crc32c(self.seed, &sequence.to_be_bytes()), content);
        match self.features & (CHECKSUM_2 | CHECKSUM_3) {
            0 => true,
            CHECKSUM_2 => seen() & 0xffff == sum,
            _ => seen() == sum,
        }
    }

    fn is_good_commit(&self, block: &[u8]) -> Result<bool> {
        let sum = structure::<Commit>(block)?.checksum;
        Ok(!self.has_checksums() || sum_without(self.seed, block, offset_of!(Commit, checksum)) == sum)
    }
}

/// Returns the checksum of `bytes` with zeros for the checksum in them, which is at `place`.
fn sum_without(seed: u32, bytes: &[u8], place: usize) -> U32 {
    let (head, tail) = bytes.split_at(place.min(bytes.len()));
    let tail = tail.get(size_of::<U32>()..).unwrap_or_default();
    [head, &[0; size_of::<U32>()], tail].iter().fold(seed, |sum, part| crc32c(sum, part)).into()
}

/// Returns true if `a` comes after `b`; the numbers go round.
fn is_later(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}
