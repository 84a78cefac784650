//! gzip on all processors: blocks of a fixed size, each compressed with the end of the one before as its dictionary, put one after
//! another as a single member, as RFC 1951 allows: each block ends with an empty stored one, at a whole byte. So the bytes depend on
//! what goes in and on nothing of the machine, and every reader of gzip reads them, the kernel's among them.

use std::{
    collections::VecDeque,
    io::{self, Write},
    num::NonZero,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, Sender, SyncSender},
    },
    thread,
};

use flate2::{Compress, Compression, FlushCompress, Status};

/// What one thread compresses at a time, in bytes. Part of the format: with another number other bytes come out.
pub const BLOCK: usize = 512 << 10;
/// How far DEFLATE looks back, in bytes.
const WINDOW: usize = 32 << 10;
/// More threads than this wait for the one that reads, and each has two megabytes.
const THREADS_MAX: usize = 8;
/// No name, no time, the best compression, an unknown system (RFC 1952).
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];

type Compressed = io::Result<Vec<u8>>;

struct Job {
    block: Vec<u8>,
    dictionary: Vec<u8>,
    is_last: bool,
    done: SyncSender<Compressed>,
}

/// A writer that compresses into `W`. What is not finished is not whole.
pub struct Encoder<W: Write> {
    sink: W,
    block: Vec<u8>,
    dictionary: Vec<u8>,
    sum: crc32fast::Hasher,
    length: u64,
    jobs: Sender<Job>,
    /// In the order of the blocks.
    pending: VecDeque<Receiver<Compressed>>,
    pending_max: usize,
}

impl<W: Write> Encoder<W> {
    /// An encoder with a thread for each processor.
    ///
    /// # Errors
    /// What the system or the sink said.
    pub fn new(sink: W) -> io::Result<Self> {
        Self::with_threads(sink, thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX))
    }

    fn with_threads(mut sink: W, threads: usize) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = queue.clone();
            // It ends when the encoder does, with whom the channel goes.
            thread::Builder::new().name("gzip".to_owned()).spawn(move || {
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                while let Ok(job) = next() {
                    // Nobody waits where the encoder was dropped.
                    let _ = job.done.send(compress(&job));
                }
            })?;
        }
        sink.write_all(&HEAD)?;
        Ok(Self {
            sink,
            block: Vec::with_capacity(BLOCK),
            dictionary: Vec::new(),
            sum: crc32fast::Hasher::new(),
            length: 0,
            jobs,
            pending: VecDeque::new(),
            pending_max: 2 * threads,
        })
    }

    fn submit(&mut self, is_last: bool) -> io::Result<()> {
        while self.pending.len() >= self.pending_max {
            self.write_first()?;
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        self.sum.update(&block);
        self.length += block.len() as u64;
        let window = block.get(block.len().saturating_sub(WINDOW)..).unwrap_or_default().to_vec();
        let dictionary = std::mem::replace(&mut self.dictionary, window);
        let (done, result) = mpsc::sync_channel(1);
        self.pending.push_back(result);
        self.jobs.send(Job { block, dictionary, is_last, done }).map_err(|_| gone())
    }

    fn write_first(&mut self) -> io::Result<()> {
        let Some(result) = self.pending.pop_front() else { return Ok(()) };
        self.sink.write_all(&result.recv().map_err(|_| gone())??)
    }

    /// Writes what is left and gives the sink back.
    ///
    /// # Errors
    /// What the sink said.
    pub fn finish(mut self) -> io::Result<W> {
        self.submit(true)?;
        while !self.pending.is_empty() {
            self.write_first()?;
        }
        // RFC 1952: the length modulo 2^32.
        let tail = [self.sum.clone().finalize().to_le_bytes(), (self.length as u32).to_le_bytes()];
        self.sink.write_all(tail.as_flattened())?;
        Ok(self.sink)
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Only where there is more: the last block is not known before.
        if self.block.len() == BLOCK && !bytes.is_empty() {
            self.submit(false)?;
        }
        let length = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    /// Does nothing, as for the other encoders.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gone() -> io::Error {
    io::Error::other("a thread that compresses has ended")
}

fn compress(job: &Job) -> Compressed {
    let mut deflate = Compress::new(Compression::best(), false);
    if !job.dictionary.is_empty() {
        deflate.set_dictionary(&job.dictionary).map_err(io::Error::other)?;
    }
    let flush = if job.is_last { FlushCompress::Finish } else { FlushCompress::Sync };
    let mut packed = Vec::with_capacity(job.block.len() / 2 + 1024);
    loop {
        let read = usize::try_from(deflate.total_in()).unwrap_or(usize::MAX);
        let rest = job.block.get(read..).unwrap_or_default();
        let status = deflate.compress_vec(rest, &mut packed, flush).map_err(io::Error::other)?;
        // With room left, all of it has come out (zlib.h, deflate).
        if status == Status::StreamEnd || (!job.is_last && packed.len() < packed.capacity()) {
            return Ok(packed);
        }
        packed.reserve(packed.capacity() / 2 + 1024);
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

    /// Words in an order that does not repeat, and noise that does not compress.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut bytes = Vec::with_capacity(length + 8);
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

    #[test]
    fn one_member_that_is_the_same_on_every_machine() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, 5 * BLOCK / 2] {
            let bytes = sample(length);
            let packed = pack(&bytes, 1, 1 << 20);
            for (threads, piece) in [(2, 1000), (3, BLOCK), (8, 7777)] {
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
    fn blocks_cost_next_to_nothing() {
        let bytes = sample(8 * BLOCK);
        let mut whole = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
        whole.write_all(&bytes).unwrap();
        let whole = whole.finish().unwrap();
        let packed = pack(&bytes, 2, BLOCK);
        assert!(packed.len() < whole.len() + whole.len() / 500, "{} and {}", packed.len(), whole.len());
        // What is one block is what one thread makes of it.
        let mut alone = flate2::write::GzEncoder::new(Vec::new(), Compression::best());
        alone.write_all(&bytes[..BLOCK]).unwrap();
        assert!(alone.finish().unwrap() == pack(&bytes[..BLOCK], 2, BLOCK));
    }

    #[test]
    fn a_sink_that_fails_is_told() {
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
        let mut encoder = Encoder::with_threads(Full(100_000), 2).unwrap();
        let written = encoder.write_all(&sample(20 * BLOCK)).and_then(|()| encoder.finish().map(drop));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
