//! SHA-256.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use contract::hex;
use sha2::{Digest as _, Sha256};

use crate::{IoContext, Result};

/// Returns the SHA-256 of `bytes`, in hexadecimal.
pub fn digest(bytes: &[u8]) -> String {
    hex::encode(&Sha256::digest(bytes))
}

/// Returns the SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn file_digest(path: &Path) -> Result<String> {
    let mut hashing = Hashing::new(io::sink());
    let mut file = File::open(path).at("read", path)?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hashing.finish().2),
            Ok(length) => hashing.hash.update(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).at("read", path),
        }
    }
}

/// A sink that knows the digest and the length of what went through.
#[derive(Debug)]
pub struct Hashing<W> {
    inner: W,
    hash: Sha256,
    length: u64,
}

impl<W> Hashing<W> {
    /// Returns a sink that passes everything on to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, hash: Sha256::new(), length: 0 }
    }

    /// Returns the inner sink, the number of bytes that it took and their SHA-256 in hexadecimal.
    pub fn finish(self) -> (W, u64, String) {
        (self.inner, self.length, hex::encode(&self.hash.finalize()))
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
