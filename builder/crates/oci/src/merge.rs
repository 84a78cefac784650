//! Layers put over each other, in memory: the tree of names as the text of the OCI image specification has it (`layer.md`), with
//! contents that stay in their layers. Nothing of the host is looked at, so a link can lead nowhere but into this tree: where the
//! path of an entry goes through a symbolic link, the link is followed inside the tree, as every program that unpacks images does.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use archive::tree::{Content, Device, Entry, Kind, OnConflict, Tree};
use base::escape::escape;
use tar::EntryType;

use super::tarball::Member;

/// The most links that are followed, as in Linux (`MAXSYMLINKS`, `include/linux/namei.h`).
const LINKS_MAX: usize = 40;
/// More names are not remembered: an image of millions of files is a bomb, not a root.
pub const NAMES_MAX: usize = 2_000_000;

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// The prefix of the names that AUFS keeps for itself: `.wh..wh.plnk`, `.wh..wh.aufs`, `.wh..wh.orph`.
const AUFS: &[u8] = b".wh..wh.";
/// The directory in which AUFS keeps the content of hard links.
const AUFS_LINKS: &[u8] = b".wh..wh.plnk";

/// Extended attributes of one name.
pub type Attributes = BTreeMap<Vec<u8>, Vec<u8>>;

/// The root as far as its layers were put on each other.
#[derive(Debug, Clone, Default)]
pub struct Merge {
    /// The names.
    pub tree: Tree,
    /// Extended attributes, which a newc archive cannot carry, by path.
    pub xattrs: BTreeMap<Vec<u8>, Attributes>,
    /// The root directory itself, where a layer says how it is.
    pub root: Option<RootEntry>,
    /// The number of names that were left out because the user wanted it.
    pub left_out: usize,
    /// Names from the layer being merged: its own whiteouts do not hide them.
    upper: HashSet<Vec<u8>>,
    xattr_bytes: usize,
    /// AUFS' hard links in this layer, by the name of their content.
    aufs_links: HashMap<Vec<u8>, AufsLink>,
}

/// The root directory's own mode, owner, time and attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootEntry {
    /// The directory.
    pub entry: Entry,
    /// Its attributes.
    pub xattrs: Attributes,
}

/// A file that only hard links name.
#[derive(Debug, Clone)]
enum AufsLink {
    /// Nothing leads to it yet.
    Waiting(Entry, Attributes),
    /// The first link that led to it.
    Linked(Vec<u8>),
}

/// More extended attributes are not remembered, in bytes.
const XATTRS_MAX: usize = 16 << 20;

impl Merge {
    /// Begins a new layer.
    pub fn begin_layer(&mut self) {
        self.upper.clear();
        self.aufs_links.clear();
    }

    /// Puts the member number `number` of the layer `layer` on the tree.
    ///
    /// # Errors
    /// The reason why the member cannot be in the tree.
    pub fn add(&mut self, member: &Member, layer: u32, number: u32) -> Result<(), String> {
        let components = components(&member.path)?;
        let Some((name, parents)) = components.split_last() else {
            if member.kind != EntryType::Directory {
                return Err("the root is not a directory".to_owned());
            }
            self.count_xattrs(member)?;
            let entry = entry(member, layer, number)?;
            self.root = Some(RootEntry { entry, xattrs: member.xattrs.clone() });
            return Ok(());
        };
        if components.first().is_some_and(|first| first.starts_with(AUFS) && *first != OPAQUE) {
            return self.skip_aufs(&components, member, layer, number);
        }
        if let Some(parent) = parents.iter().find(|parent| parent.starts_with(WHITEOUT)) {
            return Err(format!("`{}` is the name of a whiteout, and not of a directory", escape(parent)));
        }
        if name.starts_with(WHITEOUT) {
            // Where the directory has become something else (umoci writes such layers), nothing of it is left to hide.
            let parent = self.resolve(parents).ok();
            return self.whiteout(parent.as_deref(), name);
        }
        let parent = self.resolve(parents)?;
        let path = join(&parent, name);
        if self.tree.len() >= NAMES_MAX {
            return Err(format!("the image has more than {NAMES_MAX} names"));
        }
        self.create_parents(&parent)?;
        match member.kind {
            EntryType::Link => self.link(&path, &member.link)?,
            _ => self.insert(&path, entry(member, layer, number)?)?,
        }
        if member.kind != EntryType::Link {
            self.xattrs.remove(&path);
            if !member.xattrs.is_empty() {
                self.count_xattrs(member)?;
                self.xattrs.insert(path.clone(), member.xattrs.clone());
            }
        }
        self.upper.insert(path);
        Ok(())
    }

