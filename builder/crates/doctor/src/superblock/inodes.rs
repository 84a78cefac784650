//! Inodes of an ext filesystem: what the library that reads the rest does not tell.

use zerocopy::{
    FromBytes,
    little_endian::{U16, U32},
};

use super::{
    Layout,
    structures::{Descriptor, DirectoryEntry, Extent, ExtentHeader, ExtentIndex, Inode},
    wide,
};
use crate::{
    block_reader::Shared,
    error::{Result, damaged},
    filesystem::Capacity,
};

const EXTENTS_MAGIC: u16 = 0xf30a;
const HAS_EXTENTS: u32 = 0x8_0000;
/// Extents and blocks of one inode, at most: far more than any journal has.
const MOST: usize = 1 << 22;
/// The root directory's number.
const ROOT: u32 = 2;
/// The type of a file in its mode, and that of a character device.
const TYPE: u16 = 0xf000;
const CHARACTER_DEVICE: u16 = 0x2000;
const DIRECTORY: u16 = 0x4000;

/// Inodes by their number.
pub struct Inodes<'a> {
    /// The filesystem.
    pub medium: &'a Shared,
    /// Its superblock.
    pub layout: &'a Layout,
}

impl Inodes<'_> {
    /// Returns the sizes that `statfs` tells after a mount: files that were removed and not yet freed are freed then.
    ///
    /// # Errors
    /// The medium's.
    pub fn capacity(&self) -> Result<Capacity> {
        let layout = self.layout;
        let table = layout.descriptor_table(self.medium)?;
        let groups = || table.chunks(layout.descriptor.into()).map(Descriptor::of);
        let half = |high: U16, low: U16| u64::from(high.get()) << 16 | u64::from(low.get());
        let clusters: u64 = groups().map(|group| half(group.free_blocks_high, group.free_blocks_low)).sum();
        let mut free_inodes: u64 = groups().map(|group| half(group.free_inodes_high, group.free_inodes_low)).sum();
        let mut orphan = layout.last_orphan;
        let mut sectors = 0_u64;
        for _ in 0..1000 {
            if orphan == 0 {
                break;
            }
            let inode = self.read(orphan)?;
            if inode.links == 0 {
                sectors += wide(inode.sectors_high, inode.sectors_low);
                free_inodes += 1;
            }
            orphan = inode.deletion_time.get();
        }
        let cluster = layout.cluster * u64::from(layout.block);
        // A fiftieth, at most 4096 clusters, which nobody gets (kernel, fs/ext4/super.c, ext4_set_resv_clusters).
        let withheld = if layout.has_extents { (layout.blocks / layout.cluster / 50).min(4096) * cluster } else { 0 };
        Ok(Capacity {
            total: layout.blocks.saturating_mul(layout.block.into()),
            free: (clusters * cluster).saturating_add(sectors * 512),
            withheld,
            inodes: free_inodes,
            block: cluster,
        })
    }

    /// Returns the number of the inode that `path` stands for; no symbolic link is followed.
    ///
    /// # Errors
    /// The medium's, or that the filesystem is damaged.
    pub fn find(&self, path: &str) -> Result<Option<u32>> {
        let mut number = ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if self.read(number)?.mode.get() & TYPE != DIRECTORY {
                return Ok(None);
            }
            let mut found = None;
            for block in self.blocks(number)? {
                found = found.or(entry(&self.block(block)?, name.as_bytes()));
            }
            match found {
                Some(found) => number = found,
                None => return Ok(None),
            }
        }
        Ok(Some(number))
    }

    /// Returns the number of names of an inode.
    ///
    /// # Errors
    /// The medium's, or that the filesystem is damaged.
    pub fn links(&self, number: u32) -> Result<u64> {
        Ok(self.read(number)?.links.get().into())
    }

    /// Returns true for the character device 0:0, by which overlayfs marks a name that was deleted.
    ///
    /// # Errors
    /// The medium's, or that the filesystem is damaged.
    pub fn is_whiteout(&self, number: u32) -> Result<bool> {
        let inode = self.read(number)?;
        Ok(inode.mode.get() & TYPE == CHARACTER_DEVICE && inode.map.starts_with(&[0; 8]))
    }

    pub(super) fn read(&self, number: u32) -> Result<Inode> {
        let index = number.checked_sub(1).ok_or_else(|| damaged("inode 0 is used"))?;
        let group = (index / self.layout.inodes_per_group) as usize;
        let table = self.layout.descriptor_table(self.medium)?;
        let descriptor = table.chunks(self.layout.descriptor.into()).nth(group);
        let descriptor = Descriptor::of(descriptor.ok_or_else(|| damaged("an inode is in no group"))?);
        let offset = u64::from(index % self.layout.inodes_per_group) * u64::from(self.layout.inode);
        let start = wide(descriptor.inode_table_high, descriptor.inode_table_low)
            .checked_mul(u64::from(self.layout.block))
            .and_then(|start| start.checked_add(offset));
        Ok(self.medium.read(start.ok_or_else(|| damaged("an inode table"))?)?)
    }

    fn block(&self, number: u64) -> Result<Vec<u8>> {
        let mut block = vec![0; self.layout.block as usize];
        let start = number.checked_mul(u64::from(self.layout.block)).ok_or_else(|| damaged("a block's number"))?;
        self.medium.read_at(start, &mut block)?;
        Ok(block)
    }

    /// Returns the places of a file's blocks. For files without holes, as a journal is.
    ///
    /// # Errors
    /// The medium's, or that the file is damaged.
    pub fn blocks(&self, number: u32) -> Result<Vec<u64>> {
        let inode = self.read(number)?;
        let mut found = Vec::new();
        if inode.flags.get() & HAS_EXTENTS != 0 {
            self.extents(&inode.map, &mut found, 6)?;
        } else {
            let map: [U32; 15] = zerocopy::transmute!(inode.map);
            for (place, number) in map.into_iter().enumerate() {
                // Twelve blocks, then lists of blocks, of lists and of lists of lists.
                self.mapped(number.into(), place.saturating_sub(11), &mut found)?;
            }
        }
        Ok(found)
    }

    fn extents(&self, node: &[u8], found: &mut Vec<u64>, deepest: u16) -> Result<()> {
        let wrong = || damaged("a list of extents");
        let (header, rest) = ExtentHeader::ref_from_prefix(node).map_err(|_| wrong())?;
        let (entries, depth) = (header.entries.get().into(), header.depth.get());
        if header.magic != EXTENTS_MAGIC || depth > deepest || found.len() > MOST {
            return Err(wrong());
        }
        if depth > 0 {
            let children = <[ExtentIndex]>::ref_from_prefix_with_elems(rest, entries).map_err(|_| wrong())?.0;
            for child in children {
                self.extents(&self.block(wide(child.child_high, child.child_low))?, found, depth - 1)?;
            }
        } else {
            for extent in <[Extent]>::ref_from_prefix_with_elems(rest, entries).map_err(|_| wrong())?.0 {
                let first = wide(extent.start_high, extent.start_low);
                // Longer ones are reserved and not written.
                let length = u64::from(extent.length.get()).min(0x8000);
                found.extend((0..length).map(|offset| first + offset));
            }
        }
        Ok(())
    }

    fn mapped(&self, number: u64, depth: usize, found: &mut Vec<u64>) -> Result<()> {
        match (number, depth) {
            (0, _) => {}
            (_, 0) => found.push(number),
            _ if found.len() > MOST => return Err(damaged("a list of blocks")),
            _ => {
                for entry in self.block(number)?.as_chunks().0 {
                    self.mapped(u32::from_le_bytes(*entry).into(), depth - 1, found)?;
                }
            }
        }
        Ok(())
    }
}

/// Returns the inode of a name in a block of a directory. The nodes of a hashed directory look like an unused entry as long as the block.
fn entry(block: &[u8], name: &[u8]) -> Option<u32> {
    let mut rest = block;
    while let Ok((entry, after)) = DirectoryEntry::ref_from_prefix(rest) {
        if entry.inode != 0 && after.get(..entry.name_length.into()) == Some(name) {
            return Some(entry.inode.get());
        }
        let length = usize::from(entry.length.get());
        rest = rest.get(length..).filter(|_| length >= size_of::<DirectoryEntry>())?;
    }
    None
}
