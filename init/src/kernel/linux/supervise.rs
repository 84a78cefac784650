//! PID 1 beside one program: started on the console in a session of its own, signals handed on to it, every process that ends
//! reaped, its status told.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
};

use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
        termios::{OutputFlags, SetArg, tcgetattr, tcsetattr},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, pipe2, setsid},
};

use super::process;
use crate::kernel::Program;

/// Runs `program` until it ends. 128 + N stands for death by signal N, as in shells.
pub(super) fn run(program: &Program) -> io::Result<u8> {
    let signals = SigSet::all();
    // Blocked, they wait for the loop below; none is lost, not even one that would do nothing by default (signal(7)).
    signals.thread_block()?;
    process::open_console();
    // On a serial line the host's end adds no carriage returns to a log, and a terminal does it by itself.
    if let Ok(mut settings) = tcgetattr(io::stdout()) {
        settings.output_flags.remove(OutputFlags::ONLCR);
        // A console that cannot be set is only less tidy.
        let _ = tcsetattr(io::stdout(), SetArg::TCSANOW, &settings);
    }
    // Closed by the exec that succeeds; through it the one that fails says why.
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the threads that loaded modules have ended, so the child is a whole copy of this process.
    match unsafe { fork() }? {
        ForkResult::Child => {
            drop(reader);
            let _ = setsid();
            // SAFETY: a plain number goes in. Where it fails the program has no controlling terminal, and runs.
            let _ = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) };
            let error = become_program(program);
            let number = error.raw_os_error().unwrap_or(libc::ENOEXEC);
            let _ = File::from(writer).write_all(&number.to_ne_bytes());
            // SAFETY: _exit runs no code of this program: the child must not live on as a second PID 1.
            unsafe { libc::_exit(127) }
        }
        ForkResult::Parent { child } => {
            drop(writer);
            let mut number = [0; 4];
            if File::from(reader).read_exact(&mut number).is_ok() {
                // The end of the child, which leads a session, hangs up the console (credentials(7)): what is written to it meanwhile is
                // lost, and it would be the words that say why.
                let _ = waitpid(child, None);
                return Err(io::Error::from_raw_os_error(i32::from_ne_bytes(number)));
            }
            wait(child, &signals, stop(program))
        }
    }
}

/// Becomes the program. Comes back only with an error.
fn become_program(program: &Program) -> io::Error {
    #[cfg(feature = "ram")]
    if let Some(setting) = &program.setting {
        return super::ram::exec(program, setting, "/dev/console");
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    process::exec(&program.path, &program.arguments)
}

/// The signal that the program gets where this process is asked to end; each as it is where there is none.
fn stop(program: &Program) -> Option<i32> {
    #[cfg(feature = "ram")]
    if let Some(setting) = &program.setting {
        // Ctrl-Alt-Del is then no restart on the spot but a SIGINT for PID 1 (reboot(2)).
        let _ = nix::sys::reboot::set_cad_enabled(false);
        return Some(setting.stop);
    }
    let _ = program;
    None
}

fn wait(child: Pid, signals: &SigSet, stop: Option<i32>) -> io::Result<u8> {
    loop {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) if pid == child => {
                    return Ok(end(u8::try_from(status).unwrap_or(1)));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == child => {
                    let number = u8::try_from(signal as i32).unwrap_or(0);
                    return Ok(end(number.saturating_add(128)));
                }
                Ok(WaitStatus::StillAlive) => break,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // An unknown one, of real time, is dropped.
        if let Ok(signal) = signals.wait()
            && signal != Signal::SIGCHLD
        {
            let number = match (signal, stop) {
                (Signal::SIGTERM | Signal::SIGINT | Signal::SIGPWR, Some(stop)) => stop,
                (signal, _) => signal as i32,
            };
            // It may have ended meanwhile.
            // SAFETY: plain numbers go in.
            let _ = unsafe { libc::kill(child.as_raw(), number) };
        }
    }
}

/// Ends what the program left running: nobody writes any more once the status is told.
fn end(status: u8) -> u8 {
    // From PID 1: every process but this one (kill(2)). There may be none.
    let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
    status
}

/// Writes a byte to a device, behind everything else.
pub(super) fn tell(path: &str, offset: u64, byte: u8) -> io::Result<()> {
    nix::unistd::sync();
    process::drain_consoles();
    let mut device = File::options().write(true).open(path)?;
    // Not every device can seek.
    if offset > 0 {
        device.seek(SeekFrom::Start(offset))?;
    }
    device.write_all(&[byte])
}
