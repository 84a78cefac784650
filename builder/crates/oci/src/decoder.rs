//! Compressed streams as layers and archives are: unpacked by what their first bytes say.

use std::io::{self, BufRead, BufReader, Read};

use archive::decompress::MEMORY_MAX;

/// The plain bytes of a stream.
pub(super) type Source<'a> = Box<dyn BufRead + 'a>;

/// The compression of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    None,
    Gzip,
    Zstd,
    Xz,
    Bzip2,
}

impl Packing {
    /// Tells it by the first bytes.
    pub(super) fn detect(head: &[u8]) -> Self {
        match head {
            [0x1f, 0x8b, ..] => Self::Gzip,
            // A frame, or one to be skipped, which comes first in what several programs write.
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Xz,
            // What follows the block size is the beginning of a block, or of the end of an empty stream.
            [b'B', b'Z', b'h', b'1'..=b'9', 0x31 | 0x17, ..] => Self::Bzip2,
            _ => Self::None,
        }
    }
}

/// Unpacks `packed`: all members of gzip, all frames of zstd, all streams of xz and bzip2. What is not compressed is as it is.
pub(super) fn decoder<'a>(mut packed: impl BufRead + 'a) -> io::Result<Source<'a>> {
    use liblzma::{bufread::XzDecoder, stream};
    fn buffered<'a>(reader: impl Read + 'a) -> Source<'a> {
        Box::new(BufReader::with_capacity(64 << 10, reader))
    }
    Ok(match Packing::detect(packed.fill_buf()?) {
        Packing::Gzip => buffered(flate2::bufread::MultiGzDecoder::new(packed)),
        Packing::Zstd => {
            let mut decoder = zstd::Decoder::with_buffer(packed)?;
            decoder.window_log_max(MEMORY_MAX.ilog2())?;
            buffered(decoder)
        }
        Packing::Xz => {
            let stream = stream::Stream::new_stream_decoder(MEMORY_MAX, stream::CONCATENATED)?;
            buffered(XzDecoder::new_stream(packed, stream))
        }
        Packing::Bzip2 => buffered(bzip2::bufread::MultiBzDecoder::new(packed)),
        Packing::None => Box::new(packed),
    })
}
