//! Every call that changes the machine, and the few that ask it something. Each method is one kernel operation and decides nothing:
//! policy is above. What only some boot modes need is in traits of its own ([`disks`], [`supervisor`]), so that other builds of init have
//! none of its code. [`linux`] is the real kernel, [`recorder`] writes down what a boot would do on a machine described in a file.

use std::{io, time::Duration};

pub use contract::inventory::Kind;

pub mod disks;
pub mod input;
#[cfg(feature = "linux")]
pub mod linux;
pub mod pace;
pub mod power;
pub mod recorder;
pub mod rtnetlink;
pub mod supervisor;

pub use pace::Pace;
pub use power::Power;

use disks::{Contents, Disks, Signatures};
use input::Input;
use supervisor::{Shell, Supervisor, System};

/// The loudness of a line of the log; the numbers are the kernel's (Documentation/core-api/printk-basics.rst).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// A text for every console, whatever their level.
    Announcement = 3,
    /// Something is not as it should be; the boot goes on.
    Warning = 4,
    /// Something that a technician wants to see.
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

/// A call of mount(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mount<'a> {
    /// The operation.
    pub action: Action,
    /// A device or a name; for [`Action::Move`] the mount point that it leaves.
    pub source: &'a str,
    /// The mount point.
    pub target: &'a str,
    /// The filesystem's type.
    pub filesystem: &'a str,
    /// True for a mount that nothing can be written to.
    pub read_only: bool,
    /// Restrictions of what is on it.
    pub limits: Limits,
    /// Options for the filesystem.
    pub data: &'a str,
}

/// The operation of a call of mount(2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Action {
    /// Mounts a filesystem.
    #[default]
    New,
    /// Sets the flags of a mount and of its filesystem (`MS_REMOUNT`). Flags that are not given are off.
    Remount,
    /// Sets the flags of a mount alone (`MS_REMOUNT | MS_BIND`).
    Bind,
    /// Moves a mount to another place (`MS_MOVE`).
    Move,
}

/// Restrictions of a mount.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Limits {
    /// No restriction.
    #[default]
    None,
    /// No device nodes, no setuid programs (`nosuid,nodev`).
    NoSuidDev,
    /// The same, and no symbolic links (`nosymfollow`, since Linux 5.10): media, as long as init works on them.
    Medium,
    /// The same, and no programs (`noexec`): sticks of somebody else's, which a technician has something written to.
    Foreign,
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
    /// Positions in the same list of those that must be loaded first.
    pub after: Vec<usize>,
    /// The module's parameters, as on a command line.
    pub parameters: String,
    /// The bytes of the file, where they were read already: these are loaded, and the file is left alone.
    pub content: Option<Vec<u8>>,
}

/// The kernel's event about a device that came, changed or went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Uevent {
    /// `add`, `change`, `remove`, …
    pub action: String,
    /// `block`, `pci`, …
    pub subsystem: String,
    /// The alias by which drivers know the device.
    pub modalias: Option<String>,
}

/// An event that the kernel reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A device was added, changed or removed.
    Device(Uevent),
    /// A network interface is new, has changed or is gone.
    Link(rtnetlink::Change),
    /// A child process has exited.
    Exited(u32),
    /// The last child process has exited.
    Childless,
    /// This process was sent a signal, by number.
    Signal(i32),
}

/// Sources of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sources {
    /// Devices.
    Devices,
    /// Devices, child processes that exit and, with `links`, network interfaces, those that are there first.
    Hotplug {
        /// True with network interfaces.
        links: bool,
    },
    /// Child processes that exit, and all signals: the system runs, and this process is asked to end it. Ctrl-Alt-Del is a signal too.
    Requests,
}

/// Names that are read of a directory on a medium; nothing that init looks for needs more.
pub const MOST_NAMES: usize = 4096;

/// The most bytes of a file that is read whole: modules, lists.
const MOST_BYTES: usize = 64 << 20;

/// The machine. Errors are the kernel's. A machine without terminals and a watchdog leaves out the methods that ask for them.
pub trait Kernel {
    /// Returns the time since the kernel started (`CLOCK_BOOTTIME`).
    fn now(&mut self) -> Duration;
    /// Writes a line to the kernel log, which shows it on the consoles if they are as loud as that.
    fn log(&mut self, level: Level, line: &str);

