//! Lists of the pieces that a sparse file's content is made of, in the forms that GNU tar has had over the years (its manual,
//! "Storing Sparse Files"), and the zeros between them.

use std::io::{self, Write};

/// A piece of content that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its offset in the file, in bytes.
    pub(crate) offset: u64,
    /// Its length in bytes.
    pub(crate) length: u64,
}

/// More pieces are not remembered: 16 MiB of them.
pub(super) const PIECES_MAX: usize = 1 << 20;

/// The description of a sparse file in PAX records.
pub(super) struct Map {
    /// The file's name, which version 0.1 and later hide from programs that know nothing of them.
    pub(super) name: Option<Vec<u8>>,
    /// Its size with its holes.
    pub(super) size: u64,
    /// Its pieces; `None` where they are in the content (version 1.0).
    pub(super) pieces: Option<Vec<Piece>>,
}

impl Map {
    /// Reads the records `GNU.sparse.*`, in their order: version 0.0 repeats two of them.
    pub(super) fn of_records(records: &[(Vec<u8>, Vec<u8>)]) -> Result<Self, String> {
        let bad = || "its records of a sparse file are damaged".to_owned();
        let (mut name, mut size, mut numbers, mut version, mut blocks) = (None, None, Vec::new(), (0, 0), None);
        for (key, value) in records {
            let number = || str::from_utf8(value).ok().and_then(|text| text.parse::<u64>().ok()).ok_or_else(bad);
            match key.as_slice() {
                b"GNU.sparse.name" => name = Some(value.clone()),
                b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                    if size.replace(number()?).is_some_and(|other| Some(other) != size) {
                        return Err("it has two sizes with its holes".to_owned());
                    }
                }
                b"GNU.sparse.major" => version.0 = number()?,
                b"GNU.sparse.minor" => version.1 = number()?,
                b"GNU.sparse.offset" | b"GNU.sparse.numbytes" => {
                    // Offset and length by turns.
                    if (numbers.len() % 2 == 0) != key.ends_with(b"offset") {
                        return Err(bad());
                    }
                    numbers.push(number()?);
                }
                b"GNU.sparse.map" => {
                    let text = str::from_utf8(value).map_err(|_| bad())?;
                    for word in text.split(',') {
                        numbers.push(word.parse().map_err(|_| bad())?);
                    }
                }
                b"GNU.sparse.numblocks" => blocks = Some(number()?),
                _ => return Err(bad()),
            }
        }
        let pieces = match version {
            (0, 0 | 1) => Some(pairs(&numbers).ok_or_else(bad)?),
            (1, 0) if numbers.is_empty() => None,
            _ => return Err("it is a sparse file of an unknown kind".to_owned()),
        };
        if let (Some(blocks), Some(pieces)) = (blocks, &pieces)
            && blocks != pieces.len() as u64
        {
            return Err(format!("it has {} pieces and says that they are {blocks}", pieces.len()));
        }
        Ok(Self { name, size: size.ok_or_else(bad)?, pieces })
    }
}

fn pairs(numbers: &[u64]) -> Option<Vec<Piece>> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    (rest.is_empty() && pairs.len() <= PIECES_MAX)
        .then(|| pairs.iter().map(|[offset, length]| Piece { offset: *offset, length: *length }).collect())
}

/// The list of version 1.0, block by block.
#[derive(Default)]
pub(super) struct Prefix {
    wanted: Option<usize>,
    line: Vec<u8>,
    offset: Option<u64>,
    pub(super) pieces: Vec<Piece>,
}

impl Prefix {
    pub(super) fn is_whole(&self) -> bool {
        self.wanted == Some(self.pieces.len()) && self.offset.is_none()
    }

    pub(super) fn take(&mut self, block: &[u8]) -> Result<(), String> {
        let bad = || "its list of pieces is damaged".to_owned();
        for byte in block {
            if self.is_whole() {
                break;
            }
            if *byte != b'\n' {
                self.line.push(*byte);
                if self.line.len() > 20 {
                    return Err(bad());
                }
                continue;
            }
            let number: u64 = str::from_utf8(&self.line).ok().and_then(|text| text.parse().ok()).ok_or_else(bad)?;
            self.line.clear();
            match (self.wanted, self.offset.take()) {
                (None, _) if number <= PIECES_MAX as u64 => self.wanted = Some(number as usize),
                (None, _) => return Err(bad()),
                (Some(_), None) => self.offset = Some(number),
                (Some(_), Some(offset)) => self.pieces.push(Piece { offset, length: number }),
            }
        }
        Ok(())
    }
}

/// Checks that the pieces come in order, fit into the file, and are just what is stored.
pub(super) fn check(pieces: &[Piece], size: u64, stored: u64) -> Result<(), String> {
    let mut at = 0_u64;
    let mut sum = 0_u64;
    for piece in pieces {
        let end = piece.offset.checked_add(piece.length).filter(|end| *end <= size && piece.offset >= at);
        at = end.ok_or("its pieces overlap or leave the file")?;
        sum += piece.length;
    }
    // GNU tar ends the file there and Go's programs do not. GNU tar itself writes an empty piece at the end.
    if at != size {
        return Err(format!("its pieces end at {at} and its size is {size}, which programs read differently"));
    }
    if sum == stored { Ok(()) } else { Err(format!("its pieces have {sum} bytes and {stored} are stored")) }
}

/// Writes a hole.
pub(super) fn write_zeros(mut length: u64, sink: &mut dyn Write) -> io::Result<()> {
    const ZEROS: &[u8] = &[0; 256 << 10];
    while length > 0 {
        let part = ZEROS.get(..usize::try_from(length).unwrap_or(ZEROS.len()).min(ZEROS.len())).unwrap_or(ZEROS);
        sink.write_all(part)?;
        length -= part.len() as u64;
    }
    Ok(())
}
