//! A disk to be made, as it is asked for.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    content::Owner,
    image::{Compression, Format},
    layout::{Extent, Role, Table},
};

/// The source of the OS image.
#[derive(Debug, Clone)]
pub enum Source {
    /// A root directory, to be packed.
    Root(PathBuf),
    /// An image that is there already.
    Image(PathBuf),
}

/// The contents of `boot`.
#[derive(Debug, Clone, Default)]
pub struct Boot {
    /// A directory: everything in it.
    pub directory: Option<PathBuf>,
    /// Single files, and their path on the partition.
    pub files: Vec<(PathBuf, String)>,
    /// Kernels' module directories (`/lib/modules/<kernel-version>`): their `squashfs.ko` goes to `modules/<kernel-version>/`.
    pub modules: Vec<PathBuf>,
}

/// A disk to be made.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The OS image.
    pub source: Source,
    /// Its file name in `img`.
    pub image_name: String,
    /// The format that root directories are packed in.
    pub format: Format,
    /// Their compression; `None` takes what every kernel with this filesystem reads.
    pub compression: Option<Compression>,
    /// The owner of the files in packed root directories and in `overlay`.
    pub owner: Owner,
    /// `boot`, or no such partition.
    pub boot: Option<Boot>,
    /// `newimg`, or no such partition; an update in it, or nothing.
    pub newimg: Option<Option<PathBuf>>,
    /// `overlay`, or no such partition; what lies in its `persistent`, or nothing.
    pub overlay: Option<Option<PathBuf>>,
    /// True if `img` must hold two images, so that an update fits beside the running one.
    pub update_room: bool,
    /// The partition table.
    pub table: Table,
    /// Sizes of partitions that were asked for, in bytes.
    pub sizes: BTreeMap<Role, u64>,
    /// The size of the whole.
    pub extent: Extent,
    /// Every time stamp, seconds since 1970.
    pub time: u64,
    /// Bytes in a memory page of the kernel that boots it; `None` where nobody said.
    pub page: Option<u64>,
}
