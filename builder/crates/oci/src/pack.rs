//! The merged root as an archive. Directories, links and nodes come first, in the order of their names; then the contents, in the order
//! in which the layers have them, so that each layer is read once and nothing of it is kept. The same image gives the same bytes.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
};

use archive::{
    newc::{Properties, Writer},
    tree::{Content, Entry, Kind, Node, Tree},
};
use sha2::{Digest as _, Sha256};

use super::{
    image::Image,
    inventory::Inventory,
    layer::{Located, Members},
};
use contract::{names, workload::KERNEL};

use crate::{Error, Result};

/// Totals of a root that was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// The archive's length before its compression, in bytes.
    pub archive: u64,
    /// Names, of all kinds.
    pub names: u64,
    /// Regular files, hard links counted once.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Its memory use once unpacked, in bytes: whole pages, and the kernel's inode and directory entry for each name.
    pub memory: u64,
    /// Files and bytes of each layer that are in the root.
    pub layers: BTreeMap<u32, (u64, u64)>,
}

/// The kernel's pages on all machines that there are targets for, in bytes.
const PAGE: u64 = 4096;
/// An inode and a directory entry of tmpfs on a 64-bit kernel, in bytes (`/proc/slabinfo`: shmem_inode_cache and dentry, rounded up).
const NAME: u64 = 1024;

/// A kind of archive.
pub trait Format {
    /// Writes one name. A file's `size` bytes come from `fill`, which need not be called where they are there already.
    ///
    /// # Errors
    /// Any error of `fill` or of the sink.
    fn put(&mut self, item: &Item<'_>, size: u64, fill: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()>;
}

/// A name in the tree, with the hard-link data of its inode.
#[derive(Debug, Clone, Copy)]
pub struct Item<'a> {
    /// The name and its entry.
    pub node: Node<'a>,
    /// The inode number: the same for all names of one file.
    pub number: u32,
    /// The link count of the file.
    pub links: usize,
    /// The name that came before with the content, where this is one more name of a file.
    pub first: Option<&'a [u8]>,
}

/// An initramfs.
struct Newc<'a, W: Write> {
    writer: Writer<W>,
    inventory: Option<&'a mut Inventory>,
}

/// A writer that passes everything on to `sink` and computes its digest.
struct Hashing<'a> {
    sink: &'a mut dyn Write,
    hash: Sha256,
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.sink.write(bytes)?;
        self.hash.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.sink.flush()
    }
}

impl<W: Write> Format for Newc<'_, W> {
    fn put(&mut self, item: &Item<'_>, size: u64, fill: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()> {
        let Some(inventory) = &mut self.inventory else {
            return self.writer.put(&item.node, item.number, item.links, size, fill);
        };
        let mut digest = None;
        self.writer.put(&item.node, item.number, item.links, size, |sink| {
            let mut hashing = Hashing { sink, hash: Sha256::new() };
            fill(&mut hashing)?;
            digest = Some(hashing.hash.finalize().into());
            Ok::<_, Error>(())
        })?;
        let kind = &item.node.entry.kind;
        match kind {
            // Another name of a file: its content came with the first.
            Kind::File(content) if item.first.is_some() => {
                inventory.add(item.node.path, kind, Some(content.size()), None);
            }
            Kind::File(_) => inventory.add(item.node.path, kind, Some(size), digest),
            _ => inventory.add(item.node.path, kind, None, None),
        }
        Ok(())
    }
}

/// Writes `tree`, whose contents may be in the layers of `image`, into `sink` as an initramfs, with the root directory itself where it is
/// given. What it holds is noted in `inventory`, and where that is the last archive of a file, its last entry is the list.
///
/// # Errors
/// As [`Tree::check_archive`] before the first byte, as [`write_as`], and [`archive::Error::WriteArchive`] with what the sink said.
pub fn write(
    tree: &Tree,
    root: Option<&Entry>,
    image: &Image,
    properties: Properties,
    sink: impl Write,
    inventory: Option<&mut Inventory>,
) -> Result<Written> {
    tree.check_archive()?;
    let mut newc = Newc { writer: Writer::new(sink, properties), inventory };
    let mut written = write_as(&mut newc, tree, image)?;
    // No other entry of the archive has one of these numbers: the numbers of the others count them.
    let after = |place: usize| u32::try_from(tree.len() + place).unwrap_or(u32::MAX);
    if let Some(entry) = root {
        let node = Node { path: b".", entry, inode: usize::MAX };
        newc.writer.put(&node, after(2), 2, 0, |_| Ok::<_, Error>(()))?;
        written.names += 1;
    }
    if let Some(inventory) = newc.inventory.filter(|inventory| inventory.is_last) {
        let list = Content::Bytes(inventory.to_bytes());
        let size = list.size();
        let entry = Entry::file(0o600, list.clone());
        let path = names::INVENTORY.trim_start_matches('/').as_bytes();
        let node = Node { path, entry: &entry, inode: usize::MAX };
        newc.writer.put(&node, after(1), 1, size, |sink| list.copy_to(sink))?;
        written.names += 1;
        written.memory += NAME;
        written.count(size);
    }
    written.archive = newc.writer.finish()?;
    Ok(written)
}

