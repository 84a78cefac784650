//! The merged root as an OS image for the overlay way: a tar stream that `mksquashfs` reads from its standard input, so here too
//! nothing is unpacked. Unlike an initramfs it carries extended attributes.

use std::{
    io::{self, Write},
    os::fd::AsRawFd,
    process::Stdio,
};

use archive::tree::{Entry, Kind};
use base::program::MKSQUASHFS;
use base::{IoContext, ProgramFailure, atomic_file::AtomicFile};
use tar::{Builder, EntryType, Header};

use super::{
    image::Image,
    merge::{Attributes, Merge, RootEntry},
    pack::{self, Format, Item, Written},
};
use crate::{Error, Result};

mod root;
mod structures;

pub(crate) use root::keeps;

/// Names and targets that a header has room for; longer ones, and those that are no ASCII, go into PAX records.
const NAME_MAX: usize = 99;
const BLOCK: u64 = 512;

/// Names as tar members.
struct Tar<'a, W: Write> {
    builder: Builder<W>,
    merge: &'a Merge,
    mtime: u32,
}

impl<W: Write> Format for Tar<'_, W> {
    fn put(&mut self, item: &Item<'_>, size: u64, fill: &mut dyn FnMut(&mut dyn Write) -> Result<()>) -> Result<()> {
        let failed = |source| archive::Error::WriteArchive { source };
        let (path, entry) = (item.node.path, item.node.entry);
        let (kind, link): (EntryType, &[u8]) = match (&entry.kind, item.first) {
            (_, Some(first)) => (EntryType::Link, first),
            (Kind::Directory, _) => (EntryType::Directory, b""),
            (Kind::File(_), _) => (EntryType::Regular, b""),
            (Kind::Symlink(target), _) => (EntryType::Symlink, target),
            (Kind::CharDevice(_), _) => (EntryType::Char, b""),
            (Kind::BlockDevice(_), _) => (EntryType::Block, b""),
            (Kind::Fifo, _) => (EntryType::Fifo, b""),
        };
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(entry.mode);
        header.set_uid(entry.uid.into());
        header.set_gid(entry.gid.into());
        header.set_mtime(entry.mtime.unwrap_or(self.mtime).into());
        header.set_size(size);
        if let Kind::CharDevice(device) | Kind::BlockDevice(device) = &entry.kind {
            header.set_device_major(device.major).map_err(failed)?;
            header.set_device_minor(device.minor).map_err(failed)?;
        }
        let mut records: Vec<(String, &[u8])> = Vec::new();
        for (key, text) in [("path", path), ("linkpath", link)] {
            if text.len() > NAME_MAX || !text.is_ascii() {
                records.push((key.to_owned(), text));
            }
        }
        let fields = header.as_old_mut();
        for (field, text) in [(&mut fields.name, path), (&mut fields.linkname, link)] {
            let length = text.len().min(NAME_MAX);
            field[..length].copy_from_slice(&text[..length]);
        }
        let attributes = self.merge.xattrs.get(path).filter(|_| item.first.is_none());
        for (name, value) in attributes.into_iter().flatten().filter(|(name, _)| keeps(name)) {
            let name = str::from_utf8(name).map_err(|error| failed(io::Error::other(error)))?;
            records.push((format!("SCHILY.xattr.{name}"), value));
        }
        header.set_cksum();
        if !records.is_empty() {
            self.builder
                .append_pax_extensions(records.iter().map(|(key, value)| (key.as_str(), *value)))
                .map_err(failed)?;
        }
        // The header alone; the content is not there to be read but comes by itself.
        self.builder.append(&header, io::empty()).map_err(failed)?;
        fill(self.builder.get_mut())?;
        let missing = size.next_multiple_of(BLOCK) - size;
        Ok(io::copy(&mut io::Read::take(io::repeat(0), missing), self.builder.get_mut()).map(drop).map_err(failed)?)
    }
}

/// Writes the root into `output` as a squashfs image that every kernel with squashfs reads (gzip). Its own times are `mtime`. The same
/// root gives the same bytes, whenever it is written.
///
/// # Errors
/// As [`pack::write_as`], [`Error::MissingPrograms`] without mksquashfs, and [`Error::Program`] with what it said.
pub fn write(merge: &Merge, image: &Image, mtime: u32, output: &mut AtomicFile) -> Result<Written> {
    let path = output.path().to_path_buf();
    let mut command = MKSQUASHFS.command()?;
    // The file has no name yet that may stay; this is another one for it.
    let name = format!("/proc/{}/fd/{}", std::process::id(), output.file().as_raw_fd());
    let time = mtime.to_string();
    command.args([
        "-", &name, "-tar", "-noappend", "-no-progress", "-exit-on-error", "-reproducible", "-quiet", "-comp", "gzip",
    ]);
    let plain = RootEntry { entry: Entry::directory(0o755), xattrs: Attributes::new() };
    let root = merge.root.as_ref().unwrap_or(&plain);
    command.args(["-mkfs-time", &time]);
    let (mut reader, writer) = io::pipe().at("open a pipe for", MKSQUASHFS.name)?;
    let errors = writer.try_clone().at("open a pipe for", MKSQUASHFS.name)?;
    let mut child = command.stdin(Stdio::piped()).stdout(writer).stderr(errors).spawn().at("start", MKSQUASHFS.name)?;
    // The command holds the pipe's writing end.
    drop(command);
    let said = std::thread::spawn(move || {
        let mut said = String::new();
        let _ = io::Read::read_to_string(&mut reader, &mut said);
        said
    });
    let stdin =
        child.stdin.take().ok_or_else(|| archive::Error::WriteArchive { source: io::ErrorKind::BrokenPipe.into() })?;
    let mut tar = Tar { builder: Builder::new(io::BufWriter::with_capacity(64 << 10, stdin)), merge, mtime };
    let written = pack::write_as(&mut tar, &merge.tree, image).and_then(|written| {
        let flushed = tar.builder.into_inner().and_then(|mut stdin| stdin.flush());
        Ok(flushed.map(|()| written).map_err(|source| archive::Error::WriteArchive { source })?)
    });
    let broken_pipe = |error: &Error| matches!(error, Error::Archive(archive::Error::WriteArchive { source }) if source.kind() == io::ErrorKind::BrokenPipe);
    if written.as_ref().is_err_and(|error| !broken_pipe(error)) {
        // What it has is not the whole root.
        let _ = child.kill();
    }
    let status = child.wait().at("wait for", MKSQUASHFS.name)?;
    let said = said.join().unwrap_or_default();
    match written {
        Err(error) if !broken_pipe(&error) => Err(error),
        Ok(mut written) if status.success() => {
            written.archive = root::settle(output.file(), root, mtime).at("write", path)?;
            Ok(written)
        }
        _ => Err(base::Error::Program {
            program: MKSQUASHFS.name.to_owned(),
            status: status.to_string(),
            source: ProgramFailure { said: said.trim().to_owned() },
        }
        .into()),
    }
}
