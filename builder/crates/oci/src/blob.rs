//! Bytes that have a digest: where they are, and readers that check them. A blob lies in a file of its own or inside an archive, is
//! read where it is, and is never trusted before its last byte was hashed.

use std::{
    fmt::{self, Display, Formatter},
    fs::File,
    io::{self, Read, Seek, SeekFrom, Take},
    path::PathBuf,
};

use base::{IoContext, escape::shown};
use contract::hex;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Sha256, Sha384, Sha512, digest::DynDigest};

use crate::{Error, Result};

/// The longest JSON document that is read, in bytes: what registries take for a manifest.
pub const DOCUMENT_MAX: u64 = 4 << 20;

/// `algorithm:hexadecimal`, of the algorithms that container engines know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(String);

impl Digest {
    /// Reads a digest. Nothing that comes out of here can be a path: the digits are digits.
    pub fn parse(text: &str) -> Option<Self> {
        let (algorithm, digits) = text.split_once(':')?;
        let length = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => return None,
        };
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (digits.len() == length && digits.bytes().all(is_digit)).then(|| Self(text.to_owned()))
    }

    /// Returns `sha256`, `sha384` or `sha512`.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.0.split_once(':').map_or("", |(algorithm, _)| algorithm)
    }

    /// Returns the digits.
    #[must_use]
    pub fn digits(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, digits)| digits)
    }

    /// Returns enough of it for a table.
    #[must_use]
    pub fn short(&self) -> &str {
        self.digits().get(..12).unwrap_or_default()
    }

    /// Returns the SHA-256 of `bytes`.
    pub(super) fn of(bytes: &[u8]) -> Self {
        Self(format!("sha256:{}", base::digest::digest(bytes)))
    }

    /// Returns the digest of `bytes`, by the same algorithm.
    pub(super) fn like(&self, bytes: &[u8]) -> Self {
        let mut hash = Hash::new(self);
        hash.0.update(bytes);
        hash.finish(self)
    }
}

impl Display for Digest {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{}` is not a digest: expected sha256: and 64 hexadecimal digits",
                text.escape_debug()
            ))
        })
    }
}

struct Hash(Box<dyn DynDigest + Send>);

impl Hash {
    fn new(like: &Digest) -> Self {
        Self(match like.algorithm() {
            "sha384" => Box::new(Sha384::default()),
            "sha512" => Box::new(Sha512::default()),
            _ => Box::new(Sha256::default()),
        })
    }

    fn finish(self, like: &Digest) -> Digest {
        Digest(format!("{}:{}", like.algorithm(), hex::encode(&self.0.finalize())))
    }
}

/// The location of some bytes in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The offset of the first byte, in bytes.
    pub offset: u64,
    /// The number of bytes.
    pub size: u64,
}

impl Place {
    /// Returns a whole file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn file(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let metadata = File::open(&path).and_then(|file| file.metadata()).at("read", &path)?;
        if !metadata.is_file() {
            Err(io::Error::other("it is not a regular file")).at("read", &path)?;
        }
        Ok(Self { path, offset: 0, size: metadata.len() })
    }

    /// Returns a reader of these bytes and no others.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(&self) -> Result<Take<File>> {
        let mut file = File::open(&self.path).at("read", &self.path)?;
        file.seek(SeekFrom::Start(self.offset)).at("read", &self.path)?;
        Ok(file.take(self.size))
    }
}

/// Bytes to be read, with their expected digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// Their location.
    pub place: Place,
    /// The digest that they must have, if one is known.
    pub digest: Option<Digest>,
}

impl Blob {
    /// Returns the whole of a JSON document.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Image`] where it is too long or has another digest.
    pub fn document(&self, image: &str) -> Result<Vec<u8>> {
        let refuse = |reason: String| Err(Error::Image { image: image.to_owned(), reason });
        if self.place.size > DOCUMENT_MAX {
            let path = shown(&self.place.path);
            return refuse(format!(
                "the document in {path} has {} bytes, and {DOCUMENT_MAX} at most are read",
                self.place.size
            ));
        }
        let mut bytes = Vec::new();
        self.place.open()?.read_to_end(&mut bytes).at("read", &self.place.path)?;
        match &self.digest {
            Some(wanted) if wanted.like(&bytes) != *wanted => {
                refuse(format!("the document {wanted} has digest {}; it is damaged", wanted.like(&bytes)))
            }
            _ => Ok(bytes),
        }
    }

    /// Returns a reader that hashes what it reads.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(&self) -> Result<Hashed<Take<File>>> {
        Ok(Hashed::new(self.place.open()?, self.digest.as_ref()))
    }
}

