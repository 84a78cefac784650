//! A layer's tar stream, member by member: V7, ustar, PAX, GNU long names and all four forms of sparse files. Reads what containerd,
//! moby, umoci and GNU tar read, and as they do; bounds what a header can make it remember. Two readers must never see two things in
//! one archive, so what they read differently is an error.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
};

use tar::EntryType;

mod header;
mod records;
mod sparse;

use header::{BLOCK, Header, text};
use records::{Record, Records};
pub(super) use sparse::Piece;

/// The longest extension header, in bytes: many times what `PATH_MAX` and the largest extended attribute (64 KiB) need.
const EXTENSION_MAX: u64 = 1 << 20;

/// A member of a layer's tar stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name, as it is written.
    pub path: Vec<u8>,
    /// The target of a link, as it is written.
    pub link: Vec<u8>,
    /// Its type.
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
    /// The pieces of a sparse file that are stored; `None` if the content is stored whole.
    pub(super) pieces: Option<Vec<Piece>>,
}

impl Member {
    /// Returns a member of root's without content.
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

    /// Returns true if the content is stored without its holes.
    #[must_use]
    pub fn is_sparse(&self) -> bool {
        self.pieces.is_some()
    }

    /// Returns the number of bytes in holes, which are not stored and read as zeros.
    #[must_use]
    pub fn holes(&self) -> u64 {
        let stored = |pieces: &Vec<Piece>| pieces.iter().map(|piece| piece.length).sum::<u64>();
        self.pieces.as_ref().map_or(0, |pieces| self.size.saturating_sub(stored(pieces)))
    }
}

/// An error in a tar stream, with the member as far as its name is known.
#[derive(Debug)]
pub struct Fault {
    /// The member's name, empty if it is not known.
    pub path: Vec<u8>,
    /// The problem.
    pub reason: String,
}

/// An error between a member's content and its copy.
#[derive(Debug)]
pub enum CopyError {
    /// The content cannot be read.
    Source(String),
    /// The copy cannot be written.
    Sink(io::Error),
}

/// The reason for which a member's content is not whole.
const CUT_OFF: &str = "the layer is cut off in its content";
/// Bytes that are copied together.
const BUFFER: usize = 128 << 10;

/// A reader of the members of a tar stream.
pub struct Reader<R> {
    inner: R,
    /// Bytes of the current member that were not read, and its padding.
    left: u64,
    padding: u64,
    path: Vec<u8>,
    /// True once a header was read.
    is_archive: bool,
    /// Content on its way; empty until some is copied.
    buffer: Vec<u8>,
}

/// Values from extension headers for the member that follows them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    /// `None` where there is no header of PAX records.
    records: Option<Vec<Record>>,
}

impl Extensions {
    fn is_empty(&self) -> bool {
        self.path.is_none() && self.link.is_none() && self.records.is_none()
    }
}

/// The reason for which the first block is no header.
const NO_ARCHIVE: &str = "it does not begin as a tar archive does, plain or packed with gzip, zstd, xz or bzip2";

type Outcome<T> = Result<T, String>;

