//! The kinds of image that every target has: who is it for, and so what is in it beside `init`.

use clap::ValueEnum;

/// A kind of image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Variant {
    /// BusyBox for your own scripts, but never a shell by itself
    Standard,
    /// Stops with a shell before the root is switched, and on any error; with programs that repair a disk
    Debug,
    /// Nothing but init: no BusyBox, no shell at all
    Slim,
}

impl Variant {
    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Debug => "debug",
            Self::Slim => "slim",
        }
    }

    /// Returns the part of an image's file name that follows the target's name.
    #[must_use]
    pub fn file_suffix(self) -> &'static str {
        match self {
            Self::Standard => "",
            Self::Debug => "-debug",
            Self::Slim => "-slim",
        }
    }

    /// Returns true if its init has the shell; that of any other variant is compiled without it.
    #[must_use]
    pub fn has_shell(self) -> bool {
        self == Self::Debug
    }

    /// Returns true if it contains BusyBox.
    #[must_use]
    pub fn has_busybox(self) -> bool {
        self != Self::Slim
    }
}
