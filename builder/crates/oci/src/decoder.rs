//! Compressed streams as layers and archives are: unpacked by what their first bytes say.

use std::io::{self, BufRead, BufReader, Read};

use archive::decompress::MEMORY_MAX;
use flate2::bufread::GzDecoder;

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

/// The bytes that may follow the last member of gzip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behind {
    /// Nothing, as Go's programs have it, container engines among them.
    Nothing,
    /// Zeros, which gzip and so GNU tar skip: tapes and disks have whole blocks.
    Zeros,
}

/// The members of gzip, one after the other.
struct Gzip<R> {
    /// `None` behind the last one.
    member: Option<GzDecoder<R>>,
    behind: Behind,
}

impl<R: BufRead> Read for Gzip<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(mut rest) = self.member.take().map(GzDecoder::into_inner) else { break };
            let are_zeros = self.behind == Behind::Zeros && skip_zeros(&mut rest)?;
            match rest.fill_buf()? {
                [] => {}
                [0x1f, ..] if !are_zeros => self.member = Some(GzDecoder::new(rest)),
                _ => {
                    let reason = "bytes that are not gzip follow the end of its gzip stream";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                }
            }
        }
        Ok(0)
    }
}

/// Reads as long as there are zeros; returns true where there is one.
fn skip_zeros(reader: &mut impl BufRead) -> io::Result<bool> {
    let mut are_some = false;
    loop {
        let bytes = reader.fill_buf()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let is_end = zeros < bytes.len() || bytes.is_empty();
        reader.consume(zeros);
        are_some |= zeros > 0;
        if is_end {
            return Ok(are_some);
        }
    }
}

/// Unpacks `packed`: all members of gzip, all frames of zstd, all streams of xz and bzip2. What is not compressed is as it is.
pub(super) fn decoder<'a>(mut packed: impl BufRead + 'a, behind: Behind) -> io::Result<Source<'a>> {
    use liblzma::{bufread::XzDecoder, stream};
    fn buffered<'a>(reader: impl Read + 'a) -> Source<'a> {
        Box::new(BufReader::with_capacity(64 << 10, reader))
    }
    Ok(match Packing::detect(packed.fill_buf()?) {
        Packing::Gzip => buffered(Gzip { member: Some(GzDecoder::new(packed)), behind }),
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn only_zeros_may_follow_gzip_and_only_in_archives() {
        let member = |text: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            encoder.finish().unwrap()
        };
        let read = |packed: &[u8], behind| {
            let mut text = String::new();
            // Few bytes at once.
            let mut source = decoder(BufReader::with_capacity(16, packed), behind)?;
            source.read_to_string(&mut text).map(|_| text)
        };
        let both = [member("one, "), member(""), member("two")].concat();
        let zeros = [both.as_slice(), &[0; 3000]].concat();
        let garbage = [zeros.as_slice(), b"x"].concat();
        for (packed, of_layer, of_archive) in [
            (&both, true, true),
            (&zeros, false, true),
            (&garbage, false, false),
            (&[both.as_slice(), b"x"].concat(), false, false),
        ] {
            for (behind, is_good) in [(Behind::Nothing, of_layer), (Behind::Zeros, of_archive)] {
                match read(packed, behind) {
                    Ok(text) => assert!(is_good && text == "one, two", "{behind:?}: {text}"),
                    Err(error) => assert!(!is_good && error.to_string().contains("follow the end"), "{error}"),
                }
            }
        }
        // Neither gzip nor anybody else reads on behind zeros, or what is cut off.
        assert!(read(&[zeros.as_slice(), &both].concat(), Behind::Zeros).is_err());
        let cut = both.get(..both.len() - 1).unwrap();
        assert_eq!(read(cut, Behind::Zeros).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}
