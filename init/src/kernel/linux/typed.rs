//! Terminals that somebody may type on: each key counts at once, and none is shown.

use std::{
    fs::File,
    io::Read,
    os::{fd::AsFd, unix::fs::OpenOptionsExt},
    time::Duration,
};

use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::termios::{InputFlags, LocalFlags, SetArg, Termios, tcgetattr, tcsetattr},
};

use super::{
    clock::uptime,
    watchdog::{self, Watchdog},
};

/// The most bytes that are read at once; keys are a few.
const MOST: usize = 64;

/// A terminal, and its settings from before.
#[derive(Debug)]
struct Terminal {
    place: usize,
    file: File,
    before: Option<Termios>,
}

impl Terminal {
    /// Opens a terminal for keys: without waiting for whole lines, for a modem, or for whoever sent it Ctrl-S.
    fn open(place: usize, path: &str) -> Option<Self> {
        let flags = libc::O_NOCTTY | libc::O_NONBLOCK;
        let file = File::options().read(true).write(true).custom_flags(flags).open(path).ok()?;
        let before = tcgetattr(&file).ok();
        if let Some(mut settings) = before.clone() {
            settings.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
            settings.input_flags.remove(InputFlags::IXON);
            // Keys still come, with the next end of a line.
            let _ = tcsetattr(&file, SetArg::TCSANOW, &settings);
        }
        Some(Self { place, file, before })
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Whoever comes next sets it up for itself.
            let _ = tcsetattr(&self.file, SetArg::TCSANOW, before);
        }
    }
}

/// The terminals that keys are waited for on, opened at the first wait.
#[derive(Debug, Default)]
pub(super) struct Typed {
    /// Paths of those that are open, and of those that failed.
    paths: Vec<String>,
    terminals: Vec<Terminal>,
    /// Position of the one that was read last: the next read begins behind it, or noise on one line would drown the keys of all others.
    last: usize,
}

impl Typed {
    /// Waits until `deadline` at most for a key, and feeds the watchdog meanwhile. A terminal that fails is not asked again, as long as
    /// the paths stay the same.
    pub(super) fn next(
        &mut self,
        paths: &[String],
        deadline: Duration,
        watchdog: &mut Watchdog,
    ) -> Option<(usize, Vec<u8>)> {
        if self.paths != paths {
            // Another try of the boot may have other consoles. The settings from before are back before they are read again.
            self.terminals.clear();
            self.terminals = paths.iter().enumerate().filter_map(|(place, path)| Terminal::open(place, path)).collect();
            self.paths = paths.to_vec();
        }
        let terminals = &mut self.terminals;
        loop {
            watchdog.feed();
            let wait = deadline.saturating_sub(uptime()).min(watchdog::INTERVAL);
            let mut asked: Vec<PollFd<'_>> =
                terminals.iter().map(|terminal| PollFd::new(terminal.file.as_fd(), PollFlags::POLLIN)).collect();
            // Rounded up: a wait of less than a millisecond would come back at once, again and again.
            let milliseconds = u16::try_from(wait.as_millis().saturating_add(1)).unwrap_or(u16::MAX);
            // An error is a signal that came; what is ready is seen at the next turn.
            let _ = poll(&mut asked, PollTimeout::from(milliseconds));
            let ready: Vec<bool> = asked.iter().map(|asked| asked.any() == Some(true)).collect();
            let mut places = (0..ready.len()).filter(|at| ready.get(*at) == Some(&true));
            let first = places.clone().next();
            if let Some(at) = places.find(|at| *at > self.last).or(first)
                && let Some(terminal) = terminals.get_mut(at)
            {
                self.last = at;
                let mut bytes = vec![0; MOST];
                match terminal.file.read(&mut bytes) {
                    Ok(length) if length > 0 => {
                        bytes.truncate(length);
                        return Some((terminal.place, bytes));
                    }
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                    // Hung up, or no terminal at all.
                    _ => drop(terminals.remove(at)),
                }
            }
            if uptime() >= deadline {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::fd::AsRawFd};

    use nix::{
        pty::{OpenptyResult, openpty},
        unistd::write,
    };

    use super::*;

    #[test]
    fn other_terminals_are_asked_and_settings_given_back() {
        let (first, second) = (openpty(None, None).unwrap(), openpty(None, None).unwrap());
        let path = |pty: &OpenptyResult| {
            let link = fs::read_link(format!("/proc/self/fd/{}", pty.slave.as_raw_fd())).unwrap();
            link.into_os_string().into_string().unwrap()
        };
        let takes_lines = |pty: &OpenptyResult| tcgetattr(&pty.slave).unwrap().local_flags.contains(LocalFlags::ICANON);
        let deadline = uptime().saturating_add(Duration::from_secs(10));
        let (mut typed, mut watchdog) = (Typed::default(), Watchdog::new());
        write(&second.master, b"x").unwrap();
        let both = [path(&first), path(&second)];
        assert_eq!(typed.next(&both, deadline, &mut watchdog), Some((1, b"x".to_vec())));
        assert!(!takes_lines(&first) && !takes_lines(&second));
        write(&second.master, b"y").unwrap();
        assert_eq!(typed.next(&[path(&second)], deadline, &mut watchdog), Some((0, b"y".to_vec())));
        assert!(takes_lines(&first) && !takes_lines(&second));
        drop(typed);
        assert!(takes_lines(&second));
    }

    #[test]
    fn noise_drowns_no_keys() {
        let (noise, keys) = (openpty(None, None).unwrap(), openpty(None, None).unwrap());
        let paths = [&noise, &keys].map(|pty| {
            let link = fs::read_link(format!("/proc/self/fd/{}", pty.slave.as_raw_fd())).unwrap();
            link.into_os_string().into_string().unwrap()
        });
        let deadline = uptime().saturating_add(Duration::from_secs(10));
        let (mut typed, mut watchdog) = (Typed::default(), Watchdog::new());
        write(&noise.master, b"w").unwrap();
        assert_eq!(typed.next(&paths, deadline, &mut watchdog), Some((0, b"w".to_vec())));
        write(&keys.master, b"k").unwrap();
        write(&noise.master, b"x").unwrap();
        // Both are there by then, whichever came first.
        std::thread::sleep(Duration::from_millis(100));
        assert_eq!(typed.next(&paths, deadline, &mut watchdog), Some((1, b"k".to_vec())));
        assert_eq!(typed.next(&paths, deadline, &mut watchdog), Some((0, b"x".to_vec())));
    }
}
