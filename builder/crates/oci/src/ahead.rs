//! A layer that a thread of its own unpacks ahead of its reader, which meanwhile hashes or compresses what came before.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Cursor, Read, Take},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::{self, JoinHandle},
};

use super::{
    blob::{Blob, Digest, Hashed},
    decoder::{Behind, decoder},
};
use crate::Result;

/// Bytes that are handed over together.
const PIECE: usize = 128 << 10;
/// Pieces that wait for the reader at most.
const WAITING: usize = 4;

/// The plain bytes of a layer.
pub(super) struct Ahead {
    pieces: Receiver<io::Result<Vec<u8>>>,
    piece: Cursor<Vec<u8>>,
    thread: JoinHandle<Packed>,
}

/// A layer's own bytes, once they were read.
pub(super) struct Packed {
    /// Their number; none where they could not all be read.
    pub(super) count: Option<u64>,
    /// The wanted digest and theirs, where it is another.
    pub(super) difference: Option<(Digest, Digest)>,
}

impl Ahead {
    /// Begins to unpack a layer. Its own bytes are compared with its digest where `is_checked`.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub(super) fn new(blob: &Blob, behind: Behind, is_checked: bool) -> Result<Self> {
        let packed = if is_checked { blob.open()? } else { Hashed::new(blob.place.open()?, None) };
        let (sender, pieces) = sync_channel(WAITING);
        let thread = thread::spawn(move || unpack(packed, behind, &sender, is_checked));
        Ok(Self { pieces, piece: Cursor::default(), thread })
    }

    /// Stops unpacking, and reads the rest of the layer's own bytes where they are checked.
    pub(super) fn finish(self) -> Packed {
        drop(self.pieces);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Unpacks until the end, an error, or nobody reads any more.
fn unpack(
    mut packed: Hashed<Take<File>>,
    behind: Behind,
    sender: &SyncSender<io::Result<Vec<u8>>>,
    is_checked: bool,
) -> Packed {
    if let Err(error) = send_all(&mut packed, behind, sender) {
        let _ = sender.send(Err(error));
    }
    let is_read = is_checked && packed.drain().is_ok();
    Packed { count: is_read.then_some(packed.count), difference: packed.difference() }
}

fn send_all(packed: &mut impl Read, behind: Behind, sender: &SyncSender<io::Result<Vec<u8>>>) -> io::Result<()> {
    let mut plain = decoder(BufReader::with_capacity(64 << 10, packed), behind)?;
    loop {
        let mut piece = Vec::with_capacity(PIECE);
        let read = plain.by_ref().take(PIECE as u64).read_to_end(&mut piece);
        let is_end = piece.is_empty();
        if is_end || sender.send(Ok(piece)).is_err() {
            return read.map(drop);
        }
        read?;
    }
}

impl BufRead for Ahead {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.position() == self.piece.get_ref().len() as u64
            && let Ok(piece) = self.pieces.recv()
        {
            self.piece = Cursor::new(piece?);
        }
        self.piece.fill_buf()
    }

    fn consume(&mut self, length: usize) {
        self.piece.consume(length);
    }
}

impl Read for Ahead {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::blob::Place;

    fn blob(directory: &tempfile::TempDir, bytes: &[u8]) -> Blob {
        let path = directory.path().join("layer");
        std::fs::write(&path, bytes).unwrap();
        Blob { digest: Some(Digest::of(bytes)), place: Place::file(path).unwrap() }
    }

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn bytes_come_as_they_are_packed() {
        let directory = tempfile::tempdir().unwrap();
        for length in [0, 1, PIECE - 1, PIECE, PIECE + 1, 20 * PIECE + 7] {
            let plain: Vec<u8> = (0..length).map(|number| (number % 251) as u8).collect();
            for packed in [plain.clone(), gzip(&plain)] {
                let mut ahead = Ahead::new(&blob(&directory, &packed), Behind::Nothing, true).unwrap();
                let mut read = Vec::new();
                ahead.read_to_end(&mut read).unwrap();
                assert!(read == plain, "{length}");
                let seen = ahead.finish();
                assert_eq!((seen.count, seen.difference), (Some(packed.len() as u64), None));
            }
        }
    }

    #[test]
    fn all_is_hashed_though_nobody_reads_to_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let packed = gzip(&vec![7; 50 * PIECE]);
        let mut blob = blob(&directory, &packed);
        let mut ahead = Ahead::new(&blob, Behind::Nothing, true).unwrap();
        ahead.read_exact(&mut [0; 10]).unwrap();
        let seen = ahead.finish();
        assert_eq!((seen.count, seen.difference), (Some(packed.len() as u64), None));
        blob.digest = Some(Digest::of(b"another"));
        assert!(Ahead::new(&blob, Behind::Nothing, true).unwrap().finish().difference.is_some());
        assert!(
            Ahead::new(&blob, Behind::Nothing, false).unwrap().finish().difference.is_none(),
            "it was checked before"
        );
    }

    #[test]
    fn an_error_comes_behind_what_is_good() {
        let directory = tempfile::tempdir().unwrap();
        let packed = gzip(&(0..10 * PIECE).map(|number| ((number * number) >> 5) as u8).collect::<Vec<u8>>());
        let mut ahead = Ahead::new(&blob(&directory, &packed[..packed.len() / 2]), Behind::Nothing, true).unwrap();
        let mut read = Vec::new();
        assert_eq!(ahead.read_to_end(&mut read).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(read.len() > PIECE, "{}", read.len());
    }
}
