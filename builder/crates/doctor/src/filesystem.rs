//! Filesystems as the doctor reads them, without the kernel and without root: names, what they stand for, and contents. The
//! modules beside this one read ext4, FAT, squashfs, EROFS and directories; none of them can write.

use std::{
    fs::{self, File},
    io::{self, Cursor, Read, Seek, SeekFrom},
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::PathBuf,
};

use contract::inventory::Kind;
use initramfs_overlay_init::kernel::Stat;

/// The content of a file.
pub trait Content: Read + Seek {}

impl<T: Read + Seek> Content for T {}

/// The start of a content, and the error for what is behind it.
pub struct Partial {
    bytes: Cursor<Vec<u8>>,
    size: u64,
    end: fn() -> io::Error,
}

impl Partial {
    /// Returns a content of `size` bytes that begins with `bytes`; to read further is an error.
    pub fn new(bytes: Vec<u8>, size: u64, end: fn() -> io::Error) -> Self {
        Self { bytes: Cursor::new(bytes), size, end }
    }
}

impl Read for Partial {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.bytes.read(buffer)? {
            0 if !buffer.is_empty() && self.bytes.position() < self.size => Err((self.end)()),
            length => Ok(length),
        }
    }
}

impl Seek for Partial {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.bytes.seek(place)
    }
}

/// A filesystem that can be read. Paths have no slash at their ends; the root is "".
pub trait Filesystem {
    /// Lists the names in a directory, sorted.
    ///
    /// # Errors
    /// As the kernel would say it.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;
    /// Returns the type, mode and size of a name; a symbolic link at its end is not followed.
    ///
    /// # Errors
    /// As the kernel would say it.
    fn stat(&self, path: &str) -> io::Result<Stat>;
    /// Returns the target of a symbolic link.
    ///
    /// # Errors
    /// As the kernel would say it.
    fn read_link(&self, path: &str) -> io::Result<String> {
        self.stat(path)?;
        Err(io::ErrorKind::InvalidInput.into())
    }
    /// Opens a file.
    ///
    /// # Errors
    /// As the kernel would say it.
    fn open(&self, path: &str) -> io::Result<Box<dyn Content>> {
        Ok(self.open_anywhere(path)?)
    }
    /// Opens a file for another thread; slower where the library ties its files to one.
    ///
    /// # Errors
    /// As the kernel would say it; [`io::ErrorKind::Unsupported`] where contents are not read.
    fn open_anywhere(&self, path: &str) -> io::Result<Box<dyn Content + Send>> {
        self.stat(path)?;
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Returns the sizes of the filesystem.
    fn capacity(&self) -> Capacity {
        Capacity::default()
    }
    /// Returns the same text for two names of one file, another for two files; none where nobody can tell.
    fn identity(&self, _path: &str) -> Option<String> {
        None
    }
    /// Returns the number of names of the file.
    fn links(&self, _path: &str) -> u64 {
        1
    }
    /// Returns true for the character device 0:0, by which overlayfs marks a name that was deleted.
    fn is_whiteout(&self, _path: &str) -> bool {
        false
    }
}

/// Sizes of a filesystem in bytes, and its free inodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Used and free together.
    pub total: u64,
    /// Free bytes as `statfs` counts them.
    pub free: u64,
    /// Bytes of these that are kept back from everybody.
    pub withheld: u64,
    /// Files and directories that can still be made.
    pub inodes: u64,
    /// Bytes that are given out together.
    pub block: u64,
}

impl Capacity {
    /// More than anybody needs.
    pub const UNLIMITED: Self = Self { total: u64::MAX, free: u64::MAX, withheld: 0, inodes: u64::MAX, block: 4096 };

    /// Returns the bytes that a file of this size takes.
    pub fn taken(&self, size: u64) -> u64 {
        size.checked_next_multiple_of(self.block.max(1)).unwrap_or(u64::MAX)
    }
}

/// A directory of this machine, in the place of a partition.
#[derive(Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// Returns the filesystem of a directory of this machine.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }
}

impl Filesystem for Directory {
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.root.join(path))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        let metadata = fs::symlink_metadata(self.root.join(path))?;
        let kind = match metadata.file_type() {
            kind if kind.is_file() => Kind::File,
            kind if kind.is_dir() => Kind::Directory,
            kind if kind.is_symlink() => Kind::Symlink,
            _ => Kind::Other,
        };
        Ok(Stat { kind, mode: metadata.permissions().mode() & 0o7777, size: metadata.size() })
    }

    fn read_link(&self, path: &str) -> io::Result<String> {
        fs::read_link(self.root.join(path)).map(|target| target.to_string_lossy().into_owned())
    }

    fn open_anywhere(&self, path: &str) -> io::Result<Box<dyn Content + Send>> {
        Ok(Box::new(File::open(self.root.join(path))?))
    }

    fn capacity(&self) -> Capacity {
        let Ok(space) = rustix::fs::statvfs(&self.root) else { return Capacity::default() };
        let bytes = |blocks: u64| blocks.saturating_mul(space.f_frsize);
        Capacity {
            total: bytes(space.f_blocks),
            free: bytes(space.f_bfree),
            withheld: 0,
            // Filesystems without a table of inodes say that they have none.
            inodes: if space.f_files == 0 { u64::MAX } else { space.f_ffree },
            block: space.f_bsize,
        }
    }

    fn identity(&self, path: &str) -> Option<String> {
        let metadata = fs::symlink_metadata(self.root.join(path)).ok()?;
        Some(format!("{}:{}", metadata.dev(), metadata.ino()))
    }

    fn links(&self, path: &str) -> u64 {
        fs::symlink_metadata(self.root.join(path)).map_or(1, |metadata| metadata.nlink())
    }

    fn is_whiteout(&self, path: &str) -> bool {
        fs::symlink_metadata(self.root.join(path))
            .is_ok_and(|metadata| metadata.file_type().is_char_device() && metadata.rdev() == 0)
    }
}

/// A filesystem that nothing here can look into: it has `init` and nothing else is known of it.
#[derive(Debug)]
pub struct Opaque {
    init: String,
}

impl Opaque {
    /// Returns one in which a boot finds `init`, an absolute path.
    pub fn new(init: &str) -> Self {
        Self { init: init.trim_matches('/').to_owned() }
    }
}

impl Filesystem for Opaque {
    fn list(&self, _: &str) -> io::Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        if path == self.init {
            return Ok(Stat { kind: Kind::File, mode: 0o755, size: 1 });
        }
        if path.is_empty() || self.init.strip_prefix(path).is_some_and(|rest| rest.starts_with('/')) {
            return Ok(Stat { kind: Kind::Directory, mode: 0o755, size: 0 });
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

/// An empty filesystem in memory: what is written to it lies in the layer above.
#[derive(Debug)]
pub struct Memory;

impl Filesystem for Memory {
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        self.stat(path).map(|_| Vec::new())
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        match path {
            "" => Ok(Stat { kind: Kind::Directory, mode: 0o755, size: 0 }),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn capacity(&self) -> Capacity {
        Capacity::UNLIMITED
    }
}
