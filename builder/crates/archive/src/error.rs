//! The errors of archives.

use std::{io, path::PathBuf};

use base::escape::shown;

/// The result of the functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of an archive.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error of the host.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// A name or an entry that no initramfs can hold.
    #[error("cannot put `{path}` into the tree: {reason}")]
    BadEntry {
        /// The name, printable.
        path: String,
        /// The reason, and the remedy.
        reason: &'static str,
    },
    /// Two entries want one name.
    #[error("cannot put a {new} at `{path}`: there is a {old} of that name already")]
    Clash {
        /// The name, printable.
        path: String,
        /// The kind of the existing entry.
        old: &'static str,
        /// The kind of the new entry.
        new: &'static str,
    },
    /// The kernel would drop the entry silently.
    #[error("cannot archive `{path}`: its parent `{parent}` {is}, and must be a directory")]
    MissingParent {
        /// The name, printable.
        path: String,
        /// The parent's name, printable.
        parent: String,
        /// The state of the parent as a predicate, such as `is a file` or `is not in the tree`.
        is: String,
    },
    /// The archive's size field ends at 4 GiB - 1.
    #[error(
        "cannot archive `{path}`: it has {size} bytes, and a file in an initramfs at most 4294967295 (4 GiB - 1); leave it out, or write the root with oci --squashfs or --erofs alone"
    )]
    TooLarge {
        /// The name, printable.
        path: String,
        /// In bytes.
        size: u64,
    },
    /// A file on the host that someone writes to.
    #[error(
        "{} changed while it was read: it had {expected} bytes when the build began; wait until it is complete and try again",
        shown(path)
    )]
    SizeChanged {
        /// The file on the host.
        path: PathBuf,
        /// Its size when it was looked at, in bytes.
        expected: u64,
    },
    /// A directory to include that has nothing in it.
    #[error("{} is empty, so there is nothing to include", shown(path))]
    EmptyDirectory {
        /// The directory on the host.
        path: PathBuf,
    },
    /// A file of the user's in the place of PID 1.
    #[error("{} would replace /init, the program that the kernel starts; rename it", shown(path))]
    ShadowsInit {
        /// The file on the host.
        path: PathBuf,
    },
    /// The archive's sink failed; the source says which file and why.
    #[error("cannot write the archive")]
    WriteArchive {
        /// The sink's error.
        #[source]
        source: io::Error,
    },
    /// Somebody who was given a content could not take it.
    #[error("cannot write the content")]
    Output {
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// An initramfs is damaged.
    #[error("{} is damaged {what}", shown(path))]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The place and the defect.
        what: String,
    },
    /// A file that was taken for an initramfs.
    #[error("{} is not an initramfs: {what}", shown(path))]
    NotInitramfs {
        /// The file.
        path: PathBuf,
        /// A clause on its actual content, such as `it is an ELF program`.
        what: String,
    },
}
