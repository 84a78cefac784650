//! The archives of an initramfs made of an image.

use std::io::Write;

use archive::{
    compress::Compression,
    newc::Properties,
    tree::{Entry, Kind, OnConflict, Tree},
};
use base::{IoContext, atomic_file::AtomicFile, escape::escape};
use oci::{
    image::Image,
    inventory::Inventory,
    pack::{self, Written},
};

use crate::{Error, Result};

/// Writes one compressed archive for each of `parts`, the root directory itself into the first. What they hold is listed in the last one,
/// where that is wanted.
pub(super) fn write(
    parts: &[&Tree],
    root: Option<&Entry>,
    image: &Image,
    properties: Properties,
    compression: Compression,
    mut inventory: Option<&mut Inventory>,
    mut file: AtomicFile,
) -> Result<(Written, AtomicFile)> {
    let failed = |source| archive::Error::WriteArchive { source };
    let mut all = Written::default();
    for (place, tree) in parts.iter().enumerate() {
        // The next archive in a file begins at a multiple of 4 (the kernel's buffer-format.rst).
        let length = file.file().metadata().at("read", file.path())?.len();
        file.write_all(&[0; 3][..(length.next_multiple_of(4) - length) as usize]).map_err(failed)?;
        if let Some(inventory) = &mut inventory {
            inventory.is_last = place + 1 == parts.len();
        }
        let mut encoder = compression.encoder(file).map_err(failed)?;
        let root = root.filter(|_| place == 0);
        all = all.and(pack::write(tree, root, image, properties, &mut encoder, inventory.as_deref_mut())?);
        file = encoder.finish().map_err(failed)?;
        file.flush().map_err(failed)?;
    }
    Ok((all, file))
}

/// Returns the entries of `whole` that `base` lacks or has otherwise, with the directories above them.
///
/// # Errors
/// [`Error::Usage`] for an entry that cannot replace the one in `base` when the kernel unpacks both archives.
pub(super) fn difference(base: &Tree, whole: &Tree) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut firsts = std::collections::HashMap::new();
    for node in whole.iter().filter(|node| base.get(node.path) != Some(node.entry)) {
        // The kernel unpacks the second archive over the first: it writes into a file that is there, and so into all its names, and
        // keeps a directory that holds something (init/initramfs.c, do_name and clean_path).
        let there = base.node(node.path);
        if there.is_some_and(|there| match there.entry.kind {
            Kind::Directory => node.entry.kind != Kind::Directory && base.has_below(node.path),
            _ => base.links(&there) > 1,
        }) {
            return Err(Error::Usage(format!(
                "--split: `{}` takes the place of a directory or of one of several hard links, which only works in one archive; leave --split out",
                escape(node.path)
            )));
        }
        for (at, _) in node.path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let parent = node.path.get(..at).unwrap_or_default();
            if let Some(entry) = whole.get(parent) {
                tree.insert(parent, entry.clone(), OnConflict::Keep)?;
            }
        }
        match firsts.get(&node.inode) {
            Some(first) => tree.link(first, node.path, OnConflict::Keep)?,
            None => {
                tree.insert(node.path, node.entry.clone(), OnConflict::Replace)?;
                firsts.insert(node.inode, node.path);
            }
        }
    }
    Ok(tree)
}
