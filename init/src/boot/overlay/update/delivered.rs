//! Files beside a delivered image, and what they say against it.

use std::io;

use contract::{Digest, hex, names::newimg};

use super::outcome::Refusal;
use crate::{
    error::{Error, Result},
    kernel::Machine,
    sidecar::sidecar,
};

/// Reads a sidecar of the delivered image: as [`sidecar`], but what is no file is held against the delivery.
pub(super) fn delivered_sidecar(kernel: &mut dyn Machine, name: &str) -> Result<Option<String>, Refusal> {
    match sidecar(kernel, &newimg(name)) {
        Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::InvalidInput => {
            Err(Refusal::Bad(format!("{name} is not a file")))
        }
        outcome => Ok(outcome?),
    }
}

/// Returns the digest that the delivered image must have, if one was delivered with it.
pub(super) fn wanted_digest(kernel: &mut dyn Machine, delivered: &str) -> Result<Option<Digest>, Refusal> {
    let Some(text) = delivered_sidecar(kernel, &format!("{delivered}.sha256"))? else { return Ok(None) };
    match text.split_ascii_whitespace().next().and_then(hex::digest) {
        None => Err(Refusal::Bad(format!("{delivered}.sha256 does not begin with a SHA-256 digest"))),
        some => Ok(some),
    }
}

/// Compares the digest with the one that was delivered.
pub(super) fn compare(delivered: &str, digest: &Digest, wanted: Option<&Digest>) -> Result<(), Refusal> {
    match wanted {
        Some(wanted) if wanted != digest => Err(Refusal::Bad(format!(
            "its digest is {}, but {delivered}.sha256 says {}",
            hex::encode(digest),
            hex::encode(wanted)
        ))),
        _ => Ok(()),
    }
}
