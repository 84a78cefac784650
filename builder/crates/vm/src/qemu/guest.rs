//! A machine that runs: started, listened to, typed to, and always ended. What it wrote decides nothing here but whether
//! it has ended; what it means is the caller's to say.

use std::{
    io::Write,
    os::fd::{AsRawFd, OwnedFd},
    process::{Child, ChildStdin, ExitStatus, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use base::{IoContext, program::last_lines, progress::tell};
use rustix::io::FdFlags;

use crate::{Error, Result, terminal::TerminalState};

use super::{
    console::{Console, End, Waited},
    machine::{Machine, Terminal},
};

/// Lines of the console in an error.
const SHOWN_LINES: usize = 40;
/// The grace period for QEMU to exit after its machine has powered off or restarted: it writes what is left to disks.
const ENDING: Duration = Duration::from_secs(30);

/// The outcome of waiting for a machine's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The kernel announced the end.
    Ended(End),
    /// QEMU exited and the kernel had announced nothing: somebody killed QEMU, or the machine failed.
    Exited(ExitStatus),
    /// The wait timed out: the machine was still running.
    TimedOut,
}

/// A running machine. Dropping it ends it.
#[derive(Debug)]
pub struct Guest {
    child: Child,
    console: Arc<Console>,
    keyboard: Option<ChildStdin>,
    /// The place on the console up to which earlier waits have read.
    place: u64,
    powers_off: bool,
    /// The terminal that its console is on.
    terminal: Option<TerminalState>,
}

impl Guest {
    /// Starts `machine`, its console on pipes: for [`Self::wait_for`] and [`Self::send`].
    ///
    /// # Errors
    /// [`Error::MissingPrograms`] without QEMU, [`Error::Io`] where it cannot be started.
    pub fn start(machine: &Machine) -> Result<Self> {
        let mut command = machine.program().command()?;
        command.args(machine.arguments(Terminal::Bare)).stdin(Stdio::piped()).stdout(Stdio::piped());
        // What QEMU itself has to say stands in the console, where errors show it.
        let (reader, writer) = std::io::pipe().at("open a pipe for", machine.program)?;
        let errors = writer.try_clone().at("open a pipe for", machine.program)?;
        command.stdout(writer).stderr(errors);
        let mut child = command.spawn().at("start", machine.program)?;
        // The command holds the pipe's writing end, and with it the console would never be closed.
        drop(command);
        let keyboard = child.stdin.take();
        Ok(Self::listening(child, reader, keyboard, machine, None))
    }

    /// Starts `machine` with its console on this terminal: what it writes goes to `output`.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn attach(machine: &Machine, output: Stdio) -> Result<Self> {
        let (reader, writer) = std::io::pipe().at("open a pipe for", machine.program)?;
        let writer = OwnedFd::from(writer);
        // QEMU opens /dev/fd/N, so N has to be open in it.
        rustix::io::fcntl_setfd(&writer, FdFlags::empty())
            .map_err(std::io::Error::from)
            .at("open a pipe for", machine.program)?;
        let mut command = machine.program().command()?;
        command
            .args(machine.arguments(Terminal::Person { copy: writer.as_raw_fd() }))
            .stdin(Stdio::inherit())
            .stdout(output);
        let terminal = TerminalState::keep();
        let child = command.spawn().at("start", machine.program)?;
        drop(writer);
        Ok(Self::listening(child, reader, None, machine, Some(terminal)))
    }

    fn listening(
        child: Child,
        reader: std::io::PipeReader,
        keyboard: Option<ChildStdin>,
        machine: &Machine,
        terminal: Option<TerminalState>,
    ) -> Self {
        let console = Arc::new(Console::default());
        let filled = Arc::clone(&console);
        thread::spawn(move || filled.fill(reader));
        Self { child, console, keyboard, place: 0, powers_off: machine.powers_off, terminal }
    }

    /// Tells `text` on standard error if the guest writes no line within `time`.
    pub fn hint_if_silent(&self, time: Duration, text: &'static str) {
        let console = Arc::clone(&self.console);
        thread::spawn(move || {
            if matches!(console.wait(&mut 0, &["\n"], Some(Instant::now() + time)), Waited::TimeOut) {
                // The terminal is raw.
                tell(format_args!("{text}\r"));
            }
        });
    }

    /// Waits until the guest has written `words`, and returns what it wrote up to their end since the last wait.
    ///
    /// # Errors
    /// [`Error::Guest`] with the console's last lines where the machine ends or `time` is over first.
    pub fn wait_for(&mut self, words: &str, time: Duration) -> Result<String> {
        self.wait_for_any(&[words], time).map(|(_, text)| text)
    }

    /// Waits as [`Self::wait_for`] does, for the first of several; which one it was comes with the text.
    ///
    /// # Errors
    /// As [`Self::wait_for`].
    pub fn wait_for_any(&mut self, words: &[&str], time: Duration) -> Result<(usize, String)> {
        let wanted =
            || words.iter().map(|words| format!("`{}`", words.escape_debug())).collect::<Vec<_>>().join(" or ");
        match self.console.wait(&mut self.place, words, Some(Instant::now() + time)) {
            Waited::Seen(which, text) => Ok((which, text)),
            Waited::Closed => Err(self.error(format!("the machine stopped before it wrote {}", wanted()))),
            Waited::TimeOut => {
                Err(self.error(format!("the machine did not write {} in {} s", wanted(), time.as_secs_f32())))
            }
        }
    }

    /// Types `text` on the console of a machine that was [started](Self::start).
    ///
    /// # Errors
    /// [`Error::Guest`] where the machine has ended.
    pub fn send(&mut self, text: &str) -> Result<()> {
        let sent = match &mut self.keyboard {
            Some(keyboard) => keyboard.write_all(text.as_bytes()).and_then(|()| keyboard.flush()),
            None => Err(std::io::ErrorKind::Unsupported.into()),
        };
        sent.map_err(|error| self.error(format!("could not type `{}` on the console: {error}", text.escape_debug())))
    }

    /// Waits until the machine has ended, at most for `time`, and ends QEMU.
    ///
    /// # Errors
    /// [`Error::Io`] where QEMU cannot be waited for.
    pub fn finish(&mut self, time: Option<Duration>) -> Result<Verdict> {
        let deadline = time.map(|time| Instant::now() + time);
        let end = self.console.wait_for_end(deadline);
        let closed = match end {
            // Such a machine stays where it is.
            Some(End::Halted) => false,
            Some(_) if !self.powers_off => false,
            // After a panic QEMU ends only where the kernel restarts by itself.
            Some(End::Panicked) => {
                let mut place = self.place;
                let whole = ["end Kernel panic", "Rebooting in "];
                match self.console.wait(&mut place, &whole, Some(deadline_within(deadline, ENDING))) {
                    Waited::Seen(0, _) => false,
                    Waited::Closed => true,
                    _ => self.console.wait_closed(deadline),
                }
            }
            Some(_) => self.console.wait_closed(Some(deadline_within(deadline, ENDING))),
            None => self.console.wait_closed(deadline),
        };
        if !closed {
            self.kill();
        }
        let status = self.child.wait().at("wait for", "QEMU")?;
        self.terminal = None;
        Ok(match end {
            Some(end) => Verdict::Ended(end),
            None if closed => Verdict::Exited(status),
            None => Verdict::TimedOut,
        })
    }

    /// Returns all that the guest wrote, as far as it is kept.
    pub fn console(&self) -> String {
        self.console.text()
    }

    /// Returns the console's last lines.
    pub fn last_lines(&self) -> String {
        last_lines(&self.console(), SHOWN_LINES)
    }

    fn error(&self, what: String) -> Error {
        Error::Guest { what, console: self.last_lines() }
    }

    fn kill(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }
}

