//! The machine's watchdog: fed while something takes long if it is armed, armed only where that is asked for, handed over as it is.

use std::{
    fs::{self, File},
    io::{self, Write},
    os::fd::AsRawFd,
    time::Duration,
};

/// The time between two pings while something takes long. The shortest timeout of a driver that has more than one is 1 s (kernel,
/// drivers/watchdog); such a short one no boot can promise to meet.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);

mod request {
    // Kernel, include/uapi/linux/watchdog.h, WDIOC_SETTIMEOUT and WDIOC_GETTIMEOUT.
    nix::ioctl_readwrite!(set_timeout, b'W', 6, libc::c_int);
    nix::ioctl_read!(timeout, b'W', 7, libc::c_int);
}

/// The machine's watchdog, if there is one that is armed.
#[derive(Debug)]
pub(super) struct Watchdog(Option<File>);

impl Watchdog {
    /// Returns a watchdog that is not looked for yet: most of what is done is over before it would matter.
    pub(super) fn new() -> Self {
        Self(None)
    }

    /// Arms it for that many seconds. Returns how many the driver took, which has times of its own where it refuses these.
    pub(super) fn arm(&mut self, seconds: u32) -> io::Result<u32> {
        let file = match self.0.take() {
            Some(file) => file,
            None => File::options().write(true).open("/dev/watchdog0")?,
        };
        let mut taken = libc::c_int::try_from(seconds).unwrap_or(libc::c_int::MAX);
        // SAFETY: the kernel reads and writes one number, during the call.
        let outcome = unsafe { request::set_timeout(file.as_raw_fd(), &raw mut taken) }
            // SAFETY: the kernel writes one number, during the call.
            .or_else(|_| unsafe { request::timeout(file.as_raw_fd(), &raw mut taken) });
        self.0 = Some(file);
        outcome?;
        Ok(u32::try_from(taken).unwrap_or(0))
    }

    /// Gives it to the next program, armed if it is, with all of its time ahead.
    pub(super) fn hand_over(&mut self) {
        if let Some(mut watchdog) = self.0.take() {
            let _ = watchdog.write_all(b"\0");
        }
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
