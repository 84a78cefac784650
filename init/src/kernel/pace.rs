//! The callback by which a long operation tells its progress.

use std::time::Duration;

/// A callback for a long operation: called when it begins and behind each step, with the amount done since the last call and the time on the
/// clock of [`Kernel::now`](super::Kernel::now). A line that it returns is shown on every console, and feeds an armed watchdog.
pub type Pace<'p> = &'p mut dyn FnMut(u64, Duration) -> Option<String>;
