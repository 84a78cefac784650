//! The journal of an ext4 filesystem that was not unmounted: which blocks the next mount would put back, laid over the
//! filesystem without writing to it. (The library that reads ext4 takes journals of one format only, and not where the log goes
//! round its end.) Format and rules: kernel, Documentation/filesystems/ext4/journal.rst and fs/jbd2/recovery.c.

use std::{collections::BTreeMap, io, sync::Arc};

use super::{
    block_reader::{Medium, Replaced, Shared, overlay},
    superblock::{Inodes, Layout, corrupt, crc32c, field16, field32},
};

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

/// The filesystem in `block_reader` as the next mount would see it, and how many blocks its journal put back. Where the filesystem was
/// unmounted there is nothing to do.
///
/// # Errors
/// Where the kernel would not mount it: a journal that is damaged or elsewhere.
pub fn replayed(medium: Shared) -> io::Result<(Shared, usize)> {
    let layout = Layout::read(&medium)?;
    if !layout.needs_recovery {
        return Ok((medium, 0));
    }
    layout.check_descriptors(&medium)?;
    let places = Log::open(&medium, &layout)?.blocks()?;
    let count = places.len();
    let replayed: Shared = Arc::new(Replayed { below: medium, block: u64::from(layout.block), places });
    // The superblock goes through the journal too. Its flag comes off, as a mount takes it off.
    let (offset, clean) = Layout::without_recovery(&replayed)?;
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

fn be32(bytes: &[u8], at: usize) -> u32 {
    field32(bytes, at).swap_bytes()
}

/// The journal, as its own superblock describes it.
struct Log<'a> {
    medium: &'a Shared,
    /// Where each of its blocks lies in the filesystem.
    places: Vec<u64>,
    block: usize,
    first: u32,
    end: u32,
    start: u32,
    sequence: u32,
    features: u32,
    seed: u32,
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
    fn open(medium: &'a Shared, layout: &Layout) -> io::Result<Self> {
        let block = layout.block as usize;
        let inode = layout.journal.ok_or_else(|| corrupt("its journal is on another device"))?;
        let places = Inodes { medium, layout }.blocks(inode)?;
        let mut log =
            Self { medium, places, block, first: 0, end: u32::MAX, start: 0, sequence: 0, features: 0, seed: 0 };
        let head = log.read(0)?;
        if be32(&head, 0) != MAGIC || !SUPERBLOCKS.contains(&be32(&head, 4)) || be32(&head, 0x0c) != layout.block {
            return Err(corrupt("its journal has no superblock"));
        }
        let has_features = be32(&head, 4) == SUPERBLOCKS[1];
        log.features = if has_features { be32(&head, 0x28) } else { 0 };
        if log.features & !KNOWN != 0 {
            return Err(corrupt(&format!("its journal has features that are not known here ({:#x})", log.features)));
        }
        (log.end, log.first) = (be32(&head, 0x10), be32(&head, 0x14));
        (log.sequence, log.start) = (be32(&head, 0x18), be32(&head, 0x1c));
        if log.end as usize > log.places.len() || log.first == 0 || log.first >= log.end || log.start >= log.end {
            return Err(corrupt("its journal's superblock does not fit the journal"));
        }
        if log.has_checksums() {
            let mut bare = head[..1024].to_vec();
            bare[0xfc..0x100].fill(0);
            if crc32c(!0, &bare) != be32(&head, 0xfc) {
                return Err(corrupt("its journal's superblock has a wrong checksum"));
            }
            log.seed = crc32c(!0, &head[0x30..0x40]);
        }
        Ok(log)
    }

    fn has_checksums(&self) -> bool {
        self.features & (CHECKSUM_2 | CHECKSUM_3) != 0
    }

    fn read(&self, place: u32) -> io::Result<Vec<u8>> {
        let target = self.places.get(place as usize).ok_or_else(|| corrupt("its journal is too short"))?;
        let mut block = vec![0; self.block];
        self.medium.read_at(target * self.block as u64, &mut block)?;
        Ok(block)
    }

    fn after(&self, place: u32) -> u32 {
        if place + 1 >= self.end { self.first } else { place + 1 }
    }

    /// For each block of the filesystem that gets another content, the block that has it, and whether that was changed.
    fn blocks(&self) -> io::Result<BTreeMap<u64, (u64, bool)>> {
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

    /// Everything that whole transactions wrote and freed, in order.
    fn scan(&self) -> io::Result<(Vec<Written>, BTreeMap<u64, u32>)> {
        let (mut written, mut revoked) = (Vec::new(), BTreeMap::new());
        let (mut new, mut freed): (Vec<Written>, Vec<u64>) = (Vec::new(), Vec::new());
        let (mut place, mut sequence) = (self.start, self.sequence);
        // Start 0: the journal is empty. A log that never ends goes round once.
        let mut left = if self.start == 0 { 0 } else { self.end };
        let mut is_damaged = false;
        while left > 0 {
            left -= 1;
            let block = self.read(place)?;
            if be32(&block, 0) != MAGIC || be32(&block, 8) != sequence {
                break;
            }
            place = self.after(place);
            match be32(&block, 4) {
                DESCRIPTOR => {
                    is_damaged |= !self.has_good_tail(&block);
                    for (target, flags, sum) in self.tags(&block) {
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
                COMMIT if !self.is_good_commit(&block) => break,
                // It did happen, and cannot be repeated: the kernel refuses to mount.
                COMMIT if is_damaged => return Err(corrupt("its journal has a block with a wrong checksum")),
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

    /// The tags of a descriptor: target, flags, checksum.
    fn tags(&self, block: &[u8]) -> Vec<(u64, u32, u32)> {
        let is_3 = self.features & CHECKSUM_3 != 0;
        let size = match (is_3, self.features & CHECKSUM_2 != 0, self.features & HAS_64BIT != 0) {
            (true, ..) => 16,
            (_, is_2, is_64) => 8 + if is_2 { 2 } else { 0 } + if is_64 { 4 } else { 0 },
        };
        let end = block.len() - if self.has_checksums() { 4 } else { 0 };
        let mut tags = Vec::new();
        let mut at = 12;
        while at + size <= end {
            let (flags, sum) = if is_3 {
                (be32(block, at + 4), be32(block, at + 12))
            } else {
                (u32::from(field16(block, at + 6).swap_bytes()), u32::from(field16(block, at + 4).swap_bytes()))
            };
            let high = if self.features & HAS_64BIT != 0 { be32(block, at + 8) } else { 0 };
            tags.push((u64::from(high) << 32 | u64::from(be32(block, at)), flags, sum));
            at += size + if flags & SAME_UUID == 0 { 16 } else { 0 };
            if flags & LAST != 0 {
                break;
            }
        }
        tags
    }

    fn revoked(&self, block: &[u8]) -> io::Result<Vec<u64>> {
        let used = be32(block, 12) as usize;
        let size = if self.features & HAS_64BIT != 0 { 8 } else { 4 };
        let records = block.get(16..used).ok_or_else(|| corrupt("its journal has a bad list of freed blocks"))?;
        let number = |record: &[u8]| record.iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        Ok(records.chunks_exact(size).map(number).collect())
    }

    fn has_good_tail(&self, block: &[u8]) -> bool {
        let (body, tail) = block.split_at(block.len() - 4);
        !self.has_checksums() || crc32c(crc32c(self.seed, body), &[0; 4]) == be32(tail, 0)
    }

    fn is_good_content(&self, content: &[u8], sequence: u32, sum: u32) -> bool {
        let seen = || crc32c(crc32c(self.seed, &sequence.to_be_bytes()), content);
        match self.features & (CHECKSUM_2 | CHECKSUM_3) {
            0 => true,
            CHECKSUM_2 => seen() & 0xffff == sum,
            _ => seen() == sum,
        }
    }

    fn is_good_commit(&self, block: &[u8]) -> bool {
        let mut bare = block.to_vec();
        bare[16..20].fill(0);
        !self.has_checksums() || crc32c(self.seed, &bare) == be32(block, 16)
    }
}

/// Whether `a` comes after `b`; the numbers go round.
fn is_later(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}
