//! The merged root as an OS image for the overlay way, as EROFS without compression. Written here, because `mkfs.erofs` takes a directory of
//! this machine until its version 1.7, and a directory with the image's owners and devices is what nobody but root can have. The layout is
//! that of the kernel's `fs/erofs/erofs_fs.h`: contents first, as the layers have them, then what is known of the names.
//!
//! ```text
//! block 0       superblock, at byte 1024
//! block 1 …     the files' contents, each from the beginning of a block: those of layers in their order, then those of other sources
//! meta_blkaddr  inodes: what fits beside them (links, small directories) lies right behind each
//!               large directories, in whole blocks
//! ```
//!
//! Files begin and end with a block of their own, so that one that changes changes no others. Where the image has to be small instead,
//! what a file has behind its last whole block lies behind its inode as well, and inodes are packed into blocks as they fit.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufWriter, Write},
    os::unix::fs::FileExt,
};

use archive::tree::{Content, Entry, Kind};
use base::IoContext;
use uuid::Uuid;
use zerocopy::IntoBytes;

use super::{
    image::Image,
    merge::{Attributes, Merge, RootEntry},
    pack::{self, Format, Item, Written},
};
use crate::{Error, Result};

mod directory;
mod draft;
mod inode;
mod names;
mod structures;

use directory::BLOCK;
pub use draft::Draft;
use draft::{Wanted, failed, pad};
pub(crate) use inode::keeps;
use inode::{INODE, Inode, SLOT, Tail, attributes};
use names::Names;
use structures::Superblock;

const BLOCK_BITS: u8 = 12;
const MAGIC: u32 = 0xe0f5_e1e2;
/// The superblock's place in bytes.
const SUPERBLOCK: u64 = 1024;
/// `EROFS_FEATURE_COMPAT_MTIME`: the times of inodes are those of the files.
const FEATURE_MTIME: u32 = 2;

/// Contents on their way to their blocks.
struct Contents<'a> {
    draft: &'a mut Draft,
    merge: &'a Merge,
    /// The first block of each file, by its inode in the tree.
    starts: HashMap<usize, u64>,
    /// The ends of files, if they are to lie behind their inodes.
    tails: Option<Tails>,
}

/// The ends of files, in a file of their own until the inodes are written: there may be many.
struct Tails {
    file: BufWriter<File>,
    length: u64,
    /// The place of each end, by the file's inode in the tree.
    places: HashMap<usize, Tail>,
}

/// Splits what comes: so many bytes go to the image, the others to the ends.
struct Split<'a, W: Write> {
    blocks: &'a mut W,
    left: u64,
    tails: &'a mut BufWriter<File>,
}

impl<W: Write> Write for Split<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.left == 0 {
            return self.tails.write(bytes);
        }
        let part = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let written = self.blocks.write(bytes.get(..part).unwrap_or_default())?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tails {
    fn note(&mut self, inode: usize, length: usize) {
        self.places.insert(inode, Tail { at: self.length, length });
        self.length += length as u64;
    }
}

impl Contents<'_> {
    /// Returns the number of bytes behind a file's last whole block that lie behind its inode.
    fn tail(&self, path: &[u8], size: u64) -> usize {
        let tail = size % BLOCK;
        // What has no place for them is told where the inodes are made.
        let attributes = self.merge.xattrs.get(path).and_then(|found| attributes(found).ok());
        let head = INODE + attributes.map_or(0, |attributes| attributes.len() as u64);
        if self.tails.is_some() && head + tail <= BLOCK { tail as usize } else { 0 }
    }

    /// Gives the files of the root the places of what came with the layers.
    fn place_stored(&mut self) -> Result<()> {
        let mut wanted = Vec::new();
        for node in self.merge.tree.in_archive_order() {
            if let Kind::File(Content::Member { layer, number, size }) = node.entry.kind
                && size > 0
            {
                let tail = self.tail(node.path, size);
                wanted.push(Wanted { layer, number, size, tail, inode: node.inode });
            }
        }
        // Of the names of one file the first, as for all others.
        wanted.sort_by_key(|file| (file.layer, file.number));
        wanted.dedup_by_key(|file| (file.layer, file.number));
        let Self { draft, starts, tails, .. } = self;
        let placed = draft.close_up(&wanted, |file, block, tail| {
            starts.insert(file.inode, block);
            let Some(tails) = tails.as_mut().filter(|_| !tail.is_empty()) else { return Ok(()) };
            tails.file.write_all(tail)?;
            tails.note(file.inode, tail.len());
            Ok(())
        });
        Ok(placed.map_err(failed)?)
    }
}

impl Format for Contents<'_> {
    fn put(&mut self, item: &Item<'_>, size: u64, fill: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()> {
        if item.first.is_some() || size == 0 || self.starts.contains_key(&item.node.inode) {
            return Ok(());
        }
        self.starts.insert(item.node.inode, self.draft.block());
        let tail = self.tail(item.node.path, size);
        let whole = size - tail as u64;
        match self.tails.as_mut().filter(|_| tail > 0) {
            Some(tails) => {
                fill(&mut Split { blocks: self.draft.sink(), left: whole, tails: &mut tails.file })?;
                tails.note(item.node.inode, tail);
            }
            None => fill(self.draft.sink())?,
        }
        Ok(self.draft.end_file(whole).map_err(failed)?)
    }
}

