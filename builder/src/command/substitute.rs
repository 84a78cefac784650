//! The option that permits another version than a pinned one.

use sources::Substitute;

/// The permission for packages other than the pinned ones.
#[derive(Debug, clap::Args)]
pub struct SubstituteArgs {
    /// Use another version of BusyBox or of Debian's kernel where the pinned one is unavailable, and print its SHA-256
    #[arg(long)]
    allow_substitute: bool,
}

impl SubstituteArgs {
    /// Returns the permission.
    pub fn permission(&self) -> Substitute {
        if self.allow_substitute { Substitute::Allow } else { Substitute::Refuse }
    }
}
