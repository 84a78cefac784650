//! A header block, parsed as containerd, moby, umoci and GNU tar parse it. The magic alone determines the format: writers differ in the
//! version field, and readers ignore it. A block of an unknown format is an error, because reading it as the oldest format would
//! silently drop the prefix of its name and its device numbers.

use tar::EntryType;

use super::sparse::Piece;

/// A block, in bytes.
pub(super) const BLOCK: usize = 512;

/// A layout of the fields behind the link's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// The format before POSIX: no prefix and no device numbers.
    V7,
    /// POSIX, with PAX records or without.
    Ustar,
    /// Jörg Schilling's star: POSIX with a shorter prefix and two more times.
    Star,
    /// GNU tar's own, without a prefix.
    Gnu,
}

/// A header whose checksum is right.
#[derive(Debug, Clone)]
pub(super) struct Header {
    block: [u8; BLOCK],
    format: Format,
}

/// Fields by their first byte and length (`tar(5)`).
const NAME: (usize, usize) = (0, 100);
const MODE: (usize, usize) = (100, 8);
const UID: (usize, usize) = (108, 8);
const GID: (usize, usize) = (116, 8);
const SIZE: (usize, usize) = (124, 12);
const MTIME: (usize, usize) = (136, 12);
const CHECKSUM: (usize, usize) = (148, 8);
const KIND: usize = 156;
const LINK: (usize, usize) = (157, 100);
const MAGIC: (usize, usize) = (257, 8);
const MAJOR: (usize, usize) = (329, 8);
const MINOR: (usize, usize) = (337, 8);
const PREFIX: (usize, usize) = (345, 155);
const STAR_PREFIX: (usize, usize) = (345, 131);
const STAR_TIMES: (usize, usize) = (476, 24);
const STAR_TRAILER: (usize, usize) = (508, 4);
const GNU_ATIME: (usize, usize) = (345, 12);
const GNU_CTIME: (usize, usize) = (357, 12);
/// A sparse file's first pieces, whether more blocks of them follow, and the file's size with its holes.
const GNU_PIECES: (usize, usize) = (386, 96);
const GNU_EXTENDED: usize = 482;
const GNU_REAL_SIZE: (usize, usize) = (483, 12);
/// The same in a block that continues the list.
const MORE_PIECES: (usize, usize) = (0, 504);
const MORE_EXTENDED: usize = 504;
const PIECE: usize = 24;

impl Header {
    /// Reads a block that is not all zeros.
    ///
    /// # Errors
    /// A wrong checksum, or an unknown format.
    pub(super) fn parse(block: [u8; BLOCK]) -> Result<Self, String> {
        let mut header = Self { block, format: Format::V7 };
        // The sum of all bytes with spaces in the place of the sum itself (POSIX, pax, ustar interchange format). Old programs added
        // signed bytes, and every reader takes both.
        let blanked = || {
            let (start, length) = CHECKSUM;
            (0..BLOCK)
                .zip(&block)
                .map(move |(at, byte)| if (start..start + length).contains(&at) { b' ' } else { *byte })
        };
        let unsigned: i64 = blanked().map(i64::from).sum();
        let signed: i64 = blanked().map(|byte| i64::from(byte.cast_signed())).sum();
        if !number(header.field(CHECKSUM)).is_some_and(|sum| sum == unsigned || sum == signed) {
            return Err("a header after it has a wrong checksum: the layer is damaged, or not a tar archive".to_owned());
        }
        header.format = match header.field(MAGIC) {
            [b'u', b's', b't', b'a', b'r', 0, ..] if header.field(STAR_TRAILER) == b"tar\0" => Format::Star,
            [b'u', b's', b't', b'a', b'r', 0, ..] => Format::Ustar,
            b"ustar  \0" => Format::Gnu,
            [0, 0, 0, 0, 0, 0, 0, 0] => Format::V7,
            magic => {
                return Err(format!(
                    "its header has the magic `{}`, which is that of no known tar format (V7, ustar, PAX, GNU)",
                    magic.escape_ascii()
                ));
            }
        };
        Ok(header)
    }

    fn field(&self, (start, length): (usize, usize)) -> &[u8] {
        self.block.get(start..start + length).unwrap_or_default()
    }

    fn number(&self, field: (usize, usize), what: &str) -> Result<i64, String> {
        number(self.field(field)).ok_or_else(|| format!("its {what} is not a number"))
    }

    fn unsigned(&self, field: (usize, usize), what: &str) -> Result<u64, String> {
        u64::try_from(self.number(field, what)?).map_err(|_| format!("its {what} is negative"))
    }

    /// Returns the type flag.
    pub(super) fn flag(&self) -> u8 {
        self.block[KIND]
    }

    /// Returns the kind that the type flag stands for.
    pub(super) fn kind(&self) -> EntryType {
        EntryType::new(self.flag())
    }

