//! Progress of a long operation: its steps are counted, and each line about them is written to the consoles and feeds the watchdog.

use super::{clock::uptime, process::write_consoles, watchdog::Watchdog};
use crate::kernel::Pace;

/// An operation under way.
pub(super) struct Steps<'p> {
    pace: Pace<'p>,
    watchdog: &'p mut Watchdog,
}

impl<'p> Steps<'p> {
    /// Begins an operation.
    pub(super) fn new(pace: Pace<'p>, watchdog: &'p mut Watchdog) -> Self {
        let mut steps = Self { pace, watchdog };
        steps.step(0);
        steps
    }

    /// Counts a step.
    pub(super) fn step(&mut self, amount: u64) {
        if let Some(line) = (self.pace)(amount, uptime()) {
            self.watchdog.feed();
            write_consoles(&format!("initramfs-overlay: {line}"));
        }
    }
}
