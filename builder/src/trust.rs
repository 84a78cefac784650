//! Public keys that are baked into an image (`build --trust`): an init with keys boots and installs signed images only. Reads
//! and checks the files; which init goes with them is decided where it is compiled.

use std::{fs, path::Path};

use contract::names;

use crate::{Error, Result};

/// A public key as minisign writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Its path in the image, without a leading slash.
    pub path: String,
    /// The file's text: a comment and the key.
    pub text: String,
}

/// The words of a build about what has to be signed for an image with keys.
pub const TO_BE_SIGNED: &str = "to be signed by one of these keys (minisign -S -H -m FILE), with FILE.minisig beside FILE: every image on img \
                               and newimg, and every kernel module on boot that is not baked in (modules/<kernel-version>/squashfs.ko)";

/// More than this is no key file.
const LIMIT: u64 = 4096;

/// Reads the key in `path`, the `number`th of those that are given.
///
/// # Errors
/// [`Error::Usage`] for what is no public key of minisign.
pub fn read(path: &Path, number: usize) -> Result<Key> {
    let objection = |what: String| {
        Error::Usage(format!(
            "--trust {}: {what}; expected a public key of minisign: a comment line and a line of 56 letters, as `minisign -G` writes \
             to minisign.pub",
            path.display()
        ))
    };
    let metadata = fs::metadata(path).map_err(|error| objection(error.to_string()))?;
    if !metadata.is_file() || metadata.len() > LIMIT {
        return Err(objection("it is not a small regular file".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(|error| objection(error.to_string()))?;
    if text.to_ascii_lowercase().contains("secret key") {
        return Err(objection("it is a secret key, which must not leave your hands".to_owned()));
    }
    minisign_verify::PublicKey::decode(&text).map_err(|_| objection("it holds no such key".to_owned()))?;
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
    Ok(Key { path: format!("{}/{number}-{name}.pub", names::TRUST_DIR.trim_start_matches('/')), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "untrusted comment: minisign public key 10EFE09E5BF1F1C5\n\
                       RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";

    #[test]
    fn a_key_gets_a_name_of_its_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("our key.pub");
        fs::write(&path, KEY).unwrap();
        assert_eq!(read(&path, 1).unwrap(), Key { path: "etc/trust/1-our_key.pub".into(), text: KEY.into() });
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k.pub");
        let shorter = KEY.replace("GFO3", "");
        let secret = "untrusted comment: minisign encrypted secret key\nRWRTY0Iy";
        for (text, part) in [
            ("", "no such key"),
            (KEY.lines().next().unwrap(), "no such key"),
            (&shorter, "no such key"),
            (secret, "secret key"),
        ] {
            fs::write(&path, text).unwrap();
            let error = read(&path, 1).unwrap_err();
            assert!(matches!(error, Error::Usage(_)));
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(read(&directory.path().join("none"), 1).unwrap_err().to_string().contains("No such file"));
        assert!(read(directory.path(), 1).unwrap_err().to_string().contains("not a small regular file"));
    }
}
