//! Programs that end with this one, however it ends: each is started through this very command, which asks the kernel to end it
//! when its parent goes, and then becomes the program. Holds no program back and waits for none.

use std::{ffi::OsStr, os::unix::process::CommandExt, path::Path, process::Command};

use base::{IoContext, Result, children, program::TETHER};
use nix::sys::signal::SigSet;
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, set_child_subreaper, set_parent_process_death_signal, wait,
};

use crate::read_only;

/// Returns a command for `program` that is killed when the *thread* that starts it ends (prctl(2), `PR_SET_PDEATHSIG`), and so also when
/// this process is killed.
pub fn command(program: &Path) -> Command {
    // Also where the file of this command was replaced or removed meanwhile.
    let mut command = Command::new("/proc/self/exe");
    command.arg(TETHER).arg(std::process::id().to_string()).arg("--").arg(program);
    command
}

/// Returns a command for `program` as [`command`] gives it, that finds `directory` at [`read_only::place`] and cannot write to it.
pub fn command_behind(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg(TETHER).arg(std::process::id().to_string()).arg("--read-only").arg(directory).arg("--").arg(program);
    command
}

/// Runs the subcommand: ties this process to `parent`, protects the directory `read_only` where one is named, and becomes `program`.
/// Returns only with an error.
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
    tie(parent, Signal::KILL, program)?;
    // Whoever starts it may hold signals back; programs do not expect that.
    SigSet::empty().thread_set_mask().map_err(std::io::Error::from).at("prepare", program)?;
    Err(Command::new(program).args(arguments).exec()).at("start", program)
}

/// Runs `program` to its end, and ends it with all that it started when `parent` does or asks for it. Returns its status, and ends as it did
/// where that was a signal. Its temporary files are in a directory of their own, which goes with it: compilers that are killed leave theirs.
///
/// # Errors
/// [`base::Error::Io`]: the program would not start.
pub fn run_tree(parent: u32, program: &OsStr, arguments: &[std::ffi::OsString]) -> Result<u8> {
    use nix::sys::signal::Signal::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM};
    let heard: SigSet = [SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().collect();
    heard.thread_block().map_err(std::io::Error::from).at("prepare", program)?;
    // What its programs leave behind becomes this one's, and so can be found.
    set_child_subreaper(Some(getpid())).map_err(std::io::Error::from).at("prepare", program)?;
    tie(parent, Signal::TERM, program)?;
    // Without one the program finds none either, and says so where it needs one.
    let temporary = tempfile::tempdir().ok();
    let mut command = command(Path::new(program));
    command.args(arguments).envs(temporary.iter().map(|directory| ("TMPDIR", directory.path())));
    let child = Pid::from_child(&command.spawn().at("start", program)?);
    loop {
        match heard.wait().map_err(std::io::Error::from).at("wait for", program)? {
            SIGCHLD => {
                while let Ok(Some((process, status))) = wait(WaitOptions::NOHANG) {
                    if process != child {
                        continue;
                    }
                    if let Some(number) = status.terminating_signal() {
                        drop(temporary);
                        // It ends this process as well, once it is let through.
                        let _ = heard.thread_unblock();
                        let _ = nix::sys::signal::Signal::try_from(number).map(nix::sys::signal::raise);
                        return Ok(u8::try_from(128 + number).unwrap_or(u8::MAX));
                    }
                    return Ok(status.exit_status().and_then(|status| u8::try_from(status).ok()).unwrap_or(1));
                }
            }
            SIGTERM => {
                while children::kill_all() {
                    // Killed, they are waited for, and what they leave comes here.
                    while wait(WaitOptions::empty()).is_ok() {}
                }
                return Ok(128 + 15);
            }
            // From the terminal: the program heard it as well, and `parent` says what is to be done.
            _ => {}
        }
    }
}

/// Has this process signalled when `parent` ends.
fn tie(parent: u32, signal: Signal, program: &OsStr) -> Result<()> {
    set_parent_process_death_signal(Some(signal)).map_err(std::io::Error::from).at("prepare", program)?;
    // It may have gone before the line above; then nobody will say so again.
    if getppid().is_some_and(|pid| Some(pid) == i32::try_from(parent).ok().and_then(Pid::from_raw)) {
        return Ok(());
    }
    Err(std::io::Error::other("the command that started it has exited")).at("start", program)
}