/// Returns the instant `time` from now, or the `deadline` where that comes first.
fn deadline_within(deadline: Option<Instant>, time: Duration) -> Instant {
    let end = Instant::now() + time;
    deadline.map_or(end, |deadline| deadline.min(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const LONG: Duration = Duration::from_secs(30);

    /// Returns a machine whose QEMU is a shell script: what is tested here is listening, typing and ending.
    fn machine(script: &str, powers_off: bool) -> (tempfile::TempDir, Machine) {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("qemu");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let machine = Machine {
            program: Box::leak(program.display().to_string().into_boxed_str()),
            arguments: Vec::new(),
            kernel: "vmlinuz".into(),
            dtb: None,
            initrd: None,
            drives: Vec::new(),
            append: Vec::new(),
            memory: None,
            cpus: None,
            accelerator: None,
            powers_off,
            extra: Vec::new(),
        };
        (directory, machine)
    }

    #[test]
    fn a_prompt_is_waited_for_and_answered() {
        let (_directory, machine) =
            machine("echo boot; printf '# '; read line; echo got $line; echo reboot: Power down", true);
        let mut guest = Guest::start(&machine).unwrap();
        assert_eq!(guest.wait_for("# ", LONG).unwrap(), "boot\n# ");
        guest.send("exit\n").unwrap();
        assert_eq!(guest.wait_for("exit", LONG).unwrap(), "got exit");
        assert_eq!(guest.finish(Some(LONG)).unwrap(), Verdict::Ended(End::PoweredOff));
        assert_eq!(guest.console(), "boot\n# got exit\nreboot: Power down\n");
    }

    #[test]
    fn a_machine_that_cannot_power_off_is_ended() {
        let (_directory, machine) = machine("echo reboot: System halted; exec sleep 600", false);
        let mut guest = Guest::start(&machine).unwrap();
        assert_eq!(guest.finish(Some(LONG)).unwrap(), Verdict::Ended(End::Halted));
    }

    #[test]
    fn panics_and_silent_ends_and_hangs_are_told_apart() {
        let panic = "echo Kernel panic - not syncing: no init; echo ---[ end Kernel panic; exec sleep 600";
        for (script, time, verdict) in [
            (panic, LONG, Verdict::Ended(End::Panicked)),
            (
                "echo Kernel panic - not syncing: no init; echo Rebooting in 1 seconds..",
                LONG,
                Verdict::Ended(End::Panicked),
            ),
            ("exec sleep 600", Duration::from_millis(50), Verdict::TimedOut),
        ] {
            let (_directory, machine) = machine(script, true);
            assert_eq!(Guest::start(&machine).unwrap().finish(Some(time)).unwrap(), verdict, "{script}");
        }
        let (_directory, machine) = machine("echo qemu: bad option >&2; exit 3", true);
        let mut guest = Guest::start(&machine).unwrap();
        assert!(matches!(guest.finish(Some(LONG)).unwrap(), Verdict::Exited(status) if status.code() == Some(3)));
        assert_eq!(guest.last_lines(), "qemu: bad option");
    }

    #[test]
    fn an_error_shows_the_end_of_the_console() {
        let (_directory, machine) = machine("seq 100; exec sleep 600", true);
        let mut guest = Guest::start(&machine).unwrap();
        guest.wait_for("100\n", LONG).unwrap();
        let text = guest.wait_for("login:", Duration::from_millis(20)).unwrap_err().to_string();
        assert!(
            text.starts_with("the machine did not write `login:` in 0.02 s; its console ended with:\n61\n"),
            "{text}"
        );
        assert!(text.ends_with("\n100"), "{text}");
        let process = rustix::process::Pid::from_child(&guest.child);
        drop(guest);
        assert!(rustix::process::test_kill_process(process).is_err(), "a dropped guest runs on");
    }
}
