//! What bytes are read from: a disk or a part of one, and blocks that stand over it without being written to it. Nothing here
//! can write: the type has no method for it.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
};

use zerocopy::{FromBytes, IntoBytes};

/// Bytes at fixed places, for reading only.
pub trait Medium: Send + Sync {
    /// Its size in bytes.
    fn size(&self) -> u64;
    /// Fills `buffer` with what is at `offset`.
    ///
    /// # Errors
    /// What the system said; [`io::ErrorKind::UnexpectedEof`] past the end.
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
}

impl Disk {
    /// Opens it for reading.
    ///
    /// # Errors
    /// What the system said; [`io::ErrorKind::IsADirectory`] for a folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::open(path)?;
        if file.metadata()?.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // A block device has no length in its metadata, but an end.
        let size = file.seek(SeekFrom::End(0))?;
        Ok(Self { file, size })
    }
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
    /// `size` bytes of `whole` from `start` on, or as many as there are.
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
    /// `piece` stands over `below` at `start`.
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

/// A medium as the libraries want it: a reader with a place. What they try to write is refused.
#[derive(Debug)]
pub struct Stream {
    medium: Shared,
    place: u64,
}

impl Stream {
    /// From its beginning.
    pub fn new(medium: Shared) -> Self {
        Self { medium, place: 0 }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.medium.size().saturating_sub(self.place);
        let length = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.medium.read_at(self.place, &mut buffer[..length])?;
        self.place += length as u64;
        Ok(length)
    }
}

impl Seek for Stream {
    fn seek(&mut self, place: SeekFrom) -> io::Result<u64> {
        self.place = seek(place, self.place, self.medium.size())?;
        Ok(self.place)
    }
}

impl Write for Stream {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Where a reader at `here` in something of `size` bytes is to stand.
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
    fn a_stream_reads_seeks_and_refuses_to_write() {
        let mut stream = Stream::new(Arc::new((0..10).collect::<Vec<u8>>()));
        let mut buffer = [0; 4];
        assert_eq!(stream.seek(SeekFrom::End(-2)).unwrap(), 8);
        assert_eq!((stream.read(&mut buffer).unwrap(), buffer[..2].to_vec()), (2, vec![8, 9]));
        assert_eq!(stream.read(&mut buffer).unwrap(), 0);
        assert!(stream.seek(SeekFrom::Current(-11)).is_err());
        assert!(stream.write(&[1]).is_err());
    }
}
