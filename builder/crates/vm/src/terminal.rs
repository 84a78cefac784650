//! The terminal that a machine's console is on: as it was, when the machine has ended.

use std::io::Write;

use base::cleanup::Hook;
use rustix::termios::{self, OptionalActions, Termios};

/// The terminal's settings before QEMU made it raw. They are put back when this is dropped, and when the command is interrupted.
#[derive(Debug)]
pub struct TerminalState {
    settings: Option<Termios>,
    _hook: Hook,
}

impl TerminalState {
    /// Remembers the settings of standard input's terminal, if it is one.
    pub fn keep() -> Self {
        let settings = termios::tcgetattr(std::io::stdin()).ok();
        let kept = settings.clone();
        Self { settings, _hook: Hook::new(move || restore(kept.as_ref())) }
    }

    /// Puts the settings back.
    pub fn restore(&mut self) {
        restore(self.settings.take().as_ref());
    }
}

impl Drop for TerminalState {
    fn drop(&mut self) {
        self.restore();
    }
}

fn restore(settings: Option<&Termios>) {
    let Some(settings) = settings else { return };
    // A terminal that is gone needs nothing any more.
    let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, settings);
    let mut out = std::io::stdout();
    if termios::isatty(&out) {
        // Firmware and programs of the guest switch the wrapping of lines off (DECAWM), the cursor (DECTCEM) and colours (SGR).
        let _ = out.write_all(b"\x1b[?7h\x1b[?25h\x1b[0m").and_then(|()| out.flush());
    }
}
