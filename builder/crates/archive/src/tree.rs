//! The root being built, in memory: path → entry. Paths are bytes, relative, without a leading slash; names that are
//! hard links of each other share one entry. Contents stay where they are (bytes or a file on the host) until an
//! archive is written. This room knows no archive format and writes nothing; it reads the host only in [`include`].

use std::collections::BTreeMap;

use base::escape::escape;

use crate::{Error, Result};

mod content;
mod include;
mod name;

pub use content::Content;
pub use name::{NAME_MAX, PATH_MAX};

/// The largest file a newc header can describe: its size field is eight hexadecimal digits
/// (`Documentation/driver-api/early-userspace/buffer-format.rst`).
pub const FILE_MAX: u64 = u32::MAX as u64;

/// A file, directory, link, device node or named pipe, without its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Permission bits with setuid, setgid and sticky: at most `0o7777`.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// Seconds since 1970; `None` takes the fixed time of the archive.
    pub mtime: Option<u32>,
    /// Its type, with the content, target or device numbers.
    pub kind: Kind,
}

/// The type of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link with its target, kept as data: nothing looks at where it leads.
    Symlink(Vec<u8>),
    /// A character device.
    CharDevice(Device),
    /// A block device.
    BlockDevice(Device),
    /// A named pipe.
    Fifo,
}

/// A device's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// 12 bits in the kernel (`include/linux/kdev_t.h`).
    pub major: u32,
    /// 20 bits in the kernel.
    pub minor: u32,
}

/// The policy for a name that is already taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// It is an error, except for a directory that is there with the same mode and owner.
    Refuse,
    /// The new entry takes the name. A directory that holds something can only be replaced by a directory.
    Replace,
    /// The entry that was there stays.
    Keep,
}

impl Entry {
    fn new(mode: u32, kind: Kind) -> Self {
        Self { mode: mode & 0o7777, uid: 0, gid: 0, mtime: None, kind }
    }

    /// Returns a directory of root's.
    #[must_use]
    pub fn directory(mode: u32) -> Self {
        Self::new(mode, Kind::Directory)
    }

    /// Returns a regular file of root's.
    #[must_use]
    pub fn file(mode: u32, content: Content) -> Self {
        Self::new(mode, Kind::File(content))
    }

    /// Returns a symbolic link of root's; its mode is `0o777`, as on every Linux filesystem.
    #[must_use]
    pub fn symlink(target: impl Into<Vec<u8>>) -> Self {
        Self::new(0o777, Kind::Symlink(target.into()))
    }

    /// Returns a character device of root's.
    #[must_use]
    pub fn char_device(mode: u32, major: u32, minor: u32) -> Self {
        Self::new(mode, Kind::CharDevice(Device { major, minor }))
    }

    /// Returns a block device of root's.
    #[must_use]
    pub fn block_device(mode: u32, major: u32, minor: u32) -> Self {
        Self::new(mode, Kind::BlockDevice(Device { major, minor }))
    }

    /// Returns a named pipe of root's.
    #[must_use]
    pub fn fifo(mode: u32) -> Self {
        Self::new(mode, Kind::Fifo)
    }

    /// Returns the reason why no tree can hold the entry, whatever its name, or `None`.
    fn refusal(&self) -> Option<&'static str> {
        match &self.kind {
            Kind::Symlink(target) if target.is_empty() => Some("a symbolic link needs a target"),
            Kind::Symlink(target) if target.contains(&0) => Some("a link's target cannot hold a NUL byte"),
            Kind::Symlink(target) if target.len() >= PATH_MAX => {
                Some("the link's target is longer than the 4095 bytes that Linux allows")
            }
            Kind::CharDevice(device) | Kind::BlockDevice(device)
                if device.major >= 1 << 12 || device.minor >= 1 << 20 =>
            {
                Some("Linux has major numbers up to 4095 and minor numbers up to 1048575")
            }
            _ => None,
        }
    }
}

impl Kind {
    /// Returns the kind in the words of the manifest and of error messages.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::File(_) => "file",
            Self::Symlink(_) => "symlink",
            Self::CharDevice(_) => "character device",
            Self::BlockDevice(_) => "block device",
            Self::Fifo => "fifo",
        }
    }
}

/// A name of the tree, as [`Tree::iter`] yields it.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// Relative, without a leading slash.
    pub path: &'a [u8],
    /// The entry that it names.
    pub entry: &'a Entry,
    /// The same for all hard links of one entry, different for all others. Says nothing else: it depends on the order
    /// of insertion.
    pub inode: usize,
}

/// The root being built.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    names: BTreeMap<Vec<u8>, usize>,
    inodes: BTreeMap<usize, Inode>,
    next: usize,
}

#[derive(Debug, Clone)]
struct Inode {
    entry: Entry,
    links: usize,
}

impl Tree {
    /// Returns an empty root.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of names.
    #[must_use]
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Returns true if the tree has no names.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Returns the entry at `path`.
    #[must_use]
    pub fn get(&self, path: impl AsRef<[u8]>) -> Option<&Entry> {
        self.names.get(path.as_ref()).and_then(|inode| self.inodes.get(inode)).map(|inode| &inode.entry)
    }