    fn count_xattrs(&mut self, member: &Member) -> Result<(), String> {
        self.xattr_bytes += member.xattrs.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        if self.xattr_bytes > XATTRS_MAX {
            return Err(format!("the image has more than {XATTRS_MAX} bytes of extended attributes"));
        }
        Ok(())
    }

    /// Leaves out what AUFS keeps for itself in the root, but for files that hard links of the layer lead to (moby does the same).
    fn skip_aufs(&mut self, components: &[&[u8]], member: &Member, layer: u32, number: u32) -> Result<(), String> {
        if let [AUFS_LINKS, name] = components
            && member.kind == EntryType::Regular
        {
            if self.tree.len() + self.aufs_links.len() >= NAMES_MAX {
                return Err(format!("the image has more than {NAMES_MAX} names"));
            }
            self.count_xattrs(member)?;
            let link = AufsLink::Waiting(entry(member, layer, number)?, member.xattrs.clone());
            self.aufs_links.insert(name.to_vec(), link);
        }
        Ok(())
    }

    /// Puts `entry` at `path` in place of what is there; a directory on a directory keeps what is in it.
    ///
    /// # Errors
    /// The reason why the tree cannot hold the entry.
    pub fn insert(&mut self, path: &[u8], entry: Entry) -> Result<(), String> {
        if entry.kind != Kind::Directory {
            self.remove_below(path, false);
        }
        self.tree.insert(path, entry, OnConflict::Replace).map_err(|error| error.to_string())
    }

    fn link(&mut self, path: &[u8], target: &[u8]) -> Result<(), String> {
        let shown = || escape(target).to_string();
        let components =
            self.link_target(target).map_err(|reason| format!("it is a hard link to `{}`: {reason}", shown()))?;
        if let [AUFS_LINKS, name] = components.as_slice() {
            return self.link_aufs(path, name, &shown());
        }
        let Some((name, parents)) = components.split_last() else {
            return Err("it is a hard link to the root".to_owned());
        };
        let target = join(&self.resolve(parents)?, name);
        if target == path {
            return Err("it is a hard link to itself".to_owned());
        }
        let absent = || format!("it is a hard link to `{}`, which is not there", shown());
        let kind = self.tree.get(&target).map(|entry| entry.kind.clone()).ok_or_else(absent)?;
        match kind {
            Kind::Directory => return Err(format!("it is a hard link to the directory `{}`", shown())),
            Kind::Symlink(_) => {
                // An initramfs has no hard links of symbolic links; two equal ones do the same.
                let entry = self.tree.get(&target).cloned().ok_or_else(absent)?;
                self.insert(path, entry)?;
            }
            _ => {
                self.remove_below(path, false);
                self.tree.link(&target, path, OnConflict::Replace).map_err(|_| absent())?;
            }
        }
        match self.xattrs.get(&target).cloned() {
            Some(attributes) => self.xattrs.insert(path.to_vec(), attributes),
            None => self.xattrs.remove(path),
        };
        Ok(())
    }