/// The digest of bytes as they come, beside the one that they must have.
pub struct Sum {
    hash: Hash,
    wanted: Digest,
}

impl Sum {
    /// Returns the sum of no bytes.
    #[must_use]
    pub fn new(wanted: &Digest) -> Self {
        Self { hash: Hash::new(wanted), wanted: wanted.clone() }
    }

    /// Adds bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        self.hash.0.update(bytes);
    }

    /// Returns the digest of all bytes where it is not the wanted one.
    #[must_use]
    pub fn difference(self) -> Option<Digest> {
        let seen = self.hash.finish(&self.wanted);
        (seen != self.wanted).then_some(seen)
    }
}

/// Hashes and counts what is read through it.
pub struct Hashed<R> {
    inner: R,
    hash: Option<(Hash, Digest)>,
    /// Bytes so far.
    pub count: u64,
}

impl<R: Read> Hashed<R> {
    /// Returns a reader of `inner`; without a digest to compare it only counts.
    pub fn new(inner: R, wanted: Option<&Digest>) -> Self {
        Self { inner, hash: wanted.map(|wanted| (Hash::new(wanted), wanted.clone())), count: 0 }
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// Any error of the source.
    pub fn drain(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 64 << 10];
        while self.read(&mut buffer)? > 0 {}
        Ok(())
    }

    /// Returns the digest that was seen, where it is not the wanted one.
    pub fn difference(self) -> Option<(Digest, Digest)> {
        let (hash, wanted) = self.hash?;
        let seen = hash.finish(&wanted);
        (seen != wanted).then_some((wanted, seen))
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.inner.read(buffer)?;
        if let (Some((hash, _)), Some(bytes)) = (&mut self.hash, buffer.get(..length)) {
            hash.0.update(bytes);
        }
        self.count += length as u64;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_digits() {
        let digits = "0123456789abcdef".repeat(4);
        assert_eq!(Digest::parse(&format!("sha256:{digits}")).unwrap().short(), "0123456789ab");
        assert!(Digest::parse(&format!("sha512:{digits}{digits}")).is_some());
        // The digest of `abc` (FIPS 180-4).
        let long =
            "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7";
        assert_eq!(Digest::parse(long).unwrap().like(b"abc").to_string(), long);
        for bad in [
            String::new(),
            digits.clone(),
            format!("sha256:{}", digits.to_uppercase()),
            format!("sha256:{digits}0"),
            format!("md5:{}", &digits[..32]),
            format!("sha256:../../{}", &digits[6..]),
            format!("../sha256:{digits}"),
        ] {
            assert_eq!(Digest::parse(&bad), None, "{bad}");
        }
    }

    #[test]
    fn a_changed_byte_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("blob");
        std::fs::write(&path, "xxabcyy").unwrap();
        let digest = Digest::parse("sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let blob = Blob { place: Place { path: path.clone(), offset: 2, size: 3 }, digest };
        assert_eq!(blob.document("i").unwrap(), b"abc");
        let mut reader = blob.open().unwrap();
        reader.drain().unwrap();
        assert!(reader.count == 3 && reader.difference().is_none());
        std::fs::write(&path, "xxabdyy").unwrap();
        assert!(blob.document("i").unwrap_err().to_string().contains("damaged"));
        let mut reader = blob.open().unwrap();
        reader.drain().unwrap();
        assert!(reader.difference().is_some());
        let large = Blob { place: Place { path, offset: 0, size: DOCUMENT_MAX + 1 }, digest: None };
        assert!(large.document("i").unwrap_err().to_string().contains("at most"));
    }
}