impl<R: Read> Reader<R> {
    /// Returns a reader of the stream `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, left: 0, padding: 0, path: Vec::new(), is_archive: false, buffer: Vec::new() }
    }

    /// Returns the stream.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }

    /// Returns the stream, wherever it is.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Returns the next member; none at the archive's end. What was not read of the one before is skipped.
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
                return if extensions.is_empty() {
                    Ok(None)
                } else {
                    Err("an extension header has no member after it".to_owned())
                };
            };
            self.path = header.path()?;
            let size = header.size()?;
            // The last header of a kind counts, alone.
            match header.kind() {
                EntryType::GNULongName => extensions.path = Some(text(&self.extension(size)?).to_vec()),
                EntryType::GNULongLink => extensions.link = Some(text(&self.extension(size)?).to_vec()),
                EntryType::XHeader => extensions.records = Some(records::parse(&self.extension(size)?)?),
                EntryType::XGlobalHeader => {
                    if !extensions.is_empty() {
                        return Err(
                            "a global header comes between it and its own extension headers, and some programs forget \
                                    these then"
                                .to_owned(),
                        );
                    }
                    // Container engines do not look at global records, GNU tar applies them.
                    let records = records::parse(&self.extension(size)?)?;
                    if let Some((key, _)) = records.iter().find(|(key, _)| records::is_of_member(key)) {
                        return Err(format!(
                            "a global header before it sets `{}` for all members, which only some programs heed",
                            base::escape::escape(key)
                        ));
                    }
                }
                _ => return self.compose(&header, size, extensions).map(Some),
            }
        }
    }

    fn compose(&mut self, header: &Header, stored: u64, extensions: &mut Extensions) -> Outcome<Member> {
        let (records, sparse_records) = Records::new(extensions.records.take().unwrap_or_default());
        let mut path = records.name("path", extensions.path.take(), self.path.clone())?;
        self.path.clone_from(&path);
        let stored = match records.number("size")? {
            Some(size) => u64::try_from(size).map_err(|_| format!("its PAX record `size` is {size}"))?,
            None => stored,
        };
        if i64::try_from(stored).is_err() {
            return Err(format!("its size {stored} is larger than any file's"));
        }
        let mut kind = header.kind();
        if kind == EntryType::Regular && path.ends_with(b"/") {
            // What tar was before POSIX.
            if header.flag() != 0 {
                return Err(
                    "its name ends with a slash and it is a file, which GNU tar takes for a directory".to_owned()
                );
            }
            kind = EntryType::Directory;
        }
        // A directory's size is what it may grow to, a link's that of what it leads to: no content comes with them.
        let has_content = matches!(kind, EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse);
        self.left = if has_content { stored } else { 0 };
        self.padding = self.left.next_multiple_of(BLOCK as u64) - self.left;
        let mut size = self.left;
        let mut pieces = None;
        if kind == EntryType::GNUSparse {
            let (real, list) = self.gnu_sparse(header)?;
            (size, pieces) = (real, Some(list));
        } else if !sparse_records.is_empty() {
            if !has_content {
                return Err("it is marked sparse and is not a regular file".to_owned());
            }
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
            if i64::try_from(size).is_err() {
                return Err(format!("its size {size} is larger than any file's"));
            }
            sparse::check(pieces, size, self.left)?;
        }
        if has_content {
            kind = EntryType::Regular;
        }
        let mtime = match records.number("mtime")? {
            Some(mtime) => mtime.try_into().map_err(|_| format!("its PAX record `mtime` is {mtime}"))?,
            None => header.mtime()?,
        };
        let is_device = matches!(kind, EntryType::Char | EntryType::Block);
        Ok(Member {
            link: records.name("linkpath", extensions.link.take(), header.link())?,
            kind,
            mode: header.mode()?,
            uid: records.owner("uid", header.uid())?,
            gid: records.owner("gid", header.gid())?,
            mtime,
            size,
            device: if is_device { header.device()? } else { (0, 0) },
            xattrs: records.xattrs(),
            path,
            pieces,
        })
    }

    /// Returns the blocks that go on with an old GNU header's list, where it is too long for the header.
    fn gnu_sparse(&mut self, header: &Header) -> Outcome<(u64, Vec<Piece>)> {
        let mut pieces = Vec::new();
        let (size, mut goes_on) = header.sparse(&mut pieces)?;
        while goes_on {
            let mut block = [0; BLOCK];
            fill(&mut self.inner, &mut block)?;
            goes_on = header::more_pieces(&block, &mut pieces)?;
            if pieces.len() > sparse::PIECES_MAX {
                return Err("it has too many pieces".to_owned());
            }
        }
        Ok((size, pieces))
    }

    /// Returns the list at the beginning of a PAX 1.0 sparse file's content: decimal numbers, one a line, filled up to whole blocks.
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
    /// A [`CopyError`].
    pub fn copy_content(&mut self, member: &Member, sink: &mut dyn Write) -> Result<(), CopyError> {
        let Some(pieces) = &member.pieces else {
            return self.copy(self.left, sink);
        };
        let mut at = 0;
        for piece in pieces {
            sparse::write_zeros(piece.offset - at, sink).map_err(CopyError::Sink)?;
            self.copy(piece.length, sink)?;
            at = piece.offset + piece.length;
        }
        sparse::write_zeros(member.size - at, sink).map_err(CopyError::Sink)
    }

    fn copy(&mut self, mut length: u64, sink: &mut dyn Write) -> Result<(), CopyError> {
        self.buffer.resize(BUFFER, 0);
        while length > 0 {
            let part = usize::try_from(length).unwrap_or(BUFFER).min(BUFFER);
            let read = match self.inner.read(self.buffer.get_mut(..part).unwrap_or_default()) {
                Ok(0) => return Err(CopyError::Source(CUT_OFF.to_owned())),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(CopyError::Source(error.to_string())),
            };
            sink.write_all(self.buffer.get(..read).unwrap_or_default()).map_err(CopyError::Sink)?;
            length -= read as u64;
            self.left -= read as u64;
        }
        Ok(())
    }

    fn skip_rest(&mut self) -> Outcome<()> {
        let rest = self.left + self.padding;
        (self.left, self.padding) = (0, 0);
        let skipped =
            io::copy(&mut self.inner.by_ref().take(rest), &mut io::sink()).map_err(|error| error.to_string())?;
        if skipped == rest { Ok(()) } else { Err(CUT_OFF.to_owned()) }
    }

    /// Returns the next header; none at the end, which is two blocks of zeros or, as many programs have it, one or none.
    fn header(&mut self) -> Outcome<Option<Header>> {
        let (block, length) = self.block()?;
        match length {
            0 => return Ok(None),
            BLOCK => {}
            _ if !self.is_archive => return Err(format!("the layer is cut off in a header: {NO_ARCHIVE}")),
            _ => return Err("the layer is cut off in a header".to_owned()),
        }
        if block != [0; BLOCK] {
            let is_first = !std::mem::replace(&mut self.is_archive, true);
            return Header::parse(block)
                .map(Some)
                .map_err(|reason| if is_first { format!("{NO_ARCHIVE} ({reason})") } else { reason });
        }
        // What is not read of a block is zeros.
        let (block, _) = self.block()?;
        if block == [0; BLOCK] {
            return Ok(None);
        }
        Err("a block of zeros stands alone before it: some programs stop there, others go on".to_owned())
    }

    /// Reads a block, or what there is of it at the end.
    fn block(&mut self) -> Outcome<([u8; BLOCK], usize)> {
        let mut block = [0; BLOCK];
        let mut length = 0;
        while let Some(rest) = block.get_mut(length..).filter(|rest| !rest.is_empty()) {
            match self.inner.read(rest) {
                Ok(0) => break,
                Ok(read) => length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok((block, length))
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

#[cfg(test)]
mod tests;
