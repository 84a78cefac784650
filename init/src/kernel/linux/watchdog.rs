//! A watchdog that somebody else has armed: fed while something takes long, never armed, handed over as it was.

use std::{
    fs::{self, File},
    io::Write,
    time::Duration,
};

/// The time between two pings while something takes long. The shortest timeout of a driver that has more than one is 1 s (kernel,
/// drivers/watchdog); such a short one no boot can promise to meet.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);

/// The machine's watchdog, if there is one that is armed.
#[derive(Debug)]
pub(super) struct Watchdog(Option<File>);

impl Watchdog {
    /// Not looked for yet: most of what is done is over before it would matter.
    pub(super) fn new() -> Self {
        Self(None)
    }

    /// Keeps it from resetting the machine (kernel, Documentation/watchdog/watchdog-api.rst). Opening one that is not armed would
    /// arm it, so the state is asked for first.
    pub(super) fn feed(&mut self) {
        if self.0.is_none()
            && fs::read("/sys/class/watchdog/watchdog0/state").is_ok_and(|state| state.starts_with(b"active"))
        {
            self.0 = File::options().write(true).open("/dev/watchdog0").ok();
        }
        if let Some(watchdog) = &mut self.0 {
            // Closed without the magic letter V it stays armed, for the next program.
            let _ = watchdog.write_all(b"\0");
        }
    }
}
