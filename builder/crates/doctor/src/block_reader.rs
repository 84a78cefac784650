//! Sources of bytes: a disk or a part of one, and blocks that replace some of it without being written to it. Nothing here
//! can write: [`Medium`] has no method for it.

use std::{
    fs::{File, FileType},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::{FileExt, FileTypeExt},
    path::Path,
    sync::Arc,
};

use contract::superblock::{self, Format};
use zerocopy::{FromBytes, IntoBytes};

use crate::error::{Error, Result};

/// Bytes at fixed places, for reading only.
pub trait Medium: Send + Sync {
    /// Returns its size in bytes.
    fn size(&self) -> u64;
    /// Fills `buffer` with what is at `offset`.
    ///
    /// # Errors
    /// The system's error; [`io::ErrorKind::UnexpectedEof`] past the end.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// A medium that several look at.
pub type Shared = Arc<dyn Medium>;

impl dyn Medium {
    /// Reads the structure at `offset`.
    ///
    /// # Errors
    /// As [`Medium::read_at`].
    pub fn read<T: FromBytes + IntoBytes>(&self, offset: u64) -> io::Result<T> {
        let mut structure = T::new_zeroed();
        self.read_at(offset, structure.as_mut_bytes())?;
        Ok(structure)
    }
}

impl std::fmt::Debug for dyn Medium {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a medium of {} bytes", self.size())
    }
}

/// A disk image or a block device.
#[derive(Debug)]
pub struct Disk {
    file: File,
    size: u64,
    sector: Option<u64>,
}

impl Disk {
    /// Opens it for reading.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::NotDisk`] for something else: it is not opened then where that could do something.
    pub fn open(path: &Path) -> Result<Self> {
        let not_disk = |(seen, remedy)| Error::NotDisk { path: path.to_owned(), seen, remedy };
        let metadata = path.metadata()?;
        let kind = metadata.file_type();
        if let Some(words) = special(kind) {
            return Err(not_disk(words));
        }
        let mut file = File::open(path)?;
        // A block device has no length in its metadata, but an end.
        let size = file.seek(SeekFrom::End(0))?;
        if kind.is_block_device() {
            let sector = rustix::fs::ioctl_blksszget(&file).ok().map(u64::from);
            return Ok(Self { file, size, sector });
        }
        let mut head = Vec::new();
        file.rewind()?;
        (&file).take(superblock::HEAD as u64).read_to_end(&mut head)?;
        match foreign(&head) {
            Some(words) => Err(not_disk(words)),
            None => Ok(Self { file, size, sector: None }),
        }
    }

    /// Returns the bytes of its sectors; none for an image, which is for a disk of any.
    pub fn sector(&self) -> Option<u64> {
        self.sector
    }
}

/// Returns the words for a file that is neither regular nor a block device, and the one to give instead.
fn special(kind: FileType) -> Option<(&'static str, &'static str)> {
    const BLOCK_DEVICE: &str = "give the block device of a disk, such as /dev/sdb, or an image of one";
    match kind {
        kind if kind.is_dir() => Some(("a directory", "--img-dir DIR takes one in the place of a partition")),
        kind if kind.is_char_device() => Some(("a character device", BLOCK_DEVICE)),
        kind if kind.is_fifo() => Some(("a FIFO", BLOCK_DEVICE)),
        kind if kind.is_socket() => Some(("a socket", BLOCK_DEVICE)),
        _ => None,
    }
}

/// The words for files of packed data.
pub const PACKED: &str = "packed data";

/// Returns the words for a file that begins with `head` and holds something else than a disk, and the file to give instead.
fn foreign(head: &[u8]) -> Option<(&'static str, &'static str)> {
    const IMAGE: &str = "`initramfs-overlay disk OUTPUT --image FILE` makes a disk with it";
    let format = superblock::Superblock::read(head).map(|found| found.format);
    Some(match head {
        [] => ("empty", "give an image of a disk, or a block device"),
        _ if format == Some(Format::Squashfs) => ("the image of a system (squashfs), not a disk", IMAGE),
        _ if format == Some(Format::Erofs) => ("the image of a system (EROFS), not a disk", IMAGE),
        [b'0', b'7', b'0', b'7', b'0', b'1' | b'2', ..] => {
            ("an initramfs (cpio), not a disk", "give the disk that it boots, and this with --initramfs")
        }
        [b'Q', b'F', b'I', 0xfb, ..] => ("a disk in QEMU's own format (qcow2)", "`qemu-img convert -O raw` unpacks it"),
        [0x1f, 0x8b, ..]
        | [0x28, 0xb5, 0x2f, 0xfd, ..]
        | [0xfd, b'7', b'z', b'X', b'Z', ..]
        | [b'B', b'Z', b'h', ..]
        | [0x02, 0x21, 0x4c, 0x18, ..]
        | [0x04, 0x22, 0x4d, 0x18, ..]
        | [b'P', b'K', 3, 4, ..] => (PACKED, "unpack it, and give the disk that comes out"),
        _ => return None,
    })
}

