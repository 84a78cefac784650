//! A reader of newc archives, entry by entry. The cpio crate parses the numbers of a header; names and contents are read here,
//! because the crate rejects names that are not UTF-8 and copies data that is only inspected. The limits are the kernel's
//! (`init/initramfs.c`).

use std::io::{self, Read};

use cpio::newc;

use super::source::Source;
use crate::tree::PATH_MAX;

/// The file type's bits in a mode (`include/uapi/linux/stat.h`).
pub const TYPE_MASK: u32 = 0o170_000;

/// The length of a header without the name, in bytes.
const HEADER_LENGTH: usize = 110;

/// An entry before its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name, up to its NUL; `None` where it is empty or longer than Linux takes: the kernel skips such an entry.
    pub name: Option<Vec<u8>>,
    /// The inode's number, with the device's: the same for hard links.
    pub inode: (u32, u32, u32),
    /// Permission bits and type.
    pub mode: u32,
    /// The owner's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The link count.
    pub links: u32,
    /// Seconds since 1970.
    pub mtime: u32,
    /// Bytes of content.
    pub size: u32,
    /// Major and minor of the device that this is.
    pub device: (u32, u32),
    /// The sum of the content's bytes, in archives that have it.
    pub checksum: Option<u32>,
}

/// A defect of an archive and its offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Bytes from the stream's beginning.
    pub at: u64,
    /// A description for messages.
    pub what: String,
}

impl Fault {
    fn new(at: u64, what: impl Into<String>) -> Self {
        Self { at, what: what.into() }
    }
}

/// Returns the defect that a read error at offset `at` stands for: truncated or damaged data.
pub fn fault(at: u64, error: &io::Error) -> Fault {
    Fault::new(
        at,
        match error.kind() {
            io::ErrorKind::UnexpectedEof => "the compressed data ends too early: the file is truncated".to_owned(),
            _ => format!("the data is damaged: {error}"),
        },
    )
}

/// Reads a header with its name and padding. The source stands at the magic number.
pub fn read_header(source: &mut Source<impl Read>) -> Result<Header, Fault> {
    let at = source.offset();
    let head = source.peek(HEADER_LENGTH).map_err(|error| fault(at, &error))?;
    if head.len() < HEADER_LENGTH {
        return Err(Fault::new(at, "the archive ends in the middle of an entry's header"));
    }
    let name_size = name_size(head).ok_or_else(|| Fault::new(at, "the length of an entry's name is not a number"))?;
    // An empty name in place of the real one, and padding to a multiple of four: all the crate has to see.
    let mut nameless = head.to_vec();
    nameless[94..102].copy_from_slice(b"00000001");
    nameless.extend([0, 0]);
    let reader = newc::Reader::new(nameless.as_slice())
        .map_err(|error| Fault::new(at, format!("an entry's header is broken: {error}")))?;
    let entry = reader.entry();
    let mut header = Header {
        name: None,
        inode: (entry.dev_major(), entry.dev_minor(), entry.ino()),
        mode: entry.mode(),
        uid: entry.uid(),
        gid: entry.gid(),
        links: entry.nlink(),
        mtime: entry.mtime(),
        size: entry.file_size(),
        device: (entry.rdev_major(), entry.rdev_minor()),
        checksum: entry.checksum(),
    };
    let wanted = (HEADER_LENGTH as u64 + u64::from(name_size)).next_multiple_of(4);
    let mut taken = 0;
    let keep = name_size as usize <= PATH_MAX;
    let mut bytes = Vec::new();
    let length = source
        .stream(wanted, |piece| {
            if keep {
                bytes.extend_from_slice(piece);
            }
            taken += piece.len();
        })
        .map_err(|error| fault(at, &error))?;
    if length < wanted {
        return Err(Fault::new(at, "the archive ends in the middle of an entry's name"));
    }
    if keep && name_size > 0 {
        let name = &bytes[HEADER_LENGTH..HEADER_LENGTH + name_size as usize];
        match name.iter().position(|byte| *byte == 0) {
            // dracut pads names with NUL bytes to align contents; the kernel reads up to the first one, too.
            Some(end) => header.name = Some(name[..end].to_vec()).filter(|name| !name.is_empty()),
            None => return Err(Fault::new(at, "an entry's name has no end")),
        }
    }
    Ok(header)
}

/// Returns the twelfth of the thirteen fields, each of eight digits after six of magic.
fn name_size(head: &[u8]) -> Option<u32> {
    u32::from_str_radix(str::from_utf8(head.get(94..102)?).ok()?, 16).ok()
}

/// Reads an entry's content and padding and shows the content to `visit` piece by piece.
pub fn read_content(source: &mut Source<impl Read>, size: u32, visit: impl FnMut(&[u8])) -> Result<(), Fault> {
    let size = u64::from(size);
    take(source, size, visit)?;
    take(source, size.next_multiple_of(4) - size, |_| ())
}

fn take(source: &mut Source<impl Read>, length: u64, visit: impl FnMut(&[u8])) -> Result<(), Fault> {
    match source.stream(length, visit) {
        Ok(taken) if taken == length => Ok(()),
        Ok(_) => Err(Fault::new(source.offset(), "the archive ends in the middle of a file's content")),
        Err(error) => Err(fault(source.offset(), &error)),
    }
}
