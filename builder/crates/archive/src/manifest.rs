//! The contents of an image as data: one record per name, in the order of the archive. The same records describe a tree that
//! is being built (its manifest) and an archive that is being read (`inspect --json`), so the two can be compared. This
//! module reads contents for their digests and writes nothing.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use contract::hex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    error::Result,
    tree::{Content, Device, Kind, Tree},
};

/// The type of an entry, in the words of the JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Type {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link.
    Symlink,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
    /// A named pipe.
    Fifo,
    /// A socket: never in an image of ours.
    Socket,
    /// A mode with a type that Linux does not know.
    Unknown,
}

/// Bytes that are a name: text where they are UTF-8, and in any case lossless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The name; what is no UTF-8 in it is replaced with U+FFFD.
    pub text: String,
    /// The bytes in hexadecimal digits, only where they are no UTF-8.
    pub hex: Option<String>,
}

impl Name {
    /// Returns the name with these bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        match str::from_utf8(bytes) {
            Ok(text) => Self { text: text.to_owned(), hex: None },
            Err(_) => Self { text: String::from_utf8_lossy(bytes).into_owned(), hex: Some(hex::encode(bytes)) },
        }
    }
}

impl Name {
    /// Returns the bytes it was made from.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let digit_pairs = |hex: &String| {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
        };
        self.hex.as_ref().and_then(digit_pairs).unwrap_or_else(|| self.text.clone().into_bytes())
    }
}

/// A name with all metadata of its entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Flat", into = "Flat")]
pub struct Record {
    /// Relative to the root.
    pub path: Name,
    /// Its type.
    pub kind: Type,
    /// Permission bits with setuid, setgid and sticky.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Bytes of content, for a file that is no hard link to an earlier name.
    pub size: Option<u64>,
    /// SHA-256 of the content in hexadecimal digits, where there is a size.
    pub sha256: Option<String>,
    /// The target of a symbolic link.
    pub target: Option<Name>,
    /// A device's numbers.
    pub device: Option<Device>,
    /// The earlier name that this one is a hard link of.
    pub hard_link: Option<Name>,
}

/// The record as JSON has it: names beside their hexadecimal form, the mode in octal digits, a device as `major:minor`.
#[derive(Clone, Serialize, Deserialize)]
struct Flat {
    path: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    path_hex: Option<String>,
    r#type: Type,
    mode: String,
    uid: u32,
    gid: u32,
    mtime: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    sha256: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    target: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    target_hex: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    device: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    hard_link: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    hard_link_hex: Option<String>,
}

impl From<Record> for Flat {
    fn from(record: Record) -> Self {
        let split = |name: Option<Name>| name.map_or((None, None), |name| (Some(name.text), name.hex));
        let (target, target_hex) = split(record.target);
        let (hard_link, hard_link_hex) = split(record.hard_link);
        Self {
            path: record.path.text,
            path_hex: record.path.hex,
            r#type: record.kind,
            mode: format!("{:04o}", record.mode),
            uid: record.uid,
            gid: record.gid,
            mtime: record.mtime,
            size: record.size,
            sha256: record.sha256,
            target,
            target_hex,
            device: record.device.map(|Device { major, minor }| format!("{major}:{minor}")),
            hard_link,
            hard_link_hex,
        }
    }
}

impl From<Flat> for Record {
    fn from(flat: Flat) -> Self {
        let join = |text: Option<String>, hex| text.map(|text| Name { text, hex });
        Self {
            path: Name { text: flat.path, hex: flat.path_hex },
            kind: flat.r#type,
            // What is no octal number was not written by us: the widest mode would be a guess, none is safe.
            mode: u32::from_str_radix(&flat.mode, 8).unwrap_or_default(),
            uid: flat.uid,
            gid: flat.gid,
            mtime: flat.mtime,
            size: flat.size,
            sha256: flat.sha256,
            target: join(flat.target, flat.target_hex),
            device: flat.device.and_then(|device| {
                let (major, minor) = device.split_once(':')?;
                Some(Device { major: major.parse().ok()?, minor: minor.parse().ok()? })
            }),
            hard_link: join(flat.hard_link, flat.hard_link_hex),
        }
    }
}

/// The manifest that lies beside an image: facts about the whole, then a record a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// About the image: version, architecture, variant, compression, whatever its builder has to say.
    pub image: serde_json::Map<String, serde_json::Value>,
    /// Every name, in the order of the archive.
    pub files: Vec<Record>,
}

