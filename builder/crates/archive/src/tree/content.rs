//! The source of a file's bytes until an archive is written, and the only access to them. A file of the host is read again
//! each time and never held in memory; each read fails if its size is no longer the recorded one.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::PathBuf,
};

use base::IoContext;

use crate::{Error, Result};

/// The source of a file's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In memory.
    Bytes(Vec<u8>),
    /// A file on the host, read when it is needed.
    Host {
        /// Its path.
        path: PathBuf,
        /// Its size in bytes when it was looked at. A file that has another size when it is read is refused.
        size: u64,
    },
    /// A file in a layer of an image, which only whoever reads the layer from its beginning can give.
    Member {
        /// The layer's index, from 0.
        layer: u32,
        /// The member's index in the layer, from 0.
        number: u32,
        /// In bytes.
        size: u64,
    },
}

impl Content {
    /// Returns the file at `path`, with the size it has now.
    ///
    /// # Errors
    /// [`Error::Io`] where there is no such file or it may not be read.
    pub fn host(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        // Opened, not only looked at: a file that may not be read should stop a build before its first byte.
        let size = File::open(&path).and_then(|file| file.metadata()).at("read", &path)?.len();
        Ok(Self::Host { path, size })
    }

    /// Returns the size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Host { size, .. } | Self::Member { size, .. } => *size,
        }
    }

    /// Streams exactly [`Self::size`] bytes into `sink`.
    ///
    /// # Errors
    /// [`Error::Io`] where the host's file cannot be read, [`Error::SizeChanged`] where it is longer or shorter than it
    /// was, [`Error::WriteArchive`] with what `sink` said, or for a file in a layer.
    pub fn copy_to<W: Write + ?Sized>(&self, sink: &mut W) -> Result<()> {
        let sink_error = |source| Error::WriteArchive { source };
        let (path, size) = match self {
            Self::Bytes(bytes) => return sink.write_all(bytes).map_err(sink_error),
            Self::Host { path, size } => (path, *size),
            // oci::pack asks for none of them.
            Self::Member { .. } => return Err(sink_error(io::ErrorKind::Unsupported.into())),
        };
        let mut file = File::open(path).at("read", path)?;
        let mut buffer = vec![0; 64 * 1024];
        let mut left = size;
        loop {
            let length = match file.read(&mut buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error).at("read", path)?,
            };
            // One read past the end tells a file that has grown.
            if length as u64 > left || (length == 0 && left > 0) {
                return Err(Error::SizeChanged { path: path.clone(), expected: size });
            }
            if length == 0 {
                return Ok(());
            }
            sink.write_all(&buffer[..length]).map_err(sink_error)?;
            left -= length as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Content;
    use crate::Error;

    #[test]
    fn a_file_that_changes_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, vec![b'x'; 100_000]).unwrap();
        let content = Content::host(&path).unwrap();
        let mut bytes = Vec::new();
        content.copy_to(&mut bytes).unwrap();
        assert_eq!((content.size(), bytes.len()), (100_000, 100_000));
        for size in [99_999, 100_001, 0] {
            fs::write(&path, vec![b'x'; size]).unwrap();
            let error = content.copy_to(&mut Vec::new()).unwrap_err();
            assert!(matches!(error, Error::SizeChanged { expected: 100_000, .. }), "{size}: {error}");
        }
        fs::remove_file(&path).unwrap();
        assert!(matches!(content.copy_to(&mut Vec::new()), Err(Error::Base(base::Error::Io { action: "read", .. }))));
        assert!(Content::host(&path).unwrap_err().to_string().contains("log"));
    }
}
