//! Signatures of images and modules, where public keys are baked in: only those boot that one of the keys verifies. A build of init
//! without the feature takes any image and has none of this code. Reads only.

use crate::{
    config::Abilities,
    error::{Error, Result},
    kernel::{Machine, disks::Signed, read_file},
    progress::Meter,
    sidecar::{sidecar, signature_of},
};
use contract::names;

/// True for a build that can check signatures.
pub(crate) const CAN_CHECK: bool = cfg!(feature = "trust");

/// Returns true if only signed images are taken. That depends on the build alone: keys that are missing from an image for which it was
/// built make every image untrusted, not none.
pub fn required(abilities: Abilities) -> bool {
    CAN_CHECK && abilities.trust
}

/// Verifies `signature` for the file at `path` with every key there is.
///
/// # Errors
/// The reason why none of them holds.
pub fn verify_signature(kernel: &mut dyn Machine, path: &str, signature: &str) -> Result<(), String> {
    with_keys(kernel, |kernel, key| {
        let mut meter = Meter::new("checking", Some(kernel.stat(path)?.size));
        kernel.verify(Signed::File(path), signature, key, &mut |step, now| meter.count(step, now))
    })
}

/// Asks `verify` for each key, until one of them does.
fn with_keys(
    kernel: &mut dyn Machine,
    mut verify: impl FnMut(&mut dyn Machine, &str) -> std::io::Result<()>,
) -> Result<(), String> {
    let mut reason = format!("there is no key in {}", names::TRUST_DIR);
    for name in kernel.list(names::TRUST_DIR).unwrap_or_default() {
        let key = read_file(kernel, &format!("{}/{name}", names::TRUST_DIR)).unwrap_or_default();
        match verify(kernel, &String::from_utf8_lossy(&key)) {
            Ok(()) => return Ok(()),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(reason)
}

/// Checks the image at `path` with these signature files in turn, until one verifies it.
///
/// # Errors
/// [`Error::ImageUntrusted`].
pub fn check(kernel: &mut dyn Machine, path: &str, signatures: &[String]) -> Result<()> {
    let mut reason = "it has no signature".to_string();
    for signature in signatures {
        let Ok(Some(signature)) = sidecar(kernel, signature) else { continue };
        match verify_signature(kernel, path, &signature) {
            Ok(()) => return Ok(()),
            Err(objection) => reason = objection,
        }
    }
    Err(Error::ImageUntrusted { path: path.into(), reason })
}

/// Checks bytes that were read with a signature file.
///
/// # Errors
/// Why no key here verifies them.
pub fn check_content(kernel: &mut dyn Machine, content: &[u8], signature: &str) -> Result<(), String> {
    let signature = match sidecar(kernel, signature) {
        Ok(Some(signature)) => signature,
        Ok(None) => return Err("it has no signature".into()),
        Err(error) => return Err(error.with_cause()),
    };
    with_keys(kernel, |kernel, key| kernel.verify(Signed::Bytes(content), &signature, key, &mut |_, _| None))
}

/// Checks an image on `img`: its own signature is tried first, then every other one there, as a power cut may have parted them.
///
/// # Errors
/// [`Error::ImageUntrusted`].
pub fn check_on_img(kernel: &mut dyn Machine, path: &str) -> Result<()> {
    check_copy(kernel, path, path)
}

/// Checks a `copy` of the image at `path` on `img` with the signatures there.
///
/// # Errors
/// [`Error::ImageUntrusted`].
pub fn check_copy(kernel: &mut dyn Machine, copy: &str, path: &str) -> Result<()> {
    /// Signatures that are tried: every image that an update leaves on `img` has one, and each may cost a reading of the image.
    const MOST: usize = 8;
    let own = signature_of(path);
    let names = kernel.list(names::IMG_DIR).unwrap_or_default();
    let mut all: Vec<String> =
        names.iter().filter(|name| name.ends_with(".minisig")).map(|name| names::img(name)).collect();
    all.sort_by_key(|signature| *signature != own);
    all.truncate(MOST);
    check(kernel, copy, &all)
}
