//! Outcomes of an update, and the words for them.

use crate::{
    boot::overlay::{config::Config, device::Found},
    error::Error,
};

use super::memory::Entry;

/// An update that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Update<'a> {
    /// The parameters.
    pub config: &'a Config,
    /// The partitions.
    pub found: &'a Found,
    /// The name of the image on `newimg`.
    pub delivered: &'a str,
    /// The delivery may be moved and deleted.
    pub consumes: bool,
}

/// A reason why an update is not installed.
pub(super) enum Refusal {
    /// The delivery is bad by itself, whoever looks at it.
    Bad(String),
    /// The running kernel cannot use it. Only a copy shows that, so it is remembered.
    Unusable(String),
    /// It cannot be put in as things are: a signature is missing, there is no room. Each boot looks again.
    Refused(String),
    /// The filesystem of `img` cannot take an update safely: nothing is written to it.
    Unsafe(String),
    /// It was tried before, and this is what came of it.
    Known(Entry),
    /// A medium failed: it is tried again at the next boot.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The outcome of an update that is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was put in.
    Installed,
    /// It was in already.
    Already,
}

impl Outcome {
    /// Returns its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Already => "already installed",
        }
    }
}
