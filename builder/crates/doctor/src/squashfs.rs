//! OS images in squashfs: their names and contents, and a check of every block.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufReader, Read},
    path::Path,
};

use backhand::{BackhandError, FilesystemReader, InnerNode, Node, SquashfsFileReader};
use contract::{errno::EIO, inventory::Kind};
use initramfs_overlay_init::kernel::Stat;

use super::{
    error::{Error, Result, damaged},
    filesystem::{Content, Filesystem, Partial},
};

/// Bytes read at once: tables lie together.
const BUFFER: usize = 1 << 18;
/// The most of a file that is kept: a boot looks at the headers of programs.
const CONTENT_MAX: u64 = 64 << 20;
/// Bytes of fragments that the library keeps before the image is opened again.
const KEPT: u64 = 64 << 20;
/// The number of the fragment of a file that has none (kernel, fs/squashfs/squashfs_fs.h, `SQUASHFS_INVALID_FRAG`).
const NO_FRAGMENT: usize = u32::MAX as usize;
/// Compressors whose blocks have a checksum: zlib's Adler-32, and xz's CRC-32, without which the kernel reads none.
const SUMMED: [&str; 2] = ["Gzip", "Xz"];

/// A squashfs image.
pub struct Image {
    reader: FilesystemReader<'static>,
    names: BTreeMap<String, Name>,
}

/// A name in an image.
struct Name {
    stat: Stat,
    target: Option<String>,
    is_whiteout: bool,
    /// Its place among the library's files.
    place: usize,
}

/// The blocks of an image that was read as a whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Blocks with the contents of files.
    pub blocks: u64,
    /// Blocks among them without a checksum, in which damage cannot be seen.
    pub unsummed: u64,
}

fn open(content: Box<dyn Content + Send>) -> Result<FilesystemReader<'static>> {
    FilesystemReader::from_reader(BufReader::with_capacity(BUFFER, content)).map_err(said)
}

/// Translates an error of the library.
fn said(error: BackhandError) -> Error {
    match error {
        BackhandError::UnsupportedCompression(_) | BackhandError::UnsupportedInode => {
            Error::Unreadable(format!("the doctor does not read this squashfs image: {error}"))
        }
        BackhandError::StdIo(error) if error.kind() != io::ErrorKind::UnexpectedEof => error.into(),
        error => damaged(error.to_string()),
    }
}

fn path_of(node: &Node<SquashfsFileReader>) -> String {
    shown(&node.fullpath)
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().trim_matches('/').to_owned()
}

impl Image {
    /// Reads all names of the image in `content`.
    ///
    /// # Errors
    /// [`Error::Damaged`]; [`Error::Unreadable`] where it may be whole and the library cannot read it.
    pub fn open(content: Box<dyn Content + Send>) -> Result<Self> {
        let reader = open(content)?;
        let mut names = BTreeMap::new();
        for (place, node) in reader.files().enumerate() {
            let (mut target, mut is_whiteout) = (None, false);
            let (kind, size) = match &node.inner {
                InnerNode::File(file) => (Kind::File, file.file_len() as u64),
                InnerNode::Dir(_) => (Kind::Directory, 0),
                InnerNode::Symlink(link) => {
                    target = Some(link.link.to_string_lossy().into_owned());
                    (Kind::Symlink, 0)
                }
                InnerNode::CharacterDevice(device) => {
                    is_whiteout = device.device_number == 0;
                    (Kind::Other, 0)
                }
                _ => (Kind::Other, 0),
            };
            let stat = Stat { kind, mode: u32::from(node.header.permissions) & 0o7777, size };
            names.insert(path_of(node), Name { stat, target, is_whiteout, place });
        }
        Ok(Self { reader, names })
    }

