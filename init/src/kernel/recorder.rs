//! A machine that is only described: block devices with their files, what the kernel knows, what goes wrong. It does what a boot
//! asks for on that description and writes down every operation that would change a real machine. Tests compare the record.

use std::{
    collections::BTreeMap,
    io::{Error, ErrorKind, Result},
    time::Duration,
};

use super::{Event, Power, Sources};
use contract::{Digest, errno::ENOSPC, names, tag::Volume};

mod disks;
mod faults;
pub mod injection;
mod operations;
mod strike;
mod supervisor;
pub mod sysfs;

/// A file of a described machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A directory.
    Directory,
    /// A file: content, or as many zeros behind it as its size says, and permission bits.
    File(Vec<u8>, u64, u32),
    /// A symbolic link.
    Symlink(String),
    /// A FIFO, a socket or a device.
    Special,
}

impl Node {
    /// Returns a file with that content.
    pub fn file(content: impl Into<Vec<u8>>, mode: u32) -> Self {
        let content = content.into();
        let size = content.len() as u64;
        Self::File(content, size, mode)
    }
}

/// The way in which a shell is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShellEnd {
    /// By `exit`.
    Exit,
    /// For the menu, by `recover`.
    Recover,
    /// With the end of the machine.
    Power(Power),
}

/// The files of one filesystem, by path without a leading slash. The root is "".
pub type Files = BTreeMap<String, Node>;

/// The keys of an input device.
#[derive(Debug, Clone, Default)]
pub struct Buttons {
    /// The codes of its keys.
    pub keys: Vec<u16>,
    /// The times between which all of them are held down.
    pub held: Option<(Duration, Duration)>,
}

/// A block device that is there, or appears later.
#[derive(Debug, Clone, Default)]
pub struct Device {
    /// The result of probing it.
    pub volume: Volume,
    /// The files on it.
    pub files: Files,
    /// When it appears, after the start of the kernel.
    pub appears: Duration,
    /// Mounting it fails with this error number.
    pub mount_fails: Option<i32>,
    /// Bytes that its files and directories and what is free take together.
    pub capacity: u64,
    /// Names that can still be made; none for as many as anybody wants.
    pub inodes: Option<usize>,
    /// Operations on these paths fail with that error number, until a program repairs the filesystem.
    pub fails: BTreeMap<String, i32>,
    /// The medium is write-protected.
    pub read_only: bool,
    /// True for a medium that takes what is written to the device itself, and loses it.
    pub forgetful: bool,
    /// It was not unmounted cleanly: its journal is to be replayed.
    pub unclean: bool,
    /// Bytes in a sector of the disk.
    pub sector: u64,
    /// Bytes in a block of the filesystem. One that is smaller than a sector does not mount.
    pub block: u64,
    /// The byte of a file, or of the device itself for an empty path, that cannot be read.
    pub unreadable: BTreeMap<String, u64>,
}

/// A described machine and the record of what was done to it.
#[derive(Debug, Default)]
pub struct Recorder {
    /// The kernel's release, as `uname -r` prints it.
    pub release: String,
    /// Processors.
    pub processors: usize,
    /// The initramfs.
    pub files: Files,
    /// Filesystems the kernel knows.
    pub filesystems: Vec<String>,
    /// The disks.
    pub devices: Vec<Device>,
    /// Free bytes in the initramfs; none for as many as anybody wants.
    pub free: Option<u64>,
    /// Mounting there fails with that error number.
    pub mount_fails: BTreeMap<String, i32>,
    /// Attaching a loop device fails with that error number.
    pub loop_fails: Option<i32>,
    /// The files in the images, by the name of the loop device's file.
    pub images: BTreeMap<String, Files>,
    /// Loading a module whose path ends so fails with that error number.
    pub module_fails: BTreeMap<String, i32>,
    /// A module whose path ends so misses a symbol until one is loaded whose path ends in that.
    pub module_needs: BTreeMap<String, String>,
    /// A module whose path ends so brings that filesystem.
    pub module_brings: BTreeMap<String, String>,
    /// A module whose path ends so finds a network card, which gets that name.
    pub module_cards: BTreeMap<String, String>,
    /// A program whose path ends so runs and ends with that status. One that repairs or makes a filesystem does so on the device
    /// it is given, if its status says that it did.
    pub programs: BTreeMap<String, i32>,
    /// Directories that the host shares over virtiofs, by tag.
    pub shares: BTreeMap<String, Files>,
    /// The exit status of a supervised program; without it, it fails to start.
    pub exit_status: Option<u8>,
    /// Operations on these paths fail with that error number.
    pub fails: BTreeMap<String, i32>,
    /// Executing a program fails with that error number.
    pub exec_fails: Option<i32>,
    /// A fault that is injected.
    pub injection: Option<injection::Injection>,
    /// The shell leaves, as if `exit` had been typed; without it, there is no shell.
    pub has_shell: bool,
    /// The way in which each shell is left; further ones as by `exit`.
    pub shell_ends: std::collections::VecDeque<ShellEnd>,
    /// Events once it runs, one list per poll; an empty list is a timeout. After the last list the hotplug sources fail with `NotFound`,
    /// and a poll for requests without a deadline returns SIGTERM.
    pub events: std::collections::VecDeque<Vec<Event>>,
    /// Columns and rows of its terminals, by path.
    pub windows: BTreeMap<String, (u16, u16)>,
    /// Keys that somebody types once the boot has failed: when, on which terminal, and the bytes.
    pub keys: std::collections::VecDeque<(Duration, String, Vec<u8>)>,
    /// Input devices with keys, by path.
    pub buttons: BTreeMap<String, Buttons>,
    /// The operations, one line each.
    pub record: Vec<String>,
    /// The state of the machine so far.
    pub state: State,
}

