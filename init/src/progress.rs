//! Progress of long operations: one line a second for the person in front of the machine. An operation of less than a second prints
//! nothing.

use std::{io, time::Duration};

use contract::Digest;

use crate::kernel::Machine;

/// The time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// A count of what an operation has done so far.
#[derive(Debug)]
pub struct Meter {
    what: &'static str,
    /// Bytes to read; none where names are counted.
    total: Option<u64>,
    done: u64,
    start: Option<Duration>,
    said: Duration,
}

impl Meter {
    /// Returns a meter of an operation that has not begun, on a file of `total` bytes or on names.
    pub fn new(what: &'static str, total: Option<u64>) -> Self {
        Self { what, total, done: 0, start: None, said: Duration::ZERO }
    }

    /// Counts another `step`. Returns a line once an interval has passed ([`Pace`](crate::kernel::Pace)).
    pub fn count(&mut self, step: u64, now: Duration) -> Option<String> {
        self.done = self.done.saturating_add(step);
        let Some(start) = self.start else {
            (self.start, self.said) = (Some(now), now);
            return None;
        };
        if now.saturating_sub(self.said) < INTERVAL {
            return None;
        }
        self.said = now;
        let Self { what, done, .. } = self;
        let Some(total) = self.total else { return Some(format!("{what}, {done} names so far")) };
        let percent = done.saturating_mul(100).checked_div(total).unwrap_or(100);
        let microseconds = u64::try_from(now.saturating_sub(start).as_micros()).unwrap_or(u64::MAX);
        let speed = done.checked_div(microseconds).unwrap_or(0);
        Some(format!("{what} {percent} %, {speed} MB/s"))
    }
}

/// Returns the digest of a file's content, as the medium has it.
///
/// # Errors
/// The kernel's.
pub fn digest(kernel: &mut dyn Machine, path: &str) -> io::Result<Digest> {
    let mut meter = Meter::new("checking", Some(kernel.stat(path)?.size));
    kernel.digest(path, None, &mut |step, now| meter.count(step, now))
}

/// Copies a file's content to a new file and syncs it. Returns the digest of what was read.
///
/// # Errors
/// The kernel's. Then a part of the copy may be left.
pub fn copy(kernel: &mut dyn Machine, from: &str, to: &str) -> io::Result<Digest> {
    let mut meter = Meter::new("copying", Some(kernel.stat(from)?.size));
    kernel.digest(from, Some(to), &mut |step, now| meter.count(step, now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_a_second_says_how_far_it_is() {
        let at = Duration::from_millis;
        let mut meter = Meter::new("copying", Some(40_000_000));
        let steps = [(0, 5000), (4_000_000, 5900), (6_000_000, 6000), (1_000_000, 6999), (1_000_000, 7000)];
        let lines: Vec<String> = steps.into_iter().filter_map(|(step, now)| meter.count(step, at(now))).collect();
        assert_eq!(lines, ["copying 25 %, 10 MB/s", "copying 30 %, 6 MB/s"]);
        let mut meter = Meter::new("deleting", None);
        assert_eq!(meter.count(0, at(0)), None);
        assert_eq!(meter.count(7, at(1000)).as_deref(), Some("deleting, 7 names so far"));
        let mut empty = Meter::new("checking", Some(0));
        assert_eq!(empty.count(0, at(0)), None);
        assert_eq!(empty.count(0, at(1000)).as_deref(), Some("checking 100 %, 0 MB/s"));
    }
}
