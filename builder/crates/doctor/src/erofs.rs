//! OS images in EROFS: their names, contents that are not compressed, and the start of others: a boot looks at the first bytes of a program.
//! Format: kernel, fs/erofs/erofs_fs.h.

use std::{
    cell::RefCell,
    io::{self, Cursor, Read, SeekFrom},
};

use contract::inventory::Kind;
use initramfs_overlay_init::kernel::Stat;
use zerocopy::{
    FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned,
    little_endian::{U16, U32, U64},
};

use super::{
    error::{Error, Result, damaged},
    filesystem::{Content, Filesystem, Partial},
    superblock::crc32c,
};

const MAGIC: u32 = 0xe0f5_e1e2;
/// The place of the superblock in bytes.
const PLACE: u64 = 1024;
/// The superblock has a checksum (`EROFS_FEATURE_COMPAT_SB_CHKSUM`).
const HAS_CHECKSUM: u32 = 0x1;
/// Features of `feature_incompat` that leave names where they are: all that Linux 6.6 knows.
const KNOWN: u32 = 0x7f;
/// The largest directory that is read, in bytes.
const DIRECTORY_MAX: u64 = 64 << 20;

/// `struct erofs_super_block`, as far as it is used.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Superblock {
    magic: U32,
    checksum: U32,
    compatible: U32,
    block_bits: u8,
    extensions: u8,
    root: U16,
    times: [u8; 20],
    blocks: U32,
    inodes_at: U32,
    attributes_at: U32,
    identity: [u8; 32],
    incompatible: U32,
}

/// `struct erofs_inode_compact`; the other kind begins with the same fields.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct CompactInode {
    format: U16,
    attributes: U16,
    mode: U16,
    links: U16,
    size_low: U32,
    size_high: U32,
    /// The first block of its content, or a device's number.
    place: U32,
    rest: [u8; 12],
}

/// `struct erofs_dirent`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct DirectoryEntry {
    nid: U64,
    /// The beginning of the name in its block.
    name: U16,
    kind: u8,
    unused: u8,
}

const ENTRY: usize = size_of::<DirectoryEntry>();
/// Bytes of an extended inode, and of the slots in which inodes are numbered.
const EXTENDED: u64 = 64;
const SLOT: u64 = 32;

/// `struct z_erofs_map_header`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct MapHeader {
    elsewhere: U32,
    advise: U16,
    algorithms: u8,
    cluster_bits: u8,
}

/// `struct z_erofs_lcluster_index`.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Index {
    advise: U16,
    offset: U16,
    place: U32,
}

/// Layouts of a compressed content, by its indexes (`EROFS_INODE_COMPRESSED_*`).
const COMPRESSED_FULL: u16 = 1;
const COMPRESSED_COMPACT: u16 = 3;
/// Indexes are in packs of sixteen where that is possible (`Z_EROFS_ADVISE_COMPACTED_2B`).
const COMPACTED_2B: u16 = 0x1;
/// Kinds of cluster: stored as it is, and the beginning of a compressed one (`Z_EROFS_LCLUSTER_TYPE_*`).
const PLAIN: u16 = 0;
const HEAD: u16 = 1;
/// The most bytes that a block unpacks to.
const CLUSTER_MAX: usize = 2 << 20;
/// Compressed data ends with its block (`EROFS_FEATURE_INCOMPAT_ZERO_PADDING`).
const IS_PADDED: u32 = 0x1;

/// An EROFS image.
pub struct Image {
    content: RefCell<Box<dyn Content + Send>>,
    block: u64,
    inodes: u64,
    root: u64,
    is_padded: bool,
}

/// An inode, with its place.
struct Inode {
    nid: u64,
    format: u16,
    mode: u16,
    size: u64,
    first_block: u64,
    /// The place in bytes behind it and its attributes.
    behind: u64,
}

impl Inode {
    fn layout(&self) -> u16 {
        self.format >> 1 & 7
    }

    fn kind(&self) -> Kind {
        match self.mode & 0xf000 {
            0x8000 => Kind::File,
            0x4000 => Kind::Directory,
            0xa000 => Kind::Symlink,
            _ => Kind::Other,
        }
    }
}

