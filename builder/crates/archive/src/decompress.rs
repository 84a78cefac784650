//! The compressions that an initramfs may come in, told by their first bytes, and streaming readers for them. Each reader
//! takes one member, frame or stream and leaves what follows it in the source, because the next segment begins there.
//! Memory is bounded by [`MEMORY_MAX`], whatever the file says.

use std::io::{self, BufRead, Read};

use serde::Serialize;

use crate::compress::lz4_legacy;

/// The largest window or dictionary that a reader allocates, in bytes: the kernel's own limit for zstd (2^27,
/// `lib/decompress_unzstd.c`), and more than `xz -9` asks for.
pub const MEMORY_MAX: u64 = 1 << 27;

/// The compression of a segment of an initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// A cpio archive as it is.
    None,
    /// gzip.
    Gzip,
    /// bzip2.
    Bzip2,
    /// LZMA before xz.
    Lzma,
    /// xz.
    Xz,
    /// lzop's container of LZO: known, but not read here.
    Lzo,
    /// LZ4, the legacy frame.
    Lz4,
    /// LZ4's current frame, which the kernel refuses.
    #[serde(rename = "lz4-frame")]
    Lz4Frame,
    /// Zstandard.
    Zstd,
}

/// First bytes, longest first where one begins like another. The kernel looks at two bytes (`lib/decompress.c`); more of
/// them tell a damaged file from a lucky one.
const MAGICS: [(&[u8], Format); 11] = [
    (b"070701", Format::None),
    (b"070702", Format::None),
    (b"\x1f\x8b\x08", Format::Gzip),
    (b"BZh", Format::Bzip2),
    (b"\x5d\x00\x00", Format::Lzma),
    (b"\xfd7zXZ\x00", Format::Xz),
    (b"\x89LZO\x00\r\n\x1a\n", Format::Lzo),
    (b"\x02\x21\x4c\x18", Format::Lz4),
    (b"\x04\x22\x4d\x18", Format::Lz4Frame),
    (b"\x28\xb5\x2f\xfd", Format::Zstd),
    (b"\x1f\x9e\x08", Format::Gzip),
];

/// The number of leading bytes that [`Format::detect`] needs: those of the longest magic number.
pub const MAGIC_LENGTH: usize = 9;

impl Format {
    /// Tells the format by its first bytes.
    #[must_use]
    pub fn detect(head: &[u8]) -> Option<Self> {
        MAGICS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, format)| *format)
    }

    /// Returns its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Lzma => "lzma",
            Self::Xz => "xz",
            Self::Lzo => "lzo",
            Self::Lz4 => "lz4",
            Self::Lz4Frame => "lz4-frame",
            Self::Zstd => "zstd",
        }
    }

    /// Returns a reader that decompresses `source`, which begins with the magic number.
    ///
    /// # Errors
    /// Any error of the source; a broken header; [`io::ErrorKind::Unsupported`] for LZO and LZ4's current frame.
    pub fn decoder<'a, R: BufRead + 'a>(self, source: R) -> io::Result<Box<dyn Read + 'a>> {
        use liblzma::{bufread::XzDecoder, stream::Stream};
        Ok(match self {
            Self::None => Box::new(source),
            Self::Gzip => Box::new(flate2::bufread::GzDecoder::new(source)),
            Self::Bzip2 => Box::new(bzip2::bufread::BzDecoder::new(source)),
            Self::Lzma => Box::new(XzDecoder::new_stream(source, Stream::new_lzma_decoder(MEMORY_MAX)?)),
            Self::Xz => Box::new(XzDecoder::new_stream(source, Stream::new_stream_decoder(MEMORY_MAX, 0)?)),
            Self::Lz4 => Box::new(lz4_legacy::Decoder::new(source)?),
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(source)?.single_frame();
                decoder.window_log_max(MEMORY_MAX.ilog2())?;
                Box::new(decoder)
            }
            Self::Lzo => return Err(unsupported("LZO data: unpack it with `lzop -d` first")),
            Self::Lz4Frame => {
                return Err(unsupported(
                    "an LZ4 frame that the kernel does not read: make it with `lz4 -l` (legacy frame)",
                ));
            }
        })
    }
}

fn unsupported(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::Unsupported, reason)
}
