//! The changes that a boot makes to a filesystem, kept in memory above it: names that were added, removed or replaced. The
//! filesystem itself stays unchanged.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    rc::Rc,
};

use contract::{errno::ENOSPC, inventory::Kind};
use initramfs_overlay_init::kernel::Stat;

use super::filesystem::{Capacity, Content, Filesystem};

/// A filesystem that several look at.
pub type Base = Rc<dyn Filesystem>;

/// The content of a file: a file of a filesystem, or bytes that the boot wrote.
#[derive(Clone)]
pub enum Source {
    /// The file of that path.
    File(Base, String),
    /// These bytes.
    Bytes(Rc<[u8]>),
}

impl Source {
    /// Returns the size in bytes.
    ///
    /// # Errors
    /// The filesystem's.
    pub fn size(&self) -> io::Result<u64> {
        match self {
            Self::File(base, path) => base.stat(path).map(|stat| stat.size),
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// Opens the content.
    ///
    /// # Errors
    /// The filesystem's.
    pub fn open(&self) -> io::Result<Box<dyn Content>> {
        match self {
            Self::File(base, path) => base.open(path),
            Self::Bytes(bytes) => Ok(Box::new(io::Cursor::new(bytes.clone()))),
        }
    }

    /// Opens the content for another thread.
    ///
    /// # Errors
    /// The filesystem's.
    pub fn open_anywhere(&self) -> io::Result<Box<dyn Content + Send>> {
        match self {
            Self::File(base, path) => base.open_anywhere(path),
            Self::Bytes(bytes) => Ok(Box::new(io::Cursor::new(bytes.to_vec()))),
        }
    }

    /// Returns the identity of a file in its filesystem.
    fn identity_below(&self) -> Option<String> {
        match self {
            Self::File(base, path) => base.identity(path),
            Self::Bytes(_) => None,
        }
    }

    /// Returns a text that two names of the same content have in common.
    pub fn identity(&self) -> Option<String> {
        match self {
            Self::File(base, path) => Some(format!("{:p} {}", Rc::as_ptr(base).cast::<()>(), base.identity(path)?)),
            Self::Bytes(bytes) => Some(format!("{:p}", bytes.as_ptr())),
        }
    }
}

/// The meaning of a name after a change.
#[derive(Clone)]
enum Node {
    /// The file or directory that the filesystem has at that path.
    Below(String),
    /// A new directory, with its permission bits.
    Directory(u32),
    /// A file with that content.
    File(Source),
    /// Nothing any more.
    Gone,
}

/// A filesystem and what was changed on it.
pub struct Layer {
    base: Base,
    changes: BTreeMap<String, Node>,
    /// Names of the filesystem that are gone, by their path there.
    dropped: BTreeSet<String>,
}

/// Returns the directory that holds `path`, and the name in it.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}

impl Layer {
    /// Returns `base`, unchanged.
    pub fn new(base: Base) -> Self {
        Self { base, changes: BTreeMap::new(), dropped: BTreeSet::new() }
    }

    /// Returns the present meaning of `path`.
    fn node(&self, path: &str) -> io::Result<Node> {
        if let Some(node) = self.changes.get(path) {
            return if matches!(node, Node::Gone) { Err(io::ErrorKind::NotFound.into()) } else { Ok(node.clone()) };
        }
        let mut above = path;
        while !above.is_empty() {
            above = split(above).0;
            match self.changes.get(above) {
                None => {}
                Some(Node::Below(moved)) => return Ok(Node::Below(format!("{moved}{}", &path[above.len()..]))),
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                Some(Node::Directory(_) | Node::Gone) => return Err(io::ErrorKind::NotFound.into()),
            }
        }
        Ok(Node::Below(path.to_owned()))
    }

    /// Returns the content of a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none, [`io::ErrorKind::InvalidInput`] if it is not a regular file.
    pub fn source(&self, path: &str) -> io::Result<Source> {
        match (self.node(path)?, self.stat(path)?.kind) {
            (Node::Below(below), Kind::File) => Ok(Source::File(self.base.clone(), below)),
            (Node::File(source), _) => Ok(source),
            _ => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
        }
    }

    /// Returns the same as [`Filesystem::is_whiteout`].
    pub fn is_whiteout(&self, path: &str) -> bool {
        matches!(self.node(path), Ok(Node::Below(below)) if self.base.is_whiteout(&below))
    }

    /// Returns the same as [`Filesystem::stat`].
    ///
    /// # Errors
    /// As [`Filesystem::stat`].
    pub fn stat(&self, path: &str) -> io::Result<Stat> {
        match self.node(path)? {
            Node::Below(below) => self.base.stat(&below),
            Node::Directory(mode) => Ok(Stat { kind: Kind::Directory, mode, size: 0 }),
            Node::File(source) => Ok(Stat { kind: Kind::File, mode: 0o644, size: source.size()? }),
            Node::Gone => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Returns the same as [`Filesystem::read_link`].
    ///
    /// # Errors
    /// As [`Filesystem::read_link`].
    pub fn read_link(&self, path: &str) -> io::Result<String> {
        match self.node(path)? {
            Node::Below(below) => self.base.read_link(&below),
            _ => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Returns the same as [`Filesystem::list`].
    ///
    /// # Errors
    /// As [`Filesystem::list`].
    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = match self.node(path)? {
            Node::Below(below) => self.base.list(&below)?,
            Node::Directory(_) => Vec::new(),
            _ => return Err(io::ErrorKind::NotADirectory.into()),
        };
        for (changed, node) in &self.changes {
            let (directory, name) = split(changed);
            if directory == path && !changed.is_empty() {
                names.retain(|known| known != name);
                if !matches!(node, Node::Gone) {
                    names.push(name.to_owned());
                }
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Makes or replaces a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] or [`io::ErrorKind::NotADirectory`] for its parent, [`io::ErrorKind::IsADirectory`] if `path` is a
    /// directory, [`ENOSPC`] if it does not fit.
    pub fn put(&mut self, path: &str, source: Source) -> io::Result<()> {
        self.check_directory(path)?;
        let there = self.stat(path).ok();
        if there.is_some_and(|stat| stat.kind == Kind::Directory) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let size = if self.is_shared(&source) { None } else { Some(source.size()?) };
        self.check_room(size, there.is_none() && size.is_some())?;
        self.drop_name(path);
        self.changes.insert(path.to_owned(), Node::File(source));
        Ok(())
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if the name is taken, [`io::ErrorKind::NotFound`] or [`io::ErrorKind::NotADirectory`] for its
    /// parent, [`ENOSPC`] if it does not fit.
    pub fn make_dir(&mut self, path: &str, mode: u32) -> io::Result<()> {
        self.check_directory(path)?;
        if self.stat(path).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.check_room(Some(1), true)?;
        self.changes.insert(path.to_owned(), Node::Directory(mode));
        Ok(())
    }

    /// Gives a file a second name.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] if `to` is taken, and as [`Self::source`] and [`Self::put`].
    pub fn link(&mut self, from: &str, to: &str) -> io::Result<()> {
        if self.stat(to).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let source = self.source(from)?;
        self.put(to, source)
    }

    /// Renames a file or a directory over what is there.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is nothing to rename, [`io::ErrorKind::DirectoryNotEmpty`] if `to` is a directory with entries,
    /// [`io::ErrorKind::IsADirectory`] or [`io::ErrorKind::NotADirectory`] if only one of the two is a directory.
    pub fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let kind = self.stat(from)?.kind;
        self.check_directory(to)?;
        match self.stat(to) {
            Ok(there) if there.kind == Kind::Directory && kind != Kind::Directory => {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok(there) if there.kind == Kind::Directory && !self.list(to)?.is_empty() => {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            Ok(there) if there.kind != Kind::Directory && kind == Kind::Directory => {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            _ => {}
        }
        let node = self.node(from)?;
        if from == to {
            return Ok(());
        }
        self.drop_name(to);
        let inside = format!("{from}/");
        let moved: Vec<String> = self.changes.keys().filter(|path| path.starts_with(&inside)).cloned().collect();
        for path in moved {
            if let Some(node) = self.changes.remove(&path) {
                self.changes.insert(format!("{to}{}", &path[from.len()..]), node);
            }
        }
        self.changes.insert(from.to_owned(), Node::Gone);
        self.changes.insert(to.to_owned(), node);
        Ok(())
    }

    /// Removes a file.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none, [`io::ErrorKind::IsADirectory`] for a directory.
    pub fn remove(&mut self, path: &str) -> io::Result<()> {
        if self.stat(path)?.kind == Kind::Directory {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        self.drop_name(path);
        self.changes.insert(path.to_owned(), Node::Gone);
        Ok(())
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none, [`io::ErrorKind::NotADirectory`] for anything else,
    /// [`io::ErrorKind::DirectoryNotEmpty`] if it has entries.
    pub fn remove_dir(&mut self, path: &str) -> io::Result<()> {
        match (self.stat(path)?.kind, self.list(path)) {
            (Kind::Directory, Ok(names)) if names.is_empty() => {
                self.drop_name(path);
                self.changes.insert(path.to_owned(), Node::Gone);
                Ok(())
            }
            (Kind::Directory, _) => Err(io::ErrorKind::DirectoryNotEmpty.into()),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn check_directory(&self, path: &str) -> io::Result<()> {
        match self.stat(split(path).0)?.kind {
            Kind::Directory => Ok(()),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Refuses what does not fit: so many bytes, and another inode.
    fn check_room(&self, size: Option<u64>, with_inode: bool) -> io::Result<()> {
        let Capacity { free, withheld, inodes, .. } = self.capacity();
        let is_short = size.is_some_and(|size| self.base.capacity().taken(size) > free.saturating_sub(withheld));
        if is_short || with_inode && inodes == 0 {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        Ok(())
    }

    /// Notes that a name of the filesystem is about to go.
    fn drop_name(&mut self, path: &str) {
        if let Ok(Node::Below(below)) = self.node(path)
            && self.base.stat(&below).is_ok()
        {
            self.dropped.insert(below);
        }
    }

    /// Returns the sizes as they are after the changes: what was made takes room, a file whose last name went gives it back.
    pub fn capacity(&self) -> Capacity {
        let base = self.base.capacity();
        let (mut taken, mut made) = (0_u64, 0_u64);
        let (mut seen, mut kept) = (BTreeSet::new(), BTreeSet::new());
        for node in self.changes.values() {
            match node {
                Node::Gone => {}
                Node::Below(below) => kept.extend(self.base.identity(below)),
                Node::Directory(_) => (taken, made) = (taken.saturating_add(base.block), made + 1),
                Node::File(source) if self.is_own(source) => kept.extend(source.identity_below()),
                Node::File(source) => {
                    if source.identity().is_none_or(|identity| seen.insert(identity)) {
                        taken = taken.saturating_add(base.taken(source.size().unwrap_or(0)));
                        made += 1;
                    }
                }
            }
        }
        let (given, gone) = self.given_back(&kept);
        Capacity {
            free: base.free.saturating_add(given).saturating_sub(taken),
            inodes: base.inodes.saturating_add(gone).saturating_sub(made),
            ..base
        }
    }

    /// Returns the bytes and the inodes of what lost its last name, but for the files of `kept`.
    fn given_back(&self, kept: &BTreeSet<String>) -> (u64, u64) {
        let block = self.base.capacity();
        let (mut given, mut gone) = (0_u64, 0_u64);
        let mut names: BTreeMap<String, (u64, &str)> = BTreeMap::new();
        for path in &self.dropped {
            match self.base.identity(path) {
                Some(identity) => names.entry(identity).or_insert((0, path)).0 += 1,
                None => gone += 1,
            }
        }
        for (identity, (count, path)) in names {
            let Ok(stat) = self.base.stat(path) else { continue };
            let is_directory = stat.kind == Kind::Directory;
            if !kept.contains(&identity) && (is_directory || count >= self.base.links(path)) {
                given = given.saturating_add(block.taken(if is_directory { 1 } else { stat.size }));
                gone += 1;
            }
        }
        (given, gone)
    }

    /// Returns true for content that lies on this filesystem already.
    fn is_own(&self, source: &Source) -> bool {
        matches!(source, Source::File(base, _) if Rc::ptr_eq(base, &self.base))
    }

    /// Returns true for content that takes no room of its own: another name of a file.
    fn is_shared(&self, source: &Source) -> bool {
        let is_same = |node: &Node| matches!(node, Node::File(known) if known.identity() == source.identity());
        self.is_own(source) || source.identity().is_some() && self.changes.values().any(is_same)
    }
}

#[cfg(test)]
mod tests;
