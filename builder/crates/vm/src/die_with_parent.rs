//! Programs that end with this one, however it ends: each is started through this very command, which asks the kernel to end it
//! when its parent goes, and then becomes the program. Holds no program back and waits for none.

use std::{ffi::OsStr, os::unix::process::CommandExt, path::Path, process::Command};

use base::{IoContext, Result};
use nix::sys::signal::SigSet;
use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};

use crate::read_only;

/// The hidden subcommand.
pub const SUBCOMMAND: &str = "tether";

/// A command for `program` that is killed when the *thread* that starts it ends (prctl(2), `PR_SET_PDEATHSIG`), and so also when
/// this process is killed.
pub fn command(program: &Path) -> Command {
    // Also where the file of this command was replaced or removed meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg(SUBCOMMAND).arg(std::process::id().to_string()).arg("--").arg(program);
    command
}

/// A command for `program` as [`command`] gives it, that finds `directory` at [`read_only::place`] and cannot write to it.
pub fn command_behind(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command
        .arg(SUBCOMMAND)
        .arg(std::process::id().to_string())
        .arg("--read-only")
        .arg(directory)
        .arg("--")
        .arg(program);
    command
}

/// What the subcommand does: ties this process to `parent`, protects the directory `read_only` where one is named, and becomes `program`.
/// Comes back only with an error.
///
/// # Errors
/// [`base::Error::Io`]: the directory cannot be protected, or the program would not start.
pub fn become_program(
    parent: u32,
    read_only: Option<&Path>,
    program: &OsStr,
    arguments: &[std::ffi::OsString],
) -> Result<std::convert::Infallible> {
    if let Some(directory) = read_only {
        // First: with other rights the kernel may forget the signal (kernel, kernel/cred.c, commit_creds).
        read_only::bind(directory)?;
    }
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from).at("prepare", program)?;
    // It may have gone before the line above; then nobody will say so again.
    let is_there = getppid().is_some_and(|pid| Some(pid) == i32::try_from(parent).ok().and_then(Pid::from_raw));
    if !is_there {
        return Err(std::io::Error::other("the command that wanted it has ended")).at("start", program);
    }
    // The one that starts it waits for signals itself and so has them blocked; programs do not expect that.
    SigSet::empty().thread_set_mask().map_err(std::io::Error::from).at("prepare", program)?;
    Err(Command::new(program).args(arguments).exec()).at("start", program)
}
