//! LZ4's legacy frame, the only one the kernel reads (`lib/decompress_unlz4.c`): a magic number, then blocks, each with
//! its compressed length in four bytes. Every block holds 8 MiB but the last; nothing marks the end.
//!
//! The libraries compress and decompress the blocks: the C library for its high compression (lz4_flex's output is a fifth larger),
//! lz4_flex, which is safe Rust, for files from anywhere. The frame is parsed here, because lz4_flex's `FrameDecoder` refuses a block
//! that did not compress and a second frame, both of which the kernel takes, and takes a length that is cut off for the end.

use std::io::{self, Read, Write};

/// The magic number of a legacy frame, little-endian on disk.
pub const MAGIC: u32 = 0x184C_2102;

/// The size of a block's content, in bytes; the last block may be shorter.
const BLOCK: usize = 8 << 20;

/// The longest block can get by compressing what cannot be compressed (`LZ4_COMPRESSBOUND`).
const COMPRESSED_MAX: usize = BLOCK + BLOCK / 255 + 16;

/// LZ4's best level. It costs time here, none where it is unpacked.
const LEVEL: i32 = 12;

/// Writes a legacy frame. Holds one block.
pub struct Encoder<W> {
    sink: W,
    block: Vec<u8>,
    begun: bool,
}

impl<W: Write> Encoder<W> {
    /// Begins a frame into `sink`; nothing is written yet.
    pub fn new(sink: W) -> Self {
        Self { sink, block: Vec::new(), begun: false }
    }

    /// Writes the last block and gives the sink back.
    ///
    /// # Errors
    /// Any error of the sink.
    pub fn finish(mut self) -> io::Result<W> {
        if !self.block.is_empty() || !self.begun {
            self.write_block()?;
        }
        Ok(self.sink)
    }

    fn write_block(&mut self) -> io::Result<()> {
        if !self.begun {
            self.sink.write_all(&MAGIC.to_le_bytes())?;
            self.begun = true;
        }
        if !self.block.is_empty() {
            let mode = lz4::block::CompressionMode::HIGHCOMPRESSION(LEVEL);
            let compressed = lz4::block::compress(&self.block, Some(mode), false)?;
            let length = u32::try_from(compressed.len()).map_err(io::Error::other)?;
            self.sink.write_all(&length.to_le_bytes())?;
            self.sink.write_all(&compressed)?;
            self.block.clear();
        }
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(&bytes[..taken]);
        if self.block.len() == BLOCK {
            self.write_block()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A reader of legacy frames to the end of `source`. Holds one block.
///
/// Nothing marks a frame's end, so whatever follows it must be another frame or zero padding: the kernel's reader takes
/// the next four bytes for a length, too.
pub struct Decoder<R> {
    source: R,
    block: Vec<u8>,
    position: usize,
    ended: bool,
}

impl<R: Read> Decoder<R> {
    /// Takes the magic number from `source`.
    ///
    /// # Errors
    /// Any error of the source; [`io::ErrorKind::InvalidData`] if the magic number is another one.
    pub fn new(mut source: R) -> io::Result<Self> {
        let mut magic = [0; 4];
        source.read_exact(&mut magic)?;
        if u32::from_le_bytes(magic) != MAGIC {
            return Err(invalid("not an LZ4 legacy frame"));
        }
        Ok(Self { source, block: Vec::new(), position: 0, ended: false })
    }

    fn read_block(&mut self) -> io::Result<()> {
        self.block.clear();
        self.position = 0;
        let mut header = Vec::with_capacity(4);
        self.source.by_ref().take(4).read_to_end(&mut header)?;
        let length = match header[..] {
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            // Padding may be of any length.
            _ if header.iter().all(|&byte| byte == 0) => 0,
            _ => return Err(cut_off("an LZ4 block's length is cut off")),
        };
        match length {
            0 => self.ended = true,
            // Another frame.
            MAGIC => {}
            _ if length as usize > COMPRESSED_MAX => {
                return Err(invalid("what follows the LZ4 data is neither a block nor another frame"));
            }
            _ => self.unpack(u64::from(length))?,
        }
        Ok(())
    }

    fn unpack(&mut self, length: u64) -> io::Result<()> {
        let mut compressed = Vec::new();
        self.source.by_ref().take(length).read_to_end(&mut compressed)?;
        if (compressed.len() as u64) < length {
            return Err(cut_off("an LZ4 block is cut off"));
        }
        self.block.resize(BLOCK, 0);
        let unpacked = lz4_flex::block::decompress_into(&compressed, &mut self.block).map_err(invalid)?;
        self.block.truncate(unpacked);
        Ok(())
    }
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn cut_off(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, reason)
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.block.len() && !self.ended && !buffer.is_empty() {
            if let Err(error) = self.read_block() {
                // Half a block is no data.
                self.block.clear();
                return Err(error);
            }
        }
        let length = buffer.len().min(self.block.len() - self.position);
        buffer[..length].copy_from_slice(&self.block[self.position..self.position + length]);
        self.position += length;
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        Decoder::new(bytes)?.read_to_end(&mut plain).map(|_| plain)
    }

    #[test]
    fn a_block_that_does_not_compress_is_longer_than_its_content() {
        let mut state = 1_u64;
        let next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        let noise: Vec<u8> = std::iter::repeat_with(next).take(BLOCK + 1).collect();
        let packed = pack(&noise);
        assert!(packed.len() > BLOCK + 1024);
        assert!(unpack(&packed).unwrap() == noise);
    }

    #[test]
    fn frames_padding_and_ends() {
        let one = pack(b"one");
        let kind = |bytes: &[u8]| unpack(bytes).map_err(|error| error.kind());
        let joined = |tail: &[u8]| [&one, tail].concat();
        assert_eq!(kind(&joined(&pack(b" two"))).unwrap(), b"one two");
        assert_eq!(kind(&joined(&[0; 7])).unwrap(), b"one");
        assert_eq!(kind(&joined(&[0; 2])).unwrap(), b"one");
        assert_eq!(kind(&joined(&[7, 0])), Err(io::ErrorKind::UnexpectedEof));
        assert_eq!(kind(&one[..one.len() - 1]), Err(io::ErrorKind::UnexpectedEof));
        // The sign of a block that is stored, in LZ4's current frame.
        assert_eq!(kind(&joined(&[1, 0, 0, 0x80, b'x'])), Err(io::ErrorKind::InvalidData));
        assert_eq!(kind(b"\x04\x22\x4d\x18").unwrap_err(), io::ErrorKind::InvalidData);
    }
}