impl Image {
    /// Reads the superblock and the root of the image in `content`.
    ///
    /// # Errors
    /// [`Error::Damaged`]; [`Error::Unreadable`] for features that are not known here.
    pub fn open(content: Box<dyn Content + Send>) -> Result<Self> {
        let mut image = Self { content: RefCell::new(content), block: 0, inodes: 0, root: 0, is_padded: false };
        let superblock: Superblock = image.structure(PLACE)?;
        let bits = u32::from(superblock.block_bits);
        if superblock.magic != MAGIC || !(9..=16).contains(&bits) {
            return Err(damaged("its superblock"));
        }
        let unknown = superblock.incompatible.get() & !KNOWN;
        if unknown != 0 {
            return Err(Error::Unreadable(format!("the doctor does not read EROFS with features {unknown:#x}")));
        }
        image.block = 1 << bits;
        image.is_padded = superblock.incompatible.get() & IS_PADDED != 0;
        if superblock.compatible.get() & HAS_CHECKSUM != 0 {
            let end = if image.block > PLACE { image.block } else { PLACE + image.block };
            let mut bytes = image.bytes(PLACE, end - PLACE)?;
            bytes[4..8].fill(0);
            if crc32c(!0, &bytes) != superblock.checksum.get() {
                return Err(damaged("its superblock's checksum is wrong"));
            }
        }
        image.inodes = u64::from(superblock.inodes_at.get()) * image.block;
        image.root = superblock.root.get().into();
        match image.inode(image.root)?.kind() {
            Kind::Directory => Ok(image),
            _ => Err(damaged("its root is not a directory")),
        }
    }

    fn bytes(&self, place: u64, length: u64) -> Result<Vec<u8>> {
        let mut content = self.content.borrow_mut();
        content.seek(SeekFrom::Start(place))?;
        let mut bytes = Vec::new();
        (&mut **content).take(length).read_to_end(&mut bytes)?;
        if bytes.len() as u64 == length { Ok(bytes) } else { Err(damaged("it ends too early")) }
    }

    fn structure<T: FromBytes>(&self, place: u64) -> Result<T> {
        T::read_from_bytes(&self.bytes(place, size_of::<T>() as u64)?).map_err(|_| damaged("a structure"))
    }

    fn inode(&self, nid: u64) -> Result<Inode> {
        let place = nid.checked_mul(SLOT).and_then(|place| place.checked_add(self.inodes));
        let place = place.ok_or_else(|| damaged("an inode's number"))?;
        let inode: CompactInode = self.structure(place)?;
        let format = inode.format.get();
        let (length, high) = if format & 1 == 1 { (EXTENDED, inode.size_high.get()) } else { (SLOT, 0) };
        // `struct erofs_xattr_ibody_header`, and words of 4 bytes.
        let attributes = inode.attributes.get().checked_sub(1).map_or(0, |words| 12 + 4 * u64::from(words));
        Ok(Inode {
            nid,
            format,
            mode: inode.mode.get(),
            size: u64::from(high) << 32 | u64::from(inode.size_low.get()),
            first_block: u64::from(inode.place.get()),
            behind: place + length + attributes,
        })
    }

    /// Reads a content that is not compressed: in blocks, or in whole blocks with its end behind the inode (layouts 0 and 2).
    fn data(&self, inode: &Inode, most: u64) -> Result<Vec<u8>> {
        if inode.size > most {
            return Err(damaged("a directory has no end"));
        }
        let start = inode.first_block.saturating_mul(self.block);
        match inode.layout() {
            0 => self.bytes(start, inode.size),
            2 => {
                let tail = inode.size % self.block;
                let mut bytes = self.bytes(start, inode.size - tail)?;
                bytes.extend(self.bytes(inode.behind, tail)?);
                Ok(bytes)
            }
            _ => Err(Error::Unreadable("the doctor does not read compressed directories and links in EROFS".into())),
        }
    }

