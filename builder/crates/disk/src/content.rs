//! The contents of a writable filesystem: a directory of this machine read into a sorted list of entries, parents first.
//! Follows no link and changes nothing.

use std::{
    collections::BTreeMap,
    fs::Metadata,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Path, PathBuf},
};

use base::IoContext;
use sha2::{Digest, Sha256};
use walkdir::WalkDir;

use crate::{Error, Result};

/// The owner of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// As in the directory that was read.
    AsIs,
    /// User and group 0.
    Root,
}

/// A file, directory, link or node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Path from the filesystem's root, `/` between the names, none at the beginning. Never empty.
    pub path: Vec<u8>,
    /// Permission bits with set-user, set-group and sticky: at most `0o7777`.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Its type, with the data of that type.
    pub kind: Kind,
    /// Extended attributes, sorted by name.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// The type of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file with the bytes of another one.
    File {
        /// The file that holds the bytes.
        source: PathBuf,
        /// The number of bytes.
        size: u64,
    },
    /// A symbolic link.
    Link {
        /// The path in the link, as it is stored.
        target: Vec<u8>,
    },
    /// Another name of a file that stands earlier in the list.
    SameAs {
        /// That file's path.
        path: Vec<u8>,
    },
    /// A device node.
    Device {
        /// A block device, else a character device.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Pipe,
}

impl Entry {
    /// Returns a directory of root's with mode 0755.
    pub fn directory(path: impl Into<Vec<u8>>) -> Self {
        Self { path: path.into(), mode: 0o755, uid: 0, gid: 0, kind: Kind::Directory, attributes: Vec::new() }
    }

    /// Returns a file of root's with mode 0644.
    ///
    /// # Errors
    /// [`Error::Io`] where `source` cannot be looked at.
    pub fn file(path: impl Into<Vec<u8>>, source: &Path) -> Result<Self> {
        let size = source.metadata().at("read", source)?.len();
        let kind = Kind::File { source: source.to_owned(), size };
        Ok(Self { path: path.into(), mode: 0o644, uid: 0, gid: 0, kind, attributes: Vec::new() })
    }

    /// Returns the path for people.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.path).into_owned()
    }

    /// Puts the entry into the directory `parent`.
    #[must_use]
    pub fn below(mut self, parent: &[u8]) -> Self {
        self.path = [parent, b"/", &self.path].concat();
        if let Kind::SameAs { path } = &mut self.kind {
            *path = [parent, b"/", path].concat();
        }
        self
    }
}

/// Reads everything below the directory that `option` names.
///
/// # Errors
/// As [`read`], and [`Error::Usage`] for an empty one.
pub fn read_given(option: &str, directory: &Path, owner: Owner) -> Result<Vec<Entry>> {
    let entries = read(directory, owner)?;
    if entries.is_empty() {
        return Err(Error::Usage(format!("{option} {}: it is empty, so nothing would be put in", directory.display())));
    }
    Ok(entries)
}

/// Reads everything below `directory`, sorted by path.
///
/// # Errors
/// [`Error::Io`] where something cannot be read, [`Error::Usage`] for a socket.
pub fn read(directory: &Path, owner: Owner) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut seen: BTreeMap<(u64, u64), Vec<u8>> = BTreeMap::new();
    for item in WalkDir::new(directory).min_depth(1).sort_by_file_name() {
        let item = item.map_err(|error| {
            let path = error.path().unwrap_or(directory).to_owned();
            let source = error.into_io_error().unwrap_or_else(|| std::io::Error::other("a loop of links"));
            base::Error::Io { action: "read", path, source }
        })?;
        let source = item.path();
        let path = source.strip_prefix(directory).unwrap_or(source).as_os_str().as_bytes().to_vec();
        let metadata = source.symlink_metadata().at("read", source)?;
        let inode = (metadata.dev(), metadata.ino());
        let kind = match seen.get(&inode) {
            Some(first) => Kind::SameAs { path: first.clone() },
            None => kind(source, &metadata)?,
        };
        if metadata.nlink() > 1 && !metadata.is_dir() && !matches!(kind, Kind::SameAs { .. }) {
            seen.insert(inode, path.clone());
        }
        let (uid, gid) = if owner == Owner::AsIs { (metadata.uid(), metadata.gid()) } else { (0, 0) };
        let attributes = attributes(source)?;
        entries.push(Entry { path, mode: metadata.mode() & 0o7777, uid, gid, kind, attributes });
    }
    Ok(entries)
}

fn kind(source: &Path, metadata: &Metadata) -> Result<Kind> {
    let file_type = metadata.file_type();
    Ok(if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_file() {
        // Opened here so that an unreadable file is named before anything is made.
        std::fs::File::open(source).at("open", source)?;
        Kind::File { source: source.to_owned(), size: metadata.len() }
    } else if file_type.is_symlink() {
        Kind::Link { target: source.read_link().at("read", source)?.into_os_string().into_vec() }
    } else if file_type.is_block_device() || file_type.is_char_device() {
        let number = metadata.rdev();
        let (major, minor) = (rustix::fs::major(number), rustix::fs::minor(number));
        Kind::Device { block: file_type.is_block_device(), major, minor }
    } else if file_type.is_fifo() {
        Kind::Pipe
    } else {
        return Err(Error::Usage(format!(
            "{} is a socket, which only the program that made it can use: remove it",
            source.display()
        )));
    })
}

