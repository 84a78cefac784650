//! gzip on all processors: one member in blocks of a fixed size, so that the bytes depend on the input alone.

use std::{
    io::{self, Write},
    num::NonZero,
    thread,
};

use gzp::{
    GzpError, ZWriter,
    deflate::Gzip,
    par::compress::{ParCompress, ParCompressBuilder},
};

/// Bytes that one thread compresses at a time. Another number gives another archive: smaller blocks compress worse, larger ones keep
/// fewer processors busy.
pub const BLOCK: usize = 1 << 20;
/// The most threads: each holds a few blocks in memory.
const THREADS_MAX: usize = 8;

/// A writer that compresses into `W`.
pub struct Encoder<W: Write>(Option<ParCompress<'static, Gzip, W>>);

impl<W: Write + Send + 'static> Encoder<W> {
    /// Returns an encoder with a thread for each processor.
    ///
    /// # Errors
    /// A block size or a number of threads that the library refuses, which these are not.
    pub fn new(sink: W) -> io::Result<Self> {
        Self::with_threads(sink, thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX))
    }

    fn with_threads(sink: W, threads: usize) -> io::Result<Self> {
        let builder = ParCompressBuilder::new().compression_level(flate2::Compression::best());
        let builder = builder.buffer_size(BLOCK).and_then(|builder| builder.num_threads(threads)).map_err(plain)?;
        Ok(Self(Some(builder.from_writer(sink))))
    }
}

impl<W: Write> Encoder<W> {
    /// Writes the last block and the trailer, and returns the sink.
    ///
    /// # Errors
    /// An error of the sink.
    pub fn finish(mut self) -> io::Result<W> {
        self.0.take().ok_or_else(broken)?.finish().map_err(plain)
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.as_mut().ok_or_else(broken)?.write(bytes);
        if written.is_err() {
            // It panics where it is used again.
            self.0 = None;
        }
        written
    }

    /// Does nothing, as for the other encoders.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Drop for Encoder<W> {
    /// Stops the threads of an encoder that was not finished. Left to itself, the library panics where the sink fails now.
    fn drop(&mut self) {
        let _ = self.0.take().map(|mut encoder| encoder.finish());
    }
}

fn broken() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "the gzip encoder failed before")
}

/// Returns the sink's own error, whose kind callers look at.
fn plain(error: GzpError) -> io::Error {
    match error {
        GzpError::Io(error) => error,
        error => io::Error::other(error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn pack(bytes: &[u8], threads: usize, piece: usize) -> Vec<u8> {
        let mut encoder = Encoder::with_threads(Vec::new(), threads).unwrap();
        bytes.chunks(piece).for_each(|piece| encoder.write_all(piece).unwrap());
        encoder.finish().unwrap()
    }

    fn pack_alone(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Returns words in an order that does not repeat, among noise that does not compress.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut bytes = Vec::with_capacity(length + 16);
        while bytes.len() < length {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match state >> 30 {
                0 => bytes.extend(state.to_le_bytes()),
                _ => bytes.extend([&b"initramfs"[..], b" overlay ", b"of the"][(state >> 24) as usize % 3]),
            }
        }
        bytes.truncate(length);
        bytes
    }

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        std::iter::repeat_with(next).take(length).collect()
    }

    #[test]
    fn one_member_that_is_the_same_on_every_machine() {
        let lengths = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK / 2];
        for bytes in lengths.map(sample).into_iter().chain([noise(5 * BLOCK / 2)]) {
            let length = bytes.len();
            let packed = pack(&bytes, 1, BLOCK);
            for (threads, piece) in [(2, 1000), (3, BLOCK), (8, 7777), (5, usize::MAX)] {
                assert!(pack(&bytes, threads, piece) == packed, "{length} bytes by {threads} threads");
            }
            // A reader of one member finds all of it, and its sum is right.
            let mut decoder = flate2::bufread::GzDecoder::new(packed.as_slice());
            let mut plain = Vec::new();
            decoder.read_to_end(&mut plain).unwrap();
            assert!(plain == bytes && decoder.into_inner().is_empty(), "{length}");
        }
    }

    #[test]
    fn the_header_has_no_name_time_or_system() {
        // RFC 1952, 2.3: deflate, no flags, no time, best compression, unknown system.
        assert_eq!(pack(b"x", 1, 1)[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255]);
    }

    #[test]
    fn blocks_cost_next_to_nothing() {
        let bytes = sample(8 * BLOCK);
        let (whole, packed) = (pack_alone(&bytes), pack(&bytes, 2, BLOCK));
        assert!(packed.len() < whole.len() + whole.len() / 500, "{} and {}", packed.len(), whole.len());
        assert!(pack(&bytes[..BLOCK], 2, BLOCK) == pack_alone(&bytes[..BLOCK]), "one block");
    }

    #[test]
    fn a_sink_that_fails_is_told() {
        #[derive(Debug)]
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let encoder = |capacity| Encoder::with_threads(Full(capacity), 2).unwrap();
        let mut early = encoder(100_000);
        assert_eq!(early.write_all(&sample(40 * BLOCK)).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(early.write(b"more").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(early.finish().unwrap_err().kind(), io::ErrorKind::BrokenPipe);

        let mut late = encoder(10);
        late.write_all(b"less than a block").unwrap();
        assert_eq!(late.finish().unwrap_err().kind(), io::ErrorKind::StorageFull);

        let mut dropped = encoder(10);
        dropped.write_all(b"less than a block").unwrap();
        drop(dropped);
    }
}
