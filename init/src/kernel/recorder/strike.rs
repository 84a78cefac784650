//! Calls of a boot on a described machine: counted, and failing where a fault is injected.

use std::io::{Error, Result};

use contract::names;

use super::{Recorder, Source, injection::Call};

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
