//! FAT filesystems: `boot`, and sticks that somebody did not format as documented.

use std::{
    cell::{Cell, RefCell},
    io::{self, Read, Seek, SeekFrom, Write},
    rc::Rc,
};

use contract::inventory::Kind;
use fatfs::{FileSystem, FsOptions};
use initramfs_overlay_init::kernel::Stat;

use super::{
    block_reader::{Shared, Stream, seek},
    filesystem::{Content, Filesystem},
    superblock::corrupt,
};

/// Bytes that looking for a name can take: eight times those of a folder, which has 65536 entries of 32 bytes at most.
const LOOK: u64 = 16 << 20;

/// A FAT filesystem.
pub struct Volume {
    medium: Shared,
    filesystem: RefCell<FileSystem<Bounded>>,
    left: Rc<Cell<u64>>,
}

/// A stream that ends after so many bytes: on a damaged filesystem a folder may go on in itself, and the library with it.
struct Bounded {
    stream: Stream,
    left: Rc<Cell<u64>>,
}

impl Bounded {
    fn new(medium: Shared, left: u64) -> Self {
        Self { stream: Stream::new(medium), left: Rc::new(Cell::new(left)) }
    }
}

impl Read for Bounded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        let left = self.left.get().checked_sub(length as u64).ok_or_else(|| corrupt("a folder has no end"))?;
        self.left.set(left);
        Ok(length)
    }
}

impl Seek for Bounded {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.stream.seek(place)
    }
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.stream.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl Volume {
    /// Opens the filesystem in `block_reader`.
    ///
    /// # Errors
    /// Where it is none.
    pub fn open(medium: Shared) -> io::Result<Self> {
        let stream = Bounded::new(medium.clone(), LOOK);
        let left = stream.left.clone();
        let filesystem = FileSystem::new(stream, FsOptions::new())?;
        Ok(Self { medium, filesystem: RefCell::new(filesystem), left })
    }

    /// The filesystem, of which so many bytes may be read.
    fn filesystem(&self, most: u64) -> std::cell::Ref<'_, FileSystem<Bounded>> {
        self.left.set(most);
        self.filesystem.borrow()
    }

    /// Its label as blkid reads it: the root directory's entry, else the boot sector's.
    pub fn label(&self) -> Option<String> {
        let filesystem = self.filesystem(LOOK);
        let label = match filesystem.read_volume_label_from_root_dir() {
            Ok(Some(label)) => label,
            _ => filesystem.volume_label(),
        };
        let label = label.trim_end();
        (!label.is_empty() && label != "NO NAME").then(|| label.to_owned())
    }

    /// Its number as `UUID=` has it.
    pub fn uuid(&self) -> String {
        let id = self.filesystem(LOOK).volume_id();
        format!("{:04x}-{:04x}", id >> 16, id & 0xffff)
    }
}

impl Filesystem for Volume {
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let filesystem = self.filesystem(LOOK);
        let root = filesystem.root_dir();
        let folder = if path.is_empty() { root } else { root.open_dir(path)? };
        let mut names = Vec::new();
        for entry in folder.iter() {
            names.push(entry?.file_name());
        }
        names.retain(|name| !matches!(name.as_str(), "." | ".."));
        names.sort_unstable();
        Ok(names)
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        let directory = Stat { kind: Kind::Directory, mode: 0o755, size: 0 };
        if path.is_empty() {
            return Ok(directory);
        }
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let filesystem = self.filesystem(LOOK);
        let root = filesystem.root_dir();
        let folder = if parent.is_empty() { root } else { root.open_dir(parent)? };
        for entry in folder.iter() {
            let entry = entry?;
            // FAT's names have no case.
            if entry.file_name().eq_ignore_ascii_case(name) {
                let file = Stat { kind: Kind::File, mode: 0o755, size: entry.len() };
                return Ok(if entry.is_dir() { directory } else { file });
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }

    fn read_link(&self, _: &str) -> io::Result<String> {
        Err(io::ErrorKind::InvalidInput.into())
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn Content>> {
        Ok(self.open_anywhere(path)?)
    }

    fn open_anywhere(&self, path: &str) -> io::Result<Box<dyn Content + Send>> {
        let size = self.stat(path)?.size;
        Ok(Box::new(Reopened { medium: self.medium.clone(), path: path.to_owned(), place: 0, size }))
    }

    fn free(&self) -> u64 {
        // All of the table is read.
        let filesystem = self.filesystem(u64::MAX);
        filesystem.stats().map_or(0, |stats| u64::from(stats.free_clusters()) * u64::from(stats.cluster_size()))
    }

    fn identity(&self, path: &str) -> Option<String> {
        Some(path.to_ascii_lowercase())
    }
}

/// A file that is opened anew for each read: the library's own files hold on to their filesystem.
struct Reopened {
    medium: Shared,
    path: String,
    place: u64,
    size: u64,
}

impl Read for Reopened {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // The folders on the way, and the file with its part of the table.
        let most = LOOK.saturating_add(2 * self.size);
        let filesystem = FileSystem::new(Bounded::new(self.medium.clone(), most), FsOptions::new())?;
        let mut file = filesystem.root_dir().open_file(&self.path)?;
        file.seek(SeekFrom::Start(self.place))?;
        let mut length = 0;
        while length < buffer.len() {
            match file.read(&mut buffer[length..])? {
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
