//! Every call that changes the machine, and the few that ask it something. Each method is one kernel operation and holds no
//! policy. [`linux`] is the real one, [`recorder`] writes down what a boot would do on a machine described in a file.

use std::{io, time::Duration};

pub use contract::inventory::Kind;
use contract::{Digest, tag::Volume};

#[cfg(feature = "linux")]
pub mod linux;
pub mod recorder;
pub mod rtnetlink;
pub mod supervisor;

/// How loud a line of the log is; the numbers are the kernel's (Documentation/core-api/printk-basics.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Something is not as it should be; the boot goes on.
    Warning = 4,
    /// What a technician wants to see.
    Info = 6,
    /// Each thing that is done.
    Debug = 7,
}

/// The result of lstat(2), as far as init needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Its type.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Size in bytes.
    pub size: u64,
}

/// One call of mount(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mount<'a> {
    /// Device or name.
    pub source: &'a str,
    /// Where.
    pub target: &'a str,
    /// Filesystem.
    pub filesystem: &'a str,
    /// Read-only.
    pub read_only: bool,
    /// Restrictions of what is on it.
    pub limits: Limits,
    /// Options for the filesystem.
    pub data: &'a str,
}

/// Restrictions of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limits {
    /// No restriction.
    None,
    /// No device nodes, no setuid programs (`nosuid,nodev`).
    NoSuidDev,
    /// The same, and no symbolic links (`nosymfollow`, since Linux 5.10): media, as long as init works on them.
    Medium,
}

/// The state of a mounted filesystem (statvfs(3)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that the filesystem has, used and free.
    pub total: u64,
    /// Free bytes.
    pub free: u64,
    /// Read-only, as a mount or by the filesystem's own decision.
    pub read_only: bool,
}

/// The outcome of deleting below a directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removal {
    /// Names that are gone.
    pub removed: usize,
    /// Names that could not be deleted.
    pub refused: usize,
}

/// A module to load, with its place among those loaded with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleFile {
    /// The file, compressed or not.
    pub path: String,
    /// Which of the same list must be loaded first, by position.
    pub after: Vec<usize>,
    /// The module's parameters, as on a command line.
    pub parameters: String,
    /// The bytes of the file, where they were read already: these are loaded, and the file is left alone.
    pub content: Option<Vec<u8>>,
}

/// What the kernel said about a device that came, changed or went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `change`, `remove`, …
    pub action: String,
    /// `block`, `pci`, …
    pub subsystem: String,
    /// What drivers know the device by.
    pub modalias: Option<String>,
}

/// How a machine ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Switched off.
    Off,
    /// Started again.
    Reboot,
    /// Stopped, left on.
    Halt,
}

/// Names that are read of a directory on a medium; nothing that init looks for needs more.
pub const MOST_NAMES: usize = 4096;

/// The machine.
pub trait Kernel {
    /// Time since the kernel started (`CLOCK_BOOTTIME`).
    fn now(&mut self) -> Duration;
    /// The running kernel's version, as `uname -r` gives it.
    fn release(&mut self) -> String;
    /// Processors that can be used.
    fn processors(&mut self) -> usize;
    /// A line for the kernel log, which shows it on the consoles if they are as loud as that.
    fn log(&mut self, level: Level, line: &str);
    /// Opens the console, or `/dev/null` where there is none, as each of standard input, output and error that is closed: the kernel
    /// opens none of them where the archive has no `/dev/console`, and any file of init's would take their places.
    fn open_standard_files(&mut self) {}
    /// A text for every console and the kernel log, whatever their level.
    fn announce(&mut self, text: &str);

