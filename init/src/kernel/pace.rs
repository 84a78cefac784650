//! Operations that take long, and whoever follows them.

use std::time::Duration;

/// Follows an operation that takes long: called when it begins and behind each step, with the amount done since the last call and the time
/// on the clock of [`Kernel::now`](super::Kernel::now). A line that it returns is shown on every console, and a watchdog that somebody has armed is pinged.
pub type Pace<'p> = &'p mut dyn FnMut(u64, Duration) -> Option<String>;
