//! PID 1 beside one program: started on the console in a session of its own, signals handed on to it, every process that ends
//! reaped, its status told. A program that must be process 1 itself is that in a namespace, or takes the place of this one.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::unix::fs::{PermissionsExt, symlink},
};

use contract::workload::Process;
use nix::{
    errno::Errno,
    fcntl::OFlag,
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, sigprocmask},
        stat::{Mode, SFlag, makedev, mknod},
        termios::{OutputFlags, SetArg, tcdrain, tcgetattr, tcsetattr},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid, fork, pipe2, setsid},
};

use super::{Linux, process};
use crate::kernel::supervisor::{Node, Program, Supervisor};

impl Supervisor for Linux {
    fn supervise(&mut self, program: &Program) -> io::Result<u8> {
        self.leave();
        let status = run(program)?;
        nix::unistd::sync();
        drain_consoles();
        Ok(status)
    }

    fn make_node(&mut self, path: &str, node: Node<'_>) -> io::Result<()> {
        match node {
            Node::Link(target) => symlink(target, path),
            Node::Device { mode, major, minor } => {
                let device = makedev(major.into(), minor.into());
                mknod(path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), device)?;
                // The umask takes bits from what mknod is asked for; chmod it does not touch.
                fs::set_permissions(path, fs::Permissions::from_mode(mode))
            }
        }
    }
}

/// Waits until the program's last words are out, however slowly the host takes them.
fn drain_consoles() {
    for console in process::consoles() {
        if let Ok(console) = File::options().write(true).open(console) {
            let _ = tcdrain(&console);
        }
    }
}

/// Runs `program` until it ends. 128 + N stands for death by signal N, as in shells.
fn run(program: &Program) -> io::Result<u8> {
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
    let role = program.setting.as_ref().map(|setting| setting.identity.process).unwrap_or_default();
    if role == Process::Machine {
        // As for a child: what reads keys from the console gets them, Ctrl-C among them.
        let _ = setsid();
        // SAFETY: a plain number goes in. Where it fails the program has no controlling terminal, and runs.
        let _ = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) };
        return Err(become_program(program));
    }
    // Closed by the exec that succeeds; through it the one that fails says why.
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: the threads that loaded modules have ended, so the child is a whole copy of this process.
    match unsafe { split(role) }? {
        ForkResult::Child => {
            drop(reader);
            if role == Process::Namespace
                && let Err(error) = show_own_processes()
            {
                fail(writer, &error);
            }
            let _ = setsid();
            // SAFETY: a plain number goes in. Where it fails the program has no controlling terminal, and runs.
            let _ = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY, 0) };
            let error = become_program(program);
            fail(writer, &error)
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

/// Makes a child, process 1 of a namespace of its own where its role wants that. With it go mounts of its own: it has another `/proc`.
///
/// # Safety
/// As for fork(2): there is no other thread.
unsafe fn split(role: Process) -> nix::Result<ForkResult> {
    if role != Process::Namespace {
        // SAFETY: as the caller says.
        return unsafe { fork() };
    }
    let flags = libc::CLONE_NEWPID | libc::CLONE_NEWNS | libc::SIGCHLD;
    // SAFETY: without CLONE_VM and a stack it is a fork(2): the child has a copy of all memory and goes on here. No pointer goes in.
    let outcome = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    Ok(match Errno::result(outcome)? {
        0 => ForkResult::Child,
        child => ForkResult::Parent { child: Pid::from_raw(i32::try_from(child).unwrap_or(i32::MAX)) },
    })
}

/// Mounts a `/proc` that shows the processes of this namespace, which hides the machine's.
fn show_own_processes() -> io::Result<()> {
    use nix::mount::{MsFlags, mount};
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    // Settings of the machine were made before.
    Ok(mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)?)
}

/// Tells the parent why the program does not run, and ends.
fn fail(writer: std::os::fd::OwnedFd, error: &io::Error) -> ! {
    let number = error.raw_os_error().unwrap_or(libc::ENOEXEC);
    let _ = File::from(writer).write_all(&number.to_ne_bytes());
    // SAFETY: _exit runs no code of this program: the child must not live on as a second PID 1.
    unsafe { libc::_exit(127) }
}

/// Becomes the program. Comes back only with an error.
fn become_program(program: &Program) -> io::Error {
    if let Some(setting) = &program.setting {
        return super::setting::exec(program, setting, "/dev/console");
    }
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    if std::env::var_os("PATH").is_none() {
        // The kernel gives process 1 none. A shell has one of its own then, and what it runs has not.
        // SAFETY: there is no other thread.
        unsafe { std::env::set_var("PATH", contract::workload::PATH) };
    }
    process::exec(&program.path, &program.arguments)
}

/// Returns the signal that the program gets where this process is asked to end, or `None` if each signal is passed on as it is.
fn stop(program: &Program) -> Option<i32> {
    let setting = program.setting.as_ref()?;
    // Ctrl-Alt-Del is then no restart on the spot but a SIGINT for PID 1 (reboot(2)).
    let _ = nix::sys::reboot::set_cad_enabled(false);
    Some(setting.stop)
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