/// The state of a described machine, as its operations have changed it.
#[derive(Debug, Default)]
pub struct State {
    gone: bool,
    calls: Vec<(injection::Call, Option<usize>)>,
    clock: Duration,
    /// The time that keys were waited for.
    held: Duration,
    mounts: Vec<(String, Files, Source)>,
    /// Mounts that are read-only.
    read_only: std::collections::BTreeSet<String>,
    loops: Vec<String>,
    modules: Vec<String>,
    processes: u32,
    sources: Option<Sources>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Device(usize),
    Other,
}

impl Recorder {
    /// Writes an operation down. What comes after the machine became another program is nobody's concern.
    fn note(&mut self, line: String) {
        if !self.state.gone {
            self.record.push(line);
        }
    }

    /// Returns the mount that holds `path`, `None` for the initramfs, and the path in it.
    fn locate(&self, path: &str) -> (Option<usize>, String) {
        let mounts = self.state.mounts.iter().enumerate();
        let holding =
            mounts.filter_map(|(place, (target, ..))| Some((target.len(), place, names::below(path, target)?)));
        let (place, inner) = holding.max().map_or((None, path), |(_, place, inner)| (Some(place), inner));
        (place, inner.trim_matches('/').into())
    }

    /// Returns the list of mounts, as the kernel gives it (proc(5), `/proc/pid/mounts`).
    fn mounts(&self) -> String {
        let line = |(target, _, source): &(String, Files, Source)| {
            let device = match source {
                Source::Device(number) => self.devices.get(*number),
                Source::Other => None,
            };
            let name = device.map_or("none".into(), |device| ["/dev/", &device.volume.name].concat());
            let kind = device.and_then(|device| device.volume.kind.clone()).unwrap_or_else(|| "none".into());
            let access = if self.state.read_only.contains(target) { "ro" } else { "rw" };
            format!("{name} {target} {kind} {access} 0 0\n")
        };
        self.state.mounts.iter().map(line).collect()
    }

    fn files_of(&mut self, mount: Option<usize>) -> &mut Files {
        match mount.and_then(|place| self.state.mounts.get_mut(place)) {
            Some((_, files, _)) => files,
            None => &mut self.files,
        }
    }

    fn node(&mut self, path: &str) -> Result<Node> {
        self.check(path)?;
        let (mount, inner) = self.locate(path);
        let files = self.files_of(mount);
        if inner.is_empty() {
            return Ok(Node::Directory);
        }
        if let Some(node) = files.get(&inner) {
            return Ok(node.clone());
        }
        let below = format!("{inner}/");
        if files.keys().any(|name| name.starts_with(&below)) {
            return Ok(Node::Directory);
        }
        Err(ErrorKind::NotFound.into())
    }

    fn put(&mut self, path: &str, node: Node) {
        let (mount, inner) = self.locate(path);
        self.files_of(mount).insert(inner, node);
    }

