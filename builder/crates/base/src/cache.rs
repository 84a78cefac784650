//! The directory where everything is kept that was fetched or built once: `<room>/<key>/`, a key naming versions and
//! digests, so nothing in it is ever stale. An entry is made beside its name and renamed when it is whole; a list of
//! what it holds is written last, and an entry that does not match its list is made again. The directory can be copied to
//! a machine without a network. This module does not know what the entries are, and where
//! the directory is says who opens it.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io::{self, Write},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::{Error, IoContext, Result, cleanup::TempPath, digest::file_digest};

mod list;
mod owner;
mod pin;

use self::list::{LIST, List, Listed, stamp};
pub use self::pin::{Pin, tree_digest};

/// The file of a room on which those who read entries there hold a shared lock.
const READERS: &str = ".readers.lock";

/// The end of the name of a file that an entry will be made of, kept when its making is interrupted.
pub const PARTIAL: &str = ".partial";

/// The cache directory.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

/// The result of [`Cache::shrink`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Shrunk {
    /// Entries that were removed.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of the remaining entries.
    pub left: u64,
}

/// The thoroughness with which an entry is checked before use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check<'a> {
    /// Names, sizes and the digest of each file: for what goes into an image.
    Digests,
    /// Names and sizes: for what has thousands of files and shows damage when it is used.
    Sizes,
    /// Names, sizes, and that no file was touched since it was made: for what is too large to be read before each use.
    Stamps,
    /// Names and digests, by a digest of them all that the command was built with: for what is fetched.
    Pinned(Pin<'a>),
}

impl Cache {
    /// Returns the cache in the directory `root`, which need not exist yet.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a directory that belongs to one program (apt, Zig) and looks after itself. Made if it is not there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn room(&self, name: &str) -> Result<PathBuf> {
        let directory = self.root.join(name);
        // Whatever the umask: see `owner`.
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(&directory);
        made.at("create", &directory)?;
        Ok(directory)
    }

    /// Returns the entry `key` of `room` if it is there and whole.
    pub fn find(&self, room: &str, key: &str, check: Check<'_>) -> Option<PathBuf> {
        let entry = self.root.join(room).join(key);
        is_whole(&entry, check).then_some(entry)
    }

    /// Returns the entry `key` of `room`. If it is missing or damaged, `make` creates it in the empty directory that it is given.
    /// Concurrent builds that want the same entry create it once.
    ///
    /// # Errors
    /// Any error of `make`, and [`Error::Io`].
    pub fn entry<E: From<Error>>(
        &self,
        room: &str,
        key: &str,
        check: Check<'_>,
        make: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        // A whole entry needs no lock, so a cache that cannot be written to works as long as nothing is missing.
        if let Some(entry) = self.find(room, key, check) {
            return Ok(entry);
        }
        let directory = self.room(room)?;
        let lock_file = directory.join(format!(".{key}.lock"));
        let lock = File::create(&lock_file).at("create", &lock_file)?;
        lock.lock().at("lock", &lock_file)?;
        if let Some(entry) = self.find(room, key, check) {
            return Ok(entry);
        }
        // The name is fixed, so what a killed build left behind is taken away by the next one.
        let part = directory.join(format!(".{key}.part"));
        let _unfinished = [&part, &lock_file].map(TempPath::new);
        remove(&part)?;
        fs::create_dir(&part).at("create", &part)?;
        if let Err(error) = make(&part).and_then(|()| Ok(write_list(&part, check)?)) {
            // The first error is the one to tell; a directory left here is removed by the next build.
            let _ = fs::remove_dir_all(&part);
            let _ = fs::remove_file(&lock_file);
            return Err(error);
        }
        let entry = directory.join(key);
        remove(&entry)?;
        fs::rename(&part, &entry).at("rename the finished directory to", &entry)?;
        // Removed while it is held: whoever waits for it holds a file without a name, finds the entry and is done.
        let _ = fs::remove_file(&lock_file);
        Ok(entry)
    }

    /// Takes away the entry `key` of `room`, if it is there.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(&self, room: &str, key: &str) -> Result<()> {
        remove(&self.root.join(room).join(key))
    }

    /// Takes away all entries of `room` whose key begins with `prefix` except the `kept` used last.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn prune(&self, room: &str, prefix: &str, kept: usize) -> Result<()> {
        let directory = self.root.join(room);
        let Ok(entries) = fs::read_dir(&directory) else { return Ok(()) };
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let list = entry.path().join(LIST);
                let name = entry.file_name();
                let used = list.metadata().and_then(|metadata| metadata.modified()).ok()?;
                name.to_str()?.starts_with(prefix).then(|| (used, entry.path()))
            })
            .collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.iter().skip(kept).try_for_each(|(_, path)| remove(path))
    }

    /// Holds off [`Self::shrink`] of a room as long as the file lives; `None` where the cache cannot be written to, and so not
    /// shrunk either.
    pub fn reading(&self, room: &str) -> Option<File> {
        let file = File::create(self.room(room).ok()?.join(READERS)).ok()?;
        file.lock_shared().ok()?;
        Some(file)
    }

    /// Takes away the entries of `room` that were used longest ago, until the others have at most `max` bytes; those used within
    /// `recent` stay. What killed builds left goes too. `None` while somebody holds a [`Self::reading`] file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn shrink(&self, room: &str, max: u64, recent: Duration) -> Result<Option<Shrunk>> {
        let directory = self.root.join(room);
        let mut shrunk = Shrunk::default();
        if !directory.exists() {
            return Ok(Some(shrunk));
        }
        let readers = directory.join(READERS);
        let lock = File::create(&readers).at("create", &readers)?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error).at("lock", readers),
            Ok(()) => {}
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(&directory).at("read", &directory)? {
            let path = entry.at("read", &directory)?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.starts_with('.') {
                if name.ends_with(".part") {
                    remove(&path)?;
                }
                // What somebody may go on with counts like what is whole.
                if !name.ends_with(PARTIAL) {
                    continue;
                }
            }
            let noted = if path.is_file() { path.clone() } else { path.join(LIST) };
            let used = noted.metadata().and_then(|metadata| metadata.modified());
            entries.push((used.unwrap_or(SystemTime::UNIX_EPOCH), size(&path), path));
        }
        // The oldest last; two of the same time in the order of their names.
        entries.sort_unstable_by(|a, b| b.cmp(a));
        shrunk.left = entries.iter().map(|(_, size, _)| size).sum();
        let now = SystemTime::now();
        while shrunk.left > max
            && let Some((used, size, path)) = entries.pop()
            && (recent.is_zero() || now.duration_since(used).is_ok_and(|age| age >= recent))
        {
            remove(&path)?;
            shrunk.left -= size;
            shrunk.bytes += size;
            shrunk.entries += 1;
        }
        Ok(Some(shrunk))
    }

    /// Notes that an entry was used now, for [`Self::prune`] and [`Self::shrink`]. A cache that cannot be written to stays as it is.
    pub fn touch(&self, entry: &Path) {
        if let Ok(list) = File::options().append(true).open(entry.join(LIST)) {
            let _ = list.set_modified(SystemTime::now());
        }
    }
}