    /// Puts `entry` at `path`. Its parents need not be there yet: see [`Self::create_parents`] and
    /// [`Self::check_parents`].
    ///
    /// # Errors
    /// [`Error::BadEntry`] for a name or an entry that no filesystem can hold, [`Error::Clash`] where the name is taken and `on_conflict` does
    /// not allow it. What only an initramfs cannot hold is found by [`Self::check_archive`].
    pub fn insert(&mut self, path: impl AsRef<[u8]>, entry: Entry, on_conflict: OnConflict) -> Result<()> {
        let path = path.as_ref();
        if let Some(reason) = name::refusal(path).or_else(|| entry.refusal()) {
            return Err(Error::BadEntry { path: escape(path).to_string(), reason });
        }
        if self.make_room(path, &entry, on_conflict)? {
            let inode = self.next;
            self.next += 1;
            self.inodes.insert(inode, Inode { entry, links: 1 });
            self.names.insert(path.to_vec(), inode);
        }
        Ok(())
    }

    /// Makes `path` another name of the file, device or pipe at `existing`.
    ///
    /// # Errors
    /// [`Error::BadEntry`] where there is nothing at `existing`, or a directory or symbolic link: the kernel's unpacker
    /// knows no hard links of these. Otherwise as [`Self::insert`].
    pub fn link(&mut self, existing: impl AsRef<[u8]>, path: impl AsRef<[u8]>, on_conflict: OnConflict) -> Result<()> {
        let (existing, path) = (existing.as_ref(), path.as_ref());
        let refuse = |reason| Err(Error::BadEntry { path: escape(path).to_string(), reason });
        let Some(&inode) = self.names.get(existing) else {
            return refuse("it is a hard link to a name that is not there");
        };
        if let Some(reason) = name::refusal(path) {
            return refuse(reason);
        }
        if self.names.get(path) == Some(&inode) {
            return Ok(());
        }
        let entry = self.inodes[&inode].entry.clone();
        if matches!(entry.kind, Kind::Directory | Kind::Symlink(_)) {
            return refuse("a directory or a symbolic link has no hard links in an initramfs");
        }
        if self.make_room(path, &entry, on_conflict)? {
            self.names.insert(path.to_vec(), inode);
            if let Some(inode) = self.inodes.get_mut(&inode) {
                inode.links += 1;
            }
        }
        Ok(())
    }

    /// Makes each parent directory of `path` that is not there, root's and `0o755`.
    ///
    /// # Errors
    /// [`Error::BadEntry`] for a bad name, [`Error::MissingParent`] where a parent is there and no directory.
    pub fn create_parents(&mut self, path: impl AsRef<[u8]>) -> Result<()> {
        let path = path.as_ref();
        if let Some(reason) = name::refusal(path) {
            return Err(Error::BadEntry { path: escape(path).to_string(), reason });
        }
        for parent in name::parents(path) {
            match self.get(parent).map(|entry| entry.kind.word()) {
                None => self.insert(parent, Entry::directory(0o755), OnConflict::Refuse)?,
                Some("directory") => {}
                Some(is) => return Err(missing_parent(path, parent, Some(is))),
            }
        }
        Ok(())
    }

    /// Removes one name; other hard links of it stay. A directory's entries stay as well, so take those out too.
    pub fn remove(&mut self, path: impl AsRef<[u8]>) -> bool {
        let Some(number) = self.names.remove(path.as_ref()) else { return false };
        if let Some(inode) = self.inodes.get_mut(&number) {
            inode.links -= 1;
            if inode.links == 0 {
                self.inodes.remove(&number);
            }
        }
        true
    }

    /// Removes everything below `path` but what `spare` says yes to and the directories that hold it. Returns what was removed.
    pub fn remove_below(&mut self, path: impl AsRef<[u8]>, spare: impl Fn(&[u8]) -> bool) -> Vec<Vec<u8>> {
        let mut removed: Vec<Vec<u8>> = Vec::new();
        // From the last name to the first, so that what is in a directory comes before it.
        let below: Vec<Vec<u8>> = self.below(path.as_ref()).map(|(below, _)| below.to_vec()).collect();
        for name in below.into_iter().rev() {
            if !spare(&name) && !self.has_below(&name) {
                self.remove(&name);
                removed.push(name);
            }
        }
        removed
    }

    /// Returns true if anything lies below `path`.
    #[must_use]
    pub fn has_below(&self, path: impl AsRef<[u8]>) -> bool {
        self.below(path.as_ref()).next().is_some()
    }

