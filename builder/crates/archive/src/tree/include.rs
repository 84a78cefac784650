//! A directory of the host as a part of the tree (`--include DIR`). What lands in the archive depends on the directory's
//! contents, not on who checked it out or with which umask:
//!
//! - the owner is root;
//! - a file that its owner may execute becomes `0755`, any other `0644`; setuid and setgid stay where it is executable;
//! - a directory becomes `0755`, a sticky one `1777` (no umask ever sets that bit, so it was meant, as on `/tmp`);
//! - devices and named pipes become `0600`;
//! - symbolic links are kept as data, hard links inside the directory as hard links;
//! - the time is the archive's.
//!
//! Directories that the tree has already keep their mode. Nothing of the host is changed.

use std::{
    collections::HashMap,
    fs::Metadata,
    io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileTypeExt, MetadataExt},
    },
    path::Path,
};

use base::{IoContext, escape::escape};
use walkdir::WalkDir;

use super::{Content, Entry, Kind, OnConflict, Tree};
use crate::{Error, Result};

impl Tree {
    /// Puts a whole directory of the host into the root: see the module for what becomes of modes, owners and links.
    ///
    /// # Errors
    /// [`Error::Io`] naming what cannot be read, [`Error::EmptyDirectory`], [`Error::ShadowsInit`] where the directory has an `init` at its top,
    /// otherwise as [`Self::insert`].
    pub fn include(&mut self, directory: &Path, on_conflict: OnConflict) -> Result<()> {
        if !std::fs::metadata(directory).at("read", directory)?.is_dir() {
            Err(io::Error::from(io::ErrorKind::NotADirectory)).at("read the directory", directory)?;
        }
        if std::fs::read_dir(directory).at("read", directory)?.next().is_none() {
            return Err(Error::EmptyDirectory { path: directory.to_owned() });
        }
        // A name and its (device, inode) on the host: the first name of each set of hard links.
        let mut first_names: HashMap<(u64, u64), Vec<u8>> = HashMap::new();
        for found in WalkDir::new(directory).min_depth(1).sort_by_file_name() {
            let found = found.map_err(|error| unreadable(directory, error))?;
            let host = found.path();
            let path = host.strip_prefix(directory).unwrap_or(host).as_os_str().as_bytes();
            if path == b"init" {
                return Err(Error::ShadowsInit { path: host.to_path_buf() });
            }
            let metadata = std::fs::symlink_metadata(host).at("read", host)?;
            if metadata.is_dir() && self.get(path).is_some_and(|there| there.kind == Kind::Directory) {
                continue;
            }
            let hard_linked = metadata.is_file() && metadata.nlink() > 1;
            let identity = (metadata.dev(), metadata.ino());
            match first_names.get(&identity).filter(|_| hard_linked) {
                Some(first) => self.link(first, path, on_conflict)?,
                None => {
                    self.insert(path, entry(host, path, &metadata)?, on_conflict)?;
                    if hard_linked {
                        first_names.insert(identity, path.to_vec());
                    }
                }
            }
        }
        Ok(())
    }
}

fn entry(host: &Path, path: &[u8], metadata: &Metadata) -> Result<Entry> {
    let (kind, mode) = (metadata.file_type(), metadata.mode());
    Ok(if kind.is_dir() {
        Entry::directory(directory_mode(mode))
    } else if kind.is_file() {
        Entry::file(file_mode(mode), Content::host(host)?)
    } else if kind.is_symlink() {
        Entry::symlink(std::fs::read_link(host).at("read", host)?.into_os_string().into_vec())
    } else if kind.is_char_device() {
        let (major, minor) = device_numbers(metadata.rdev());
        Entry::char_device(0o600, major, minor)
    } else if kind.is_block_device() {
        let (major, minor) = device_numbers(metadata.rdev());
        Entry::block_device(0o600, major, minor)
    } else if kind.is_fifo() {
        Entry::fifo(0o600)
    } else {
        let reason = "it is a socket, which only the program that made it can use; remove it from the directory";
        return Err(Error::BadEntry { path: escape(path).to_string(), reason });
    })
}

fn file_mode(mode: u32) -> u32 {
    if mode & 0o100 == 0 { 0o644 } else { 0o755 | (mode & 0o6000) }
}

fn directory_mode(mode: u32) -> u32 {
    if mode & 0o1000 == 0 { 0o755 } else { 0o1777 }
}

/// Returns major and minor from `st_rdev` as glibc and musl lay them out: 32 bits each, in two parts (`sys/sysmacros.h`).
fn device_numbers(rdev: u64) -> (u32, u32) {
    let major = (rdev >> 8) & 0xfff | (rdev >> 32) & 0xffff_f000;
    let minor = rdev & 0xff | (rdev >> 12) & 0xffff_ff00;
    (major as u32, minor as u32)
}

fn unreadable(directory: &Path, error: walkdir::Error) -> Error {
    let path = error.path().unwrap_or(directory).to_path_buf();
    let source = error.into_io_error().unwrap_or_else(|| io::Error::other("a loop of directories"));
    base::Error::Io { action: "read", path, source }.into()
}

#[cfg(test)]
mod tests {
    use super::{device_numbers, directory_mode, file_mode};

    #[test]
    fn modes_do_not_depend_on_the_umask() {
        for (given, kept) in [(0o600, 0o644), (0o664, 0o644), (0o700, 0o755), (0o775, 0o755), (0o4755, 0o4755)] {
            assert_eq!(file_mode(given), kept, "{given:o}");
        }
        for (given, kept) in [(0o700, 0o755), (0o2775, 0o755), (0o1777, 0o1777)] {
            assert_eq!(directory_mode(given), kept, "{given:o}");
        }
    }

    #[test]
    fn device_numbers_of_both_halves() {
        assert_eq!(device_numbers(0x0501), (5, 1));
        assert_eq!(device_numbers(0x0010_0800), (8, 256));
        assert_eq!(device_numbers(0x0000_1000_fff0_08ff), (0x1008, 0xfffff));
    }
}
