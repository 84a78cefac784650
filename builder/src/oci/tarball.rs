//! A layer's tar stream, member by member: ustar, PAX (global and own records), GNU long names and all four forms of sparse files.
//! Headers are read by the `tar` crate; this room puts together what belongs to a member, and bounds what a header can make it
//! remember, which that crate's own iterator does not. Two readers must never see two things in one archive, so what is
//! ambiguous is an error.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use tar::{EntryType, Header};

mod sparse;

pub(super) use sparse::Piece;

/// The longest extension header, in bytes: many times what `PATH_MAX` and the largest extended attribute (64 KiB) need.
const EXTENSION_MAX: u64 = 1 << 20;
const BLOCK: usize = 512;

/// One name of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// As it is written.
    pub path: Vec<u8>,
    /// Where a link leads, as it is written.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: EntryType,
    /// Permission bits.
    pub mode: u32,
    /// The owner's number.
    pub uid: u64,
    /// The group's number.
    pub gid: u64,
    /// Seconds since 1970.
    pub mtime: i64,
    /// Bytes of the file, holes among them.
    pub size: u64,
    /// A device's numbers.
    pub device: (u32, u32),
    /// Extended attributes.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Where the bytes that are there belong; `None`: all of it is there.
    pub(super) pieces: Option<Vec<Piece>>,
}

impl Member {
    /// A member of root's without content.
    #[cfg(test)]
    pub(super) fn plain(path: &[u8], kind: EntryType, link: &[u8]) -> Self {
        Self {
            path: path.to_vec(),
            link: link.to_vec(),
            kind,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: 0,
            size: 0,
            device: (0, 0),
            xattrs: BTreeMap::new(),
            pieces: None,
        }
    }

    /// Whether its content is stored without its holes.
    #[must_use]
    pub fn is_sparse(&self) -> bool {
        self.pieces.is_some()
    }

    /// How many bytes of it are nowhere: its holes, which become zeros.
    #[must_use]
    pub fn holes(&self) -> u64 {
        let stored = |pieces: &Vec<Piece>| pieces.iter().map(|piece| piece.length).sum::<u64>();
        self.pieces.as_ref().map_or(0, |pieces| self.size.saturating_sub(stored(pieces)))
    }
}

/// What cannot be read, and at which member, as far as its name is known.
#[derive(Debug)]
pub struct Fault {
    /// The member's name.
    pub path: Vec<u8>,
    /// What is wrong.
    pub reason: String,
}

/// Reads members from a tar stream.
pub struct Reader<R> {
    inner: R,
    global: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Bytes of the current member that were not read, and its padding.
    left: u64,
    padding: u64,
    path: Vec<u8>,
}

/// What extension headers say about the member after them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    /// `None` where there is no header of PAX records.
    records: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

type Outcome<T> = Result<T, String>;