    /// Puts a link to one of AUFS' files at `path`: the first brings the file, the others are its other names.
    fn link_aufs(&mut self, path: &[u8], name: &[u8], shown: &str) -> Result<(), String> {
        let link = self.aufs_links.remove(name);
        let link = link.ok_or_else(|| format!("it is a hard link to `{shown}`, which is not there"))?;
        let first = match link {
            AufsLink::Waiting(entry, attributes) => {
                self.insert(path, entry)?;
                match attributes.is_empty() {
                    true => self.xattrs.remove(path),
                    false => self.xattrs.insert(path.to_vec(), attributes),
                };
                path.to_vec()
            }
            AufsLink::Linked(first) => {
                let first_name = [b"/", first.as_slice()].concat();
                if first != path {
                    self.link(path, &first_name)?;
                }
                first
            }
        };
        self.aufs_links.insert(name.to_vec(), AufsLink::Linked(first));
        Ok(())
    }

    /// Splits the path of a hard link's target into names. The meaning of `..` behind a symbolic link depends on who reads it.
    fn link_target<'a>(&self, target: &'a [u8]) -> Result<Vec<&'a [u8]>, String> {
        let mut names: Vec<&[u8]> = Vec::new();
        for part in target.split(|byte| *byte == b'/') {
            if part == b".."
                && let Some((last, parents)) = names.split_last()
                && let Ok(parent) = self.resolve(parents)
                && matches!(self.tree.get(join(&parent, last)).map(|entry| &entry.kind), Some(Kind::Symlink(_)))
            {
                return Err("its path has a `..` after a symbolic link, which programs read differently".to_owned());
            }
            step(&mut names, part)?;
        }
        Ok(names)
    }

    /// Hides what is in the layers below, and nothing of this one, wherever in the layer it comes. The name alone counts: on real
    /// registries there are whiteouts that are hard links, devices, directories and files with content.
    fn whiteout(&mut self, parent: Option<&[u8]>, name: &[u8]) -> Result<(), String> {
        if name == OPAQUE {
            parent.into_iter().for_each(|parent| self.remove_below(parent, true));
            return Ok(());
        }
        let hidden = name.strip_prefix(WHITEOUT).unwrap_or_default();
        match hidden {
            b"" => return Err("a whiteout without a name".to_owned()),
            b"." | b".." => return Err("a whiteout hides a name, and `.` and `..` are none".to_owned()),
            // No layer can bring such a name, so there is nothing to hide.
            _ if hidden.starts_with(WHITEOUT) => return Ok(()),
            _ => {}
        }
        let Some(parent) = parent else { return Ok(()) };
        let path = join(parent, hidden);
        // A name that is not there is hidden already. A link is hidden itself, wherever it leads.
        self.remove_below(&path, true);
        if !self.upper.contains(&path) && !self.tree.has_below(&path) {
            self.tree.remove(&path);
            self.xattrs.remove(&path);
        }
        Ok(())
    }

    fn remove_below(&mut self, path: &[u8], spare_upper: bool) {
        let Self { tree, xattrs, upper, .. } = self;
        for removed in tree.remove_below(path, |below| spare_upper && upper.contains(below)) {
            xattrs.remove(&removed);
            upper.remove(&removed);
        }
    }

    /// Returns the directory that these names lead to from the root. Parts that are not there are what they will be: directories.
    ///
    /// # Errors
    /// They lead through something that is not a directory, or in a circle.
    pub fn resolve(&self, names: &[&[u8]]) -> Result<Vec<u8>, String> {
        let mut left: VecDeque<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
        let mut done: Vec<u8> = Vec::new();
        let mut links = 0;
        while let Some(name) = left.pop_front() {
            match name.as_slice() {
                b"" | b"." => continue,
                b".." => {
                    // Above the root is the root, as everywhere.
                    done.truncate(done.iter().rposition(|byte| *byte == b'/').unwrap_or(0));
                    continue;
                }
                // Nothing of that name can be in a root that layers make, so a link to it would make something that they cannot.
                _ if name.starts_with(WHITEOUT) => {
                    return Err(format!("its path leads to `{}`, the name of a whiteout", escape(&name)));
                }
                _ => {}
            }
            let path = join(&done, &name);
            match self.tree.get(&path).map(|entry| &entry.kind) {
                Some(Kind::Symlink(target)) => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(format!("its path leads through more than {LINKS_MAX} symbolic links"));
                    }
                    if target.starts_with(b"/") {
                        done.clear();
                    }
                    for part in target.split(|byte| *byte == b'/').rev() {
                        left.push_front(part.to_vec());
                    }
                }
                None | Some(Kind::Directory) => done = path,
                Some(other) => {
                    return Err(format!("its parent `{}` is a {} and not a directory", escape(&path), other.word()));
                }
            }
        }
        Ok(done)
    }

    /// Returns the content of the file that `path` leads to from the root.
    #[must_use]
    pub fn file(&self, path: &[u8]) -> Option<&Content> {
        match &self.tree.get(self.real_path(path)?)?.kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }

    /// Returns the path of what `path` leads to from the root, through all links; `None` where it leads nowhere.
    #[must_use]
    pub fn real_path(&self, path: &[u8]) -> Option<Vec<u8>> {
        let mut path = path.to_vec();
        for _ in 0..LINKS_MAX {
            let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
            let (name, parents) = names.split_last()?;
            let directory = self.resolve(parents).ok()?;
            let there = join(&directory, name);
            match &self.tree.get(&there)?.kind {
                Kind::Symlink(target) if target.starts_with(b"/") => path.clone_from(target),
                Kind::Symlink(target) => path = join(&directory, target),
                _ => return Some(there),
            }
        }
        None
    }

    /// Makes the directories down to `directory`, root's and `0755`, where there are none.
    ///
    /// # Errors
    /// A name that no archive can hold.
    pub fn create_parents(&mut self, directory: &[u8]) -> Result<(), String> {
        let ends =
            directory.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at).chain([directory.len()]);
        for end in ends {
            let parent = directory.get(..end).filter(|parent| !parent.is_empty()).unwrap_or_default();
            if !parent.is_empty() && self.tree.get(parent).is_none() {
                self.insert(parent, Entry::directory(0o755))?;
                self.upper.insert(parent.to_vec());
            }
        }
        Ok(())
    }
}

