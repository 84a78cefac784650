//! Programs and the end: the sweeper, shells, the new init, switching the machine off; and the consoles they speak on.

use std::{
    ffi::CString,
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, AsRawFd},
        unix::fs::OpenOptionsExt,
    },
    time::Duration,
};

use nix::{
    sys::{
        reboot::{RebootMode, reboot},
        signal::{Signal, kill},
        wait::waitpid,
    },
    unistd::{ForkResult, Pid},
};

use super::{console, files::text, media::open_listing};
use crate::kernel::Power;
use contract::names;

/// Reads the records of the kernel's log that are there now, a line or more each.
pub(super) fn kernel_log() -> io::Result<Vec<u8>> {
    /// Bytes of the longest record (kernel, kernel/printk, PRINTK_MESSAGE_MAX), and of all that is read.
    const RECORD: usize = 8192;
    const MOST: usize = 1 << 20;
    let mut log = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(names::KERNEL_LOG)?;
    let mut all = Vec::new();
    let mut record = vec![0; RECORD];
    while all.len() < MOST {
        match log.read(&mut record) {
            Ok(0) => break,
            Ok(length) => all.extend_from_slice(record.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // Records that were not read yet have been overwritten; the next read goes on behind them.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EPIPE | libc::EINTR)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Sets how loud the kernel's messages must be for the consoles. Returns how loud they had to be before.
pub(super) fn set_console_level(level: i32) -> Option<i32> {
    const SYSLOG_ACTION_CONSOLE_LEVEL: libc::c_int = 8;
    let before = text("/proc/sys/kernel/printk");
    let before = before.split_ascii_whitespace().next()?.parse().ok()?;
    // SAFETY: this action takes no buffer; it reads the level alone (syslog(2)).
    let outcome = unsafe { libc::klogctl(SYSLOG_ACTION_CONSOLE_LEVEL, std::ptr::null_mut(), level) };
    (outcome >= 0).then_some(before)
}

/// Returns the consoles the kernel speaks on.
pub(super) fn consoles() -> Vec<String> {
    crate::kernel::consoles(&text("/proc/consoles"), &mut |path| fs::metadata(path).is_ok())
}

/// Returns a text without control characters but line breaks: names and labels from media would drive the terminal of whoever reads them.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '?' } else { c }).collect()
}

/// Returns a line in pieces that the kernel's log takes: a record has at most 1024 bytes, those before the text included
/// (kernel, include/linux/printk.h, PRINTKRB_RECORD_MAX).
pub(super) fn pieces(line: &str) -> Vec<&str> {
    const MOST: usize = 900;
    let (mut pieces, mut rest) = (Vec::new(), line);
    while rest.len() > MOST {
        let end = (0..=MOST).rev().find(|end| rest.is_char_boundary(*end)).unwrap_or(rest.len());
        let (piece, behind) = rest.split_at(end);
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}

/// Writes to every console and waits until it is out.
pub(super) fn write_consoles(text: &str) {
    let text = printable(text);
    for path in consoles() {
        // The other consoles, and the log, may still be read.
        let _ = console::write_out(&path, format!("{text}\n").as_bytes());
    }
}

/// Returns the columns and rows of a terminal.
pub(super) fn window(terminal: &str) -> io::Result<(u16, u16)> {
    let terminal = File::options().read(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open(terminal)?;
    let mut window = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel writes one such structure (tty_ioctl(4), TIOCGWINSZ), and there is one.
    let outcome = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ as _, &raw mut window) };
    nix::errno::Errno::result(outcome)?;
    Ok((window.ws_col, window.ws_row))
}

/// Starts this very program as the process that deletes behind the boot. It has the root of the writable partition as its standard input
/// and the kernel's log as its standard error, so the move to the new root does not matter to it.
pub(super) fn start_sweeper(store: &str, log: Option<File>) -> io::Result<Pid> {
    let store = open_listing(store)?;
    let name = CString::new(names::SWEEPER).map_err(io::Error::other)?;
    // SAFETY: the threads that loaded modules have ended, so the child is a whole copy of this process; all it does before exec
    // is a few system calls.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let _ = nix::unistd::dup2_stdin(&store);
            if let Some(log) = &log {
                let _ = nix::unistd::dup2_stderr(log);
            }
            let _ = nix::unistd::execve(c"/proc/self/exe", &[name], &[] as &[CString]);
            // SAFETY: _exit runs no code of this program: the child must not live on as a second PID 1.
            unsafe { libc::_exit(1) }
        }
    }
}

/// Kills a child and waits for its end. It may have ended long ago.
pub(super) fn stop(child: Pid) {
    let _ = kill(child, Signal::SIGKILL);
    let _ = waitpid(child, None);
}

/// Takes this process to the lowest priority for processor and disk.
pub(super) fn become_idle() {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    const IOPRIO_CLASS_IDLE: libc::c_int = 3 << 13;
    schedule(libc::SCHED_IDLE, 0);
    // SAFETY: plain numbers go in and nothing is written to; a failure leaves the usual priority, which is no harm.
    unsafe {
        libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_IDLE);
    }
}

/// Raises this process above all others (SCHED_FIFO), or returns it to SCHED_OTHER. Affects timing only.
pub(super) fn go_first(first: bool) {
    if first { schedule(libc::SCHED_FIFO, 1) } else { schedule(libc::SCHED_OTHER, 0) }
}

