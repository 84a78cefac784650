//! Directories in `persistent` that only lead to a file: made by the way, with what mkdir gives, they would hide the image's mode and owner
//! of the same directory, for in an overlay the upper one of two directories counts (kernel, Documentation/filesystems/overlayfs.rst).

use std::{collections::BTreeMap, fs::File, io::BufReader, path::Path};

use backhand::{FilesystemReader, InnerNode};
use base::IoContext;

use super::content::{Entry, Kind};
use crate::Result;

/// Mode and owner of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Directory {
    mode: u32,
    uid: u32,
    gid: u32,
}

/// Reads the directories of a squashfs image, by path. None where the image is of another kind, or packed as nothing here can read.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) where the file cannot be read.
pub fn directories(image: &Path) -> Result<Option<BTreeMap<Vec<u8>, Directory>>> {
    use std::os::unix::ffi::OsStrExt;
    let reader = BufReader::new(File::open(image).at("read", image)?);
    let Ok(image) = FilesystemReader::from_reader(reader) else { return Ok(None) };
    let directories = image.files().filter(|node| matches!(node.inner, InnerNode::Dir(_))).map(|node| {
        let path = node.fullpath.strip_prefix("/").unwrap_or(&node.fullpath).as_os_str().as_bytes().to_vec();
        let header = &node.header;
        (path, Directory { mode: u32::from(header.permissions) & 0o7777, uid: header.uid, gid: header.gid })
    });
    Ok(Some(directories.collect()))
}

/// Returns true for a directory that says nothing but that it is there: root's, mode 0755, without attributes.
pub fn is_implied(entry: &Entry) -> bool {
    let says_nothing = (entry.mode, entry.uid, entry.gid) == (0o755, 0, 0) && entry.attributes.is_empty();
    entry.kind == Kind::Directory && says_nothing
}

/// Gives such directories what the image has of the same path.
pub fn complete(entries: &mut [Entry], image: &BTreeMap<Vec<u8>, Directory>) {
    for entry in entries.iter_mut().filter(|entry| is_implied(entry)) {
        if let Some(Directory { mode, uid, gid }) = image.get(&entry.path) {
            (entry.mode, entry.uid, entry.gid) = (*mode, *uid, *gid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_that_say_nothing_take_what_the_image_has() {
        let directory = |mode, uid| Directory { mode, uid, gid: uid };
        let image =
            BTreeMap::from([(b"root".to_vec(), directory(0o700, 0)), (b"home/a".to_vec(), directory(0o750, 1000))]);
        let mut entries = vec![
            Entry::directory(*b"root"),
            Entry::directory(*b"home/a"),
            Entry::directory(*b"new"),
            Entry { mode: 0o711, ..Entry::directory(*b"root") },
            Entry { attributes: vec![(b"user.a".to_vec(), b"b".to_vec())], ..Entry::directory(*b"root") },
        ];
        complete(&mut entries, &image);
        let seen: Vec<_> = entries.iter().map(|entry| (entry.mode, entry.uid)).collect();
        assert_eq!(seen, [(0o700, 0), (0o750, 1000), (0o755, 0), (0o711, 0), (0o755, 0)]);
    }
}
