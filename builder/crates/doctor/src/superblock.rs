//! ext4 as far as the library that reads it does not tell: where the journal lies, how many blocks are free, and the superblock
//! without its flag for an unfinished journal. Format: kernel, Documentation/filesystems/ext4/.

use std::io;

use super::block_reader::Shared;

/// Where the superblock is, and how long it is, in bytes.
const SUPERBLOCK: (u64, usize) = (1024, 1024);
const HAS_JOURNAL: u32 = 0x4;
const NEEDS_RECOVERY: u32 = 0x4;
const HAS_64BIT: u32 = 0x80;
const HAS_CHECKSUMS: u32 = 0x400;
/// The seed of checksums is written down; else it is made of the UUID.
const HAS_SEED: u32 = 0x2000;
const HAS_EXTENTS: u32 = 0x8_0000;
/// Extents and blocks of one inode, at most: far more than any journal has.
const MOST: usize = 1 << 22;

/// What the kernel says of a damaged filesystem (EUCLEAN), and what is damaged.
pub fn corrupt(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the filesystem is damaged: {what}"))
}

/// Two bytes, least first; 0 past the end.
pub fn field16(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|field| field.try_into().ok()).map_or(0, u16::from_le_bytes)
}

/// Four bytes, least first; 0 past the end.
pub fn field32(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|field| field.try_into().ok()).map_or(0, u32::from_le_bytes)
}

fn wide(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// CRC-32C as ext4 and its journal use it: begun with `seed`, not inverted at the end.
pub fn crc32c(seed: u32, bytes: &[u8]) -> u32 {
    static ALGORITHM: crc::Algorithm<u32> = crc::Algorithm { xorout: 0, ..crc::CRC_32_ISCSI };
    static TABLE: crc::Crc<u32, crc::Table<16>> = crc::Crc::<u32, crc::Table<16>>::new(&ALGORITHM);
    // The library takes a seed in the order of its own, most significant bit first.
    let mut digest = TABLE.digest_with_initial(seed.reverse_bits());
    digest.update(bytes);
    digest.finalize()
}

/// What the superblock says about where things are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Bytes of a block.
    pub block: u32,
    /// Whether the journal has to be looked at before anything else.
    pub needs_recovery: bool,
    /// The journal's inode; none where it is on another device.
    pub journal: Option<u32>,
    blocks: u64,
    first_block: u32,
    blocks_per_group: u32,
    /// Blocks that are given out together.
    cluster: u64,
    inodes_per_group: u32,
    inode: u16,
    descriptor: u16,
    last_orphan: u32,
    /// What the checksums of all else begin with, where there are any.
    seed: Option<u32>,
}

/// Whether the superblock's checksum is right, where it has one: else libblkid knows no filesystem there (util-linux,
/// libblkid/src/superblocks/ext.c), and no kernel mounts it.
pub fn is_whole(bytes: &[u8]) -> bool {
    field32(bytes, 0x64) & HAS_CHECKSUMS == 0 || crc32c(!0, &bytes[..0x3fc]) == field32(bytes, 0x3fc)
}

impl Layout {
    /// Reads the superblock.
    ///
    /// # Errors
    /// The medium's, that it is no ext filesystem, or one that no kernel would mount there (kernel, fs/ext4/super.c).
    pub fn read(medium: &Shared) -> io::Result<Self> {
        let mut bytes = [0; SUPERBLOCK.1];
        medium.read_at(SUPERBLOCK.0, &mut bytes)?;
        let layout = Self::parse(&bytes)?;
        if !is_whole(&bytes) {
            return Err(corrupt("its superblock's checksum is wrong"));
        }
        let (blocks, room) = (layout.blocks, medium.size() / u64::from(layout.block));
        if blocks > room {
            return Err(corrupt(&format!("it has {blocks} blocks, and the device has room for {room}")));
        }
        Ok(layout)
    }

    /// Looks whether the descriptors of the groups are whole, as the kernel does before it looks at the journal.
    ///
    /// # Errors
    /// The medium's, or that one is damaged.
    pub fn check_descriptors(&self, medium: &Shared) -> io::Result<()> {
        /// Where a descriptor has its checksum.
        const SUM: usize = 0x1e;
        let Some(seed) = self.seed else { return Ok(()) };
        for (group, descriptor) in (0_u32..).zip(self.descriptors(medium)?) {
            let (head, tail) = (descriptor.get(..SUM), descriptor.get(SUM + 2..));
            let sum = [&group.to_le_bytes()[..], head.unwrap_or_default(), &[0, 0], tail.unwrap_or_default()]
                .iter()
                .fold(seed, |sum, bytes| crc32c(sum, bytes));
            if sum & 0xffff != u32::from(field16(&descriptor, SUM)) {
                return Err(corrupt(&format!("the descriptor of group {group}")));
            }
        }
        Ok(())
    }

