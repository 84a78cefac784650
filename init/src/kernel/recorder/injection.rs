//! Faults that are injected into the calls of a boot: one call fails, or a device from one call on.

use std::io::{Error, Result};

use contract::{
    errno::{EACCES, EBADMSG, EBUSY, EDQUOT, EIO, EMFILE, ENODEV, ENOMEM, ENOSPC, ENXIO, EPERM, EROFS, EUCLEAN},
    names,
};

use super::{Recorder, Source};

/// Calls, by the error numbers that the kernel gives from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Something is read: content, names, attributes.
    Read,
    /// Something is changed on a filesystem.
    Change,
    /// Something is flushed.
    Flush,
    /// A filesystem is mounted, or mounted anew.
    Mount,
    /// A mount is undone.
    Unmount,
    /// A loop device is attached.
    Loop,
}

impl Call {
    /// Returns the error numbers that the call can give.
    pub fn numbers(self) -> &'static [i32] {
        match self {
            Self::Read => &[EIO, EBADMSG, EUCLEAN, ENOMEM, EMFILE, ENXIO],
            Self::Change => &[EIO, ENOSPC, EROFS, EACCES, EPERM, EBADMSG, EUCLEAN, EDQUOT, ENOMEM, ENXIO],
            Self::Flush => &[EIO, ENOSPC, EDQUOT, EROFS],
            Self::Mount => &[EIO, EROFS, EACCES, EBADMSG, EUCLEAN, ENOMEM, EMFILE, EBUSY, ENODEV, ENXIO],
            Self::Unmount => &[EIO, EBUSY],
            Self::Loop => &[EIO, ENOMEM, EMFILE, EBUSY, ENODEV, ENXIO],
        }
    }
}

/// A fault to inject.
#[derive(Debug, Clone, Copy)]
pub struct Injection {
    /// The call that fails, counted from 0.
    pub at: usize,
    /// The error number.
    pub number: i32,
    /// All later calls about the same device that can give the number fail as well.
    pub lasts: bool,
}

impl Recorder {
    /// Counts a call about `path`, and fails if that is asked for.
    pub(super) fn strike(&mut self, call: Call, path: &str) -> Result<()> {
        if self.state.gone {
            return Ok(());
        }
        let device = self.struck_by(call, path);
        let at = self.state.calls.len();
        self.state.calls.push((call, device));
        let Some(injection) = self.injection else { return Ok(()) };
        let first = self.state.calls.get(injection.at).and_then(|(_, device)| *device);
        let lasts = injection.lasts && at > injection.at && device.is_some() && device == first;
        if at == injection.at || lasts && call.numbers().contains(&injection.number) {
            self.note(format!("fails: {}", Error::from_raw_os_error(injection.number)));
            return Err(self.failed(injection.number));
        }
        Ok(())
    }

    /// Returns the number of the device that a call about `path` goes to, if it goes to one.
    fn struck_by(&self, call: Call, path: &str) -> Option<usize> {
        let on = |path: &str| match self.locate(path).0.and_then(|place| self.state.mounts.get(place)) {
            Some((_, _, Source::Device(number))) => Some(*number),
            _ => None,
        };
        if let Some(number) = self.devices.iter().position(|device| device.volume.path() == path) {
            return Some(number);
        }
        let layers = [names::SYSROOT, names::IMAGE_DIR, "/dev/loop"];
        match (call, layers.iter().any(|layer| path.starts_with(layer))) {
            (Call::Change | Call::Mount, true) if path.starts_with(names::SYSROOT) => on(names::OVERLAY_DIR),
            (_, true) => on(names::IMG_DIR),
            (_, false) => on(path),
        }
    }

    /// Returns the calls of the boot so far, each with the number of the device that it went to.
    pub fn calls(&self) -> &[(Call, Option<usize>)] {
        &self.state.calls
    }

    /// Returns the time on the clock.
    pub fn clock(&self) -> std::time::Duration {
        self.state.clock
    }

    /// Switches the machine off: what was written is on the devices, and nothing is mounted.
    pub fn switch_off(&mut self) {
        for place in 0..self.state.mounts.len() {
            self.store(place);
        }
        self.state = super::State::default();
        self.record.clear();
        self.injection = None;
    }
}