/// Returns the memory that a tree takes once it is unpacked, in bytes.
#[must_use]
pub fn memory(tree: &Tree) -> u64 {
    let mut contents: BTreeMap<usize, u64> = BTreeMap::new();
    for node in tree.iter() {
        if let Kind::File(content) = &node.entry.kind {
            contents.insert(node.inode, content.size().next_multiple_of(PAGE));
        }
    }
    tree.len() as u64 * NAME + contents.values().sum::<u64>()
}

/// Writes `tree`, whose contents may be in the layers of `image`, in any format.
///
/// # Errors
/// [`archive::Error::MissingParent`] before the first byte, [`crate::Error::Layer`] for a layer that has changed, for files of the
/// host as [`Content::copy_to`], and what the format says.
pub fn write_as(format: &mut dyn Format, tree: &Tree, image: &Image) -> Result<Written> {
    tree.check_parents()?;
    let mut written = Written::default();
    // Number and first name of each file.
    let mut firsts: HashMap<usize, (u32, &[u8])> = HashMap::new();
    // The names of each file that is in a layer, by where it is.
    let mut members: BTreeMap<(u32, u32), (u64, Vec<Item<'_>>)> = BTreeMap::new();
    for (next, node) in (1..).zip(tree.in_archive_order()) {
        written.names += 1;
        written.memory += NAME;
        let (number, first) = *firsts.entry(node.inode).or_insert((next, node.path));
        let item = Item { node, number, links: tree.links(&node), first: (number != next).then_some(first) };
        match &node.entry.kind {
            Kind::File(Content::Member { layer, number, size }) => {
                members.entry((*layer, *number)).or_insert_with(|| (*size, Vec::new())).1.push(item);
            }
            Kind::File(content) if number == next => {
                written.count(content.size());
                format.put(&item, content.size(), &mut |sink| Ok(content.copy_to(sink)?))?;
            }
            _ => format.put(&item, 0, &mut |_| Ok(()))?,
        }
    }
    let mut contents = Contents { image, open: None };
    for ((layer, number), (size, items)) in &members {
        written.count(*size);
        let count = written.layers.entry(*layer).or_default();
        *count = (count.0 + 1, count.1 + size);
        for item in items {
            match item.first {
                None => format.put(item, *size, &mut |sink| contents.copy(*layer, *number, *size, sink))?,
                Some(_) => format.put(item, 0, &mut |_| Ok(()))?,
            }
        }
    }
    Ok(written)
}

/// The contents of files in layers, one layer after the other.
struct Contents<'a> {
    image: &'a Image,
    /// The layer that was read from last.
    open: Option<(u32, Members<'a>)>,
}

impl Contents<'_> {
    /// Writes the content of a member into `sink`. Layers and their members come in order.
    fn copy(&mut self, layer: u32, number: u32, size: u64, sink: &mut dyn Write) -> Result<()> {
        let reader = match &mut self.open {
            Some((at, reader)) if *at == layer => reader,
            other => {
                let image = self.image;
                let index = layer as usize;
                let located = Located { image, index, layer: &image.layers()[index] };
                &mut other.insert((layer, located.members()?)).1
            }
        };
        reader.copy(number, size, sink)
    }
}

impl Written {
    /// Returns the totals of two archives in one file. A name in both counts twice.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.archive += other.archive;
        self.names += other.names;
        self.files += other.files;
        self.bytes += other.bytes;
        self.memory += other.memory;
        for (layer, (files, bytes)) in other.layers {
            let count = self.layers.entry(layer).or_default();
            *count = (count.0 + files, count.1 + bytes);
        }
        self
    }

    fn count(&mut self, size: u64) {
        self.files += 1;
        self.bytes += size;
        self.memory += size.next_multiple_of(PAGE);
    }

    /// Returns the least memory of a machine that boots this, in bytes, when the compressed file has `compressed` bytes. The root may fill half
    /// of the memory that the kernel counts when it mounts its rootfs (`mm/shmem.c`, `shmem_default_max_blocks`), and the file that is
    /// being unpacked is not among it.
    #[must_use]
    pub fn minimum_memory(&self, compressed: u64) -> u64 {
        // With a root of 2 MiB a kernel of Debian's boots in 96 MiB and not in 80.
        (2 * self.memory + compressed + KERNEL).next_multiple_of(16 << 20)
    }
}

#[cfg(test)]
mod tests {
    use super::Written;

    #[test]
    fn a_root_of_60_mb_that_does_not_compress_needs_more_than_208_mib() {
        let mut written = Written::default();
        assert_eq!(written.minimum_memory(0), 96 << 20);
        written.count(60_000_000);
        assert_eq!(written.memory % 4096, 0);
        assert_eq!(written.minimum_memory(60_000_000), 272 << 20);
    }
}
