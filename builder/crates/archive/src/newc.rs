//! Tree → newc bytes, streaming. The same tree gives the same bytes whatever the order it was put together in: `/init`
//! first, then names in byte order (so a directory comes before what it holds), inode numbers by position, one fixed time. Opens the
//! host's files one at a time and holds none of them. The format is the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`; what is done with it is `init/initramfs.c`.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use cpio::newc::{self, Builder, ModeFileType};

use crate::{
    error::{Error, Result},
    tree::{Device, Entry, Kind, Node, Tree},
};

/// Settings of an archive as a whole, apart from the tree. The defaults are constant, so builds are reproducible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Properties {
    /// Seconds since 1970 for every entry without a time of its own.
    pub mtime: u32,
    /// The archive's length is made a multiple of this with NUL bytes. The kernel asks for 4 (the next archive in the
    /// same file must begin there); 512 is what GNU cpio writes and boot loaders know.
    pub alignment: u64,
}

impl Default for Properties {
    fn default() -> Self {
        Self { mtime: 0, alignment: 512 }
    }
}

/// Writes the whole archive with its trailer into `sink`. Returns its length in bytes.
///
/// Hard links: the first name carries the content, later ones have size 0 and the same inode number. The kernel links
/// later names to the first and leaves a file alone that comes again with size 0; GNU cpio makes the file at the first
/// name with content and links the others to it. (GNU cpio itself writes the content last; both read both.)
///
/// # Errors
/// As [`Tree::check_archive`] before the first byte; [`Error::Io`] and [`Error::SizeChanged`] for a file of the host that
/// cannot be read as it was; [`Error::WriteArchive`] with what `sink` said.
pub fn write(tree: &Tree, properties: Properties, sink: impl Write) -> Result<u64> {
    tree.check_archive()?;
    let mut writer = Writer::new(sink, properties);
    let mut numbers: HashMap<usize, u32> = HashMap::new();
    for node in tree.in_archive_order() {
        let next = writer.number();
        let number = *numbers.entry(node.inode).or_insert(next);
        let links = tree.links(&node);
        match &node.entry.kind {
            Kind::File(content) if number == next => {
                writer.put(&node, number, links, content.size(), |sink| content.copy_to(sink))?;
            }
            _ => writer.put(&node, number, links, 0, |_| Ok::<_, Error>(()))?,
        }
    }
    writer.finish()
}

/// Writes entries in an order of the caller's, who sees to it that a directory comes before what it holds.
pub struct Writer<W: Write> {
    sink: Sink<W>,
    properties: Properties,
    // Number 0 is what a header without one would have: begin with 1, as filesystems do.
    next: u32,
}

impl<W: Write> Writer<W> {
    /// Returns an archive without entries.
    pub fn new(sink: W, properties: Properties) -> Self {
        Self { sink: Sink { inner: sink, length: 0, name: Vec::new(), name_at: 0 }, properties, next: 0 }
    }

    /// Returns a number that no entry has yet.
    pub fn number(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// Writes the entry of `node`, number `number`, which has `links` names. A file's `size` bytes come from `fill`; a symbolic
    /// link's target is written by itself.
    ///
    /// # Errors
    /// [`Error::TooLarge`], what `fill` said, [`Error::WriteArchive`] with what the sink said.
    pub fn put<E: From<Error>>(
        &mut self,
        node: &Node<'_>,
        number: u32,
        links: usize,
        size: u64,
        fill: impl FnOnce(&mut dyn Write) -> Result<(), E>,
    ) -> Result<(), E> {
        let Entry { mode, uid, gid, mtime, kind } = node.entry;
        let size = match kind {
            Kind::Symlink(target) => target.len() as u64,
            _ => size,
        };
        let too_large = || Error::TooLarge { path: base::escape::escape(node.path).to_string(), size };
        let size = u32::try_from(size).map_err(|_| too_large())?;
        let (file_type, device) = file_type(kind);
        let builder = Builder::new(&self.sink.expect_name(node.path))
            .ino(number)
            .mode(*mode)
            .set_mode_file_type(file_type)
            .uid(*uid)
            .gid(*gid)
            .nlink(u32::try_from(links).unwrap_or(u32::MAX))
            .mtime(mtime.unwrap_or(self.properties.mtime))
            .rdev_major(device.major)
            .rdev_minor(device.minor);
        let mut writer = builder.write(&mut self.sink, size);
        match kind {
            Kind::Symlink(target) => writer.write_all(target).map_err(|source| Error::WriteArchive { source })?,
            _ => fill(&mut writer)?,
        }
        Ok(writer.finish().map(drop).map_err(|source| Error::WriteArchive { source })?)
    }

    /// Writes the trailer and what fills the last block. Returns the archive's length in bytes.
    ///
    /// # Errors
    /// [`Error::WriteArchive`] with what the sink said.
    pub fn finish(mut self) -> Result<u64> {
        newc::trailer(&mut self.sink).map_err(|source| Error::WriteArchive { source })?;
        self.sink.pad(self.properties.alignment).map_err(|source| Error::WriteArchive { source })?;
        Ok(self.sink.length)
    }
}

fn file_type(kind: &Kind) -> (ModeFileType, Device) {
    let none = Device { major: 0, minor: 0 };
    match kind {
        Kind::Directory => (ModeFileType::Directory, none),
        Kind::File(_) => (ModeFileType::Regular, none),
        Kind::Symlink(_) => (ModeFileType::Symlink, none),
        Kind::CharDevice(device) => (ModeFileType::Char, *device),
        Kind::BlockDevice(device) => (ModeFileType::Block, *device),
        Kind::Fifo => (ModeFileType::Fifo, none),
    }
}

/// Between the cpio crate and the real sink, for three things the crate does not do: names that are no UTF-8 (its
/// builder takes a `&str`), the archive's length, and leaving out its flush after every entry, which would cut a
/// compressor's stream into pieces and make it larger.
struct Sink<W> {
    inner: W,
    length: u64,
    /// The name of the entry being written, as it really is, and where in the archive it begins. The header is built
    /// with a stand-in of the same length, whose bytes are exchanged for these on their way through.
    name: Vec<u8>,
    name_at: u64,
}

/// Six bytes of magic and thirteen fields of eight digits: the name comes right after them.
const HEADER_LENGTH: u64 = 110;

impl<W: Write> Sink<W> {
    /// Gets ready for an entry called `name`; returns what to call it towards the crate.
    fn expect_name(&mut self, name: &[u8]) -> String {
        self.name = name.to_vec();
        self.name_at = self.length + HEADER_LENGTH;
        str::from_utf8(name).map_or_else(|_| "?".repeat(name.len()), str::to_owned)
    }

    fn pad(&mut self, alignment: u64) -> io::Result<()> {
        let missing = self.length.next_multiple_of(alignment.max(1)) - self.length;
        io::copy(&mut io::Read::take(io::repeat(0), missing), self).map(drop)
    }
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let name_end = self.name_at + self.name.len() as u64;
        let written = if self.length >= self.name_at && self.length < name_end {
            let rest = &self.name[(self.length - self.name_at) as usize..];
            self.inner.write(&rest[..rest.len().min(bytes.len())])?
        } else if self.length < self.name_at {
            let before = usize::try_from(self.name_at - self.length).unwrap_or(usize::MAX);
            self.inner.write(&bytes[..bytes.len().min(before)])?
        } else {
            self.inner.write(bytes)?
        };
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
