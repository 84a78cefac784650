//! The names of an EROFS image: one inode each, or shared, and the directories that list them.

use std::collections::{BTreeMap, HashMap};

use archive::tree::Kind;
use base::escape::escape;

use super::{
    directory::{self, Name},
    inode::{Inode, Tail, attributes, kind},
};
use crate::{
    Error, Result,
    image::Image,
    merge::{Attributes, Merge, RootEntry},
};

/// The names of an image, and their inodes.
pub(super) struct Names<'a> {
    /// The root's first.
    pub(super) inodes: Vec<Inode<'a>>,
    /// By path; the root's is empty.
    directories: BTreeMap<&'a [u8], Directory<'a>>,
}

/// A directory, with places in [`Names::inodes`].
struct Directory<'a> {
    place: usize,
    parent: usize,
    names: Vec<(&'a [u8], usize)>,
}

impl<'a> Names<'a> {
    /// Gathers everything but the places of the inodes.
    pub(super) fn new(
        merge: &'a Merge,
        image: &Image,
        root: &'a RootEntry,
        starts: &HashMap<usize, u64>,
        tails: &HashMap<usize, Tail>,
    ) -> Result<Self> {
        let directory = |place, parent| Directory { place, parent, names: Vec::new() };
        let mut names =
            Self { inodes: vec![Inode::new(&root.entry, 2)], directories: [(&b""[..], directory(0, 0))].into() };
        let stored = |path: &[u8], found: &Attributes| {
            attributes(found).map_err(|reason| Error::Image {
                image: image.name.clone(),
                reason: format!("entry `{}`: {reason}; leave it out with --exclude", escape(path)),
            })
        };
        if !root.xattrs.is_empty() {
            names.inodes[0].attributes = stored(b"/", &root.xattrs)?;
        }
        let mut places: HashMap<usize, usize> = HashMap::new();
        for node in merge.tree.iter() {
            let place = *places.entry(node.inode).or_insert(names.inodes.len());
            if place == names.inodes.len() {
                let links = u32::try_from(merge.tree.links(&node)).unwrap_or(u32::MAX);
                let mut inode = Inode::new(node.entry, links);
                inode.start = starts.get(&node.inode).copied().unwrap_or(0);
                inode.tail = tails.get(&node.inode).copied();
                if let Some(found) = merge.xattrs.get(node.path).filter(|found| !found.is_empty()) {
                    inode.attributes = stored(node.path, found)?;
                }
                names.inodes.push(inode);
            }
            let (parent, name) = match node.path.iter().rposition(|byte| *byte == b'/') {
                Some(at) => (node.path.get(..at).unwrap_or_default(), node.path.get(at + 1..).unwrap_or_default()),
                None => (&b""[..], node.path),
            };
            // It is there: the tree was checked for parents, and has them before what they hold.
            let mut parent_place = 0;
            if let Some(parent) = names.directories.get_mut(parent) {
                parent.names.push((name, place));
                parent_place = parent.place;
            }
            if node.entry.kind == Kind::Directory {
                names.directories.insert(node.path, directory(place, parent_place));
                if parent.is_empty() {
                    names.inodes[0].links += 1;
                }
            }
        }
        names.fill();
        Ok(names)
    }

    /// Writes the directories with the numbers that their inodes have now.
    pub(super) fn fill(&mut self) {
        for directory in self.directories.values() {
            let name = |name, place: usize| {
                let inode = &self.inodes[place];
                Name { name, nid: inode.nid(), kind: kind(&inode.entry.kind).1 }
            };
            let dots = [name(b".", directory.place), name(b"..", directory.parent)];
            let mut all: Vec<Name<'_>> =
                dots.into_iter().chain(directory.names.iter().map(|(text, place)| name(text, *place))).collect();
            all.sort_unstable();
            self.inodes[directory.place].data = directory::pack(&all);
        }
    }
}
