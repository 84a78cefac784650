//! Faults of the files that define targets.

use std::{fmt, path::PathBuf};

/// A fault of a file, and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flaw {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, and the key or table; empty for a fault of the whole file.
    pub place: String,
    /// The fault, with what was expected.
    pub reason: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = if self.place.is_empty() { "" } else { ", " };
        write!(f, "{}{separator}{}: {}", self.path.display(), self.place, self.reason)
    }
}
