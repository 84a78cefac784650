//! A file that is there whole or not at all: written beside its name, synced, renamed over it, its directory synced.
//! Dropped before [`AtomicFile::commit`], it leaves nothing behind and what had the name before stays as it was.

use std::{
    fs::{File, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

use crate::{
    IoContext,
    cleanup::{TempPath, noted_file},
    error::{Error, Result},
};

/// An output file in the making.
#[derive(Debug)]
pub struct AtomicFile {
    file: NamedTempFile,
    path: PathBuf,
    unfinished: TempPath,
}

impl AtomicFile {
    /// Begins a file that will be called `path`. A symbolic link there is followed; its directory must exist.
    ///
    /// # Errors
    /// [`Error::Io`] where the directory cannot be written to, or something is there that is no regular file: renaming
    /// over `/dev/null` would destroy it.
    pub fn create(path: impl Into<PathBuf>) -> Result<Self> {
        let mut path = path.into();
        if let Ok(metadata) = std::fs::metadata(&path) {
            if metadata.is_dir() {
                return Err(io::Error::from(io::ErrorKind::IsADirectory)).at("write", path);
            }
            if !metadata.is_file() {
                return Err(io::Error::other("it is not a regular file")).at("write", path);
            }
            path = path.canonicalize().at("find", &path)?;
        } else if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
            return Err(io::Error::from(io::ErrorKind::IsADirectory)).at("write", path);
        }
        let mut builder = tempfile::Builder::new();
        builder
            .prefix(".initramfs-overlay-")
            .suffix(".part")
            // What any program asks for; the user's umask takes its part away.
            .permissions(Permissions::from_mode(0o666));
        let (file, unfinished) = noted_file(|| builder.tempfile_in(directory(&path))).at("create", &path)?;
        Ok(Self { file, path, unfinished })
    }

    /// Returns the path that the file will have.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the file itself, for seeking and reading back before it gets its name.
    #[must_use]
    pub fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Makes it durable and gives it its name, in place of what had it before.
    ///
    /// # Errors
    /// [`Error::Io`]; then there is no new file, and the old one if there was one.
    pub fn commit(self) -> Result<()> {
        let Self { file, path, unfinished } = self;
        file.as_file().sync_all().at("write", &path)?;
        file.persist(&path).map_err(|error| error.error).at("rename the finished file to", &path)?;
        drop(unfinished);
        // The name is durable when the directory is.
        File::open(directory(&path)).and_then(|directory| directory.sync_all()).at("sync the directory of", &path)
    }

    /// Adds the file's name to the error of a failed write, also for a caller that only knows a [`Write`].
    fn name_error(&self, source: io::Error) -> io::Error {
        io::Error::new(source.kind(), Error::Io { action: "write", path: self.path.clone(), source })
    }
}

impl Write for AtomicFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.file.as_file_mut().write(bytes) {
            // Left alone, or write_all would not try again.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Err(error),
            Err(error) => Err(self.name_error(error)),
            Ok(length) => Ok(length),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_file_mut().flush().map_err(|error| self.name_error(error))
    }
}

/// Writes `bytes` as the whole of the file at `path`.
///
/// # Errors
/// As [`AtomicFile`].
pub fn write_file(path: impl Into<PathBuf>, bytes: &[u8]) -> Result<()> {
    let mut output = AtomicFile::create(path)?;
    let path = output.path.clone();
    output.file.as_file_mut().write_all(bytes).at("write", path)?;
    output.commit()
}

fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::unix::fs::symlink};

    use super::{AtomicFile, write_file};

    #[test]
    fn the_old_file_stays_until_the_new_one_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("out");
        fs::write(&path, "old").unwrap();

        let mut output = AtomicFile::create(&path).unwrap();
        output.write_all(b"half").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"old");
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "something was left beside it");

        write_file(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_name_of_a_directory_is_refused_before_anything_is_written() {
        let directory = tempfile::tempdir().unwrap();
        let error = AtomicFile::create(directory.path().join("out/")).unwrap_err();
        assert!(crate::in_one_line(&error).ends_with("is a directory"), "{error:?}");
    }

    #[test]
    fn a_link_is_followed_and_stays_a_link() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("out"), directory.path().join("link"));
        fs::write(&path, "old").unwrap();
        symlink("out", &link).unwrap();
        write_file(&link, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let directory = tempfile::tempdir().unwrap();
        assert!(write_file(directory.path(), b"x").is_err());
        assert!(write_file("/dev/null", b"x").is_err());
        assert!(write_file(directory.path().join("missing/out"), b"x").is_err());
    }

    #[test]
    fn a_failed_write_names_the_file() {
        // /dev/full cannot be renamed over, so stand in for a full disk with the error itself.
        let directory = tempfile::tempdir().unwrap();
        let output = AtomicFile::create(directory.path().join("out")).unwrap();
        let error = output.name_error(std::io::ErrorKind::StorageFull.into());
        assert!(error.to_string().contains("out"), "{error}");
    }
}
