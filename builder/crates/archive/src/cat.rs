//! The content of one file of an initramfs. The file is read as often as it takes, and nothing of it is kept.

use std::{
    io::{self, Write},
    path::Path,
};

use base::{IoContext, bounded};

use crate::{
    Error, Result,
    entries::{self, Visit},
    listing::newc::{Header, TYPE_MASK},
};

/// The kind of a name that was looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A file: its content was written.
    File,
    /// A symbolic link, and where it leads.
    Link(Vec<u8>),
    /// Something without a content.
    Other,
    /// There is no such name.
    Nothing,
}

/// Writes the content of the file `name` of the initramfs `path` to `out`: of the last one of that name, which is the one that the kernel keeps.
///
/// # Errors
/// As [`entries::visit`]; an error of `out` comes as [`Error::Output`].
pub fn cat(path: &Path, name: &[u8], out: &mut impl Write) -> Result<Found> {
    let mut search = Search { name: plain(name), number: 0, last: None };
    entries::visit(bounded::open(path).at("read", path)?, path, &mut search)?;
    let Some(last) = search.last else { return Ok(Found::Nothing) };
    let mut number = last.number;
    if last.links >= 2 && last.kind == FILE {
        // The content of hard links comes with any one of them.
        let mut set = Set { of: last.clone(), number: 0, found: None };
        entries::visit(bounded::open(path).at("read", path)?, path, &mut set)?;
        number = set.found.unwrap_or(number);
    }
    let mut target = Vec::new();
    let sink: &mut dyn Write = match last.kind {
        FILE => out,
        LINK => &mut target,
        _ => return Ok(Found::Other),
    };
    let mut copy = Copy { wanted: number, number: 0, out: sink };
    entries::visit(bounded::open(path).at("read", path)?, path, &mut copy)?;
    Ok(if last.kind == LINK { Found::Link(target) } else { Found::File })
}

const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

/// Returns a name without what means the same: `/`, `./` and `//`.
fn plain(name: &[u8]) -> Vec<u8> {
    let parts = name.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    parts.collect::<Vec<_>>().join(&b'/')
}

/// An entry that has the name.
#[derive(Debug, Clone)]
struct Entry {
    number: u64,
    archive: u64,
    inode: (u32, u32, u32),
    kind: u32,
    links: u32,
}

/// Looks for the last entry of a name.
struct Search {
    name: Vec<u8>,
    number: u64,
    last: Option<Entry>,
}

impl Visit for Search {
    fn begin(&mut self, archive: u64, header: &Header) -> Result<bool> {
        if header.name.as_deref().is_some_and(|name| plain(name) == self.name) {
            let (kind, links, inode) = (header.mode & TYPE_MASK, header.links, header.inode);
            self.last = Some(Entry { number: self.number, archive, inode, kind, links });
        }
        self.number += 1;
        Ok(false)
    }
}

/// Looks for the entry of a set of hard links that has the content.
struct Set {
    of: Entry,
    number: u64,
    found: Option<u64>,
}

impl Visit for Set {
    fn begin(&mut self, archive: u64, header: &Header) -> Result<bool> {
        let is_same = archive == self.of.archive
            && header.inode == self.of.inode
            && header.mode & TYPE_MASK == self.of.kind
            && header.links >= 2;
        if is_same && header.size > 0 {
            self.found = Some(self.number);
        }
        self.number += 1;
        Ok(false)
    }
}

/// Copies the content of one entry.
struct Copy<'a> {
    wanted: u64,
    number: u64,
    out: &'a mut dyn Write,
}

impl Copy<'_> {
    fn told(result: io::Result<()>) -> Result<()> {
        result.map_err(|source| Error::Output { source })
    }
}

impl Visit for Copy<'_> {
    fn begin(&mut self, _: u64, _: &Header) -> Result<bool> {
        self.number += 1;
        Ok(self.number - 1 == self.wanted)
    }

    fn content(&mut self, piece: &[u8]) -> Result<()> {
        Self::told(self.out.write_all(piece))
    }

    fn end(&mut self) -> Result<()> {
        Self::told(self.out.flush())
    }
}