/// Asks for a scheduling policy. A refusal leaves the policy as it was, which costs time and nothing else.
fn schedule(policy: libc::c_int, priority: libc::c_int) {
    // SAFETY: the kernel's struct sched_param is this one number (include/uapi/linux/sched/types.h), which it only reads, during
    // the call.
    unsafe {
        libc::syscall(libc::SYS_sched_setscheduler, 0, policy, &raw const priority);
    }
}

/// Opens the console, or else `/dev/null`, as each of standard input, output and error that is closed.
pub(super) fn open_standard_files() {
    use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
    use std::os::fd::{BorrowedFd, IntoRawFd};
    for number in 0..=2 {
        // SAFETY: the number is only asked about, and whether it is open is the question.
        let is_open = fcntl(unsafe { BorrowedFd::borrow_raw(number) }, FcntlArg::F_GETFD).is_ok();
        // The lowest number that is free is taken (open(2)), and programs inherit it.
        let open = |path| open(path, OFlag::O_RDWR | OFlag::O_NOCTTY, nix::sys::stat::Mode::empty());
        if !is_open && let Ok(file) = open("/dev/console").or_else(|_| open("/dev/null")) {
            let _ = file.into_raw_fd();
        }
    }
}

/// Opens the console as standard input, output and error.
pub(super) fn open_console() {
    open_terminal("/dev/console");
}

/// Opens a terminal as standard input, output and error.
pub(super) fn open_terminal(path: &str) {
    if let Ok(console) = File::options().read(true).write(true).open(path) {
        let console = console.as_fd();
        // A program without its console still runs.
        let _ = nix::unistd::dup2_stdin(console);
        let _ = nix::unistd::dup2_stdout(console);
        let _ = nix::unistd::dup2_stderr(console);
    }
}

/// Becomes another program. Comes back only with an error.
pub(super) fn exec(program: &str, arguments: &[String]) -> io::Error {
    // The one that the kernel opened, if the archive has one, is a file of the old root.
    open_console();
    if cfg!(feature = "virtiofs") {
        clean_environment();
    }
    let string = |text: &str| CString::new(text).map_err(io::Error::other);
    let assemble = || -> io::Result<(CString, Vec<CString>)> {
        let mut all = vec![string(program)?];
        for argument in arguments {
            all.push(string(argument)?);
        }
        Ok((string(program)?, all))
    };
    match assemble() {
        // What the kernel did not know and has a `=` it hands over as environment; it belongs to the root's init.
        Ok((program, arguments)) => match nix::unistd::execv(&program, &arguments) {
            Err(error) => error.into(),
            Ok(never) => match never {},
        },
        Err(error) => error,
    }
}

/// Takes what only init had use for out of the environment.
fn clean_environment() {
    unsafe extern "C" {
        // POSIX, environ: a list of strings that ends in a null.
        static mut environ: *mut *const libc::c_char;
    }
    // SAFETY: this process has no other threads now. The list is the one that the kernel put on the stack: it ends in a null, so do
    // its strings in a zero byte, and what is kept moves to the front of it.
    unsafe {
        let (mut from, mut to) = (environ, environ);
        while !(*from).is_null() {
            let entry = std::ffi::CStr::from_ptr(*from).to_bytes();
            let name = entry.split(|byte| *byte == b'=').next().unwrap_or_default();
            if !contract::virtiofs::ENVIRONMENT.contains(&name) {
                *to = *from;
                to = to.add(1);
            }
            from = from.add(1);
        }
        *to = std::ptr::null();
    }
}

/// Ends the machine. The `sweeper` deletes until then; what it has freed is on the disk before the power goes.
pub(super) fn power(power: Power, after: Duration, sweeper: Option<Pid>) {
    nix::unistd::sync();
    consoles().iter().for_each(|path| console::drain_path(path));
    std::thread::sleep(after);
    if let Some(sweeper) = sweeper {
        stop(sweeper);
    }
    nix::unistd::sync();
    let mode = match power {
        Power::Off => RebootMode::RB_POWER_OFF,
        Power::Reboot => RebootMode::RB_AUTOBOOT,
        Power::Halt => RebootMode::RB_HALT_SYSTEM,
    };
    // A machine that cannot do it stays as it is; the caller sees to it that PID 1 does not return.
    let _ = reboot(mode);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_of_the_log_are_cut_between_characters() {
        assert_eq!(pieces("short"), ["short"]);
        let long = "\u{e9}".repeat(1000);
        let cut = pieces(&"x".repeat(899)).len();
        assert_eq!((cut, pieces(&format!("x{long}")).concat()), (1, format!("x{long}")));
        assert!(pieces(&format!("x{long}")).iter().all(|piece| piece.len() <= 900));
    }

    #[test]
    fn closed_standard_files_are_opened_and_inherited() {
        use nix::sys::wait::{WaitStatus, waitpid};
        for closed in [&[0, 1, 2][..], &[0], &[1, 2], &[]] {
            // SAFETY: all the child does are system calls, and it ends without running anything else of this program.
            let child = match unsafe { nix::unistd::fork() }.unwrap() {
                ForkResult::Parent { child } => child,
                // SAFETY: as above; the numbers are closed or asked about, nothing else.
                ForkResult::Child => unsafe {
                    for number in closed {
                        libc::close(*number);
                    }
                    open_standard_files();
                    let good = (0..3).all(|number| libc::fcntl(number, libc::F_GETFD) == 0);
                    libc::_exit(i32::from(!good))
                },
            };
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0), "{closed:?}");
        }
    }

    #[test]
    fn nothing_from_a_medium_drives_a_terminal() {
        assert_eq!(printable("a\u{1b}[2J\u{7}\u{9b}b\r\nc \u{e9}"), "a?[2J??b?\nc \u{e9}");
    }
}
