//! A root directory of the host as a source: everything in it as it is, owners, modes, times and extended attributes, and no step out of
//! it. Only reads.

use std::{
    collections::HashMap,
    fs::Metadata,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use archive::tree::{Content, Device, Entry, Kind, OnConflict};
use base::{IoContext, escape::escape, progress::Progress};
use walkdir::WalkDir;

use super::{
    exclude::Exclude,
    merge::{Attributes, Merge, RootEntry},
};
use crate::{Error, Result};

/// Puts the directory on `merge`, but for what `exclude` leaves out, which is not looked at. Its files may have `max_size` bytes together.
///
/// # Errors
/// [`Error::Image`] with the entry, [`Error::Io`].
pub fn read(
    image: &str,
    directory: &Path,
    exclude: &Exclude,
    merge: &mut Merge,
    max_size: u64,
    progress: Progress,
) -> Result<()> {
    let mut first_names: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
    let mut left = max_size;
    let mut sockets = Vec::new();
    let metadata = std::fs::metadata(directory).at("read", directory)?;
    if let Some(entry) = entry(directory, &metadata)? {
        merge.root = Some(RootEntry { entry, xattrs: attributes(directory)? });
    }
    let mut walk = WalkDir::new(directory).min_depth(1).sort_by_file_name().into_iter();
    while let Some(found) = walk.next() {
        let found = found.map_err(|error| {
            let path = error.path().unwrap_or(directory).to_path_buf();
            let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other("a loop of directories"));
            base::Error::Io { action: "read", path, source }
        })?;
        let host = found.path();
        let path = host.strip_prefix(directory).unwrap_or(host).as_os_str().as_bytes();
        let refuse = |reason: String| Error::Image {
            image: image.to_owned(),
            reason: format!("entry `{}`: {reason}", escape(path)),
        };
        if exclude.matches(path) {
            merge.left_out += 1;
            if found.file_type().is_dir() {
                walk.skip_current_dir();
            }
            continue;
        }
        let metadata = std::fs::symlink_metadata(host).at("read", host)?;
        let identity = (metadata.dev(), metadata.ino());
        let linked = !metadata.is_dir() && metadata.nlink() > 1;
        let Some(entry) = entry(host, &metadata)? else {
            sockets.push(escape(path).to_string());
            continue;
        };
        let attributes = attributes(host)?;
        match first_names.get(&identity).filter(|_| linked && !metadata.is_symlink()) {
            Some(first) => merge.tree.link(first, path, OnConflict::Refuse)?,
            None => {
                if let Kind::File(content) = &entry.kind {
                    left = left.checked_sub(content.size()).ok_or_else(|| {
                        refuse(format!("the directory has more than the {max_size} bytes of --max-size"))
                    })?;
                }
                merge.insert(path, entry).map_err(refuse)?;
                if linked {
                    first_names.insert(identity, path.to_vec());
                }
            }
        }
        if !attributes.is_empty() {
            merge.xattrs.insert(path.to_vec(), attributes);
        }
    }
    if let Some(first) = sockets.first() {
        let count = sockets.len();
        progress.say(format!(
            "{image}: {count} socket{} left out (`{first}`{}): only the program that made one can use it",
            if count > 1 { "s are" } else { " is" },
            if count > 1 { ", …" } else { "" }
        ));
    }
    Ok(())
}

/// Returns the entry of a file of the host; `None` for a socket.
fn entry(host: &Path, metadata: &Metadata) -> Result<Option<Entry>> {
    let kind = metadata.file_type();
    let device = Device { major: rustix::fs::major(metadata.rdev()), minor: rustix::fs::minor(metadata.rdev()) };
    let kind = if kind.is_dir() {
        Kind::Directory
    } else if kind.is_file() {
        Kind::File(Content::host(host)?)
    } else if kind.is_symlink() {
        Kind::Symlink(std::fs::read_link(host).at("read", host)?.into_os_string().into_vec())
    } else if kind.is_char_device() {
        Kind::CharDevice(device)
    } else if kind.is_block_device() {
        Kind::BlockDevice(device)
    } else if kind.is_fifo() {
        Kind::Fifo
    } else {
        return Ok(None);
    };
    let mtime = u32::try_from(metadata.mtime().max(0)).unwrap_or(u32::MAX);
    Ok(Some(Entry {
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
        mtime: Some(mtime),
        kind,
    }))
}

fn attributes(host: &Path) -> Result<Attributes> {
    use rustix::{fs, io::Errno};
    let read = |error: Errno| std::io::Error::from(error);
    let mut names = Vec::with_capacity(1 << 16);
    match fs::llistxattr(host, rustix::buffer::spare_capacity(&mut names)) {
        Ok(_) => {}
        // A filesystem without them.
        Err(Errno::NOTSUP) => return Ok(Attributes::new()),
        Err(error) => Err(read(error)).at("read the attributes of", host)?,
    }
    let mut attributes = Attributes::new();
    for name in names.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = Vec::with_capacity(1 << 16);
        match fs::lgetxattr(host, name, rustix::buffer::spare_capacity(&mut value)) {
            Ok(_) => drop(attributes.insert(name.to_vec(), value)),
            Err(Errno::NODATA) => {}
            Err(error) => Err(read(error)).at("read the attributes of", host)?,
        }
    }
    Ok(attributes)
}
