//! Operations of the boot modes in which PID 1 stays and looks after programs. A kernel without them answers `Unsupported`.

use std::{io, time::Duration};

use contract::workload::Process;

use super::{Power, rtnetlink};

/// A program that runs beside PID 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its file.
    pub path: String,
    /// Its arguments, its name not among them.
    pub arguments: Vec<String>,
    /// The environment that it runs in, where that is not PID 1's own.
    pub setting: Option<Setting>,
}

/// The environment that a program runs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its `argv[0]`.
    pub name: String,
    /// `NAME=VALUE`.
    pub environment: Vec<String>,
    /// Its working directory.
    pub directory: String,
    /// The user and groups that it runs as.
    pub identity: Identity,
    /// The signal that it gets when this process is asked to end, by number.
    pub stop: i32,
}

/// A device node to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node<'a> {
    /// Its name.
    pub path: &'a str,
    /// Permission bits.
    pub mode: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
}

/// The user and groups that a program runs as.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// More groups.
    pub groups: Vec<u32>,
    /// The user's home directory.
    pub home: String,
    /// The process that it becomes.
    pub process: Process,
}

/// An event on a machine that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A device has come.
    Device,
    /// A network interface is new, has changed or is gone.
    Link(rtnetlink::Change),
    /// A child process has exited.
    Exited(u32),
}

/// A kernel on which PID 1 stays and runs one program.
pub trait Supervisor {
    /// Runs another program on the console until it ends: signals for this process go to it, and what else ends meanwhile is
    /// reaped. Returns its status, 128 + N where signal N ended it. Nothing else runs afterwards.
    ///
    /// # Errors
    /// It would not start.
    fn supervise(&mut self, _program: &Program) -> io::Result<u8> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Writes one byte to a device, once everything else that was written is out.
    ///
    /// # Errors
    /// The kernel's reason.
    fn report_status(&mut self, _path: &str, _offset: u64, _status: u8) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Makes a symbolic link `link` to `target`.
    ///
    /// # Errors
    /// The kernel's reason.
    fn symlink(&mut self, _target: &str, _link: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A kernel with a shell for people: that of the debug variant.
pub trait Shell {
    /// Runs a shell on every console. Comes back when one of them is left.
    ///
    /// # Errors
    /// The kernel's; also where the build of init has no shell.
    fn shell(&mut self, _banner: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A kernel that mounts directories of its host.
pub trait Shares {
    /// Makes a character device.
    ///
    /// # Errors
    /// The kernel's reason.
    fn make_node(&mut self, _node: &Node<'_>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Returns the tags of the virtiofs devices there are, sorted; one that cannot be read is a `?`.
    fn virtiofs_tags(&mut self) -> Vec<String> {
        Vec::new()
    }
}

/// A kernel whose initramfs is the system: with files of its own, networks and consoles.
pub trait System {
    /// Sets an extended attribute of a file itself, not of what a link leads to.
    ///
    /// # Errors
    /// The kernel's reason.
    fn set_attribute(&mut self, _path: &str, _name: &str, _value: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Sets permission bits.
    ///
    /// # Errors
    /// The kernel's reason.
    fn set_mode(&mut self, _path: &str, _mode: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Brings a network interface up.
    ///
    /// # Errors
    /// The kernel's reason; one without networking has none.
    fn link_up(&mut self, _interface: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Starts a program that speaks on that terminal; nobody waits for it. Returns its process.
    ///
    /// # Errors
    /// The kernel's reason. A program that cannot be run is not reported.
    fn start(&mut self, _program: &Program, _terminal: &str) -> io::Result<u32> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Asks a process to end. It may have done so.
    fn stop(&mut self, _process: u32) {}
    /// Opens the sources of events: devices, child processes that exit and, with `links`, network interfaces, those that are there first.
    ///
    /// # Errors
    /// The kernel's reason. A kernel without networking has no devices to tell of this way.
    fn watch(&mut self, _links: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Returns the events since the last call; waits for one if there is none, until `deadline` at most (on the clock of
    /// [`Kernel::now`](super::Kernel::now)).
    ///
    /// # Errors
    /// The event source is closed.
    fn next_events(&mut self, _deadline: Option<Duration>) -> io::Result<Vec<Event>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Runs a program on every console, and again whenever it ends, until this process is asked to end the machine. What else ends
    /// meanwhile is reaped. Returns how the machine is to end; nothing else runs then.
    ///
    /// # Errors
    /// The kernel's reason.
    fn run_getty(&mut self, _program: &Program) -> io::Result<Power> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
