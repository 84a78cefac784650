//! The kinds of image that every target has: who is it for, and so what is in it beside `init`.

use clap::ValueEnum;

/// A kind of image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub enum Variant {
    /// BusyBox for your own scripts, but never a shell by itself
    Standard,
    /// Stops with a shell before the root is switched, and on any error
    Debug,
    /// Nothing but init: no BusyBox, no shell at all
    Slim,
}

impl Variant {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Debug => "debug",
            Self::Slim => "slim",
        }
    }

    /// What its file's name has after the target's.
    #[must_use]
    pub fn file_suffix(self) -> &'static str {
        match self {
            Self::Standard => "",
            Self::Debug => "-debug",
            Self::Slim => "-slim",
        }
    }

    /// Whether its init has the shell: where it may not appear it is not even compiled in.
    #[must_use]
    pub fn has_shell(self) -> bool {
        self == Self::Debug
    }

    /// Whether BusyBox is in it.
    #[must_use]
    pub fn has_busybox(self) -> bool {
        self != Self::Slim
    }
}