impl Medium for Disk {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

/// A part of a medium, such as a partition.
#[derive(Debug)]
pub struct Part {
    whole: Shared,
    start: u64,
    size: u64,
}

impl Part {
    /// Returns `size` bytes of `whole` from `start` on, or as many as there are.
    pub fn new(whole: Shared, start: u64, size: u64) -> Self {
        let size = size.min(whole.size().saturating_sub(start));
        Self { whole, start, size }
    }
}

impl Medium for Part {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > self.size) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.whole.read_at(self.start + offset, buffer)
    }
}

/// A medium with a piece of it replaced.
#[derive(Debug)]
pub struct Replaced {
    below: Shared,
    start: u64,
    piece: Vec<u8>,
}

impl Replaced {
    /// Lays `piece` over `below` at `start`.
    pub fn new(below: Shared, start: u64, piece: Vec<u8>) -> Self {
        Self { below, start, piece }
    }
}

impl Medium for Replaced {
    fn size(&self) -> u64 {
        self.below.size()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.below.read_at(offset, buffer)?;
        overlay(buffer, offset, &self.piece, self.start);
        Ok(())
    }
}

/// Puts what is common to both into `buffer`, which shows a medium from `offset` on: `piece` lies at `start` of the medium.
pub fn overlay(buffer: &mut [u8], offset: u64, piece: &[u8], start: u64) {
    let (from, to) = (start.max(offset), (start + piece.len() as u64).min(offset + buffer.len() as u64));
    if from < to {
        let place = |at: u64, base: u64| usize::try_from(at - base).unwrap_or(usize::MAX);
        buffer[place(from, offset)..place(to, offset)].copy_from_slice(&piece[place(from, start)..place(to, start)]);
    }
}

/// Returns the new place of a reader that is at `here` in something of `size` bytes.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] before the beginning.
pub fn seek(place: SeekFrom, here: u64, size: u64) -> io::Result<u64> {
    match place {
        SeekFrom::Start(place) => Some(place),
        SeekFrom::End(distance) => size.checked_add_signed(distance),
        SeekFrom::Current(distance) => here.checked_add_signed(distance),
    }
    .ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
pub mod testing {
    //! A medium in memory.

    use super::*;

    impl Medium for Vec<u8> {
        fn size(&self) -> u64 {
            self.len() as u64
        }

        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
            let start = usize::try_from(offset).unwrap();
            let source = self.get(start..start + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(source);
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(medium: &dyn Medium, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; length];
        medium.read_at(offset, &mut buffer).map(|()| buffer)
    }

    #[test]
    fn a_part_ends_where_it_ends() {
        let part = Part::new(Arc::new((0..100).collect::<Vec<u8>>()), 90, 50);
        assert_eq!(part.size(), 10);
        assert_eq!(bytes(&part, 8, 2).unwrap(), [98, 99]);
        assert!(bytes(&part, 9, 2).is_err() && bytes(&part, u64::MAX, 1).is_err());
    }

    #[test]
    fn a_replaced_piece_is_seen_through_any_window() {
        let medium = Replaced::new(Arc::new(vec![0_u8; 12]), 4, vec![1, 2, 3]);
        let whole = [0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 0, 0];
        for start in 0..12 {
            for end in start..=12 {
                let (offset, length) = (start as u64, end - start);
                assert_eq!(bytes(&medium, offset, length).unwrap(), whole[start..end], "{start}..{end}");
            }
        }
    }

    #[test]
    fn places_are_sought_from_both_ends() {
        assert_eq!(seek(SeekFrom::End(-2), 3, 10).unwrap(), 8);
        assert_eq!(seek(SeekFrom::Current(4), 3, 10).unwrap(), 7);
        assert!(seek(SeekFrom::Current(-4), 3, 10).is_err());
    }

    #[test]
    fn what_is_no_disk_is_told_in_one_sentence() {
        let directory = tempfile::tempdir().unwrap();
        let refused = |name: &str, content: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, content).unwrap();
            Disk::open(&path).map(drop).map_err(|error| error.to_string())
        };
        let mut erofs = vec![0; superblock::HEAD];
        erofs[1024..1028].copy_from_slice(&0xe0f5_e1e2_u32.to_le_bytes());
        let mut squashfs = vec![0; superblock::HEAD];
        squashfs[..4].copy_from_slice(b"hsqs");
        for (content, words) in [
            (&b""[..], "is empty; give an image of a disk"),
            (&squashfs, "is the image of a system (squashfs), not a disk; `initramfs-overlay disk"),
            (&erofs, "is the image of a system (EROFS), not a disk"),
            (b"070701000", "is an initramfs (cpio), not a disk; give the disk that it boots"),
            (&[0x1f, 0x8b, 8], "is packed data; unpack it"),
            (b"QFI\xfb", "(qcow2); `qemu-img convert"),
        ] {
            let error = refused("file", content).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(refused("file", &[0; 4096]), Ok(()));
        for (path, words) in [
            (directory.path(), "is a directory; --img-dir DIR"),
            (Path::new("/dev/null"), "/dev/null is a character device; give the block device"),
        ] {
            let error = Disk::open(path).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
