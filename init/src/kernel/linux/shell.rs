//! The shell of the debug variant.

use std::{
    ffi::OsString,
    fs::File,
    io,
    os::fd::AsFd,
    process::{Command, Stdio},
};

use contract::names;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::{
    Linux,
    process::{consoles, write_consoles},
    typed::Typed,
    watchdog::Watchdog,
};
use crate::kernel::{Power, supervisor::Shell};

/// The signals by which BusyBox's `reboot`, `poweroff` and `halt` ask process 1 for the end (busybox, init/halt.c).
const REQUESTS: [(Signal, Power); 3] =
    [(Signal::SIGTERM, Power::Reboot), (Signal::SIGUSR2, Power::Off), (Signal::SIGUSR1, Power::Halt)];

/// All processes but this one (kill(2)).
const EVERYBODY: Pid = Pid::from_raw(-1);

impl Shell for Linux {
    fn shell(&mut self, banner: &str) -> io::Result<Option<Power>> {
        // Who repairs a disk has it alone.
        self.stop_sweeper();
        // A menu before it took keys one by one, unseen; a shell and its programs begin with the terminal as it was.
        self.typed = Typed::default();
        write_consoles(&format!("\n{banner}"));
        let shells = start_all()?;
        let outcome = wait(&shells, &mut self.watchdog);
        for pid in shells {
            hang_up(pid, &mut self.watchdog);
        }
        if matches!(outcome, Ok(Some(_))) {
            kill_everybody(&mut self.watchdog);
        }
        outcome
    }
}

/// Ends a shell, which may be reaped already. At a prompt it ignores SIGTERM; this is how a terminal says goodbye. One that ignores that
/// too is killed, and reaped with what else ends later.
fn hang_up(shell: Pid, watchdog: &mut Watchdog) {
    let _ = kill(shell, Signal::SIGHUP);
    for _ in 0..10 {
        match waitpid(shell, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
            _ => return,
        }
        watchdog.feed();
        let _ = poll(&mut [], PollTimeout::from(100_u8));
    }
    let _ = kill(shell, Signal::SIGKILL);
}

/// Kills all other programs: one that has a disk in use would keep it mounted. One that waits for a disk which does not answer
/// cannot be killed, and is waited for a second.
fn kill_everybody(watchdog: &mut Watchdog) {
    let _ = kill(EVERYBODY, Signal::SIGKILL);
    for _ in 0..10 {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                // There is no other.
                Err(_) => return,
            }
        }
        watchdog.feed();
        let _ = poll(&mut [], PollTimeout::from(100_u8));
    }
}

/// Starts a shell on every console.
fn start_all() -> io::Result<Vec<Pid>> {
    let mut shells = Vec::new();
    let mut outcome = Ok(());
    for console in consoles() {
        match start(&console) {
            Ok(pid) => shells.push(pid),
            Err(error) => outcome = Err(error),
        }
    }
    if shells.is_empty() {
        outcome?;
    }
    Ok(shells)
}

fn start(console: &str) -> io::Result<Pid> {
    let tty = File::options().read(true).write(true).open(console)?;
    // `setsid -c` makes the console the shell's controlling terminal, so that Ctrl-C works.
    let child = Command::new(names::BUSYBOX)
        .args(["setsid", "-c", names::BUSYBOX, "sh"])
        .env_clear()
        .env("PATH", "/bin:/sbin:/usr/bin:/usr/sbin")
        .env("HOME", "/")
        .env("TERM", std::env::var_os("TERM").unwrap_or_else(|| OsString::from("linux")))
        .env("ENV", names::SHELL_SETTINGS)
        .env("PS1", names::PROMPT)
        .stdin(Stdio::from(tty.try_clone()?))
        .stdout(Stdio::from(tty.try_clone()?))
        .stderr(Stdio::from(tty))
        .spawn()?;
    Ok(Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?))
}

/// Waits until one of the shells is left or the end of the machine is asked for. Any other child that ends meanwhile is reaped.
fn wait(shells: &[Pid], watchdog: &mut Watchdog) -> io::Result<Option<Power>> {
    // Blocked after the shells were started: they would inherit it. What is blocked reaches process 1 even where it would ignore it.
    let signals: SigSet = REQUESTS.iter().map(|(signal, _)| *signal).collect();
    signals.thread_block()?;
    let requests = SignalFd::with_flags(&signals, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
    let outcome = loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => {}
            Ok(status) if status.pid().is_some_and(|pid| shells.contains(&pid)) => break Ok(None),
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => break Err(error.into()),
        }
        if let Ok(Some(request)) = requests.read_signal()
            && let Some((_, power)) =
                REQUESTS.into_iter().find(|(signal, _)| u32::try_from(*signal as i32) == Ok(request.ssi_signo))
        {
            break Ok(Some(power));
        }
        watchdog.feed();
        // Nobody notices that a shell which was left is seen so much later.
        let _ = poll(&mut [PollFd::new(requests.as_fd(), PollFlags::POLLIN)], PollTimeout::from(200_u8));
    };
    let _ = signals.thread_unblock();
    outcome
}
