//! Standard output.

use std::io::{self, Write};

use base::IoContext;

use crate::Result;

/// Prints `text`. A reader that has seen enough, as `head` has, is no error.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result.at("write", "standard output")?),
    }
}
