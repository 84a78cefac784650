//! A tar file that holds an image: a list of its members and where their bytes begin. Its members are read where they are; only an archive
//! that is compressed as a whole is unpacked, into a temporary file.

use std::{
    collections::HashMap,
    fs::File,
    io::{self, BufRead, Read, Write},
    path::Path,
    sync::Arc,
};

use base::{IoContext, cleanup::TempDir, escape::escape};
use tar::EntryType;

use super::layout::Files;
use crate::{
    Result,
    blob::Place,
    decoder::{Behind, Packing, decoder},
    manifest::{Descriptor, Role, Store, refusal},
    merge::{components, join},
    tarball::Reader,
};

/// More members than an archive of images has.
const MEMBERS_MAX: usize = 100_000;

/// More links that lead to links are a circle.
const LINKS_MAX: usize = 40;

/// The files of an archive and their locations in it.
pub(super) struct Members {
    files: HashMap<Vec<u8>, Place>,
    links: HashMap<Vec<u8>, Vec<u8>>,
    /// The directory that a compressed archive was unpacked to: its members are read in any order.
    pub(super) unpacked: Option<Arc<TempDir>>,
}

/// The most that a compressed archive may unpack to, in bytes.
const UNPACKED_MAX: u64 = 64 << 30;

/// Counts the bytes that went by.
struct Counted {
    file: io::BufReader<File>,
    count: u64,
}

impl io::Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.file.read(buffer)?;
        self.count += length as u64;
        Ok(length)
    }
}

impl Members {
    pub(super) fn list(name: &str, path: &Path) -> Result<Self> {
        let unpacked = unpack(name, path)?;
        let path = unpacked.as_ref().map_or_else(|| path.to_path_buf(), |scratch| scratch.path().join(UNPACKED));
        let path = path.as_path();
        let file = File::open(path).at("read", path)?;
        let length = file.metadata().at("read", path)?.len();
        let mut reader = Reader::new(Counted { file: io::BufReader::with_capacity(64 << 10, file), count: 0 });
        let mut members = Self { files: HashMap::new(), links: HashMap::new(), unpacked };
        let broken = |path: &[u8], reason: &str| {
            refusal(name, format!("its archive is damaged at `{}`: {reason}", escape(path)))
        };
        while let Some(member) = reader.next_member().map_err(|fault| broken(&fault.path, &fault.reason))? {
            let key = components(&member.path).map_err(|reason| broken(&member.path, &reason))?.join(&b'/');
            match member.kind {
                EntryType::Regular if member.is_sparse() => {
                    return Err(broken(&member.path, "it is stored with holes; make the archive without tar's -S"));
                }
                EntryType::Regular => {
                    let offset = reader.get_ref().count;
                    if offset.saturating_add(member.size) > length {
                        return Err(broken(&member.path, "it is cut off"));
                    }
                    members.files.insert(key, Place { path: path.to_path_buf(), offset, size: member.size });
                }
                // Old versions of `docker save` link to layers that occur twice.
                EntryType::Symlink => {
                    let directory =
                        member.path.iter().rposition(|byte| *byte == b'/').and_then(|at| member.path.get(..at));
                    if let Some(target) = plain_path(&join(directory.unwrap_or_default(), &member.link)) {
                        members.links.insert(key, target);
                    }
                }
                EntryType::Link => {
                    if let Some(target) = plain_path(&member.link) {
                        members.links.insert(key, target);
                    }
                }
                _ => {}
            }
            if members.files.len() + members.links.len() > MEMBERS_MAX {
                return Err(refusal(name, format!("its archive has more than {MEMBERS_MAX} members")));
            }
        }
        Ok(members)
    }

    /// Returns the file of that name, also behind links.
    pub(super) fn get(&self, name: &str) -> Option<Place> {
        let mut key = &plain_path(name.as_bytes())?;
        for _ in 0..LINKS_MAX {
            match self.files.get(key) {
                Some(place) => return Some(place.clone()),
                None => key = self.links.get(key)?,
            }
        }
        None
    }
}

/// The name of the unpacked archive in its directory.
const UNPACKED: &str = "archive.tar";

/// Unpacks a compressed archive beside other temporary files; `None` where it is not compressed.
fn unpack(name: &str, path: &Path) -> Result<Option<Arc<TempDir>>> {
    let mut packed = io::BufReader::with_capacity(64 << 10, File::open(path).at("read", path)?);
    if Packing::detect(packed.fill_buf().at("read", path)?) == Packing::None {
        return Ok(None);
    }
    let broken = |error: io::Error| refusal(name, format!("its archive cannot be unpacked: {error}"));
    let mut plain = decoder(packed, Behind::Nothing).map_err(broken)?.take(UNPACKED_MAX + 1);
    let scratch = TempDir::new("initramfs-overlay-archive-", None)?;
    let place = scratch.path().join(UNPACKED);
    let mut file = File::create_new(&place).at("create", &place)?;
    let mut buffer = vec![0; 64 << 10];
    let mut length = 0;
    loop {
        let read = match plain.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(broken(error)),
        };
        length += read as u64;
        if length > UNPACKED_MAX {
            return Err(refusal(name, format!("its archive unpacks to more than {UNPACKED_MAX} bytes")));
        }
        file.write_all(buffer.get(..read).unwrap_or_default()).at("write", &place)?;
    }
    Ok(Some(Arc::new(scratch)))
}

/// Returns a path without `.` and `..`; none where it leads out of the archive.
fn plain_path(path: &[u8]) -> Option<Vec<u8>> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join(&b'/'))
}

impl Files for Members {
    fn top(&self, name: &str) -> Result<Option<Place>> {
        Ok(self.get(name))
    }
}

impl Store for Members {
    fn blob(&self, Descriptor { digest, .. }: &Descriptor, _: Role) -> Result<Option<Place>> {
        Ok(self.get(&format!("blobs/{}/{}", digest.algorithm(), digest.digits())))
    }
}
