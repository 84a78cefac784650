//! OS images in squashfs: what names are in one, and what they stand for. Contents are not read, a boot does not need them.

use std::{
    collections::BTreeMap,
    io::{self, BufReader},
};

use backhand::{FilesystemReader, InnerNode};
use contract::inventory::Kind;
use initramfs_overlay_init::kernel::Stat;

use super::filesystem::{Content, Filesystem};

/// Bytes read at once: tables lie together.
const BUFFER: usize = 1 << 18;

/// A squashfs image.
#[derive(Debug)]
pub struct Image {
    names: BTreeMap<String, (Stat, Option<String>)>,
}

impl Image {
    /// Reads all names of the image in `content`.
    ///
    /// # Errors
    /// Where the image is damaged; [`io::ErrorKind::Unsupported`] where it may be whole and the library cannot read it.
    pub fn open(content: Box<dyn Content + Send>) -> io::Result<Self> {
        let reader = BufReader::with_capacity(BUFFER, content);
        let image = FilesystemReader::from_reader(reader).map_err(|error| {
            let kind = match &error {
                backhand::BackhandError::UnsupportedCompression(_) | backhand::BackhandError::UnsupportedInode => {
                    io::ErrorKind::Unsupported
                }
                _ => io::ErrorKind::InvalidData,
            };
            io::Error::new(kind, error.to_string())
        })?;
        let mut names = BTreeMap::new();
        for node in image.files() {
            let path = node.fullpath.to_string_lossy().trim_matches('/').to_owned();
            let (kind, size, target) = match &node.inner {
                InnerNode::File(file) => (Kind::File, file.file_len() as u64, None),
                InnerNode::Dir(_) => (Kind::Directory, 0, None),
                InnerNode::Symlink(link) => (Kind::Symlink, 0, Some(link.link.to_string_lossy().into_owned())),
                _ => (Kind::Other, 0, None),
            };
            let mode = u32::from(node.header.permissions) & 0o7777;
            names.insert(path, (Stat { kind, mode, size }, target));
        }
        Ok(Self { names })
    }

    fn node(&self, path: &str) -> io::Result<&(Stat, Option<String>)> {
        self.names.get(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Filesystem for Image {
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        if self.node(path)?.0.kind != Kind::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let below = if path.is_empty() { String::new() } else { format!("{path}/") };
        let inside = self.names.range(below.clone()..).map_while(|(name, _)| name.strip_prefix(&below));
        Ok(inside.filter(|name| !name.is_empty() && !name.contains('/')).map(str::to_owned).collect())
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        Ok(self.node(path)?.0)
    }

    fn read_link(&self, path: &str) -> io::Result<String> {
        self.node(path)?.1.clone().ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    fn identity(&self, path: &str) -> Option<String> {
        Some(path.to_owned())
    }
}