/// Returns the extended attributes of `path` itself, sorted. A filesystem without any has none.
fn attributes(path: &Path) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    use rustix::io::Errno;
    // The kernel's limits: XATTR_LIST_MAX and XATTR_SIZE_MAX, 64 KiB each.
    let mut room = vec![0_u8; 1 << 16];
    let length = match rustix::fs::llistxattr(path, &mut room[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => 0,
        Err(error) => Err(error.into()).at("read the attributes of", path)?,
    };
    let mut names: Vec<Vec<u8>> =
        room[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()).map(<[u8]>::to_vec).collect();
    names.sort_unstable();
    let mut attributes = Vec::with_capacity(names.len());
    for name in names {
        let length = rustix::fs::lgetxattr(path, name.as_slice(), &mut room[..])
            .map_err(std::io::Error::from)
            .at("read the attributes of", path)?;
        attributes.push((name, room[..length].to_vec()));
    }
    Ok(attributes)
}

/// Takes everything that the bytes of a filesystem with `entries` depend on into `digest`.
///
/// # Errors
/// [`Error::Io`] where a file cannot be read.
pub fn digest(entries: &[Entry], digest: &mut Sha256) -> Result<()> {
    for entry in entries {
        let mut field = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        field(&entry.path);
        field(format!("{:o} {} {}", entry.mode, entry.uid, entry.gid).as_bytes());
        match &entry.kind {
            Kind::Directory => field(b"folder"),
            Kind::File { source, .. } => field(&file_digest(source)?),
            Kind::Link { target } => field(target),
            Kind::SameAs { path } => field(path),
            Kind::Device { block, major, minor } => field(format!("{block} {major} {minor}").as_bytes()),
            Kind::Pipe => field(b"pipe"),
        }
        for (name, value) in &entry.attributes {
            field(name);
            field(value);
        }
    }
    Ok(())
}

/// Returns the SHA-256 of a file.
fn file_digest(path: &Path) -> Result<Vec<u8>> {
    let mut file = std::fs::File::open(path).at("open", path)?;
    let mut digest = Sha256::new();
    std::io::copy(&mut file, &mut digest).at("read", path)?;
    Ok(digest.finalize().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_read_in_order_with_links_and_odd_names() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir(root.join("b")).unwrap();
        std::fs::write(root.join("b/file"), "text").unwrap();
        std::fs::hard_link(root.join("b/file"), root.join("b/other")).unwrap();
        std::os::unix::fs::symlink("/nowhere", root.join("a \"link\"")).unwrap();
        let entries = read(root, Owner::Root).unwrap();
        let shown: Vec<String> = entries.iter().map(Entry::shown).collect();
        assert_eq!(shown, ["a \"link\"", "b", "b/file", "b/other"]);
        assert_eq!(entries[0].kind, Kind::Link { target: b"/nowhere".to_vec() });
        assert_eq!(entries[2].kind, Kind::File { source: root.join("b/file"), size: 4 });
        assert_eq!(entries[3].clone().below(b"p").kind, Kind::SameAs { path: b"p/b/file".to_vec() });
    }

    #[test]
    fn the_order_is_that_of_the_names_whatever_the_directory_says() {
        let directory = tempfile::tempdir().unwrap();
        // Directories keep names by their hash or in the order of making: neither is that of 64 names made backwards.
        for number in (10..74).rev() {
            std::fs::write(directory.path().join(number.to_string()), "").unwrap();
        }
        let names: Vec<String> = read(directory.path(), Owner::Root).unwrap().iter().map(Entry::shown).collect();
        assert_eq!(names, (10..74).map(|number| number.to_string()).collect::<Vec<_>>());
    }

    #[test]
    fn the_digest_changes_with_every_part_of_an_entry() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("file");
        std::fs::write(&source, "text").unwrap();
        let sum = |entry: &Entry| {
            let mut state = Sha256::new();
            digest(std::slice::from_ref(entry), &mut state).unwrap();
            state.finalize().to_vec()
        };
        let entry = Entry::file(*b"etc/file", &source).unwrap();
        let mut sums = vec![sum(&entry)];
        sums.push(sum(&Entry { mode: 0o600, ..entry.clone() }));
        sums.push(sum(&Entry { uid: 5, ..entry.clone() }));
        sums.push(sum(&Entry { path: b"etc/f".to_vec(), ..entry.clone() }));
        sums.push(sum(&Entry { attributes: vec![(b"user.a".to_vec(), b"b".to_vec())], ..entry.clone() }));
        std::fs::write(&source, "other").unwrap();
        sums.push(sum(&entry));
        let count = sums.len();
        sums.sort();
        sums.dedup();
        assert_eq!(sums.len(), count);
    }

    #[test]
    fn a_socket_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(directory.path().join("s")).unwrap();
        assert!(read(directory.path(), Owner::Root).unwrap_err().to_string().contains("socket"));
    }
}
