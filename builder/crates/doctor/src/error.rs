//! The errors of what the doctor reads.

use std::{io, path::PathBuf};

use base::escape::shown;

/// The result of the functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of what the doctor reads.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error of the medium, or the system's.
    #[error(transparent)]
    Io(io::Error),
    /// A filesystem that no kernel mounts, or not as it is.
    #[error("the filesystem is damaged: {0}")]
    Damaged(String),
    /// A filesystem that the kernel may well mount, and nothing here reads: the whole sentence.
    #[error("{0}")]
    Unreadable(String),
    /// A file that is no disk.
    #[error("{} is {seen}; {remedy}", shown(path))]
    NotDisk {
        /// The file.
        path: PathBuf,
        /// Its kind.
        seen: &'static str,
        /// The file to give instead.
        remedy: &'static str,
    },
}

/// An error that went through a reader's [`io::Error`] comes out as it was.
impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        error.downcast().unwrap_or_else(Self::Io)
    }
}

impl From<io::ErrorKind> for Error {
    fn from(kind: io::ErrorKind) -> Self {
        Self::Io(kind.into())
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match &error {
            Error::Io(_) | Error::NotDisk { .. } => io::ErrorKind::Other,
            Error::Damaged(_) => io::ErrorKind::InvalidData,
            Error::Unreadable(_) => io::ErrorKind::Unsupported,
        };
        match error {
            Error::Io(error) => error,
            error => Self::new(kind, error),
        }
    }
}

/// Returns the error for a damaged filesystem; `part` says what is damaged.
pub fn damaged(part: impl Into<String>) -> Error {
    Error::Damaged(part.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_survives_a_reader() {
        let through = |error: Error| Error::from(io::Error::from(error));
        assert!(matches!(through(damaged("x")), Error::Damaged(part) if part == "x"));
        assert!(matches!(through(Error::Unreadable("y".into())), Error::Unreadable(reason) if reason == "y"));
        let missing = through(io::Error::from(io::ErrorKind::NotFound).into());
        assert!(matches!(missing, Error::Io(error) if error.kind() == io::ErrorKind::NotFound));
    }
}
