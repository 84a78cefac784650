//! The ways to compress an initramfs that the kernel can undo, as streaming writers. Each is set up so that any kernel
//! with the matching `CONFIG_RD_*` takes it (`lib/decompress*.c`) and that the same bytes in give the same bytes out on
//! every machine: no names, no times, and threads only where they leave no trace.

use std::io::{self, BufWriter, Write};

pub mod gzip;
pub mod lz4_legacy;

/// The compression of an initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// DEFLATE at level 9: every kernel takes it
    #[default]
    Gzip,
    /// Zstandard at level 19: quick to unpack, Linux 5.9 and later
    Zstd,
    /// LZMA2 with CRC32: the smallest, slow to unpack
    Xz,
    /// LZ4 in its legacy frame: the quickest to unpack, the largest
    Lz4,
    /// Not compressed at all
    None,
}

/// 2^23 bytes: what level 19 uses by itself, written down so that it stays. The kernel takes windows up to 2^27 and
/// allocates as much memory as the window says (`lib/decompress_unzstd.c`).
const ZSTD_WINDOW_LOG: u32 = 23;

/// The kernel's own build uses 1 MiB (`scripts/Makefile.lib`, `--lzma2=dict=1MiB`): it allocates this much to unpack.
const XZ_DICTIONARY: u32 = 1 << 20;

impl Compression {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Gzip, Self::Zstd, Self::Xz, Self::Lz4, Self::None];

    /// Returns the suffix of a file name, without the dot.
    #[must_use]
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Gzip => "gz",
            Self::Zstd => "zst",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::None => "cpio",
        }
    }

    /// Returns its name on the command line and in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Lz4 => "lz4",
            Self::None => "none",
        }
    }

    /// Returns a writer that compresses into `sink`, gzip on all processors.
    ///
    /// # Errors
    /// An error of the compressor's set-up: it has no memory.
    pub fn encoder<W: Write + Send + 'static>(self, sink: W) -> io::Result<Encoder<W>> {
        Ok(Encoder(match self {
            Self::Gzip => Inner::Gzip(gzip::Encoder::new(sink)?),
            Self::Zstd => {
                let mut encoder = zstd::Encoder::new(sink, 19)?;
                encoder.window_log(ZSTD_WINDOW_LOG)?;
                encoder.include_checksum(true)?;
                Inner::Zstd(encoder)
            }
            Self::Xz => Inner::Xz(liblzma::write::XzEncoder::new_stream(sink, xz_stream()?)),
            Self::Lz4 => Inner::Lz4(lz4_legacy::Encoder::new(sink)),
            Self::None => Inner::None(BufWriter::with_capacity(64 * 1024, sink)),
        }))
    }
}

/// Returns an xz encoder with CRC32, because the kernel's reader knows no other check (`lib/xz/xz_dec_stream.c`), and no filter for machine
/// code, because a kernel has only the one for its own architecture, if any.
fn xz_stream() -> io::Result<liblzma::stream::Stream> {
    use liblzma::stream::{Check, Filters, LzmaOptions, PRESET_EXTREME, Stream};
    let mut options = LzmaOptions::new_preset(9 | PRESET_EXTREME)?;
    options.dict_size(XZ_DICTIONARY);
    Ok(Stream::new_stream_encoder(Filters::new().lzma2(&options), Check::Crc32)?)
}

/// A compressing writer. What is not finished is not whole.
pub struct Encoder<W: Write>(Inner<W>);

enum Inner<W: Write> {
    Gzip(gzip::Encoder<W>),
    Zstd(zstd::Encoder<'static, W>),
    Xz(liblzma::write::XzEncoder<W>),
    Lz4(lz4_legacy::Encoder<W>),
    None(BufWriter<W>),
}

impl<W: Write> Encoder<W> {
    /// Writes what is left and gives the sink back.
    ///
    /// # Errors
    /// Any error of the sink.
    pub fn finish(self) -> io::Result<W> {
        match self.0 {
            Inner::Gzip(encoder) => encoder.finish(),
            Inner::Zstd(encoder) => encoder.finish(),
            Inner::Xz(encoder) => encoder.finish(),
            Inner::Lz4(encoder) => encoder.finish(),
            Inner::None(writer) => writer.into_inner().map_err(io::IntoInnerError::into_error),
        }
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::Gzip(encoder) => encoder.write(bytes),
            Inner::Zstd(encoder) => encoder.write(bytes),
            Inner::Xz(encoder) => encoder.write(bytes),
            Inner::Lz4(encoder) => encoder.write(bytes),
            Inner::None(writer) => writer.write(bytes),
        }
    }

    /// Does nothing: a flush in the middle of a stream makes it larger and would let the output depend on who flushes
    /// when. [`Self::finish`] writes everything.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
