//! A program for people on every console, again and again, until somebody asks the machine to end: in the ways that `poweroff`, `halt`
//! and `reboot` of BusyBox ask process 1, and by Ctrl-Alt-Del.

use std::{
    io,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{SigSet, Signal, kill},
        time::TimeSpec,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, setsid},
};

use super::{process, setting};
use crate::kernel::{Power, supervisor::Program};

/// A program that ends sooner than this has a console that is gone, or cannot run: the next one waits as long.
const TOO_SOON: Duration = Duration::from_secs(1);
/// How long programs may take to end when they are asked to.
const ENDING: Duration = Duration::from_secs(3);

/// A console.
struct Console {
    path: String,
    program: Option<Pid>,
    started: Option<Instant>,
}

/// Starts a program that speaks on a terminal and is nobody's there.
pub(super) fn start(program: &Program, terminal: &str) -> io::Result<u32> {
    let process = spawn(program, terminal, false)?;
    Ok(process.as_raw().unsigned_abs())
}

/// Runs `program` on all consoles, and again whenever it exits. Returns the end that the machine is asked for.
pub(super) fn run_getty(program: &Program) -> io::Result<Power> {
    let signals = SigSet::all();
    signals.thread_block()?;
    // Ctrl-Alt-Del is then no restart on the spot but a SIGINT for PID 1 (reboot(2)).
    let _ = nix::sys::reboot::set_cad_enabled(false);
    let mut consoles: Vec<Console> = process::consoles()
        .into_iter()
        // tty0 stands for the one that is shown; the first is the one that is shown now.
        .map(|path| if path == "/dev/tty0" { "/dev/tty1".into() } else { path })
        .map(|path| Console { path, program: None, started: None })
        .collect();
    loop {
        let mut wait = None;
        for console in consoles.iter_mut().filter(|console| console.program.is_none()) {
            let since = console.started.map(|started| started.elapsed());
            match since.and_then(|since| TOO_SOON.checked_sub(since)) {
                Some(left) if !left.is_zero() => wait = Some(wait.map_or(left, |other: Duration| other.min(left))),
                _ => {
                    console.started = Some(Instant::now());
                    // One that cannot be started is tried again, as one that ends at once.
                    console.program = spawn(program, &console.path, true).ok();
                    wait = wait.or(if console.program.is_none() { Some(TOO_SOON) } else { None });
                }
            }
        }
        if let Some(power) = next_signal(&signals, wait).and_then(asked) {
            end_all(&signals);
            return Ok(power);
        }
        while let Some(pid) = reap() {
            consoles
                .iter_mut()
                .filter(|console| console.program == Some(pid))
                .for_each(|console| console.program = None);
        }
    }
}

/// How a signal asks the machine to end: as BusyBox's init takes them (init/halt.c), and Ctrl-Alt-Del.
fn asked(signal: i32) -> Option<Power> {
    match signal {
        libc::SIGUSR2 | libc::SIGPWR => Some(Power::Off),
        libc::SIGUSR1 => Some(Power::Halt),
        libc::SIGTERM | libc::SIGINT => Some(Power::Reboot),
        _ => None,
    }
}

fn spawn(program: &Program, terminal: &str, is_for_people: bool) -> io::Result<Pid> {
    // SAFETY: the threads that loaded modules have ended, so the child is a whole copy of this process.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let _ = setsid();
            if is_for_people {
                process::open_terminal(terminal);
                // Ctrl-C and job control are its session's then, and at its end all that it left there.
                // SAFETY: a plain number goes in. Where it fails the program has no controlling terminal, and runs.
                let _ = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY as _, 0) };
            }
            if let Some(setting) = &program.setting {
                let _ = setting::exec(program, setting, terminal);
            }
            // SAFETY: _exit runs no code of this program: the child must not live on as a second PID 1.
            unsafe { libc::_exit(127) }
        }
    }
}

/// The next signal; none when `time` has passed first.
fn next_signal(signals: &SigSet, time: Option<Duration>) -> Option<i32> {
    let time = time.map(TimeSpec::from);
    let time = time.as_ref().map_or(std::ptr::null(), |time| std::ptr::from_ref::<libc::timespec>(time.as_ref()));
    // SAFETY: the set and, where there is one, the time live during the call; nothing is written to.
    let signal = unsafe { libc::sigtimedwait(signals.as_ref(), std::ptr::null_mut(), time) };
    (signal > 0).then_some(signal)
}

/// A process that has ended; none where none has, or where there is none at all.
pub(super) fn reap() -> Option<Pid> {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return None,
            Ok(status) => return status.pid(),
            Err(Errno::EINTR) => {}
            Err(_) => return None,
        }
    }
}

/// Asks all processes to end, and ends those that do not.
fn end_all(signals: &SigSet) {
    let all = Pid::from_raw(-1);
    // Shells at a prompt take no SIGTERM; this is how a terminal says goodbye. One that is stopped has to go on for that.
    for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGCONT] {
        let _ = kill(all, signal);
    }
    let deadline = Instant::now().checked_add(ENDING);
    loop {
        while reap().is_some() {}
        let none_left = waitpid(None, Some(WaitPidFlag::WNOHANG)) == Err(Errno::ECHILD);
        let left = deadline.and_then(|deadline| deadline.checked_duration_since(Instant::now()));
        let (false, Some(left)) = (none_left, left) else { break };
        next_signal(signals, Some(left));
    }
    let _ = kill(all, Signal::SIGKILL);
}
