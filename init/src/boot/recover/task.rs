//! The repairs that the menu of the debug variant offers.

/// A repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Task {
    /// A partition gets its label.
    Label,
    /// A filesystem is checked, and repaired.
    Check,
    /// The black box is copied to a stick.
    Copy,
}

impl Task {
    /// All of them, in the order of the menu.
    pub(super) const ALL: [Self; 3] = [Self::Label, Self::Check, Self::Copy];

    /// Returns its line in the menu.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Label => "give a partition its label",
            Self::Check => "check and repair a filesystem",
            Self::Copy => "copy the black box to a stick",
        }
    }
}
