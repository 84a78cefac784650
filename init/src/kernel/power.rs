//! The ways in which a machine ends.

/// The end of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// Powered off.
    Off,
    /// Started again.
    Reboot,
    /// Stopped, left on.
    Halt,
}
