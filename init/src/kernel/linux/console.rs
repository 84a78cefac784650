//! Writes to consoles that come to an end: a line whose other end takes nothing, stopped by Ctrl-S, by its control wires or because
//! nobody has opened it, must not keep the machine from what follows.

use std::{
    fs::File,
    io::{self, Write},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    time::Duration,
};

use nix::{
    poll::{PollTimeout, poll},
    sys::termios::tcdrain,
};

use super::clock::uptime;

/// The time after which a console that takes nothing is given up. The slowest line sends dozens of bytes a second; a host may stop to read
/// a virtual machine's for longer, and then wants the status of its program.
const PATIENCE: Duration = Duration::from_secs(if cfg!(feature = "supervise") { 60 } else { 5 });
/// The time between two looks, in milliseconds.
const PAUSE: u8 = 10;

/// Opens a console for writing. A line does not wait for a modem.
fn open(path: &str) -> io::Result<File> {
    File::options().write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK).open(path)
}

/// Writes to a console, as long as it takes anything.
///
/// # Errors
/// The kernel's; `TimedOut` where nothing more went out.
pub(super) fn write(path: &str, bytes: &[u8]) -> io::Result<()> {
    put(&mut open(path)?, bytes, PATIENCE)
}

/// Writes to a console and waits until it is out.
///
/// # Errors
/// As [`write`].
pub(super) fn write_out(path: &str, bytes: &[u8]) -> io::Result<()> {
    let mut console = open(path)?;
    put(&mut console, bytes, PATIENCE)?;
    drain(&console);
    Ok(())
}

/// Waits until all that was written to a console is out.
pub(super) fn drain_path(path: &str) {
    if let Ok(console) = open(path) {
        drain(&console);
    }
}

/// Writes all bytes, unless nothing goes out for as long as the patience lasts.
fn put(console: &mut File, mut bytes: &[u8], patience: Duration) -> io::Result<()> {
    let mut end = uptime().saturating_add(patience);
    while !bytes.is_empty() {
        match console.write(bytes) {
            Ok(length) if length > 0 => {
                bytes = bytes.get(length..).unwrap_or_default();
                end = uptime().saturating_add(patience);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
            _ if uptime() >= end => return Err(io::ErrorKind::TimedOut.into()),
            _ => pause(),
        }
    }
    Ok(())
}

/// Waits a moment. A terminal is ready only once it is nearly empty, and takes something before: no event tells that.
fn pause() {
    let _ = poll(&mut [], PollTimeout::from(PAUSE));
}

/// Waits until a console has sent everything, unless nothing goes out.
fn drain(console: &File) {
    let mut end = uptime().saturating_add(PATIENCE);
    let mut left = queued(console);
    while left > 0 {
        if uptime() >= end {
            return;
        }
        pause();
        let before = std::mem::replace(&mut left, queued(console));
        if left < before {
            end = uptime().saturating_add(PATIENCE);
        }
    }
    // The rest is in the hardware, a few bytes.
    let _ = tcdrain(console);
}

/// Returns the number of bytes that a terminal has not sent yet; none for what is no terminal.
fn queued(console: &File) -> libc::c_int {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one number (tty_ioctl(4), TIOCOUTQ), and there is one.
    let outcome = unsafe { libc::ioctl(console.as_raw_fd(), libc::TIOCOUTQ as _, &raw mut bytes) };
    if outcome == 0 { bytes } else { 0 }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use nix::{
        pty::openpty,
        sys::termios::{FlowArg, tcflow},
        unistd::read,
    };

    use super::*;

    #[test]
    fn a_console_that_takes_nothing_is_given_up() {
        let pty = openpty(None, None).unwrap();
        let path = fs::read_link(format!("/proc/self/fd/{}", pty.slave.as_raw_fd())).unwrap();
        let path = path.to_str().unwrap();
        write(path, b"word").unwrap();
        assert_eq!(read(&pty.master, &mut [0; 16]), Ok(4));
        // As Ctrl-S does.
        tcflow(&pty.slave, FlowArg::TCOOFF).unwrap();
        let (start, patience) = (uptime(), Duration::from_millis(100));
        let error = put(&mut open(path).unwrap(), b"more", patience).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(uptime() >= start + patience);
    }
}
