//! The file that says which digest each tag stood for, so that the next run takes the same image: `{"images":{NAME:DIGEST}}`, sorted.
//! The digest is that of what the tag names, an index where there is one, so one file serves all platforms.

use std::{collections::BTreeMap, io, path::Path};

use base::{IoContext, atomic_file::write_file, bounded};
use serde::{Deserialize, Serialize};

use crate::{Error, Result, blob::Digest};

/// The content of a lock file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    /// The digest of each image, by its full name.
    pub images: BTreeMap<String, Digest>,
}

impl Lock {
    /// Reads it; empty where there is none.
    ///
    /// # Errors
    /// [`Error::WrongFile`], [`Error::Io`].
    pub fn read(path: &Path) -> Result<Self> {
        match bounded::read(path, bounded::TEXT_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Ok(Err(error).at("read", path)?),
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| Error::WrongFile {
                path: path.to_owned(),
                reason: format!(
                    "it is not a lock of images ({error}); repair it, or delete it to take the tags as they are now"
                ),
            }),
        }
    }

    /// Adds an image to the file. What others have added meanwhile stays.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn add(path: &Path, name: &str, digest: &Digest) -> Result<()> {
        let mut lock = Self::read(path)?;
        if lock.images.insert(name.to_owned(), digest.clone()).as_ref() == Some(digest) {
            return Ok(());
        }
        let mut text = serde_json::to_vec_pretty(&lock).map_err(io::Error::from).at("write", path)?;
        text.push(b'\n');
        Ok(write_file(path, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_added_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        assert_eq!(Lock::read(&path).unwrap(), Lock::default());
        let digest = |digit: &str| Digest::parse(&format!("sha256:{}", digit.repeat(64))).unwrap();
        Lock::add(&path, "b/b:1", &digest("1")).unwrap();
        Lock::add(&path, "a/a:1", &digest("2")).unwrap();
        let text = format!(
            "{{\n  \"images\": {{\n    \"a/a:1\": \"{}\",\n    \"b/b:1\": \"{}\"\n  }}\n}}\n",
            digest("2"),
            digest("1")
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        for bad in ["", "[]", "{\"images\":{\"a\":\"../x\"}}", "{\"images\":{},\"x\":1}"] {
            fs::write(&path, bad).unwrap();
            assert!(Lock::read(&path).unwrap_err().to_string().contains("not a lock of images"), "{bad}");
            assert!(Lock::add(&path, "a", &digest("1")).is_err());
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }
}
