//! Signatures in minisign's format.

use std::io;

use minisign_verify::{Error as Objection, PublicKey, Signature};

use super::{
    Linux,
    copies::{open_on_medium, stream},
    pace::Steps,
};
use crate::kernel::{
    Pace,
    disks::{Signatures, Signed},
};

impl Signatures for Linux {
    /// Verifies a signature of the content's digest: only those can be verified without all of a file in memory.
    fn verify(&mut self, signed: Signed<'_>, signature: &str, key: &str, pace: Pace<'_>) -> io::Result<()> {
        let key = PublicKey::decode(key).map_err(reason)?;
        let signature = Signature::decode(signature).map_err(reason)?;
        let mut verifier = key.verify_stream(&signature).map_err(reason)?;
        match signed {
            Signed::Bytes(bytes) => verifier.update(bytes),
            Signed::File(path) => {
                let steps = Steps::new(pace, &mut self.watchdog);
                stream(&mut open_on_medium(path)?, steps, |block| {
                    verifier.update(block);
                    Ok(())
                })?;
            }
        }
        verifier.finalize().map_err(reason)
    }
}

/// Returns an objection in the words of this program.
fn reason(objection: Objection) -> io::Error {
    io::Error::other(match objection {
        Objection::UnexpectedKeyId => "the signature is by another key",
        Objection::InvalidSignature => contract::names::WRONG_SIGNATURE,
        Objection::UnsupportedLegacyMode => contract::names::OLD_SIGNATURE,
        _ => "the signature or the key is damaged",
    })
}