    fn parse(bytes: &[u8]) -> io::Result<Self> {
        let (block_bits, cluster_bits) = (field32(bytes, 0x18), field32(bytes, 0x1c));
        let compatible = field32(bytes, 0x5c);
        let incompatible = field32(bytes, 0x60);
        let is_64bit = incompatible & HAS_64BIT != 0;
        let inode = field32(bytes, 0xe0);
        if field16(bytes, 0x38) != 0xef53 || block_bits > 6 || cluster_bits.wrapping_sub(block_bits) > 16 {
            return Err(corrupt("its superblock"));
        }
        let layout = Self {
            block: 1024 << block_bits,
            needs_recovery: compatible & HAS_JOURNAL != 0 && incompatible & NEEDS_RECOVERY != 0,
            journal: (inode != 0).then_some(inode),
            blocks: wide(if is_64bit { field32(bytes, 0x150) } else { 0 }, field32(bytes, 0x04)),
            first_block: field32(bytes, 0x14),
            blocks_per_group: field32(bytes, 0x20),
            cluster: 1 << (cluster_bits - block_bits),
            inodes_per_group: field32(bytes, 0x28),
            inode: field16(bytes, 0x58).max(128),
            descriptor: if is_64bit { field16(bytes, 0xfe).max(32) } else { 32 },
            last_orphan: field32(bytes, 0xe8),
            seed: (field32(bytes, 0x64) & HAS_CHECKSUMS != 0).then(|| match incompatible & HAS_SEED {
                0 => crc32c(!0, &bytes[0x68..0x78]),
                _ => field32(bytes, 0x270),
            }),
        };
        if layout.blocks_per_group == 0 || layout.inodes_per_group == 0 {
            return Err(corrupt("its superblock"));
        }
        Ok(layout)
    }

    /// The superblock without its flag for recovery, and where it goes.
    ///
    /// # Errors
    /// The medium's.
    pub fn without_recovery(medium: &Shared) -> io::Result<(u64, Vec<u8>)> {
        let mut bytes = vec![0; SUPERBLOCK.1];
        medium.read_at(SUPERBLOCK.0, &mut bytes)?;
        let flags = field32(&bytes, 0x60) & !NEEDS_RECOVERY;
        bytes[0x60..0x64].copy_from_slice(&flags.to_le_bytes());
        if field32(&bytes, 0x64) & HAS_CHECKSUMS != 0 {
            let sum = crc32c(!0, &bytes[..0x3fc]);
            bytes[0x3fc..].copy_from_slice(&sum.to_le_bytes());
        }
        Ok((SUPERBLOCK.0, bytes))
    }

    fn descriptors(&self, medium: &Shared) -> io::Result<Vec<Vec<u8>>> {
        let groups = self.blocks.saturating_sub(u64::from(self.first_block)).div_ceil(u64::from(self.blocks_per_group));
        let start = (u64::from(self.first_block) + 1) * u64::from(self.block);
        let size = u64::from(self.descriptor);
        if groups.saturating_mul(size) > medium.size() {
            return Err(corrupt("it has more groups than room"));
        }
        let mut all = vec![0; usize::try_from(groups * size).unwrap_or(0)];
        medium.read_at(start, &mut all)?;
        Ok(all.chunks(usize::from(self.descriptor)).map(<[u8]>::to_vec).collect())
    }

    /// Free bytes, as `statfs` counts them after a mount: files that were removed and not yet freed are freed then.
    ///
    /// # Errors
    /// The medium's.
    pub fn free(&self, medium: &Shared) -> io::Result<u64> {
        let mut clusters = 0_u64;
        for group in self.descriptors(medium)? {
            clusters += wide(0, u32::from(field16(&group, 0x2c)) << 16 | u32::from(field16(&group, 0x0c)));
        }
        let inodes = Inodes { medium, layout: self };
        let mut orphan = self.last_orphan;
        let mut sectors = 0_u64;
        // The list goes through a field of the inodes themselves.
        for _ in 0..1000 {
            if orphan == 0 {
                break;
            }
            let inode = inodes.read(orphan)?;
            if field16(&inode, 0x1a) == 0 {
                sectors += wide(u32::from(field16(&inode, 0x74)), field32(&inode, 0x1c));
            }
            orphan = field32(&inode, 0x14);
        }
        Ok((clusters * self.cluster * u64::from(self.block)).saturating_add(sectors * 512))
    }
}

