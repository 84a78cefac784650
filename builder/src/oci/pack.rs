//! The merged root as an archive. Directories, links and nodes come first, in the order of their names; then the contents, in the order
//! in which the layers have them, so that each layer is read once and nothing of it is kept. The same image gives the same bytes.

use std::{
    collections::{BTreeMap, HashMap},
    io::Write,
};

use super::{
    image::Image,
    layer::{Located, Members},
};
use crate::{
    Result,
    archive::{Properties, Writer},
    tree::{Content, Kind, Node, Tree},
};

/// What was written.
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
    /// What they take in memory: whole pages, and what the kernel keeps for each name, in bytes.
    pub memory: u64,
    /// Files and bytes of each layer that are in the root.
    pub layers: BTreeMap<u32, (u64, u64)>,
}

/// The kernel's pages on all machines that there are targets for, in bytes.
const PAGE: u64 = 4096;
/// An inode and a directory entry of tmpfs on a 64-bit kernel, in bytes (`/proc/slabinfo`: shmem_inode_cache and dentry, rounded up).
const NAME: u64 = 1024;

/// Writes `tree`, whose contents may be in the layers of `image`, into `sink`.
///
/// # Errors
/// [`crate::Error::MissingParent`] before the first byte, [`crate::Error::OciLayer`] for a layer that has changed,
/// [`crate::Error::WriteArchive`], and for files of the host as [`Content::copy_to`].
pub fn write(tree: &Tree, image: &Image, properties: Properties, sink: impl Write) -> Result<Written> {
    tree.check_parents()?;
    let mut written = Written::default();
    let mut writer = Writer::new(sink, properties);
    let mut numbers: HashMap<usize, u32> = HashMap::new();
    // The names of each file that is in a layer, by where it is.
    let mut members: BTreeMap<(u32, u32), (u64, Vec<Node<'_>>)> = BTreeMap::new();
    for node in tree.iter() {
        written.names += 1;
        written.memory += NAME;
        let next = writer.number();
        let number = *numbers.entry(node.inode).or_insert(next);
        let links = tree.links(&node);
        match &node.entry.kind {
            Kind::File(Content::Member { layer, number, size }) => {
                members.entry((*layer, *number)).or_insert_with(|| (*size, Vec::new())).1.push(node);
                continue;
            }
            Kind::File(content) if number == next => {
                written.count(content.size());
                writer.put(&node, number, links, content.size(), |sink| content.copy_to(sink))?;
            }
            _ => writer.put(&node, number, links, 0, |_| Ok(()))?,
        }
    }
    let mut open: Option<(u32, Members<'_>)> = None;
    for ((layer, number), (size, names)) in &members {
        written.count(*size);
        let count = written.layers.entry(*layer).or_default();
        *count = (count.0 + 1, count.1 + size);
        let reader = match &mut open {
            Some((at, reader)) if at == layer => reader,
            other => {
                let index = *layer as usize;
                let located = Located { image, index, layer: &image.layers()[index] };
                &mut other.insert((*layer, located.members()?)).1
            }
        };
        let mut content = Some(reader);
        for node in names {
            let links = tree.links(node);
            let inode = numbers.get(&node.inode).copied().unwrap_or_default();
            match content.take() {
                Some(reader) => writer.put(node, inode, links, *size, |sink| reader.copy(*number, *size, sink))?,
                None => writer.put(node, inode, links, 0, |_| Ok(()))?,
            }
        }
    }
    written.archive = writer.finish()?;
    Ok(written)
}

impl Written {
    /// What two archives in one file hold together. A name in both counts twice.
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

    /// The least memory of a machine that boots this, in bytes, when the compressed file has `compressed` bytes. The root may fill half
    /// of the memory (`Documentation/filesystems/ramfs-rootfs-initramfs.rst`); while it is unpacked, the file is in memory as well.
    #[must_use]
    pub fn minimum_memory(&self, compressed: u64) -> u64 {
        // Reckoned for a kernel of Debian's with what it keeps for itself; a small one needs less.
        const KERNEL: u64 = 48 << 20;
        let unpacking = self.memory + compressed;
        ((2 * self.memory).max(unpacking) + KERNEL).next_multiple_of(16 << 20)
    }
}
