//! ext4 filesystems as the next mount would see them: the journal first, then the library.

use std::{
    io::{self, Read, Seek, SeekFrom},
    sync::Arc,
};

use contract::inventory::Kind;
use ext4_view::{Ext4, Ext4Error, FileType};
use initramfs_overlay_init::kernel::Stat;

use super::{
    block_reader::{Replaced, Shared, seek},
    error::{Error, Result},
    filesystem::{Capacity, Content, Filesystem},
    journal,
    superblock::{Layout, Superblock, features, inodes::Inodes},
};

/// An ext4 filesystem.
#[derive(Debug)]
pub struct Volume {
    medium: Shared,
    filesystem: Ext4,
    layout: Layout,
    capacity: Capacity,
    /// Blocks that the journal put back.
    pub replayed: usize,
}

impl Volume {
    /// Opens the filesystem in `medium`.
    ///
    /// # Errors
    /// [`Error::Damaged`] where the kernel would not mount it; [`Error::Unreadable`] where nothing here reads it.
    pub fn open(medium: Shared) -> Result<Self> {
        let superblock = Superblock::read(&medium)?;
        if superblock.is_ext() && superblock.is_whole() {
            features::check(&medium, &superblock)?;
        }
        let (medium, replayed) = journal::replayed(medium)?;
        let (offset, plain) = Superblock::without(&medium, features::HARMLESS)?;
        let medium: Shared = Arc::new(Replaced::new(medium, offset, plain));
        let filesystem = Ext4::load(Box::new(Reader(medium.clone()))).map_err(said)?;
        let layout = Layout::read(&medium)?;
        let capacity = Inodes { medium: &medium, layout: &layout }.capacity()?;
        Ok(Self { medium, filesystem, layout, capacity, replayed })
    }

    fn inodes(&self) -> Inodes<'_> {
        Inodes { medium: &self.medium, layout: &self.layout }
    }
}

struct Reader(Shared);

impl ext4_view::Ext4Read for Reader {
    fn read(
        &mut self,
        start: u64,
        buffer: &mut [u8],
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync + 'static>> {
        Ok(self.0.read_at(start, buffer)?)
    }
}

/// Translates an error of the library into the kernel's.
fn said(error: Ext4Error) -> io::Error {
    match error {
        Ext4Error::NotFound => io::ErrorKind::NotFound.into(),
        Ext4Error::IsADirectory => io::ErrorKind::IsADirectory.into(),
        Ext4Error::NotADirectory => io::ErrorKind::NotADirectory.into(),
        Ext4Error::Corrupt(part) => Error::Damaged(part.to_string()).into(),
        Ext4Error::Incompatible(_) | Ext4Error::Encrypted => {
            Error::Unreadable(format!("the doctor does not read this ext4: {error}")).into()
        }
        Ext4Error::Io(source) => io::Error::other(source),
        error => io::Error::other(error.to_string()),
    }
}

fn full(path: &str) -> String {
    format!("/{path}")
}

impl Filesystem for Volume {
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in self.filesystem.read_dir(full(path).as_str()).map_err(said)? {
            let entry = entry.map_err(said)?;
            names.push(String::from_utf8_lossy(entry.file_name().as_ref()).into_owned());
        }
        names.retain(|name| !matches!(name.as_str(), "." | ".."));
        names.sort_unstable();
        Ok(names)
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        let metadata = self.filesystem.symlink_metadata(full(path).as_str()).map_err(said)?;
        let kind = match metadata.file_type() {
            FileType::Regular => Kind::File,
            FileType::Directory => Kind::Directory,
            FileType::Symlink => Kind::Symlink,
            _ => Kind::Other,
        };
        Ok(Stat { kind, mode: u32::from(metadata.mode()) & 0o7777, size: metadata.len() })
    }

    fn read_link(&self, path: &str) -> io::Result<String> {
        let target = self.filesystem.read_link(full(path).as_str()).map_err(said)?;
        Ok(String::from_utf8_lossy(target.as_ref()).into_owned())
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Content>> {
        Ok(Box::new(self.filesystem.open(full(path).as_str()).map_err(said)?))
    }

    fn open_anywhere(&self, path: &str) -> io::Result<Box<dyn Content + Send>> {
        let size = self.filesystem.metadata(full(path).as_str()).map_err(said)?.len();
        Ok(Box::new(Reopened { medium: self.medium.clone(), path: full(path), place: 0, size }))
    }

    fn capacity(&self) -> Capacity {
        self.capacity
    }

    fn identity(&self, path: &str) -> Option<String> {
        self.inodes().find(path).ok()?.map(|number| number.to_string())
    }

    fn links(&self, path: &str) -> u64 {
        let inodes = self.inodes();
        inodes.find(path).ok().flatten().and_then(|number| inodes.links(number).ok()).unwrap_or(1)
    }

    fn is_whiteout(&self, path: &str) -> bool {
        let inodes = self.inodes();
        inodes.find(path).ok().flatten().is_some_and(|number| inodes.is_whiteout(number).unwrap_or(false))
    }
}

/// A file that is opened again for each read: the library's own files stay in one thread.
struct Reopened {
    medium: Shared,
    path: String,
    place: u64,
    size: u64,
}

impl Read for Reopened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let filesystem = Ext4::load(Box::new(Reader(self.medium.clone()))).map_err(said)?;
        let mut file = filesystem.open(self.path.as_str()).map_err(said)?;
        file.seek_to(self.place).map_err(said)?;
        let mut length = 0;
        while length < buffer.len() {
            match file.read_bytes(&mut buffer[length..]).map_err(said)? {
                0 => break,
                more => length += more,
            }
        }
        self.place += length as u64;
        Ok(length)
    }
}

impl Seek for Reopened {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.place = seek(place, self.place, self.size)?;
        Ok(self.place)
    }
}