    /// Reads up to `most` bytes of a file from `offset` on.
    fn read(&mut self, path: &str, offset: u64, most: usize) -> io::Result<Vec<u8>>;
    /// Writes a small file. Not synced. On a medium the file must not exist yet; elsewhere it is replaced.
    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Writes to a file or device that is there, at an offset. Not synced.
    fn write_at(&mut self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Returns the names in a directory, sorted; of a directory on a medium at most [`MOST_NAMES`].
    fn list(&mut self, path: &str) -> io::Result<Vec<String>>;
    /// Returns the state of a name; a symbolic link is not followed.
    fn stat(&mut self, path: &str) -> io::Result<Stat>;
    /// Returns the target of a symbolic link.
    fn read_link(&mut self, path: &str) -> io::Result<String>;
    /// Makes a directory with exactly that mode.
    fn make_dir(&mut self, path: &str, mode: u32) -> io::Result<()>;
    /// Renames (rename(2)).
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Makes a hard link (link(2)).
    fn link(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a name: an empty directory for [`Kind::Directory`], anything else otherwise (unlinkat(2)).
    fn remove(&mut self, path: &str, kind: Kind) -> io::Result<()>;
    /// Flushes a file or directory to disk (fsync(2)).
    fn sync(&mut self, path: &str) -> io::Result<()>;
    /// Returns how many bytes are free on the filesystem that holds `path`, and whether it can be written to.
    fn space(&mut self, path: &str) -> io::Result<Space>;
    /// Gives the directory `to` the mode, owner, times and extended attributes of the directory `from`, as overlayfs does when it copies
    /// one up; attributes that `from` lacks are removed.
    ///
    /// # Errors
    /// The first thing that the kernel refused; the rest is done all the same.
    fn copy_attributes(&mut self, from: &str, to: &str) -> io::Result<()>;

    /// Mounts, or changes a mount.
    fn mount(&mut self, mount: &Mount<'_>) -> io::Result<()>;
    /// Unmounts.
    fn unmount(&mut self, target: &str) -> io::Result<()>;

    /// Loads modules on up to `workers` threads, each after those that it names. `first`: before everything else that wants the processor,
    /// kernel threads too (sched(7), `SCHED_FIFO`); affects timing only. Returns one result per module; a module that is in the kernel
    /// already is a success.
    fn load_modules(&mut self, files: &[ModuleFile], workers: usize, first: bool) -> Vec<io::Result<()>>;
    /// Opens sources of events. What happened before is seen by looking.
    ///
    /// # Errors
    /// The kernel's reason; one without networking has no devices to tell of this way.
    fn listen(&mut self, sources: Sources) -> io::Result<()>;
    /// Returns the events since the last call; waits for one if there is none, until `deadline` at most (on the clock of
    /// [`Kernel::now`]). A deadline in the past asks without waiting.
    ///
    /// # Errors
    /// The kernel's reason; also where no source is open.
    fn next_events(&mut self, deadline: Option<Duration>) -> io::Result<Vec<Event>>;

    /// Starts the process that empties [`names::DISCARDED`](contract::names::DISCARDED) on the writable partition mounted at `store`
    /// and makes [`names::SPARE`](contract::names::SPARE) for the next boot, when nothing else wants the machine.
    fn sweep(&mut self, store: &str) -> io::Result<()>;
    /// Deletes up to `budget` names below the directory `dir`, which stays. Never leaves its filesystem, never follows a link. The steps of
    /// its pace are names.
    ///
    /// # Errors
    /// It cannot be opened.
    fn remove_below(&mut self, dir: &str, budget: usize, pace: Pace<'_>) -> io::Result<Removal>;
    /// Makes the mount at `root` the root of everything and empties the old one.
    fn enter_root(&mut self, root: &str) -> io::Result<()>;
    /// Becomes another program: console reopened, signals as they were at the start. Comes back only with an error.
    fn exec(&mut self, program: &str, arguments: &[String]) -> io::Error;
    /// Returns the columns and rows of a terminal (tty_ioctl(4), TIOCGWINSZ).
    fn window(&mut self, _terminal: &str) -> io::Result<(u16, u16)> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Waits until `deadline` at most (on the clock of [`Kernel::now`]) for somebody who types on one of the `terminals`, which are the
    /// same at each call. Returns its position among them and the bytes, a key or a few; none where nobody typed.
    fn typed(&mut self, _terminals: &[String], _deadline: Duration) -> Option<(usize, Vec<u8>)> {
        None
    }
    /// Opens the machine's watchdog, which arms it, and asks for that many seconds. It is fed while something takes long and handed over
    /// armed. Returns the seconds that it took.
    ///
    /// # Errors
    /// The kernel's; there is none.
    fn arm_watchdog(&mut self, _seconds: u32) -> io::Result<u32> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Waits, then ends the machine. Comes back only on a recorder.
    fn power(&mut self, power: Power, after: Duration);
}

/// A kernel with all that the boot modes of this build need.
pub trait Machine: Kernel + Contents + Disks + Input + Signatures + Shell + Supervisor + System {}
impl<K: Kernel + Contents + Disks + Input + Signatures + Shell + Supervisor + System> Machine for K {}

/// Returns true if there is something of that name.
pub fn exists(kernel: &mut dyn Machine, path: &str) -> bool {
    kernel.stat(path).is_ok()
}

/// Reads a small file whole.
///
/// # Errors
/// The kernel's; also when it has 64 MiB or more.
pub fn read_file(kernel: &mut dyn Machine, path: &str) -> io::Result<Vec<u8>> {
    let bytes = kernel.read(path, 0, MOST_BYTES)?;
    if bytes.len() < MOST_BYTES { Ok(bytes) } else { Err(io::ErrorKind::FileTooLarge.into()) }
}

/// Reads a small file of the initramfs or the kernel as text; one that cannot be read is empty.
pub fn read_text(kernel: &mut dyn Machine, path: &str) -> String {
    read_file(kernel, path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Returns the running kernel's version, as `uname -r` gives it (kernel, Documentation/filesystems/proc.rst, `/proc/version`).
pub fn release(kernel: &mut dyn Machine) -> String {
    read_text(kernel, "/proc/version").split(' ').nth(2).unwrap_or_default().into()
}

/// Returns the consoles the kernel speaks on (kernel, Documentation/filesystems/proc.rst, `/proc/consoles`), as far as they are there.
pub fn consoles(listed: &str, exists: &mut dyn FnMut(&str) -> bool) -> Vec<String> {
    let names = listed.lines().filter_map(|line| line.split_ascii_whitespace().next());
    let mut all: Vec<String> = names.map(|name| ["/dev/", name].concat()).filter(|path| exists(path)).collect();
    if all.is_empty() {
        all.push("/dev/console".into());
    }
    all
}
