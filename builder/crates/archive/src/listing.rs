//! The contents of an initramfs, whether from this project or not. A file is a sequence of segments, each a cpio archive,
//! compressed or not, with zero padding between them (`Documentation/driver-api/early-userspace/buffer-format.rst`); a compressed
//! segment may itself hold several archives. Everything is read once, front to back, no content is kept, and defects that would
//! trip the kernel are reported with their offsets. This module only reads; the command prints.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Read},
    path::Path,
};

use base::{IoContext, elf::Machine, escape::escape};
use contract::hex;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::{
    decompress::{Format, MAGIC_LENGTH},
    error::{Error, Result},
    manifest::{Name, Record, Type},
    tree::PATH_MAX,
};

mod entry;
pub(crate) mod identify;
pub mod newc;
mod parents;
pub mod release;
pub mod source;

use entry::{kind, record};
use identify::identify;
use newc::{Fault, Header, TYPE_MASK};
use parents::Parents;
use release::Release;
use source::Source;

/// Everything that could be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The file's length in bytes.
    pub size: u64,
    /// The image's release file, if it has one.
    pub release: Option<Release>,
    /// Files that init reads from its own image, by path: the baked-in command line and the trusted keys.
    pub inits: BTreeMap<String, Vec<u8>>,
    /// The machine that `/init` is for, where it is an ELF program.
    #[serde(skip)]
    pub machine: Option<Machine>,
    /// The segments in the file's order.
    pub segments: Vec<Segment>,
    /// Every entry in the file's order; where a name comes twice, the kernel keeps the last one.
    pub files: Vec<Listed>,
    /// Oddities that do not keep the kernel from unpacking it.
    pub notes: Vec<String>,
    /// Defects. Data behind the last one was usually not read.
    pub problems: Vec<Problem>,
}

/// A segment of the file: an archive, or a compressed stream of archives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Bytes from the file's beginning.
    pub offset: u64,
    /// Its compression.
    pub compression: Format,
    /// Its length in the file, in bytes, without the padding.
    pub size: u64,
    /// Its length when unpacked, in bytes.
    pub unpacked: u64,
    /// Zero bytes that follow it.
    pub padding: u64,
    /// The number of entries, trailers not counted.
    pub entries: u64,
}

/// An entry and the segment that holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// The segment's index, from 0.
    pub segment: usize,
    /// The entry.
    #[serde(flatten)]
    pub record: Record,
}

/// Something broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Bytes from the file's beginning: where the segment that is broken was left.
    pub offset: u64,
    /// Bytes from the segment's beginning when unpacked, where it is a compressed one.
    pub unpacked_offset: Option<u64>,
    /// In words.
    pub problem: String,
}

/// Reads a whole initramfs from `reader`; `path` is only for messages.
///
/// # Errors
/// [`Error::Io`] where `reader` fails, [`Error::NotInitramfs`] where there is no archive at the beginning. A file that
/// is broken later on, or has more entries than memory should hold, gives what could be read, with [`Listing::problems`].
pub fn read(reader: impl Read, path: &Path) -> Result<Listing> {
    read_within(reader, path, entry::BUDGET)
}

fn read_within(reader: impl Read, path: &Path, budget: u64) -> Result<Listing> {
    let mut file = Source::new(reader);
    let mut reading = Reading { left: budget, ..Reading::default() };
    match reading.read_segments(&mut file) {
        Ok(()) => {}
        Err(Stop::Problem(problem)) if !file.failed() => reading.contents.problems.push(problem),
        Err(Stop::NotInitramfs(what)) if !file.failed() => {
            return Err(Error::NotInitramfs { path: path.to_path_buf(), what });
        }
        Err(Stop::Io(error)) => Err(error).at("read", path)?,
        Err(Stop::Problem(Problem { problem, .. }) | Stop::NotInitramfs(problem)) => {
            Err(io::Error::other(problem)).at("read", path)?;
        }
    }
    // The rest is only counted.
    file.stream(u64::MAX, |_| ()).at("read", path)?;
    Ok(reading.finish(file.offset()))
}