/// Returns the names on a path, `.` and doubled slashes left out, `..` with the name before it, as all programs that unpack layers have it. A
/// leading slash means the root, which all paths begin at.
///
/// # Errors
/// A `..` that leads out of the root.
pub fn components(path: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut names = Vec::new();
    path.split(|byte| *byte == b'/').try_for_each(|part| step(&mut names, part))?;
    Ok(names)
}

/// Goes on from `names` to `part`.
fn step<'a>(names: &mut Vec<&'a [u8]>, part: &'a [u8]) -> Result<(), String> {
    match part {
        b"" | b"." => {}
        b".." if names.pop().is_none() => return Err("its path has a `..` that leaves the root".to_owned()),
        b".." => {}
        part => names.push(part),
    }
    Ok(())
}

/// Returns `directory/name`, with the empty directory for the root.
#[must_use]
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if directory.is_empty() { name.to_vec() } else { [directory, b"/", name].concat() }
}

fn entry(member: &Member, layer: u32, number: u32) -> Result<Entry, String> {
    let device = Device { major: member.device.0, minor: member.device.1 };
    let kind = match member.kind {
        EntryType::Regular => Kind::File(Content::Member { layer, number, size: member.size }),
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink(member.link.clone()),
        EntryType::Char => Kind::CharDevice(device),
        EntryType::Block => Kind::BlockDevice(device),
        EntryType::Fifo => Kind::Fifo,
        other => {
            return Err(format!("its type is unknown (`{}`)", char::from(other.as_byte()).escape_default()));
        }
    };
    let id = |number: u64, what: &str| {
        u32::try_from(number).map_err(|_| format!("its {what} {number} is larger than Linux allows"))
    };
    Ok(Entry {
        mode: if matches!(kind, Kind::Symlink(_)) { 0o777 } else { member.mode },
        uid: id(member.uid, "owner")?,
        gid: id(member.gid, "group")?,
        // Before 1970 and after 2106 there is no time that the archive's eight digits can say.
        mtime: Some(u32::try_from(member.mtime.max(0)).unwrap_or(u32::MAX)),
        kind,
    })
}

#[cfg(test)]
mod tests;
