//! A check of an image's whole content: every block is read and decompressed, and what is known of its digest is compared.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
};

use base::{
    cleanup::TempDir,
    program::{self, Program},
};
use contract::{Digest, hex, names, superblock::Format};
use serde::Serialize;

use super::{
    copy_on_write::{Layer, Source},
    error::{Error, Result, damaged},
    filesystem::Content,
    squashfs::{self, Coverage},
};

/// Checks EROFS images.
const FSCK_EROFS: Program = Program { name: "fsck.erofs", package: "erofs-utils" };

/// The result of a check that found no damage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Blocks of files that were read; none where another program read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<u64>,
    /// Blocks in which damage cannot be seen, as they have no checksum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub without_checksum: Option<u64>,
    /// True if the image has the digest that is written down beside it, by its sidecar or since it was installed.
    pub has_known_digest: bool,
}

impl Checked {
    /// Returns true if any damage would have been seen.
    pub fn is_complete(&self) -> bool {
        self.has_known_digest || self.without_checksum == Some(0)
    }
}

/// Checks the image `name` in the partition `img`, whose content has this digest.
///
/// # Errors
/// [`Error::Damaged`] with the place; [`Error::Unreadable`] where the content cannot be checked here.
pub fn check(image: &Source, format: Format, img: &Layer, name: &str, digest: &Digest) -> Result<Checked> {
    let has_known_digest = compare(img, name, image.size()?, digest)?;
    let coverage = match format {
        Format::Squashfs => {
            let content = || -> io::Result<Box<dyn Content + Send>> { image.open_anywhere() };
            Some(squashfs::read_all(&content)?)
        }
        Format::Erofs => {
            check_erofs(image)?;
            None
        }
    };
    let of = |field: fn(Coverage) -> u64| coverage.map(field);
    Ok(Checked { blocks: of(|seen| seen.blocks), without_checksum: of(|seen| seen.unsummed), has_known_digest })
}

/// Compares the digest with those that the partition has for an image of this name and size. Returns true if one is the same.
fn compare(img: &Layer, name: &str, size: u64, digest: &Digest) -> Result<bool> {
    let text = |name: &str| -> Option<String> {
        let mut text = String::new();
        io::Read::read_to_string(&mut img.source(name).ok()?.open().ok()?, &mut text).ok()?;
        Some(text)
    };
    let sidecar = text(&format!("{name}.sha256")).and_then(|text| hex::digest(text.split_whitespace().next()?));
    match sidecar {
        Some(wanted) if wanted == *digest => return Ok(true),
        Some(wanted) => {
            let (wanted, seen) = (hex::encode(&wanted), hex::encode(digest));
            return Err(damaged(format!("{name}.sha256 beside it says {wanted}, and it has {seen}")));
        }
        None => {}
    }
    // `docs/update.md`: digest, size, fate.
    let installed: Vec<Digest> = text(names::UPDATES)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ');
            let digest = hex::digest(fields.next()?)?;
            (fields.next()?.parse() == Ok(size) && fields.next()? == "installed").then_some(digest)
        })
        .collect();
    match installed.last() {
        None => Ok(false),
        Some(_) if installed.contains(digest) => Ok(true),
        Some(wanted) => {
            let (wanted, seen) = (hex::encode(wanted), hex::encode(digest));
            Err(damaged(format!("it was installed with digest {wanted}, and it has {seen}")))
        }
    }
}

/// Has `fsck.erofs` decompress a copy of the image.
fn check_erofs(image: &Source) -> Result<()> {
    let unreadable = |error: base::Error| Error::Unreadable(format!("the image's content cannot be checked: {error}"));
    let mut command = FSCK_EROFS.command().map_err(unreadable)?;
    let directory = TempDir::new("initramfs-overlay-doctor-", None).map_err(unreadable)?;
    let copy = directory.path().join("image");
    copy_out(image, &copy)?;
    program::run(command.arg("--extract").arg(&copy)).map_err(|error| {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        damaged(format!("{error}{cause}"))
    })?;
    Ok(())
}

fn copy_out(image: &Source, path: &Path) -> io::Result<()> {
    let mut copy = File::create(path)?;
    io::copy(&mut image.open()?, &mut copy)?;
    copy.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filesystem::Memory;
    use std::rc::Rc;

    #[test]
    fn known_digests_are_compared() {
        let (good, other) = ([1; 32], [2; 32]);
        let compare = |files: &[(&str, String)]| {
            let mut img = Layer::new(Rc::new(Memory));
            for (name, text) in files {
                img.put(name, Source::Bytes(Rc::from(text.as_bytes()))).unwrap();
            }
            compare(&img, "a.img", 7, &good).map_err(|error| error.to_string())
        };
        let [good_text, other_text] = [good, other].map(|digest| hex::encode(&digest));
        let sidecar = |digest: &str| ("a.img.sha256", format!("{digest}  a.img\n"));
        let line = |digest: &str, rest: &str| ("updates.txt", format!("{digest} {rest} 6.1 a.img: in\n"));
        assert_eq!(compare(&[]), Ok(false));
        assert_eq!(compare(&[sidecar(&good_text)]), Ok(true));
        assert!(compare(&[sidecar(&other_text)]).unwrap_err().contains("a.img.sha256 beside it says 0202"));
        assert_eq!(compare(&[line(&good_text, "7 installed")]), Ok(true));
        assert!(compare(&[line(&other_text, "7 installed")]).unwrap_err().contains("was installed with digest 0202"));
        assert_eq!(compare(&[line(&other_text, "8 installed")]), Ok(false), "another size is another image");
        assert_eq!(compare(&[line(&other_text, "7 bad")]), Ok(false));
    }
}
