//! The errors of virtual machines.

use std::path::PathBuf;

use base::escape::shown;

/// The result of the functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of virtual machines.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error of the host.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// An error of the machine's initramfs.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// A virtual machine did not do what was expected of it.
    #[error("{what}; its console ended with:\n{console}")]
    Guest {
        /// The expectation that the machine failed to meet, as a clause.
        what: String,
        /// The console's last lines.
        console: String,
    },
    /// Something that has to be fetched or given could not be had in any way.
    #[error("cannot get {what}: {}\nWhat to do: {remedy}", tried.join("; "))]
    Missing {
        /// The missing thing and its purpose.
        what: String,
        /// Each way that was tried, with what came of it.
        tried: Vec<String>,
        /// Instructions for providing it by hand.
        remedy: String,
    },
    /// A file that does not hold what it should.
    #[error("{} cannot be used: {reason}", shown(path))]
    WrongFile {
        /// The file.
        path: PathBuf,
        /// The reason that it cannot be used.
        reason: String,
    },
    /// A request that cannot be met: what, where, what was expected and what to do.
    #[error("{0}")]
    Usage(String),
}
