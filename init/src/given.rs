//! Parameters that a boot has taken from a file on `boot`, and where they are from.

/// The parameters that this boot took from a file.
#[derive(Debug, Default)]
pub struct Given {
    /// The parameters; empty for none.
    pub words: String,
    /// The name of the file, and its device.
    pub source: String,
    /// True for parameters that are for this boot alone.
    pub is_once: bool,
}