fn remove(path: &Path) -> Result<()> {
    let removed = if path.is_file() { fs::remove_file(path) } else { fs::remove_dir_all(path) };
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

/// Returns the total size of an entry's files, in bytes.
fn size(entry: &Path) -> u64 {
    let files = walkdir::WalkDir::new(entry).into_iter().filter_map(|item| item.ok()?.metadata().ok());
    files.filter(fs::Metadata::is_file).map(|metadata| metadata.len()).sum()
}

fn is_whole(entry: &Path, check: Check<'_>) -> bool {
    if let Check::Pinned(pin) = check {
        return entry.is_dir() && pin.holds(entry);
    }
    let Ok(text) = fs::read(entry.join(LIST)) else { return false };
    let Ok(list) = serde_json::from_slice::<List>(&text) else { return false };
    list.files.iter().all(|(name, listed)| {
        let path = entry.join(name);
        let Ok(metadata) = path.symlink_metadata() else { return false };
        metadata.len() == listed.size
            && match check {
                Check::Sizes | Check::Pinned(_) => true,
                Check::Stamps => listed.stamp == Some(stamp(&metadata)),
                Check::Digests => {
                    listed.sha256.is_none() || file_digest(&path).is_ok_and(|digest| Some(digest) == listed.sha256)
                }
            }
    })
}

/// Lists what `directory` holds, makes all of it durable, and writes the list.
fn write_list(directory: &Path, check: Check<'_>) -> Result<()> {
    if let Check::Pinned(pin) = check {
        return pin.confirm(directory);
    }
    let mut files = BTreeMap::new();
    for item in walkdir::WalkDir::new(directory).min_depth(1) {
        let item = item.map_err(|error| Error::Io {
            action: "read",
            path: error.path().unwrap_or(directory).to_owned(),
            source: error.into(),
        })?;
        if item.file_type().is_dir() {
            continue;
        }
        let path = item.path();
        let Some(name) = path.strip_prefix(directory).ok().and_then(Path::to_str) else {
            return Err(io::Error::from(io::ErrorKind::InvalidFilename)).at("list", path);
        };
        let metadata = path.symlink_metadata().at("read", path)?;
        let sha256 = match check {
            Check::Digests if item.file_type().is_file() => Some(file_digest(path)?),
            _ => None,
        };
        let stamp = (check == Check::Stamps).then(|| stamp(&metadata));
        files.insert(name.to_owned(), Listed { size: metadata.len(), sha256, stamp });
    }
    let path = directory.join(LIST);
    let text = serde_json::to_vec(&List { files, pinned: None }).map_err(io::Error::from).at("write", &path)?;
    let mut file = File::create(&path).at("write", &path)?;
    file.write_all(&text).and_then(|()| file.sync_all()).at("write", &path)
}

#[cfg(test)]
mod tests;