    /// Returns all names in byte order, so a directory comes before what it holds.
    pub fn iter(&self) -> impl Iterator<Item = Node<'_>> {
        self.names.iter().filter_map(|(path, inode)| {
            self.inodes.get(inode).map(|Inode { entry, .. }| Node { path, entry, inode: *inode })
        })
    }

    /// Returns all names in the order in which an archive holds them: `/init` first, then as [`Self::iter`]. A kernel that could not unpack
    /// all runs `/init` where it is whole, which can say so, and else the first shell or `init` that it finds (kernel, init/main.c,
    /// `kernel_init`).
    pub fn in_archive_order(&self) -> impl Iterator<Item = Node<'_>> {
        const INIT: &[u8] = b"init";
        let first = self.node(INIT).filter(|node| node.entry.kind != Kind::Directory);
        let has_first = first.is_some();
        first.into_iter().chain(self.iter().filter(move |node| !has_first || node.path != INIT))
    }

    /// Returns the name `path` with what it names.
    #[must_use]
    pub fn node<'a>(&'a self, path: &[u8]) -> Option<Node<'a>> {
        let (path, inode) = self.names.get_key_value(path)?;
        self.inodes.get(inode).map(|Inode { entry, .. }| Node { path, entry, inode: *inode })
    }

    /// Returns the node's link count: the number of its names; for a directory the number of subdirectories plus two, as
    /// filesystems count.
    #[must_use]
    pub fn links(&self, node: &Node<'_>) -> usize {
        match node.entry.kind {
            Kind::Directory => 2 + self.subdirectories(node.path),
            _ => self.inodes.get(&node.inode).map_or(1, |inode| inode.links),
        }
    }

    /// Checks that each name's parent is a directory of this tree. The kernel drops an entry whose parent it has not seen,
    /// silently.
    ///
    /// # Errors
    /// [`Error::MissingParent`] for the first one.
    pub fn check_parents(&self) -> Result<()> {
        for path in self.names.keys() {
            if let Some(parent) = name::parent(path) {
                match self.get(parent).map(|entry| &entry.kind) {
                    Some(Kind::Directory) => {}
                    other => return Err(missing_parent(path, parent, other.map(Kind::word))),
                }
            }
        }
        Ok(())
    }

    /// Checks that an initramfs can hold the tree: parents, file sizes, and names that an archive has no place for.
    ///
    /// # Errors
    /// As [`Self::check_parents`], [`Error::TooLarge`] for a file over [`FILE_MAX`], [`Error::BadEntry`] for a name that ends an archive.
    pub fn check_archive(&self) -> Result<()> {
        self.check_parents()?;
        for node in self.iter() {
            if let Some(reason) = name::archive_refusal(node.path) {
                return Err(Error::BadEntry { path: escape(node.path).to_string(), reason });
            }
            if let Kind::File(content) = &node.entry.kind
                && content.size() > FILE_MAX
            {
                return Err(Error::TooLarge { path: escape(node.path).to_string(), size: content.size() });
            }
        }
        Ok(())
    }

    /// Returns the names below `path` with their entries, in byte order.
    fn below<'a>(&'a self, path: &[u8]) -> impl Iterator<Item = (&'a [u8], &'a Entry)> {
        let mut prefix = path.to_vec();
        // The root has no name, and everything is below it.
        if !prefix.is_empty() {
            prefix.push(b'/');
        }
        self.names
            .range(prefix.clone()..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .filter_map(|(path, inode)| self.inodes.get(inode).map(|inode| (path.as_slice(), &inode.entry)))
    }

    fn subdirectories(&self, path: &[u8]) -> usize {
        let direct = |below: &[u8]| !below[path.len() + 1..].contains(&b'/');
        self.below(path).filter(|(below, entry)| entry.kind == Kind::Directory && direct(below)).count()
    }

    /// Takes `path` out of the way of `new` if `on_conflict` allows it. Whether `new` shall be put there.
    fn make_room(&mut self, path: &[u8], new: &Entry, on_conflict: OnConflict) -> Result<bool> {
        let Some(old) = self.get(path) else { return Ok(true) };
        let both_directories = old.kind == Kind::Directory && new.kind == Kind::Directory;
        let error = Error::Clash { path: escape(path).to_string(), old: old.kind.word(), new: new.kind.word() };
        match on_conflict {
            OnConflict::Keep => Ok(false),
            OnConflict::Refuse if both_directories && old == new => Ok(false),
            OnConflict::Refuse => Err(error),
            OnConflict::Replace => {
                if old.kind == Kind::Directory && !both_directories && self.below(path).next().is_some() {
                    return Err(error);
                }
                Ok(self.remove(path))
            }
        }
    }
}

fn missing_parent(path: &[u8], parent: &[u8], is: Option<&'static str>) -> Error {
    Error::MissingParent {
        path: escape(path).to_string(),
        parent: escape(parent).to_string(),
        is: is.map_or_else(|| "is not in the tree".to_owned(), |is| format!("is a {is}")),
    }
}

/// Two trees are equal when an archive of them is: same names, entries and hard links, whatever the order of insertion.
impl PartialEq for Tree {
    fn eq(&self, other: &Self) -> bool {
        let numbered = |tree: &Self| {
            let mut numbers = BTreeMap::new();
            tree.names
                .values()
                .map(|inode| {
                    let next = numbers.len();
                    *numbers.entry(*inode).or_insert(next)
                })
                .collect::<Vec<_>>()
        };
        self.len() == other.len()
            && self.iter().zip(other.iter()).all(|(a, b)| a.path == b.path && a.entry == b.entry)
            && numbered(self) == numbered(other)
    }
}

#[cfg(test)]
mod tests;
