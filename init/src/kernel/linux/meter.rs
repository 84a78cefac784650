//! What goes on while much is read or written: a line a second for whoever stands before the machine, and food for a watchdog
//! that somebody else has armed. Says nothing of what takes less than a second, and never arms a watchdog.

use super::{process::write_consoles, uptime, watchdog::Watchdog};

/// How often something is said, in milliseconds.
const INTERVAL: u64 = 1000;

/// How far one stream has come.
#[derive(Debug)]
pub(super) struct Meter {
    what: &'static str,
    total: u64,
    done: u64,
    start: u64,
    said: u64,
    watchdog: Watchdog,
}

/// Milliseconds since the kernel started.
fn now() -> u64 {
    u64::try_from(uptime().as_millis()).unwrap_or(u64::MAX)
}

impl Meter {
    /// A stream of `total` bytes begins.
    pub(super) fn new(what: &'static str, total: u64) -> Self {
        let start = now();
        Self { what, total, done: 0, start, said: start, watchdog: Watchdog::new() }
    }

    /// Counts another name.
    #[cfg(feature = "disks")]
    pub(super) fn count(&mut self) {
        if self.step(1).is_some() {
            write_consoles(&format!("initramfs-overlay: {}, {} names so far", self.what, self.done));
        }
    }

    /// Adds to what is done and feeds the watchdog. Returns the time once an interval has passed.
    fn step(&mut self, done: u64) -> Option<u64> {
        self.done = self.done.saturating_add(done);
        let now = now();
        if now.saturating_sub(self.said) < INTERVAL {
            return None;
        }
        self.said = now;
        self.watchdog.feed();
        Some(now)
    }

    /// Counts another `length` bytes.
    pub(super) fn advance(&mut self, length: u64) {
        let Some(now) = self.step(length) else { return };
        let percent = self.done.saturating_mul(100).checked_div(self.total).unwrap_or(100);
        let elapsed = now.saturating_sub(self.start);
        let speed = self.done.checked_div(elapsed.saturating_mul(1000)).unwrap_or(0);
        write_consoles(&format!("initramfs-overlay: {} {percent} %, {speed} MB/s", self.what));
    }
}
