//! A disk to be made, as it is asked for.

use std::{collections::BTreeMap, path::PathBuf};

use super::{
    content::Owner,
    image::{Compression, Format},
    layout::{Extent, Role, Table},
};

/// Where the OS image comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A root folder, to be packed.
    Root(PathBuf),
    /// An image that is there already.
    Image(PathBuf),
}

/// What goes into `boot`.
#[derive(Debug, Clone, Default)]
pub struct Boot {
    /// A folder: everything in it.
    pub folder: Option<PathBuf>,
    /// Single files, and their path on the partition.
    pub files: Vec<(PathBuf, String)>,
    /// Kernels' module folders (`/lib/modules/<kernel-version>`): their `squashfs.ko` goes to `modules/<kernel-version>/`.
    pub modules: Vec<PathBuf>,
}

/// A disk to be made.
#[derive(Debug, Clone)]
pub struct Disk {
    /// The OS image.
    pub source: Source,
    /// Its file name in `img`.
    pub image_name: String,
    /// The format that root folders are packed in.
    pub format: Format,
    /// How they are compressed.
    pub compression: Option<Compression>,
    /// Whose the files of folders are.
    pub owner: Owner,
    /// `boot`, or no such partition.
    pub boot: Option<Boot>,
    /// `newimg`, or no such partition; an update in it, or nothing.
    pub newimg: Option<Option<PathBuf>>,
    /// `overlay`, or no such partition; what lies in its `persistent`, or nothing.
    pub overlay: Option<Option<PathBuf>>,
    /// Whether `img` must hold two images, so that an update fits beside the running one.
    pub update_room: bool,
    /// The partition table.
    pub table: Table,
    /// Sizes of partitions that were asked for, in bytes.
    pub sizes: BTreeMap<Role, u64>,
    /// The size of the whole.
    pub extent: Extent,
    /// Every time stamp, seconds since 1970.
    pub time: u64,
}
