//! A boot in the laboratory: what it is given, and what came of it.

use serde::{Deserialize, Serialize};

/// A block device that a boot finds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Device {
    /// The kernel's name.
    pub name: String,
    /// The filesystem's type.
    pub kind: String,
    /// The filesystem's label.
    pub label: String,
}

/// Something that takes space on a medium in the middle of a boot.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Filling {
    /// Mount point of the medium.
    pub mount: String,
    /// Operation on the medium, counted from 0, before which it is filled.
    pub before: usize,
    /// Free blocks left.
    pub blocks: Option<u64>,
    /// Free inodes left.
    pub inodes: Option<u64>,
    /// Directories below the mount point that the filling may go to: the first that is there is taken. Where none is, nothing is filled.
    pub places: Vec<String>,
}

/// Everything a boot is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BootPlan {
    /// Root directory of the machine.
    pub root: String,
    /// The kernel's command line.
    pub cmdline: String,
    /// True where only signed images are taken.
    pub trust: bool,
    /// The block devices.
    pub devices: Vec<Device>,
    /// Filesystems that the kernel has only once a module of that name is loaded.
    pub modular: Vec<String>,
    /// Fills a medium during the boot.
    pub filling: Option<Filling>,
}

/// The result of a boot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BootResult {
    /// True where the new root's init would have started.
    pub root: bool,
    /// The reason why the system cannot write to its root.
    pub unwritable: Option<String>,
    /// The code of the failure card.
    pub card: Option<String>,
    /// The failure card and other announcements.
    pub announced: Vec<String>,
    /// The content of `/etc/mark` in the image that was mounted.
    pub mark: String,
    /// The content of `/etc/kept` in the new root, which comes from `persistent`.
    pub kept: bool,
    /// The fact `update` of the report.
    pub update: String,
    /// The status in the report.
    pub status: String,
    /// Files of modules that the kernel was given.
    pub modules: Vec<String>,
    /// Modules among them whose content is not [`super::machine::MODULE`].
    pub foreign_modules: Vec<String>,
    /// Differences among the canaries on `/run`.
    pub outside: Vec<String>,
    /// The message of a panic.
    pub panic: Option<String>,
    /// Operations on the medium of [`Filling::mount`].
    pub operations: usize,
    /// The log.
    pub log: Vec<String>,
    /// The time it took, in milliseconds.
    pub milliseconds: u64,
}
