//! Operations of the boot modes in which PID 1 stays and looks after programs. A kernel without them answers `Unsupported`.

use std::io;

use contract::workload::Process;

use super::power::Power;

/// The signal of a lost terminal. These numbers are those of x86, ARM and RISC-V (signal(7)).
pub const SIGHUP: i32 = 1;
/// The signal of Ctrl-C.
pub const SIGINT: i32 = 2;
/// The signal that no process can ignore.
pub const SIGKILL: i32 = 9;
/// The signal for a use that a program gives it.
pub const SIGUSR1: i32 = 10;
/// The second signal for a use that a program gives it.
pub const SIGUSR2: i32 = 12;
/// The signal that has a stopped process go on.
pub const SIGCONT: i32 = 18;
/// The signal of a power failure.
pub const SIGPWR: i32 = 30;

/// All processes but this one, in the place of a process (kill(2)).
pub const EVERYBODY: i32 = -1;

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

/// A directory entry to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node<'a> {
    /// A symbolic link to that target.
    Link(&'a str),
    /// A character device, with exactly that mode.
    Device {
        /// Permission bits.
        mode: u32,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
}

/// An attribute of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute<'a> {
    /// Permission bits.
    Mode(u32),
    /// An extended attribute, name and value; of a file itself, not of what a link leads to.
    Extended(&'a str, &'a [u8]),
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

/// A kernel on which PID 1 stays and runs one program.
pub trait Supervisor {
    /// Runs another program on the console until it ends: signals for this process go to it, and what else ends meanwhile is
    /// reaped. Returns its status, 128 + N where signal N ended it. Nothing else runs afterwards, and all that was written is out.
    ///
    /// # Errors
    /// It would not start.
    fn supervise(&mut self, _program: &Program) -> io::Result<u8> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Makes a symbolic link or a device node.
    ///
    /// # Errors
    /// The kernel's reason.
    fn make_node(&mut self, _path: &str, _node: Node<'_>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A kernel with a shell for people: that of the debug variant.
pub trait Shell {
    /// Runs a shell on every console. Comes back when one of them is left, or with the end of the machine that was asked for there
    /// (`reboot`, `poweroff`, `halt`): then every other program has been killed.
    ///
    /// # Errors
    /// The kernel's reason; also where the build of init has no shell.
    fn shell(&mut self, _banner: &str) -> io::Result<Option<Power>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A kernel whose initramfs is the system: with files of its own, and programs beside PID 1.
pub trait System {
    /// Sets an attribute of a file.
    ///
    /// # Errors
    /// The kernel's reason.
    fn set_attribute(&mut self, _path: &str, _attribute: Attribute<'_>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Starts a program that speaks on that terminal, in a session of its own; nobody waits for it. `controls`: the terminal is its
    /// session's, with Ctrl-C and job control, and at its end all that it left there. Returns its process.
    ///
    /// # Errors
    /// The kernel's reason. A program that cannot be run is not reported.
    fn start(&mut self, _program: &Program, _terminal: &str, _controls: bool) -> io::Result<u32> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Sends a signal to a process or [`EVERYBODY`], which may be gone.
    fn signal(&mut self, _process: i32, _signal: i32) {}
}
