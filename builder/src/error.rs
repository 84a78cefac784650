//! Everything that can go wrong in the builder: one enum. `Display` says its own level only; `main` prints the chain.

use std::{io, path::PathBuf, process::ExitCode};

/// What the builder's functions return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in the builder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder could not be read, written or made.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The verb: "read", "write", "create", "rename".
        action: &'static str,
        /// What it was done to.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The user asked for something that cannot be: exit status 2. The text says what, where, what was expected and what to do.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// 2 for usage, 1 for failure.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Adds the action and the path to an [`io::Error`].
pub trait IoContext<T> {
    /// `action` is a verb in the infinitive, `path` what it was done to.
    ///
    /// # Errors
    /// [`Error::Io`] where there was an error.
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, action: &'static str, path: impl Into<PathBuf>) -> Result<T> {
        self.map_err(|source| Error::Io { action, path: path.into(), source })
    }
}