impl<R: Read> Reader<R> {
    /// A reader of the stream `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, global: BTreeMap::new(), left: 0, padding: 0, path: Vec::new() }
    }

    /// The stream.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// The stream, wherever it is.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// The next member; none at the archive's end. What was not read of the one before is skipped.
    ///
    /// # Errors
    /// A [`Fault`]; there is nothing more to be read after it.
    pub fn next_member(&mut self) -> Result<Option<Member>, Fault> {
        let mut extensions = Extensions::default();
        self.member(&mut extensions).map_err(|reason| {
            let path = extensions.path.take().unwrap_or_else(|| std::mem::take(&mut self.path));
            Fault { path, reason }
        })
    }

    fn member(&mut self, extensions: &mut Extensions) -> Outcome<Option<Member>> {
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else {
                let dangling = extensions.path.is_some() || extensions.link.is_some() || extensions.records.is_some();
                return if dangling { Err("an extension header has no member after it".to_owned()) } else { Ok(None) };
            };
            self.path = header.path_bytes().into_owned();
            let size = header.entry_size().map_err(|_| "its size is no number".to_owned())?;
            if i64::try_from(size).is_err() {
                return Err(format!("its size {size} is larger than any file's"));
            }
            let once =
                |taken: bool| if taken { Err("it has the same extension header twice".to_owned()) } else { Ok(()) };
            match header.entry_type() {
                EntryType::GNULongName => {
                    once(extensions.path.is_some())?;
                    extensions.path = Some(without_nul(self.extension(size)?));
                }
                EntryType::GNULongLink => {
                    once(extensions.link.is_some())?;
                    extensions.link = Some(without_nul(self.extension(size)?));
                }
                EntryType::XHeader => {
                    once(extensions.records.is_some())?;
                    extensions.records = Some(pax_records(&self.extension(size)?)?);
                }
                EntryType::XGlobalHeader => {
                    for (key, value) in pax_records(&self.extension(size)?)? {
                        self.global.insert(key, value);
                    }
                    if self.global.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
                        > EXTENSION_MAX as usize
                    {
                        return Err("its global headers are larger than 1 MiB".to_owned());
                    }
                }
                _ => return self.compose(&header, size, extensions).map(Some),
            }
        }
    }

    fn compose(&mut self, header: &Header, stored: u64, extensions: &mut Extensions) -> Outcome<Member> {
        let mut records = self.global.clone();
        let own = extensions.records.take().unwrap_or_default();
        let (sparse_records, own): (Vec<_>, Vec<_>) =
            own.into_iter().partition(|(key, _)| key.starts_with(b"GNU.sparse."));
        records.extend(own);
        let number = |key: &str| match records.get(key.as_bytes()) {
            // POSIX: an empty value takes a global one back.
            None => Ok(None),
            Some(value) if value.is_empty() => Ok(None),
            Some(value) => decimal(value).map(Some).ok_or_else(|| format!("its PAX record `{key}` is no number")),
        };
        let text = |key: &str| records.get(key.as_bytes()).filter(|value| !value.is_empty()).cloned();
        let broken = |what: &str| format!("its {what} is no number");
        let mut path = text("path").or_else(|| extensions.path.clone()).unwrap_or_else(|| self.path.clone());
        self.path.clone_from(&path);
        // Which of two sizes counts is a matter of taste among programs; whoever makes them differ wants to be read in two ways.
        if let Some(size) = number("size")?
            && size != i128::from(stored)
        {
            return Err(format!("its PAX header gives it {size} bytes and its ustar header {stored}"));
        }
        let mut kind = header.entry_type();
        if kind == EntryType::Regular && path.ends_with(b"/") {
            // What tar was before POSIX.
            kind = EntryType::Directory;
        }
        let has_content = matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse);
        if !has_content && stored > 0 {
            return Err(format!("it has {stored} bytes of content and is no file"));
        }
        self.left = stored;
        self.padding = stored.next_multiple_of(BLOCK as u64) - stored;
        let mut size = stored;
        let mut pieces = None;
        if kind == EntryType::GNUSparse {
            let (real, list) = self.gnu_sparse(header)?;
            (size, pieces) = (real, Some(list));
        } else if !sparse_records.is_empty() {
            let map = sparse::Map::of_records(&sparse_records)?;
            if let Some(name) = map.name {
                path = name;
                self.path.clone_from(&path);
            }
            size = map.size;
            pieces = Some(match map.pieces {
                Some(pieces) => pieces,
                None => self.sparse_prefix()?,
            });
        }
        if let Some(pieces) = &pieces {
            sparse::check(pieces, size, self.left)?;
        }
        if has_content {
            kind = EntryType::Regular;
        }
        let owner = |key: &str, value: io::Result<u64>| match number(key)? {
            Some(number) => u64::try_from(number).map_err(|_| broken(key)),
            None => value.map_err(|_| broken(key)),
        };
        let mtime = match number("mtime")? {
            Some(mtime) => mtime.try_into().map_err(|_| broken("mtime"))?,
            None => signed_mtime(header).ok_or_else(|| broken("mtime"))?,
        };
        let device =
            |value: io::Result<Option<u32>>| value.map(Option::unwrap_or_default).map_err(|_| broken("device number"));
        let is_device = matches!(kind, EntryType::Char | EntryType::Block);
        Ok(Member {
            link: text("linkpath")
                .or_else(|| extensions.link.take())
                .unwrap_or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned).unwrap_or_default()),
            kind,
            mode: header.mode().map_err(|_| broken("mode"))? & 0o7777,
            uid: owner("uid", header.uid())?,
            gid: owner("gid", header.gid())?,
            mtime,
            size,
            device: if is_device { (device(header.device_major())?, device(header.device_minor())?) } else { (0, 0) },
            xattrs: records
                .into_iter()
                .filter_map(|(key, value)| Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value)))
                .collect(),
            path,
            pieces,
        })
    }

    /// The blocks that go on with an old GNU header's list, where it is too long for the header.
    fn gnu_sparse(&mut self, header: &Header) -> Outcome<(u64, Vec<Piece>)> {
        let gnu = header.as_gnu().ok_or("it is a GNU sparse file without a GNU header")?;
        let bad = |_| "its list of pieces is damaged".to_owned();
        let mut pieces = Vec::new();
        let mut add = |list: &[tar::GnuSparseHeader]| {
            for piece in list.iter().filter(|piece| !piece.is_empty()) {
                pieces.push(Piece { offset: piece.offset().map_err(bad)?, length: piece.length().map_err(bad)? });
            }
            if pieces.len() > sparse::PIECES_MAX { Err("it has too many pieces".to_owned()) } else { Ok(()) }
        };
        add(&gnu.sparse)?;
        let mut goes_on = gnu.is_extended();
        while goes_on {
            let mut block = tar::GnuExtSparseHeader::new();
            fill(&mut self.inner, block.as_mut_bytes())?;
            add(block.sparse())?;
            goes_on = block.is_extended();
        }
        Ok((gnu.real_size().map_err(bad)?, pieces))
    }

    /// The list at the beginning of a PAX 1.0 sparse file's content: decimal numbers, one a line, filled up to whole blocks.
    fn sparse_prefix(&mut self) -> Outcome<Vec<Piece>> {
        let mut prefix = sparse::Prefix::default();
        while !prefix.is_whole() {
            let mut block = [0; BLOCK];
            let length = self.left.min(BLOCK as u64) as usize;
            if length < BLOCK {
                return Err("its list of pieces is cut off".to_owned());
            }
            fill(&mut self.inner, &mut block)?;
            self.left -= BLOCK as u64;
            prefix.take(&block)?;
        }
        Ok(prefix.pieces)
    }

    /// Writes the content of the member that was read last, holes as zeros.
    ///
    /// # Errors
    /// What `sink` said, or that the stream ends too soon.
    pub fn copy_content(&mut self, member: &Member, sink: &mut dyn Write) -> io::Result<()> {
        let Some(pieces) = &member.pieces else {
            return self.copy(self.left, sink);
        };
        let mut at = 0;
        for piece in pieces {
            io::copy(&mut io::repeat(0).take(piece.offset - at), sink)?;
            self.copy(piece.length, sink)?;
            at = piece.offset + piece.length;
        }
        io::copy(&mut io::repeat(0).take(member.size - at), sink).map(drop)
    }

    fn copy(&mut self, length: u64, sink: &mut dyn Write) -> io::Result<()> {
        let copied = io::copy(&mut self.inner.by_ref().take(length), sink)?;
        self.left -= copied;
        if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    fn skip_rest(&mut self) -> Outcome<()> {
        let rest = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        let skipped =
            io::copy(&mut self.inner.by_ref().take(rest), &mut io::sink()).map_err(|error| error.to_string())?;
        if skipped == rest { Ok(()) } else { Err("the layer is cut off in its content".to_owned()) }
    }

    /// The next header; none at the end, which is a block of zeros or, as many programs have it, nothing at all.
    fn header(&mut self) -> Outcome<Option<Header>> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut length = 0;
        while let Some(rest) = block.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match self.inner.read(rest) {
                Ok(0) if length == 0 => return Ok(None),
                Ok(0) => return Err("the layer is cut off in a header".to_owned()),
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The sum of all bytes with blanks in the place of the sum itself (POSIX, pax, ustar interchange format).
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
            .sum();
        match header.cksum() {
            Ok(wanted) if wanted == sum => Ok(Some(header)),
            _ => Err("a header behind it has a wrong checksum: the layer is damaged, or no tar archive".to_owned()),
        }
    }

    fn extension(&mut self, size: u64) -> Outcome<Vec<u8>> {
        if size > EXTENSION_MAX {
            return Err(format!("an extension header has {size} bytes, and {EXTENSION_MAX} at most are read"));
        }
        let mut bytes = vec![0; size as usize];
        fill(&mut self.inner, &mut bytes)?;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(bytes)
    }
}

