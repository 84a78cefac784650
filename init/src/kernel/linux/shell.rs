//! The shell of the debug variant.

use std::{
    ffi::OsString,
    fs::File,
    io,
    process::{Command, Stdio},
};

use contract::names;
use nix::{
    poll::{PollTimeout, poll},
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{
    Linux,
    process::{consoles, write_consoles},
    watchdog::Watchdog,
};
use crate::kernel::supervisor::Shell;

impl Shell for Linux {
    fn shell(&mut self, banner: &str) -> io::Result<()> {
        shell(banner, &mut self.watchdog)
    }
}

/// A shell on every console, until one of them is left.
fn shell(banner: &str, watchdog: &mut Watchdog) -> io::Result<()> {
    write_consoles(&format!("\n{banner}"));
    let mut shells = Vec::new();
    let mut outcome = Ok(());
    for console in consoles() {
        let start = || -> io::Result<Pid> {
            let tty = File::options().read(true).write(true).open(&console)?;
            // `setsid -c` makes the console the shell's controlling terminal, so that Ctrl-C works.
            let child = Command::new(names::BUSYBOX)
                .args(["setsid", "-c", names::BUSYBOX, "sh"])
                .env_clear()
                .env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin")
                .env("HOME", "/")
                .env("TERM", std::env::var_os("TERM").unwrap_or_else(|| OsString::from("linux")))
                .env("PS1", names::PROMPT)
                .stdin(Stdio::from(tty.try_clone()?))
                .stdout(Stdio::from(tty.try_clone()?))
                .stderr(Stdio::from(tty))
                .spawn()?;
            Ok(Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?))
        };
        match start() {
            Ok(pid) => shells.push(pid),
            Err(error) => outcome = Err(error),
        }
    }
    if shells.is_empty() {
        return outcome;
    }
    // Any other child that ends meanwhile is reaped and forgotten.
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {
                watchdog.feed();
                // Nobody notices that a shell which was left is seen so much later.
                let _ = poll(&mut [], PollTimeout::from(200_u8));
            }
            Ok(status) if status.pid().is_some_and(|pid| shells.contains(&pid)) => {
                shells.retain(|pid| Some(*pid) != status.pid());
                break;
            }
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    for pid in shells {
        // Shells at a prompt ignore SIGTERM; this is how a terminal says goodbye.
        let _ = kill(pid, Signal::SIGHUP);
        let _ = waitpid(pid, None);
    }
    Ok(())
}
