//! The treatment of a pinned package that cannot be had.

/// The permission to take another version of a package than the pinned one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Substitute {
    /// Another version is an error.
    #[default]
    Refuse,
    /// Another version is taken, which is said with its SHA-256: the option `--allow-substitute`.
    Allow,
}

/// The end of an error's remedy where [`Substitute::Refuse`] is all that keeps another version out.
pub(crate) const HINT: &str = "; or allow another version than the pinned one with --allow-substitute";