fn fill(source: &mut impl Read, bytes: &mut [u8]) -> Outcome<()> {
    source.read_exact(bytes).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => "the layer is cut off in a header".to_owned(),
        _ => error.to_string(),
    })
}

fn without_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

/// `LENGTH KEY=VALUE\n`, one after the other. Values may hold any byte.
fn pax_records(mut bytes: &[u8]) -> Outcome<Vec<(Vec<u8>, Vec<u8>)>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let record = || {
            let blank = bytes.iter().position(|byte| *byte == b' ')?;
            let length: usize = str::from_utf8(bytes.get(..blank)?).ok()?.parse().ok()?;
            let body = bytes.get(blank + 1..length)?.strip_suffix(b"\n")?;
            let equals = body.iter().position(|byte| *byte == b'=')?;
            Some((body.get(..equals)?.to_vec(), body.get(equals + 1..)?.to_vec(), bytes.get(length..)?))
        };
        let Some((key, value, rest)) = record() else {
            return Err("its PAX header is damaged".to_owned());
        };
        if key.is_empty() {
            return Err("its PAX header has a record without a name".to_owned());
        }
        records.push((key, value));
        bytes = rest;
    }
    Ok(records)
}

/// Whole part of a decimal number; times have fractions.
fn decimal(bytes: &[u8]) -> Option<i128> {
    let text = str::from_utf8(bytes).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) || whole.starts_with('+') {
        return None;
    }
    let number: i128 = whole.parse().ok()?;
    // Times before 1970 are rounded down.
    Some(if whole.starts_with('-') && fraction.bytes().any(|byte| byte != b'0') { number - 1 } else { number })
}

/// GNU writes times before 1970 in base 256, as a negative number.
fn signed_mtime(header: &Header) -> Option<i64> {
    let field = &header.as_old().mtime;
    match field.first() {
        Some(0xff) => Some(field.iter().skip(4).fold(-1, |number: i64, byte| (number << 8) | i64::from(*byte))),
        _ => header.mtime().ok().map(|mtime| i64::try_from(mtime).unwrap_or(i64::MAX)),
    }
}

#[cfg(test)]
mod tests;