    /// Puts bytes into a file that is there.
    fn overwrite(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let Node::File(mut content, size, mode) = self.node(path)? else {
            return Err(ErrorKind::IsADirectory.into());
        };
        if self.devices.iter().any(|device| device.forgetful && device.volume.path() == path) {
            return Ok(());
        }
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(bytes.len());
        content.resize(content.len().max(end), 0);
        for (cell, byte) in content.iter_mut().skip(start).zip(bytes) {
            *cell = *byte;
        }
        let size = size.max(u64::try_from(end).unwrap_or(u64::MAX));
        self.put(path, Node::File(content, size, mode));
        Ok(())
    }

    /// Returns the device that holds `path`, and the path on it.
    fn device_of(&mut self, path: &str) -> Option<(&mut Device, String)> {
        let (mount, inner) = self.locate(path);
        match self.state.mounts.get(mount?)? {
            (_, _, Source::Device(number)) => Some((self.devices.get_mut(*number)?, inner)),
            _ => None,
        }
    }

    /// Fails where the description says so.
    fn check(&mut self, path: &str) -> Result<()> {
        let failure = self.device_of(path).and_then(|(device, inner)| device.fails.get(&inner).copied());
        failure.or(self.fails.get(path).copied()).map_or(Ok(()), |number| Err(Error::from_raw_os_error(number)))
    }

    /// Makes a name, which its directory must take and the filesystem have an inode for.
    fn create(&mut self, path: &str, node: Node) -> Result<()> {
        self.check(path.rsplit_once('/').map_or("", |(parent, _)| parent))?;
        self.check_writable(path)?;
        self.check_blocks(path, &node)?;
        if let Some((Device { inodes: Some(left), .. }, _)) = self.device_of(path) {
            *left = left.checked_sub(1).ok_or_else(|| Error::from_raw_os_error(ENOSPC))?;
        }
        self.put(path, node);
        Ok(())
    }

    fn set_read_only(&mut self, target: &str, read_only: bool) {
        let set = &mut self.state.read_only;
        if read_only {
            set.insert(target.into());
        } else {
            set.remove(target);
        }
    }

    /// Counts inodes that are free again.
    fn free_inodes(&mut self, path: &str, count: usize) {
        if let Some((Device { inodes: Some(left), .. }, _)) = self.device_of(path) {
            *left = left.saturating_add(count);
        }
    }

    /// Takes a name away with all below it; gives it back.
    fn take(&mut self, path: &str) -> Result<Vec<(String, Node)>> {
        self.node(path)?;
        self.check_writable(path)?;
        let (mount, inner) = self.locate(path);
        let files = self.files_of(mount);
        let below = format!("{inner}/");
        let names: Vec<String> =
            files.keys().filter(|name| **name == inner || name.starts_with(&below)).cloned().collect();
        // A directory that was only known by what is in it stays.
        if let Some((parent, _)) = inner.rsplit_once('/') {
            files.entry(parent.into()).or_insert(Node::Directory);
        }
        Ok(names
            .into_iter()
            .filter_map(|name| {
                let node = files.remove(&name)?;
                let rest = name.strip_prefix(&inner).unwrap_or("").to_string();
                Some((rest, node))
            })
            .collect())
    }

    /// Keeps what was written to a device's files when its mount goes or is looked at again.
    fn store(&mut self, place: usize) {
        if let Some((_, files, Source::Device(number))) = self.state.mounts.get(place).cloned()
            && let Some(device) = self.devices.get_mut(number)
        {
            device.files = files;
        }
    }

    /// Returns the time that keys were waited for, with a card on the consoles.
    pub fn held(&self) -> Duration {
        self.state.held
    }

    fn failed(&self, number: i32) -> Error {
        Error::from_raw_os_error(number)
    }

    /// Returns a stand-in for SHA-256: equal content, equal digest; nothing here depends on its strength.
    pub fn sum(content: &[u8], size: u64) -> Digest {
        let add = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        let bytes = content.iter().fold(0xcbf2_9ce4_8422_2325 ^ size, add).to_le_bytes();
        let mut bytes = bytes.into_iter().cycle();
        std::array::from_fn(|_| bytes.next().unwrap_or_default())
    }
}

impl Recorder {
    fn files_at(&self, target: &str) -> Files {
        let (mount, inner) = self.locate(target);
        let files = match mount.and_then(|place| self.state.mounts.get(place)) {
            Some((_, files, _)) => files,
            None => &self.files,
        };
        let below = if inner.is_empty() { String::new() } else { format!("{inner}/") };
        files
            .iter()
            .filter_map(|(name, node)| Some((name.strip_prefix(&below)?.to_string(), node.clone())))
            .filter(|(name, _)| !name.is_empty())
            .collect()
    }
}
