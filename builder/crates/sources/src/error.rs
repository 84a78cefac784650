//! The errors of what images are made of.

use std::path::PathBuf;

use base::escape::shown;

/// The result of the functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of what images are made of.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error of the host.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// A definition of a target that is wrong.
    #[error("{0}")]
    TargetDefinition(crate::target::flaw::Flaw),
    /// A file that is no Debian package, or a damaged one.
    #[error("{} is not a usable Debian package: {reason}", shown(path))]
    DebianPackage {
        /// The file.
        path: PathBuf,
        /// The reason that it cannot be used.
        reason: String,
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
    /// A file that was given or kept has other contents than the pinned ones. It is not used.
    #[error("{} has SHA-256 {found}, but {expected} is expected; it is not used", shown(path))]
    WrongDigest {
        /// The file.
        path: PathBuf,
        /// Pinned, in hexadecimal.
        expected: String,
        /// Found, in hexadecimal.
        found: String,
    },
    /// A file that does not hold what it should.
    #[error("{} cannot be used: {reason}", shown(path))]
    WrongFile {
        /// The file.
        path: PathBuf,
        /// The reason that it cannot be used.
        reason: String,
    },
    /// A program that cannot be part of the image.
    #[error("{} cannot be used as {what}: {reason}", shown(path))]
    WrongProgram {
        /// The file.
        path: PathBuf,
        /// The program that was expected.
        what: String,
        /// Why it is not.
        reason: String,
    },
    /// A request that cannot be met: what, where, what was expected and what to do.
    #[error("{0}")]
    Usage(String),
}
