//! The files beside an image: its digest as `sha256sum` writes it, its signature as minisign does.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use base::{IoContext, digest::file_digest};
use contract::hex;

use crate::{Error, Result, content::Entry};

/// Suffix of the digest of an image.
pub const DIGEST: &str = ".sha256";
/// Suffix of the signature of an image.
pub const SIGNATURE: &str = ".minisig";

/// Bytes of a sidecar that init reads.
const LIMIT: u64 = 4096;

fn beside(image: &Path, suffix: &str) -> PathBuf {
    let mut name = image.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Returns the file beside `image` that ends in `suffix`, named after the image's `name` on the disk; `None` where there is none.
///
/// # Errors
/// [`Error::Base`] where it cannot be read.
pub fn entry(image: &Path, name: &str, suffix: &str) -> Result<Option<Entry>> {
    let file = beside(image, suffix);
    file.is_file().then(|| Entry::file(format!("{name}{suffix}"), &file)).transpose()
}

/// Compares an image with the digest beside it, if there is one: with another the machine would refuse it.
///
/// # Errors
/// [`Error::Usage`] for another digest, or a file that begins with none.
pub fn check_digest(image: &Path) -> Result<()> {
    let path = beside(image, DIGEST);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        file => file.at("open", &path)?,
    };
    let mut text = Vec::new();
    file.take(LIMIT).read_to_end(&mut text).at("read", &path)?;
    let text = String::from_utf8_lossy(&text);
    let Some(wanted) = text.split_whitespace().next().and_then(hex::digest) else {
        return Err(Error::Usage(format!("{} does not begin with a SHA-256 digest", path.display())));
    };
    let (wanted, found) = (hex::encode(&wanted), file_digest(image)?);
    if wanted == found {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{} has the SHA-256 {found}, and {} beside it says {wanted}: it is another image, or damaged",
        image.display(),
        path.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_held_against_its_digest() {
        let directory = tempfile::tempdir().unwrap();
        let image = directory.path().join("os.img");
        std::fs::write(&image, "abc").unwrap();
        check_digest(&image).unwrap();
        let good = file_digest(&image).unwrap();
        for (text, word) in [
            (format!("{good}  os.img\n"), None),
            (good.to_uppercase(), None),
            (format!("{}  os.img\n", "0".repeat(64)), Some("it is another image, or damaged")),
            ("os.img".to_owned(), Some("does not begin with a SHA-256")),
        ] {
            std::fs::write(beside(&image, DIGEST), text).unwrap();
            let result = check_digest(&image).map_err(|error| error.to_string());
            assert_eq!(result.is_err(), word.is_some(), "{result:?}");
            assert!(word.is_none_or(|word| result.unwrap_err().contains(word)));
        }
        assert_eq!(entry(&image, "root.img", SIGNATURE).unwrap(), None);
        std::fs::write(beside(&image, SIGNATURE), "sig").unwrap();
        assert_eq!(entry(&image, "root.img", SIGNATURE).unwrap().unwrap().shown(), "root.img.minisig");
    }
}