/// Places inodes where they fit best, the first one first. Returns where the last block ends.
fn pack_closely(inodes: &mut [Inode<'_>]) -> u64 {
    // Where what is free in a block begins, by its length.
    let mut free: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    let mut end = 0;
    for inode in inodes {
        let length = inode.length().next_multiple_of(SLOT);
        let fitting =
            free.range_mut(length..).next().and_then(|(room, places)| Some((*room, places.pop()?, places.len())));
        let (room, place) = match fitting {
            Some((room, place, others)) => {
                if others == 0 {
                    free.remove(&room);
                }
                (room, place)
            }
            None => {
                let room = length.next_multiple_of(BLOCK);
                end += room;
                (room, end - room)
            }
        };
        inode.offset = place;
        if room - length >= INODE {
            free.entry(room - length).or_default().push(place + length);
        }
    }
    end
}

/// The ends of files in the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// With whole blocks: a file that changes changes no others.
    Blocks,
    /// Behind their inodes: the image is smaller.
    Tails,
}

/// Finishes `draft` as an EROFS image of the root that every kernel with EROFS reads. Its own times are `mtime`.
///
/// # Errors
/// As [`pack::write_as`], and [`Error::Image`] for attributes that EROFS cannot hold.
pub fn write(merge: &Merge, image: &Image, mtime: u32, ends: Ends, draft: &mut Draft) -> Result<Written> {
    let (superblock, written) = write_blocks(merge, image, mtime, ends, draft)?;
    let file = draft.file().map_err(failed)?;
    let path = file.path().to_path_buf();
    file.file().write_all_at(superblock.as_bytes(), SUPERBLOCK).at("write", path)?;
    Ok(written)
}

/// Writes all blocks but the first one; gives the superblock.
fn write_blocks(
    merge: &Merge,
    image: &Image,
    mtime: u32,
    ends: Ends,
    draft: &mut Draft,
) -> Result<(Superblock, Written)> {
    let tails = match ends {
        Ends::Blocks => None,
        Ends::Tails => {
            let file = tempfile::tempfile().at("create a file in", std::env::temp_dir())?;
            Some(Tails { file: BufWriter::with_capacity(256 << 10, file), length: 0, places: HashMap::new() })
        }
    };
    let mut contents = Contents { draft, merge, starts: HashMap::new(), tails };
    contents.place_stored()?;
    let mut written = pack::write_as(&mut contents, &merge.tree, image)?;
    let Contents { draft, starts, tails, .. } = contents;
    let first = draft.block();
    let (tails, places) = match tails {
        Some(Tails { file, places, .. }) => {
            (Some(file.into_inner().map_err(|error| failed(error.into_error()))?), places)
        }
        None => (None, HashMap::new()),
    };

    let plain = RootEntry { entry: Entry::directory(0o755), xattrs: Attributes::new() };
    let root = merge.root.as_ref().unwrap_or(&plain);
    let mut names = Names::new(merge, image, root, &starts, &places)?;
    let offset = match ends {
        Ends::Tails => pack_closely(&mut names.inodes),
        Ends::Blocks => names.inodes.iter_mut().fold(0, |offset, inode| {
            inode.place(offset);
            inode.offset + inode.length()
        }),
    };
    names.fill();
    let mut inodes = names.inodes;
    // What did not fit behind its inode gets blocks behind all inodes.
    let mut block = first + offset.div_ceil(BLOCK);
    for inode in inodes.iter_mut().filter(|inode| !inode.data.is_empty() && !inode.is_inline()) {
        inode.start = block;
        block += (inode.data.len() as u64).div_ceil(BLOCK);
    }
    let blocks = u32::try_from(block).map_err(|_| Error::Image {
        image: image.name.clone(),
        reason: "it is larger than the 16 TiB of an EROFS image".to_owned(),
    })?;

    let identity = write_inodes(&inodes, image, mtime, tails.as_ref(), draft.sink())?;

    let superblock = Superblock {
        magic: MAGIC.into(),
        features: FEATURE_MTIME.into(),
        block_bits: BLOCK_BITS,
        // The root is the first inode.
        inodes: (inodes.len() as u64).into(),
        time: u64::from(mtime).into(),
        blocks: blocks.into(),
        inodes_at: (first as u32).into(),
        attributes_at: (first as u32).into(),
        uuid: identity.into_bytes(),
        ..Superblock::default()
    };
    written.archive = block * BLOCK;
    Ok((superblock, written))
}

/// Writes the inodes in the order of their places, and the blocks of those that have some of their own. Returns the UUID that follows from
/// them.
fn write_inodes(
    inodes: &[Inode<'_>],
    image: &Image,
    mtime: u32,
    tails: Option<&File>,
    sink: &mut impl Write,
) -> Result<Uuid> {
    let mut at = 0;
    let mut identity =
        Uuid::new_v5(&Uuid::NAMESPACE_OID, image.digest.as_ref().map_or("", |digest| digest.digits()).as_bytes());
    let mut in_order: Vec<(u32, &Inode<'_>)> = (1..).zip(inodes).collect();
    in_order.sort_by_key(|(_, inode)| inode.offset);
    for (number, inode) in in_order {
        sink.write_all(&vec![0; (inode.offset - at) as usize]).map_err(failed)?;
        let bytes = inode.to_bytes(number, mtime, tails).map_err(failed)?;
        sink.write_all(&bytes).map_err(failed)?;
        identity = Uuid::new_v5(&identity, &bytes);
        at = inode.offset + inode.length();
    }
    pad(sink, at).map_err(failed)?;
    for inode in inodes.iter().filter(|inode| !inode.data.is_empty() && !inode.is_inline()) {
        sink.write_all(&inode.data).map_err(failed)?;
        pad(sink, inode.data.len() as u64).map_err(failed)?;
    }
    Ok(identity)
}