/// Inodes by their number.
pub struct Inodes<'a> {
    /// The filesystem.
    pub medium: &'a Shared,
    /// Its superblock.
    pub layout: &'a Layout,
}

impl Inodes<'_> {
    fn read(&self, number: u32) -> io::Result<Vec<u8>> {
        let index = number.checked_sub(1).ok_or_else(|| corrupt("inode 0 is used"))?;
        let group = (index / self.layout.inodes_per_group) as usize;
        let descriptors = self.layout.descriptors(self.medium)?;
        let descriptor = descriptors.get(group).ok_or_else(|| corrupt("an inode is in no group"))?;
        let table = wide(if descriptor.len() >= 64 { field32(descriptor, 0x28) } else { 0 }, field32(descriptor, 0x08));
        let offset = u64::from(index % self.layout.inodes_per_group) * u64::from(self.layout.inode);
        let mut inode = vec![0; usize::from(self.layout.inode)];
        let start = table.checked_mul(u64::from(self.layout.block)).ok_or_else(|| corrupt("an inode table"))?;
        self.medium.read_at(start + offset, &mut inode)?;
        Ok(inode)
    }

    fn block(&self, number: u64) -> io::Result<Vec<u8>> {
        let mut block = vec![0; self.layout.block as usize];
        let start = number.checked_mul(u64::from(self.layout.block)).ok_or_else(|| corrupt("a block's number"))?;
        self.medium.read_at(start, &mut block)?;
        Ok(block)
    }

    /// Where each block of a file lies. For files without holes, as a journal is.
    ///
    /// # Errors
    /// The medium's, or that the file is damaged.
    pub fn blocks(&self, number: u32) -> io::Result<Vec<u64>> {
        let inode = self.read(number)?;
        let mut found = Vec::new();
        let map = &inode[0x28..0x64];
        if field32(&inode, 0x20) & HAS_EXTENTS != 0 {
            self.extents(map, &mut found, 6)?;
        } else {
            for place in 0..15 {
                let number = u64::from(field32(map, place * 4));
                // Twelve blocks, then lists of blocks, of lists and of lists of lists.
                self.mapped(number, place.saturating_sub(11), &mut found)?;
            }
        }
        Ok(found)
    }

    fn extents(&self, node: &[u8], found: &mut Vec<u64>, deepest: u16) -> io::Result<()> {
        let (entries, depth) = (usize::from(field16(node, 2)), field16(node, 6));
        if field16(node, 0) != 0xf30a || depth > deepest || 12 + entries * 12 > node.len() || found.len() > MOST {
            return Err(corrupt("a list of extents"));
        }
        for entry in node[12..12 + entries * 12].chunks_exact(12) {
            if depth > 0 {
                let child = wide(u32::from(field16(entry, 8)), field32(entry, 4));
                self.extents(&self.block(child)?, found, depth - 1)?;
            } else {
                let first = wide(u32::from(field16(entry, 6)), field32(entry, 8));
                // Longer ones are reserved and not written.
                let length = u64::from(field16(entry, 4)).min(0x8000);
                found.extend((0..length).map(|offset| first + offset));
            }
        }
        Ok(())
    }

    fn mapped(&self, number: u64, depth: usize, found: &mut Vec<u64>) -> io::Result<()> {
        match (number, depth) {
            (0, _) => {}
            (_, 0) => found.push(number),
            _ if found.len() > MOST => return Err(corrupt("a list of blocks")),
            _ => {
                for entry in self.block(number)?.chunks_exact(4) {
                    self.mapped(u64::from(field32(entry, 0)), depth - 1, found)?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_crc32c() {
        // RFC 3720, B.4: CRC-32C of 32 zero bytes, which is inverted at the end.
        assert_eq!(!crc32c(!0, &[0; 32]), 0x8a91_36aa);
        assert_eq!(!crc32c(!0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(crc32c(!0, b"1234"), b"56789"), crc32c(!0, b"123456789"));
    }

    #[test]
    fn superblocks_that_are_none_are_refused() {
        assert!(Layout::parse(&[0; 1024]).is_err());
        let mut bytes = [0; 1024];
        bytes[0x38..0x3a].copy_from_slice(&0xef53_u16.to_le_bytes());
        assert!(Layout::parse(&bytes).is_err(), "groups without blocks");
        bytes[0x20] = 1;
        bytes[0x28] = 1;
        assert_eq!(Layout::parse(&bytes).unwrap().block, 1024);
        bytes[0x18] = 200;
        assert!(Layout::parse(&bytes).is_err(), "a block size that is no number of bits");
    }
}
