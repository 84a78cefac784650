//! Wishes that somebody tells by holding a button while the machine starts.

/// The wish of somebody who held the button.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Press {
    /// None: the button was not held, or is stuck.
    Nothing,
    /// The menu.
    Menu,
    /// A factory reset.
    Reset,
}