impl Manifest {
    /// Returns it as the file holds it: indented, with a newline at the end.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

/// Returns the records of a tree as an archive with the fixed time `mtime` will hold it. Reads every content once.
///
/// # Errors
/// As [`Content::copy_to`].
pub fn records(tree: &Tree, mtime: u32) -> Result<Vec<Record>> {
    let mut first_names: HashMap<usize, &[u8]> = HashMap::new();
    tree.in_archive_order()
        .map(|node| {
            let first = *first_names.entry(node.inode).or_insert(node.path);
            let is_first = first == node.path;
            let entry = node.entry;
            let mut record = Record {
                path: Name::new(node.path),
                kind: Type::from(&entry.kind),
                mode: entry.mode,
                uid: entry.uid,
                gid: entry.gid,
                mtime: entry.mtime.unwrap_or(mtime),
                size: None,
                sha256: None,
                target: None,
                device: None,
                hard_link: (!is_first).then(|| Name::new(first)),
            };
            match &entry.kind {
                Kind::File(content) if is_first => {
                    record.size = Some(content.size());
                    record.sha256 = Some(sha256(content)?);
                }
                Kind::Symlink(target) => record.target = Some(Name::new(target)),
                Kind::CharDevice(device) | Kind::BlockDevice(device) => record.device = Some(*device),
                Kind::Directory | Kind::File(_) | Kind::Fifo => {}
            }
            Ok(record)
        })
        .collect()
}

impl From<&Kind> for Type {
    fn from(kind: &Kind) -> Self {
        match kind {
            Kind::Directory => Self::Directory,
            Kind::File(_) => Self::File,
            Kind::Symlink(_) => Self::Symlink,
            Kind::CharDevice(_) => Self::CharDevice,
            Kind::BlockDevice(_) => Self::BlockDevice,
            Kind::Fifo => Self::Fifo,
        }
    }
}

fn sha256(content: &Content) -> Result<String> {
    struct Hash(Sha256);
    impl Write for Hash {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut hash = Hash(Sha256::new());
    content.copy_to(&mut hash)?;
    Ok(hex::encode(&hash.0.finalize()))
}

#[cfg(test)]
mod tests {
    use super::{Manifest, records};
    use crate::tree::{Content, Entry, OnConflict, Tree};

    fn tree() -> Tree {
        let mut tree = Tree::new();
        let mut insert = |path: &[u8], entry| tree.insert(path, entry, OnConflict::Refuse).unwrap();
        insert(b"a", Entry::directory(0o1777));
        insert(b"a/\xff", Entry::file(0o4755, Content::Bytes(b"abc".into())));
        insert(b"a/~", Entry::symlink(*b"\xfe"));
        insert(b"null", Entry::char_device(0o666, 1, 3));
        tree.link(b"a/\xff", "b", OnConflict::Refuse).unwrap();
        tree
    }

    #[test]
    fn the_json_is_this() {
        let manifest = Manifest { image: serde_json::Map::new(), files: records(&tree(), 7).unwrap() };
        let lines: Vec<_> = manifest.files.iter().map(|record| serde_json::to_string(record).unwrap()).collect();
        let common = r#""uid":0,"gid":0,"mtime":7"#;
        assert_eq!(
            lines,
            [
                format!(r#"{{"path":"a","type":"directory","mode":"1777",{common}}}"#),
                format!(
                    r#"{{"path":"a/~","type":"symlink","mode":"0777",{common},"target":"{}","target_hex":"fe"}}"#,
                    '\u{fffd}'
                ),
                format!(
                    r#"{{"path":"a/{}","path_hex":"612fff","type":"file","mode":"4755",{common},"size":3,"sha256":"{}"}}"#,
                    '\u{fffd}', "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
                ),
                format!(
                    r#"{{"path":"b","type":"file","mode":"4755",{common},"hard_link":"a/{}","hard_link_hex":"612fff"}}"#,
                    '\u{fffd}'
                ),
                format!(r#"{{"path":"null","type":"char-device","mode":"0666",{common},"device":"1:3"}}"#),
            ]
        );
        assert_eq!(serde_json::from_str::<Manifest>(&manifest.to_json()).unwrap(), manifest);
        assert!(manifest.to_json().ends_with("}\n"));
        assert_eq!(manifest.files[2].path.bytes(), b"a/\xff");
        assert_eq!(manifest.files[4].path.bytes(), b"null");
    }
}