enum Stop {
    Io(io::Error),
    Problem(Problem),
    NotInitramfs(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The state of a listing in progress.
struct Reading {
    contents: Listing,
    releases: release::Candidates,
    parents: Parents,
    /// The first name of each set of hard links, as an index of `contents.files`: by inode and type, as the kernel
    /// tells them, and only within one archive.
    first_names: HashMap<((u32, u32, u32), u32), usize>,
    skipped: u64,
    /// Bytes of memory that further entries may take.
    left: u64,
}

impl Default for Reading {
    fn default() -> Self {
        let contents = Listing {
            size: 0,
            release: None,
            inits: BTreeMap::new(),
            machine: None,
            segments: Vec::new(),
            files: Vec::new(),
            notes: Vec::new(),
            problems: Vec::new(),
        };
        Self {
            contents,
            releases: release::Candidates::default(),
            parents: Parents::default(),
            first_names: HashMap::new(),
            skipped: 0,
            left: 0,
        }
    }
}

impl Reading {
    fn read_segments(&mut self, file: &mut Source<impl Read>) -> Result<(), Stop> {
        loop {
            let zeros = file.skip_zeros()?;
            if let Some(last) = self.contents.segments.last_mut() {
                last.padding += zeros;
            }
            let offset = file.offset();
            let head = file.peek(2048)?;
            if head.is_empty() && !self.contents.segments.is_empty() {
                return Ok(());
            }
            let Some(format) = Format::detect(head) else {
                if self.contents.segments.is_empty() {
                    return Err(Stop::NotInitramfs(identify(zeros, head)));
                }
                return self.read_rest(file);
            };
            let xz_check = head.strip_prefix(XZ_MAGIC).and_then(|rest| rest.first());
            if xz_check.is_some_and(|check| !XZ_CHECKS.contains(check)) {
                let problem =
                    "the xz data is not checked with CRC32: the kernel refuses it; make it with `xz --check=crc32`";
                self.contents.problems.push(Problem { offset, unpacked_offset: None, problem: problem.to_owned() });
            }
            self.contents.segments.push(Segment {
                offset,
                compression: format,
                size: 0,
                unpacked: 0,
                padding: 0,
                entries: 0,
            });
            match format {
                Format::None => self.read_plain(file, offset)?,
                _ => self.read_compressed(file, format, offset)?,
            }
        }
    }

    /// Reads an archive that is not compressed.
    fn read_plain(&mut self, file: &mut Source<impl Read>, offset: u64) -> Result<(), Stop> {
        let result = if offset.is_multiple_of(4) {
            self.read_archive(file)
        } else {
            let what = "an archive begins here, but not at a multiple of four: the kernel refuses it";
            Err(Fault { at: offset, what: what.to_owned() })
        };
        let (end, padding) = match &result {
            // Zero bytes that were read while looking for another entry, where there is no trailer.
            Ok(end) => (*end, file.offset() - end),
            Err(fault) => (fault.at.max(offset), 0),
        };
        if let Some(segment) = self.contents.segments.last_mut() {
            (segment.size, segment.unpacked, segment.padding) = (end - offset, end - offset, padding);
        }
        match result {
            Ok(_) => Ok(()),
            Err(Fault { at, what }) => Err(Stop::Problem(Problem { offset: at, unpacked_offset: None, problem: what })),
        }
    }

    /// Reads all archives of one compressed stream.
    fn read_compressed(&mut self, file: &mut Source<impl Read>, format: Format, offset: u64) -> Result<(), Stop> {
        let (result, unpacked) = match format.decoder(&mut *file) {
            Ok(decoder) => {
                let mut stream = Source::new(decoder);
                let result = self.read_archives(&mut stream);
                (result, stream.offset())
            }
            Err(error) => (Err(newc::fault(0, &error)), 0),
        };
        let end = file.offset();
        let is_first = self.contents.segments.len() == 1;
        if let Some(segment) = self.contents.segments.last_mut() {
            (segment.size, segment.unpacked) = (end - offset, unpacked);
        }
        match result {
            Ok(()) => Ok(()),
            Err(Fault { at: 0, what }) if is_first && what == NO_ARCHIVE => {
                Err(Stop::NotInitramfs(format!("it is {} data without a cpio archive in it", format.name())))
            }
            Err(Fault { at, what }) => {
                Err(Stop::Problem(Problem { offset: end, unpacked_offset: Some(at), problem: what }))
            }
        }
    }

    fn read_archives(&mut self, stream: &mut Source<impl Read>) -> Result<(), Fault> {
        loop {
            let at = stream.offset();
            let failed = |error: io::Error| newc::fault(at, &error);
            stream.skip_zeros().map_err(failed)?;
            let head = stream.peek(MAGIC_LENGTH).map_err(failed)?;
            if head.is_empty() && at > 0 {
                return Ok(());
            }
            if !is_entry(head) {
                let what = if at == 0 { NO_ARCHIVE } else { "something other than an archive follows here" };
                return Err(Fault { at: stream.offset(), what: what.to_owned() });
            }
            self.read_archive(stream)?;
        }
    }

    /// Reads entries up to a trailer, or to something that is none. Returns where the last one ended.
    fn read_archive(&mut self, stream: &mut Source<impl Read>) -> Result<u64, Fault> {
        self.first_names.clear();
        loop {
            let end = stream.offset();
            let failed = |error: io::Error| newc::fault(end, &error);
            stream.skip_zeros().map_err(failed)?;
            let at = stream.offset();
            let head = stream.peek(6).map_err(failed)?;
            if !is_entry(head) {
                self.note(format!("an archive in segment {} has no trailer", self.contents.segments.len()));
                return Ok(end);
            }
            if head == OLD_MAGIC {
                let what = "an entry in cpio's old portable format: the kernel reads only `newc` (`cpio -H newc`)";
                return Err(Fault { at, what: what.to_owned() });
            }
            if !at.is_multiple_of(4) {
                let what = "an entry begins here, but not at a multiple of four: the kernel refuses it";
                return Err(Fault { at, what: what.to_owned() });
            }
            let header = newc::read_header(stream)?;
            if header.name.as_deref() == Some(b"TRAILER!!!") {
                newc::read_content(stream, header.size, |_| ())?;
                return Ok(stream.offset());
            }
            self.read_entry(stream, &header)?;
        }
    }

    fn read_entry(&mut self, stream: &mut Source<impl Read>, header: &Header) -> Result<(), Fault> {
        let at = stream.offset();
        let kind = kind(header.mode);
        let Some(name) = header.name.as_deref().filter(|_| kind != Type::Symlink || header.size as usize <= PATH_MAX)
        else {
            self.skipped += 1;
            return newc::read_content(stream, header.size, |_| ());
        };
        // `find . | cpio -o` writes names with a dot in front; they mean the same.
        let path = name.strip_prefix(b"./").unwrap_or(name);
        let mut hash = Sha256::new();
        let mut sum = 0_u32;
        let mut target = Vec::new();
        let mut wanted = self.releases.watch(path);
        newc::read_content(stream, header.size, |piece| {
            hash.update(piece);
            sum = piece.iter().fold(sum, |sum, byte| sum.wrapping_add(u32::from(*byte)));
            if kind == Type::Symlink {
                target.extend_from_slice(piece);
            }
            if let Some(text) = &mut wanted {
                text.extend(piece);
            }
        })
        .map_err(|Fault { at, what }| Fault { at, what: format!("{what} (in `{}`)", escape(path)) })?;
        let Some(left) = self.left.checked_sub(entry::cost(path, &target)) else {
            let entries = self.contents.files.len();
            let what = format!("there are more entries than can be listed: {entries} are, the rest is not read");
            return Err(Fault { at, what });
        };
        self.left = left;
        if let (Some(text), Type::File) = (wanted, kind) {
            self.releases.keep(path, text);
        }
        self.parents.see(path, kind);
        if header.checksum.is_some_and(|checksum| checksum != sum) {
            return Err(Fault { at, what: format!("the content of `{}` does not match its checksum", escape(path)) });
        }
        let listed = self.contents.files.len();
        // Only what the kernel links: see maybe_link() in init/initramfs.c.
        let can_be_linked = header.links >= 2 && !matches!(kind, Type::Directory | Type::Symlink);
        let first = match can_be_linked {
            true => *self.first_names.entry((header.inode, header.mode & TYPE_MASK)).or_insert(listed),
            false => listed,
        };
        let mut record = record(path, kind, header);
        record.target = (kind == Type::Symlink).then(|| Name::new(&target));
        let content = (kind == Type::File).then(|| (u64::from(header.size), hex::encode(&hash.finalize())));
        if first == listed {
            (record.size, record.sha256) = content.unzip();
        } else {
            let first = &mut self.contents.files[first].record;
            record.hard_link = Some(first.path.clone());
            // GNU cpio writes the content with the last name. Whichever name it comes with, it is the set's.
            if header.size > 0 {
                (first.size, first.sha256) = content.unzip();
            }
        }
        let segment = self.contents.segments.len() - 1;
        self.contents.files.push(Listed { segment, record });
        self.contents.segments[segment].entries += 1;
        Ok(())
    }

    /// Reads the data after the last segment: a bootconfig adds a note, anything else is a problem.
    fn read_rest(&mut self, file: &mut Source<impl Read>) -> Result<(), Stop> {
        let offset = file.offset();
        let head = escape(file.peek(8)?).to_string();
        let mut tail = Vec::new();
        let length = file.stream(u64::MAX, |piece| {
            tail.extend_from_slice(&piece[piece.len().saturating_sub(BOOTCONFIG.len())..]);
            tail.drain(..tail.len().saturating_sub(BOOTCONFIG.len()));
        })?;
        if tail == BOOTCONFIG {
            self.note(format!("a bootconfig of {length} bytes follows the archives"));
            return Ok(());
        }
        let problem = format!(
            "{length} bytes follow that are not an archive (they begin with `{head}`): the kernel reports \"unpacking failed\" and boots all the same"
        );
        Err(Stop::Problem(Problem { offset, unpacked_offset: None, problem }))
    }

    fn note(&mut self, note: String) {
        if !self.contents.notes.contains(&note) {
            self.contents.notes.push(note);
        }
    }

    fn finish(mut self, size: u64) -> Listing {
        if self.skipped > 0 {
            let note = format!(
                "{} entries have a name or a target that is longer than Linux allows: the kernel skips them",
                self.skipped
            );
            self.note(note);
        }
        if let Some(note) = self.parents.note() {
            self.note(note);
        }
        self.contents.size = size;
        self.contents.inits = self.releases.inits();
        self.contents.machine = self.releases.machine();
        self.contents.release = self.releases.finish();
        self.contents
    }
}

/// Returns true if `head` begins an entry, including one in the old format, which is an error and not the end of the archive.
/// Callers continue with [`Reading::read_archive`], so the two must agree.
fn is_entry(head: &[u8]) -> bool {
    [&b"070701"[..], b"070702", OLD_MAGIC].iter().any(|magic| head.starts_with(magic))
}

const OLD_MAGIC: &[u8] = b"070707";

const NO_ARCHIVE: &str = "no archive begins here";

/// `Documentation/admin-guide/bootconfig.rst`: the text, its length and checksum, then this.
const BOOTCONFIG: &[u8] = b"#BOOTCONFIG\n";

/// The magic number of xz data and the first byte of the flags; the next byte names the integrity check (xz-file-format, 2.1.1).
const XZ_MAGIC: &[u8] = b"\xfd7zXZ\0\0";

/// The checks the kernel knows: none and CRC32 (`lib/xz/xz_dec_stream.c`).
const XZ_CHECKS: [u8; 2] = [0, 1];

#[cfg(test)]
mod tests;
