//! Files beside an image: its digest as sha256sum writes it, its signature as minisign does.

use crate::{
    error::Result,
    kernel::Machine,
    media::{self, Resolved},
};

/// Suffixes of the files that may stand beside a delivered image: digest, signature, and the reason why it was not put in.
pub const SIDECARS: [&str; 3] = ["sha256", "minisig", "txt"];

/// Bytes that a sidecar may have. Those that are read are a tenth of that.
const LIMIT: usize = 4096;

/// Returns the name of the signature that belongs to the image at `path`.
pub fn signature_of(path: &str) -> String {
    format!("{path}.minisig")
}

/// Reads a sidecar as text; `None` where there is no such file. As an image, it may be a link to a file beside it.
///
/// # Errors
/// It is no regular file, so reading it might never end, or it cannot be read.
pub fn sidecar(kernel: &mut dyn Machine, path: &str) -> Result<Option<String>> {
    match media::resolve(kernel, path) {
        Ok(Resolved::File(path)) => media::read_text(kernel, &path, LIMIT),
        // What it is instead, or why it is not there, reading says.
        _ => media::read_text(kernel, path, LIMIT),
    }
}