    /// Returns the name with its prefix, as they are written.
    ///
    /// # Errors
    /// A prefix that some readers see and others do not.
    pub(super) fn path(&self) -> Result<Vec<u8>, String> {
        let prefix = match self.format {
            Format::V7 => &[][..],
            Format::Ustar => self.field(PREFIX),
            Format::Star if self.field(STAR_PREFIX).last() == Some(&0) || self.field(STAR_TIMES) == [0; 24] => {
                self.field(STAR_PREFIX)
            }
            Format::Star => return Err("its prefix ends in one place for star and in another for ustar".to_owned()),
            // Go's library wrote a prefix there before its version 1.8, and still reads it so; GNU tar sees times.
            Format::Gnu => {
                let is_time = |field| matches!(self.field(field), [0, ..]) || number(self.field(field)).is_some();
                if !is_time(GNU_ATIME) || !is_time(GNU_CTIME) {
                    return Err(
                        "its GNU header has a prefix, which only some programs read; make the archive again with \
                                --format=posix or --format=ustar"
                            .to_owned(),
                    );
                }
                &[]
            }
        };
        let (prefix, name) = (text(prefix), text(self.field(NAME)));
        Ok(if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() })
    }

    /// Returns the place that a link leads to, as it is written.
    pub(super) fn link(&self) -> Vec<u8> {
        text(self.field(LINK)).to_vec()
    }

    /// Returns the length of the content.
    pub(super) fn size(&self) -> Result<u64, String> {
        self.unsigned(SIZE, "size")
    }

    /// Returns the permission bits; writers that put the kind beside them are read all the same.
    pub(super) fn mode(&self) -> Result<u32, String> {
        Ok((self.number(MODE, "mode")? & 0o7777) as u32)
    }

    /// Returns the owner's number.
    pub(super) fn uid(&self) -> Result<u64, String> {
        self.unsigned(UID, "uid")
    }

    /// Returns the group's number.
    pub(super) fn gid(&self) -> Result<u64, String> {
        self.unsigned(GID, "gid")
    }

    /// Returns the time of the last change, in seconds since 1970.
    pub(super) fn mtime(&self) -> Result<i64, String> {
        self.number(MTIME, "mtime")
    }

    /// Returns a device's numbers, which the oldest format does not have.
    pub(super) fn device(&self) -> Result<(u32, u32), String> {
        if self.format == Format::V7 {
            return Ok((0, 0));
        }
        let part = |field, what| {
            u32::try_from(self.unsigned(field, what)?).map_err(|_| format!("its {what} is larger than Linux allows"))
        };
        Ok((part(MAJOR, "major device number")?, part(MINOR, "minor device number")?))
    }

    /// Adds the pieces of an old GNU sparse file to `pieces`; returns its size with its holes, and whether more blocks of pieces follow.
    ///
    /// # Errors
    /// A header of another format, or numbers that cannot be.
    pub(super) fn sparse(&self, pieces: &mut Vec<Piece>) -> Result<(u64, bool), String> {
        if self.format != Format::Gnu {
            return Err("it is a GNU sparse file without a GNU header".to_owned());
        }
        add_pieces(self.field(GNU_PIECES), pieces)?;
        Ok((self.unsigned(GNU_REAL_SIZE, "size with its holes")?, self.block[GNU_EXTENDED] != 0))
    }
}

/// Adds the pieces in a block that continues the list of an old GNU sparse file; returns whether another one follows.
///
/// # Errors
/// Numbers that cannot be.
pub(super) fn more_pieces(block: &[u8; BLOCK], pieces: &mut Vec<Piece>) -> Result<bool, String> {
    let (start, length) = MORE_PIECES;
    add_pieces(&block[start..start + length], pieces)?;
    Ok(block[MORE_EXTENDED] != 0)
}

/// Reads pairs of offset and length up to the first empty one, where every reader stops.
fn add_pieces(bytes: &[u8], pieces: &mut Vec<Piece>) -> Result<(), String> {
    for pair in bytes.chunks_exact(PIECE) {
        let (offset, length) = pair.split_at(PIECE / 2);
        if offset[0] == 0 && length[0] == 0 {
            break;
        }
        let value = |field: &[u8]| {
            let value = (field[0] != 0).then(|| number(field)).flatten();
            value.and_then(|value| u64::try_from(value).ok()).ok_or("its list of pieces is damaged")
        };
        pieces.push(Piece { offset: value(offset)?, length: value(length)? });
    }
    Ok(())
}

/// Returns the bytes up to the first NUL.
pub(super) fn text(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Reads a numeric field: octal digits between spaces or NULs, nothing at all, which is zero, or GNU's and star's base 256 in two's
/// complement.
fn number(field: &[u8]) -> Option<i64> {
    let first = *field.first()?;
    if first & 0x80 != 0 {
        // The highest bit marks the form; the one below it is the sign.
        let start = i128::from(first & 0x3f) - i128::from(first & 0x40);
        let value = field.iter().skip(1).try_fold(start, |value, byte| {
            value.checked_mul(256).and_then(|value| value.checked_add(i128::from(*byte)))
        })?;
        return i64::try_from(value).ok();
    }
    let is_blank = |byte: &u8| matches!(byte, b' ' | 0);
    let start = field.iter().position(|byte| !is_blank(byte)).unwrap_or(field.len());
    let digits = text(field.get(start..)?);
    let end = digits.iter().rposition(|byte| !is_blank(byte)).map_or(0, |last| last + 1);
    digits.get(..end)?.iter().try_fold(0_i64, |value, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 8)?;
        value.checked_mul(8)?.checked_add(i64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_as_all_readers_read_them() {
        for (field, value) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644\0 ", Some(0o644)),
            (b"\0\0\0\x000644", Some(0o644)),
            (b"0000\0xyz", Some(0)),
            (b"        ", Some(0)),
            (b"\0\0\0\0\0\0\0\0", Some(0)),
            (b"\x80\0\0\0\0\x01\0\0", Some(65536)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xfe", Some(-2)),
            (b"\xbf\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"77777777777", Some(0o77_777_777_777)),
            (b"777777777777777777777777", None),
            (b"0000000x", None),
            (b"0000008\0", None),
            (b"6 4 4\0\0\0", None),
            (b"-000644\0", None),
            (b"", None),
        ] {
            assert_eq!(number(field), value, "{}", field.escape_ascii());
        }
    }
}
