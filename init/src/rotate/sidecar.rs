//! What stands beside a delivered image: its digest as sha256sum writes it, its signature as minisign does. Reads, and decides
//! whether it can be read; what follows from it is not decided here.

use std::io;

use super::Refusal;
use crate::{
    error::{Error, Result},
    kernel::{Digest, Kernel},
    media::{self, Resolved},
    names::newimg,
};

/// What may stand beside a delivered image, by its suffix: digest, signature, and the reason why it was not put in.
pub const SIDECARS: [&str; 3] = ["sha256", "minisig", "txt"];

/// Bytes that a sidecar may have. Those that are read are a tenth of that.
const LIMIT: usize = 4096;

/// The signature that belongs to the image at `path`.
pub fn signature_of(path: &str) -> String {
    format!("{path}.minisig")
}

/// A sidecar's text; none where there is no such file. As an image, it may be a link to a file beside it.
///
/// # Errors
/// It is no regular file, so reading it might never end, or it cannot be read.
pub fn sidecar(kernel: &mut dyn Kernel, path: &str) -> Result<Option<String>> {
    match media::resolve(kernel, path) {
        Ok(Resolved::File(path)) => media::read_text(kernel, &path, LIMIT),
        // What it is instead, or why it is not there, reading says.
        _ => media::read_text(kernel, path, LIMIT),
    }
}

/// A sidecar of the delivered image: as [`sidecar`], but what is no file is held against the delivery.
pub(super) fn delivered_sidecar(kernel: &mut dyn Kernel, name: &str) -> Result<Option<String>, Refusal> {
    match sidecar(kernel, &newimg(name)) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidInput => {
            Err(Refusal::Bad(format!("{name} is no regular file")))
        }
        outcome => Ok(outcome?),
    }
}

/// The digest that the delivered image must have, if one was delivered with it.
pub(super) fn wanted_digest(kernel: &mut dyn Kernel, delivered: &str) -> Result<Option<Digest>, Refusal> {
    let Some(text) = delivered_sidecar(kernel, &format!("{delivered}.sha256"))? else { return Ok(None) };
    match text.split_ascii_whitespace().next().and_then(parse_digest) {
        None => Err(Refusal::Bad(format!("{delivered}.sha256 does not begin with a SHA-256 digest"))),
        some => Ok(some),
    }
}

/// Compares the digest with the one that was delivered.
pub(super) fn compare(delivered: &str, digest: &Digest, wanted: Option<&Digest>) -> Result<(), Refusal> {
    match wanted {
        Some(wanted) if wanted != digest => {
            Err(Refusal::Bad(format!("its digest is {}, but {delivered}.sha256 says {}", hex(digest), hex(wanted))))
        }
        _ => Ok(()),
    }
}

/// Reads a digest of 64 hexadecimal digits.
pub fn parse_digest(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    let mut digits = text.bytes();
    for byte in &mut digest {
        let mut digit = || char::from(digits.next()?).to_digit(16);
        *byte = u8::try_from((digit()? << 4) | digit()?).ok()?;
    }
    digits.next().is_none().then_some(digest)
}

/// A digest in hexadecimal digits.
pub fn hex(digest: &Digest) -> String {
    let digit = |number: u8| char::from_digit(u32::from(number), 16).unwrap_or('?');
    digest.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_as_sha256sum_writes_them() {
        let text = "00ff".repeat(16);
        let digest = parse_digest(&text).unwrap();
        assert_eq!(hex(&digest), text);
        assert_eq!(parse_digest(&text.to_uppercase()), Some(digest));
        assert_eq!(parse_digest(&text[1..]), None);
        assert_eq!(parse_digest(&format!("{text}0")), None);
        assert_eq!(parse_digest(&"zz".repeat(32)), None);
    }
}
