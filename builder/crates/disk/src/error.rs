//! The errors of disks.

use std::path::PathBuf;

use base::escape::shown;

/// The result of the functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of disks.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error of the host.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// A file is no OS image.
    #[error("{} is not a squashfs or EROFS image: it holds {seen}", shown(path))]
    Image {
        /// The file.
        path: PathBuf,
        /// The content that was found instead.
        seen: String,
    },
    /// The image ends in a part of a sector.
    #[error(
        "{}: the {format} image has {size} bytes, and a loop device does not show the last {hidden}; make it without -nopad, or lengthen \
         it (`truncate -s %4096`)",
        shown(path)
    )]
    UnpaddedImage {
        /// The image.
        path: PathBuf,
        /// Its filesystem.
        format: &'static str,
        /// Its size in bytes.
        size: u64,
        /// Bytes in the last sector.
        hidden: u64,
    },
    /// An OS image is cut off.
    #[error(
        "{} is truncated: its {format} superblock says {wanted} bytes, the file has {seen}; make or fetch it again",
        shown(path)
    )]
    TruncatedImage {
        /// The file.
        path: PathBuf,
        /// `squashfs` or `erofs`.
        format: &'static str,
        /// Bytes by the superblock.
        wanted: u64,
        /// Bytes in the file.
        seen: u64,
    },
    /// A partition table could not be written.
    #[error("cannot write the partition table of {}", shown(path))]
    Table {
        /// The disk.
        path: PathBuf,
        /// Why.
        #[source]
        source: gpt::GptError,
    },
    /// A request that cannot be met: what, where, what was expected and what to do.
    #[error("{0}")]
    Usage(String),
}