    /// The whole file. For small ones: modules, lists.
    ///
    /// # Errors
    /// What the kernel said; also when it is larger than 64 MiB.
    fn read(&mut self, path: &str) -> io::Result<Vec<u8>>;
    /// Up to `length` bytes from `offset` on.
    ///
    /// # Errors
    /// What the kernel said.
    fn read_at(&mut self, path: &str, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// Writes a small file. Not synced. On a medium the file must not exist yet; elsewhere it is replaced.
    ///
    /// # Errors
    /// What the kernel said.
    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Returns the names in a directory, sorted; of a directory on a medium at most [`MOST_NAMES`].
    ///
    /// # Errors
    /// What the kernel said.
    fn list(&mut self, path: &str) -> io::Result<Vec<String>>;
    /// What a name stands for; a symbolic link is not followed.
    ///
    /// # Errors
    /// What the kernel said.
    fn stat(&mut self, path: &str) -> io::Result<Stat>;
    /// Where a symbolic link points.
    ///
    /// # Errors
    /// What the kernel said.
    fn read_link(&mut self, path: &str) -> io::Result<String>;
    /// Makes a directory with exactly that mode.
    ///
    /// # Errors
    /// What the kernel said.
    fn make_dir(&mut self, path: &str, mode: u32) -> io::Result<()>;
    /// rename(2).
    ///
    /// # Errors
    /// What the kernel said.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// link(2).
    ///
    /// # Errors
    /// What the kernel said.
    fn link(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// What the kernel said.
    fn remove(&mut self, path: &str) -> io::Result<()>;
    /// Removes an empty directory.
    ///
    /// # Errors
    /// What the kernel said.
    fn remove_dir(&mut self, path: &str) -> io::Result<()>;
    /// fsync(2) of a file or directory.
    ///
    /// # Errors
    /// What the kernel said.
    fn sync(&mut self, path: &str) -> io::Result<()>;
    /// Copies a file's content to a new file in large blocks and syncs it; returns the digest of what was read. On a medium all of its
    /// blocks are reserved first (fallocate(2)), where the filesystem can do that.
    ///
    /// # Errors
    /// The kernel's. Then a part of the copy may be left.
    fn copy(&mut self, from: &str, to: &str) -> io::Result<Digest>;
    /// The digest of a file's content, as the medium has it: pages in memory are dropped first.
    ///
    /// # Errors
    /// What the kernel said.
    fn digest(&mut self, path: &str) -> io::Result<Digest>;
    /// Whether `signature` (minisign's format, prehashed) by the public `key` vouches for a file's content. Streams the file.
    ///
    /// # Errors
    /// Why it does not, or what the kernel said.
    fn vouch(&mut self, path: &str, signature: &str, key: &str) -> io::Result<()>;
    /// Verifies `signature` (minisign's format, prehashed) by the public `key` for these bytes.
    ///
    /// # Errors
    /// Why it does not hold.
    fn verify_content(&mut self, content: &[u8], signature: &str, key: &str) -> io::Result<()>;
    /// Returns how much room there is on the filesystem that holds `path`, and whether it can be written to.
    ///
    /// # Errors
    /// What the kernel said.
    fn space(&mut self, path: &str) -> io::Result<Space>;
    /// Gives the directory `to` the mode, owner, times and extended attributes of the directory `from`, as overlayfs does when it copies
    /// one up; attributes that `from` lacks are removed.
    ///
    /// # Errors
    /// The first thing that the kernel refused; the rest is done all the same.
    fn copy_attributes(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Mounts a filesystem.
    ///
    /// # Errors
    /// What the kernel said.
    fn mount(&mut self, mount: &Mount<'_>) -> io::Result<()>;
    /// Makes a mount writable or read-only.
    ///
    /// # Errors
    /// What the kernel said.
    fn remount(&mut self, target: &str, read_only: bool) -> io::Result<()>;
    /// Lifts all restrictions of a mount ([`Limits`]), for the running system.
    ///
    /// # Errors
    /// What the kernel said.
    fn lift_limits(&mut self, target: &str) -> io::Result<()>;
    /// Moves a mount to another place (`MS_MOVE`).
    ///
    /// # Errors
    /// What the kernel said.
    fn move_mount(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Takes a mount away.
    ///
    /// # Errors
    /// What the kernel said.
    fn unmount(&mut self, target: &str) -> io::Result<()>;
    /// Attaches a file to a free loop device, read-only, to be cleared by itself when its mount is gone. Returns the device.
    ///
    /// # Errors
    /// What the kernel said.
    fn attach_loop(&mut self, path: &str) -> io::Result<String>;

    /// Loads modules, each after those it names, side by side where nothing orders them and there are processors for it.
    /// One result for each; a module that is in the kernel already is a success.
    fn load_modules(&mut self, files: &[ModuleFile]) -> Vec<io::Result<()>>;
    /// Puts this process before all that wants its processor, kernel threads too, or back in turn with them (sched(7),
    /// `SCHED_FIFO`). Nothing but time depends on it.
    fn go_first(&mut self, _first: bool) {}
    /// The modaliases of all devices on these buses that have no driver yet; of no bus in particular: on all.
    fn modaliases(&mut self, buses: &[&str]) -> Vec<String>;
    /// The block devices there are, loop devices and RAM disks left out, with type and label. `details`: also with UUIDs and what
    /// their partition table says.
    fn volumes(&mut self, details: bool) -> Vec<Volume>;
    /// Listens to what the kernel says about devices from here on. What happened before is seen by looking.
    ///
    /// # Errors
    /// What the kernel said; one without networking has no such thing.
    fn listen(&mut self) -> io::Result<()> {
        Ok(())
    }
    /// The next thing the kernel says about devices; none by `deadline` (on the clock of [`Kernel::now`]). A deadline in the
    /// past asks without waiting.
    ///
    /// # Errors
    /// What the kernel said.
    fn next_uevent(&mut self, deadline: Duration) -> io::Result<Option<Uevent>>;

    /// Starts the process that empties [`names::DISCARDED`](contract::names::DISCARDED) on the writable partition mounted at `store`
    /// and makes [`names::SPARE`](contract::names::SPARE) for the next boot, when nothing else wants the machine.
    ///
    /// # Errors
    /// What the kernel said.
    fn sweep(&mut self, store: &str) -> io::Result<()>;
    /// Deletes up to `budget` names below the directory `dir`, which stays. Never leaves its filesystem, never follows a link.
    ///
    /// # Errors
    /// It cannot be opened.
    fn remove_below(&mut self, dir: &str, budget: usize) -> io::Result<Removal>;
    /// Runs a program with `root` as its root and waits for it. Returns its exit status; for one that a signal ended, -1.
    ///
    /// # Errors
    /// What the kernel said. A program that cannot be run ends with status 127.
    fn run(&mut self, root: &str, program: &str, arguments: &[&str]) -> io::Result<i32>;
    /// Makes the mount at `root` the root of everything and empties the old one.
    ///
    /// # Errors
    /// What the kernel said.
    fn enter_root(&mut self, root: &str) -> io::Result<()>;
    /// Becomes another program: console reopened, signals as they were at the start. Comes back only with an error.
    fn exec(&mut self, program: &str, arguments: &[String]) -> io::Error;
    /// A shell on every console. Comes back when one of them is left.
    ///
    /// # Errors
    /// What the kernel said; also where the build of init has no shell.
    fn shell(&mut self, banner: &str) -> io::Result<()>;
    /// Waits, then ends the machine. Comes back only on a recorder.
    fn power(&mut self, power: Power, after: Duration);
}

/// A trait that asks for nothing, in the place of one that this build has no use for: what is in no trait of [`Machine`] is not linked.
pub trait Nothing {}
impl<K> Nothing for K {}

#[cfg(not(feature = "virtiofs"))]
use Nothing as Shares;
#[cfg(not(feature = "supervise"))]
use Nothing as Supervisor;
#[cfg(not(feature = "ram"))]
use Nothing as System;
#[cfg(feature = "virtiofs")]
use supervisor::Shares;
#[cfg(feature = "supervise")]
use supervisor::Supervisor;
#[cfg(feature = "ram")]
use supervisor::System;

/// A kernel with all that the boot modes of this build need.
pub trait Machine: Kernel + Supervisor + Shares + System {}
impl<K: Kernel + Supervisor + Shares + System> Machine for K {}

/// Returns true if there is something of that name.
pub fn exists(kernel: &mut dyn Kernel, path: &str) -> bool {
    kernel.stat(path).is_ok()
}
