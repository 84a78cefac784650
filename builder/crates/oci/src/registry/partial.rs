//! A blob on its way: the file that it comes into, and the digest of what is there. It outlives the command, and the next one goes on
//! where this one stopped.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use base::IoContext;

use crate::{
    Result,
    blob::{Digest, Sum},
};

/// The part of a blob that is there.
pub(super) struct Partial {
    path: PathBuf,
    file: File,
    digest: Digest,
    sum: Sum,
    length: u64,
    /// It came in one piece, from one answer.
    is_whole: bool,
}

impl Partial {
    /// Opens the file at `path`, where there may be something from an earlier command: at most `size` bytes count.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub(super) fn open(path: PathBuf, digest: &Digest, size: u64) -> Result<Self> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(&path).at("create", &path)?;
        let mut partial =
            Self { file, digest: digest.clone(), sum: Sum::new(digest), length: 0, is_whole: true, path: path.clone() };
        let length = partial.file.metadata().at("read", &path)?.len();
        if length > size {
            partial.clear().at("write", &path)?;
            return Ok(partial);
        }
        let mut buffer = vec![0; 128 << 10];
        while partial.length < length {
            let read = partial.file.read(&mut buffer).at("read", &path)?;
            if read == 0 {
                break;
            }
            partial.sum.add(buffer.get(..read).unwrap_or_default());
            partial.length += read as u64;
        }
        partial.is_whole = length == 0;
        Ok(partial)
    }

    /// Returns how many bytes are there.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Notes that what comes now follows something that came before.
    pub(super) fn resume(&mut self) {
        self.is_whole &= self.length == 0;
    }

    /// Returns true where all of it came from one answer.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// The file's error.
    pub(super) fn add(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.sum.add(bytes);
        self.length += bytes.len() as u64;
        Ok(())
    }

    /// Returns true where the bytes at `offset` are these.
    ///
    /// # Errors
    /// The file's error.
    pub(super) fn has(&self, offset: u64, bytes: &[u8]) -> io::Result<bool> {
        let mut there = vec![0; bytes.len()];
        self.file.read_exact_at(&mut there, offset)?;
        Ok(there == bytes)
    }

    /// Forgets all that is there.
    ///
    /// # Errors
    /// The file's error.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        (self.sum, self.length, self.is_whole) = (Sum::new(&self.digest), 0, true);
        Ok(())
    }

    /// Returns the digest of what is there, where it is a wrong one. Nothing is to be added any more then.
    pub(super) fn difference(&mut self) -> Option<Digest> {
        std::mem::replace(&mut self.sum, Sum::new(&self.digest)).difference()
    }

    /// Puts the file, which is right, into its place.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub(super) fn finish(self, place: &Path) -> Result<()> {
        self.file.sync_all().at("write", &self.path)?;
        Ok(fs::rename(&self.path, place).at("rename the finished file to", place)?)
    }

    /// Deletes the file.
    pub(super) fn discard(self) {
        // One that stays is found to be wrong by the next command as well.
        let _ = fs::remove_file(&self.path);
    }
}