    /// Reads the start of a compressed content, as much as its first cluster holds.
    fn start(&self, inode: &Inode) -> Result<Vec<u8>> {
        let unread =
            || Error::Unreadable("the doctor does not read files in EROFS that are compressed like this".into());
        let header_place = inode.behind.next_multiple_of(8);
        let header: MapHeader = self.structure(header_place)?;
        let advise = header.advise.get();
        // LZ4 in clusters of one block that ends with the data; nothing elsewhere than in blocks.
        if header.algorithms & 0xf != 0 || header.cluster_bits != 0 || advise & !COMPACTED_2B != 0 || !self.is_padded {
            return Err(unread());
        }
        let indexes = header_place + size_of::<MapHeader>() as u64;
        let (kind, place) = if inode.layout() == COMPRESSED_FULL {
            let index: Index = self.structure(indexes + size_of::<Index>() as u64)?;
            (index.advise.get() & 3, index.place.get())
        } else {
            // Packs of two indexes in 8 bytes up to a multiple of 32, then of sixteen in 32; the number behind a pack is that of the block
            // before its first.
            let alone = (32 - indexes % 32) / 4 % 8;
            let count = inode.size.div_ceil(self.block);
            let is_wide = alone == 0 && advise & COMPACTED_2B != 0 && count >= 16;
            let first: U16 = self.structure(indexes)?;
            let base: U32 = self.structure(indexes + if is_wide { 28 } else { 4 })?;
            (first.get() >> 12 & 3, base.get().wrapping_add(1))
        };
        let block = self.bytes(u64::from(place) * self.block, self.block)?;
        match kind {
            PLAIN => Ok(block),
            HEAD => {
                let packed = block.iter().position(|byte| *byte != 0).and_then(|start| block.get(start..));
                let mut bytes = vec![0; CLUSTER_MAX];
                let length = lz4_flex::block::decompress_into(packed.unwrap_or_default(), &mut bytes);
                bytes.truncate(length.map_err(|error| damaged(format!("a block: {error}")))?);
                Ok(bytes)
            }
            _ => Err(damaged("the index of a file")),
        }
    }

    fn entries(&self, directory: &Inode) -> Result<Vec<(String, u64)>> {
        let bytes = self.data(directory, DIRECTORY_MAX)?;
        let wrong = || damaged("a directory");
        let mut names = Vec::new();
        for block in bytes.chunks(self.block as usize) {
            let first = DirectoryEntry::ref_from_prefix(block).map_err(|_| wrong())?.0;
            let count = usize::from(first.name.get()) / ENTRY;
            let entries = <[DirectoryEntry]>::ref_from_prefix_with_elems(block, count).map_err(|_| wrong())?.0;
            for (place, entry) in entries.iter().enumerate() {
                let end = entries.get(place + 1).map_or(block.len(), |next| next.name.get().into());
                let name = block.get(entry.name.get().into()..end).ok_or_else(wrong)?;
                let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
                names.push((String::from_utf8_lossy(name).into_owned(), entry.nid.get()));
            }
        }
        Ok(names)
    }

    fn find(&self, path: &str) -> Result<Inode> {
        let mut inode = self.inode(self.root)?;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if inode.kind() != Kind::Directory {
                return Err(io::Error::from(io::ErrorKind::NotADirectory).into());
            }
            let found = self.entries(&inode)?.into_iter().find(|(known, _)| known == name);
            let (_, nid) = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            inode = self.inode(nid)?;
        }
        Ok(inode)
    }
}

impl Filesystem for Image {
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let directory = self.find(path)?;
        if directory.kind() != Kind::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let names = self.entries(&directory)?.into_iter().map(|(name, _)| name);
        Ok(names.filter(|name| !matches!(name.as_str(), "." | "..")).collect())
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        let inode = self.find(path)?;
        Ok(Stat { kind: inode.kind(), mode: u32::from(inode.mode) & 0o7777, size: inode.size })
    }

    fn read_link(&self, path: &str) -> io::Result<String> {
        let inode = self.find(path)?;
        if inode.kind() != Kind::Symlink {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        Ok(String::from_utf8_lossy(&self.data(&inode, 4096)?).into_owned())
    }

    fn open_anywhere(&self, path: &str) -> io::Result<Box<dyn Content + Send>> {
        let inode = self.find(path)?;
        if !matches!(inode.layout(), COMPRESSED_FULL | COMPRESSED_COMPACT) {
            return Ok(Box::new(Cursor::new(self.data(&inode, u64::MAX)?)));
        }
        let mut bytes = self.start(&inode)?;
        bytes.truncate(usize::try_from(inode.size).unwrap_or(usize::MAX));
        let end = || Error::Unreadable("the doctor reads only the start of compressed files in EROFS".into()).into();
        Ok(Box::new(Partial::new(bytes, inode.size, end)))
    }

    fn identity(&self, path: &str) -> Option<String> {
        self.find(path).ok().map(|inode| inode.nid.to_string())
    }

    fn is_whiteout(&self, path: &str) -> bool {
        self.find(path).is_ok_and(|inode| inode.mode & 0xf000 == 0x2000 && inode.first_block == 0)
    }
}