    fn name(&self, path: &str) -> io::Result<&Name> {
        self.names.get(path).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// Decompresses every block of the image that `content` opens. Returns how many there are.
///
/// # Errors
/// The first file that cannot be read, as [`Error::Damaged`].
pub fn read_all(content: &dyn Fn() -> io::Result<Box<dyn Content + Send>>) -> Result<Coverage> {
    let mut reader = open(content()?)?;
    let is_summed = reader.compressor.is_some_and(|kind| SUMMED.contains(&format!("{kind:?}").as_str()));
    let mut places: Vec<(u64, usize)> = Vec::new();
    for (place, node) in reader.files().enumerate() {
        if let InnerNode::File(file) = &node.inner {
            places.push((file.blocks_start(), place));
        }
    }
    // As they lie on the disk.
    places.sort_unstable();
    let mut seen = Coverage::default();
    let (mut fragments, mut kept, mut starts) = (BTreeSet::new(), 0_u64, BTreeSet::new());
    for (start, place) in places {
        if kept > KEPT {
            reader = open(content()?)?;
            kept = 0;
        }
        let Some(node) = reader.files().nth(place) else { return Err(damaged("its list of files changed")) };
        let InnerNode::File(file) = &node.inner else { return Err(damaged("its list of files changed")) };
        let read = || io::copy(&mut reader.file(file).reader_checked()?, &mut io::sink()).map_err(BackhandError::from);
        let length = read().map_err(|error| {
            let reason = match error {
                BackhandError::StdIo(error) => error.to_string(),
                error => error.to_string(),
            };
            damaged(format!("/{} cannot be read: {reason}", path_of(node)))
        })?;
        if length != file.file_len() as u64 {
            return Err(damaged(format!("/{}: {length} bytes of {}", path_of(node), file.file_len())));
        }
        // Files with the same content may share their blocks.
        if starts.insert(start) {
            let blocks = file.block_sizes().iter().filter(|block| block.size() > 0);
            for block in blocks {
                seen.blocks += 1;
                seen.unsummed += u64::from(!is_summed || block.uncompressed());
            }
        }
        let fragment = reader.fragments.as_ref().and_then(|all| all.get(file.frag_index()));
        if file.frag_index() != NO_FRAGMENT
            && let Some(fragment) = fragment.filter(|_| fragments.insert(file.frag_index()))
        {
            seen.blocks += 1;
            seen.unsummed += u64::from(!is_summed || fragment.size.uncompressed());
            kept += u64::from(reader.block_size);
        }
    }
    Ok(seen)
}

impl Filesystem for Image {
    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        if self.name(path)?.stat.kind != Kind::Directory {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let below = if path.is_empty() { String::new() } else { format!("{path}/") };
        let inside = self.names.range(below.clone()..).map_while(|(name, _)| name.strip_prefix(&below));
        Ok(inside.filter(|name| !name.is_empty() && !name.contains('/')).map(str::to_owned).collect())
    }

    fn stat(&self, path: &str) -> io::Result<Stat> {
        Ok(self.name(path)?.stat)
    }

    fn read_link(&self, path: &str) -> io::Result<String> {
        self.name(path)?.target.clone().ok_or_else(|| io::ErrorKind::InvalidInput.into())
    }

    fn open_anywhere(&self, path: &str) -> io::Result<Box<dyn Content + Send>> {
        let node = self.reader.files().nth(self.name(path)?.place);
        let Some(InnerNode::File(file)) = node.map(|node| &node.inner) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let mut bytes = Vec::new();
        // What can be read before a damaged block is there; the kernel reads no further than it has to either.
        let outcome = self.reader.file(file).reader_checked().map_err(said)?.take(CONTENT_MAX).read_to_end(&mut bytes);
        let end: fn() -> io::Error = match outcome {
            Ok(_) => || Error::Unreadable("the doctor reads only the start of large files in squashfs".into()).into(),
            Err(_) => || io::Error::from_raw_os_error(EIO),
        };
        Ok(Box::new(Partial::new(bytes, file.file_len() as u64, end)))
    }

    fn identity(&self, path: &str) -> Option<String> {
        Some(path.to_owned())
    }

    fn is_whiteout(&self, path: &str) -> bool {
        self.names.get(path).is_some_and(|name| name.is_whiteout)
    }
}
