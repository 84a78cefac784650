//! The root that a boot mode puts together, and the rest of the boot enters.

/// A root that is put together at [`names::SYSROOT`], ready to be entered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// The mounts that move into it.
    pub moved: &'static [&'static str],
}
