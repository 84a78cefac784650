//! The last failed boot as a text for people, in a file of `boot` that any PC reads: a beginning that never changes, and a window of whole
//! pages of the disk that is overwritten.

use std::fmt::Write;

use crate::{
    crc32::crc32 as checksum,
    fat::{self, Name, Read},
};

/// Name of the file.
pub const TEXT_NAME: &str = "BLACKBOX.TXT";
/// Bytes of the file.
pub const TEXT_SIZE: usize = 40 << 10;
/// Bytes of the file that are overwritten.
pub const WINDOW: usize = 32 << 10;
/// The kernel reads what surrounds a write that is not of whole pages, and writes it back: no window has such an edge.
const PAGE: u64 = 4096;
/// Bytes before the window at least.
const BEGINNING: u64 = 512;

/// The first line: without it the file is somebody else's.
const TITLE: &str = "initramfs-overlay black box\r\n";
const EXPLANATION: &str = "\r\n\
    If this machine does not boot, the next lines tell why, as of its last failed boot.\r\n\
    init overwrites a part of this file in place, and nothing else here: leave its\r\n\
    size and its beginning as they are. Without this file nothing is written.\r\n";
/// Line break and words before the length of an entry.
const ENTRY: &str = "\r\nThe last failed boot, ";

/// Returns the file as it is made: no boot has failed yet.
pub fn template() -> Vec<u8> {
    padded([TITLE, EXPLANATION].concat(), TEXT_SIZE).into_bytes()
}

/// Fills a text with lines of spaces.
fn padded(mut text: String, size: usize) -> String {
    const BLANK: &str = "                                                              \r\n";
    while text.len() < size {
        text.push_str(BLANK);
    }
    text.truncate(size);
    text
}

/// Returns true for a file that begins as ours do.
pub fn is_named(content: &[u8]) -> bool {
    content.starts_with(TITLE.as_bytes())
}

/// Returns true for a file that may be overwritten: around the window at that byte it has our beginning, and nothing but text. In the
/// window a power cut may have left anything.
pub fn is_text(content: &[u8], window: u64) -> bool {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\r' | b'\n');
    let behind = usize::try_from(window).ok().and_then(|window| content.get(window.checked_add(WINDOW)?..));
    let before = usize::try_from(window).ok().and_then(|window| content.get(..window));
    content.len() == TEXT_SIZE
        && is_named(content)
        && [before, behind].iter().all(|part| part.is_some_and(|part| part.iter().all(is_plain)))
}

/// Returns the byte of a device at which the text begins. None where it is not there, or not as it is made: of its size, in the root
/// directory, in one piece.
pub fn locate(read: Read<'_>) -> Option<u64> {
    let size = u32::try_from(TEXT_SIZE).ok()?;
    fat::look_up(read, Name::Short(b"BLACKBOXTXT"), size).filter(|place| place.size == size)?.start
}

/// Returns where the window begins in a file that begins at that byte of its disk.
pub fn window(start: u64) -> Option<u64> {
    let first = start.checked_add(BEGINNING)?.checked_next_multiple_of(PAGE)?;
    first.checked_sub(start)
}

/// Returns the text of a failed boot, as long as the window.
pub fn render(card: &str, log: &str) -> Vec<u8> {
    // Room for the line of the entry.
    const LINE: usize = 80;
    let mut body = lines(card);
    body.push_str("\r\nThe end of the kernel's log:\r\n");
    let log = lines(log);
    let left = WINDOW.saturating_sub(LINE).saturating_sub(body.len());
    body.push_str(tail(&log, left));
    body.truncate(WINDOW.saturating_sub(LINE));
    let mut text = String::from(ENTRY);
    // Writing to a string does not fail.
    let _ = write!(text, "{} bytes with the checksum {}:\r\n", body.len(), checksum(body.as_bytes()));
    text.push_str(&body);
    padded(text, WINDOW).into_bytes()
}

/// Returns a text with the line ends of every PC, in characters that every PC shows.
fn lines(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        out.extend(line.chars().map(|c| if matches!(c, ' '..='~') { c } else { '?' }));
        out.push_str("\r\n");
    }
    out
}

/// The failed boot in such a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// The card and the end of the log.
    Whole(String),
    /// They were not written to their end, or are damaged.
    Torn,
}

/// Reads the entry in a file. None where no boot has failed yet.
pub fn record(content: &[u8]) -> Option<Record> {
    let text = String::from_utf8_lossy(content.get(..TEXT_SIZE).unwrap_or(content));
    let (_, rest) = text.split_once(ENTRY)?;
    let whole = || {
        let (line, rest) = rest.split_once(":\r\n")?;
        let (length, sum) = line.split_once(" bytes with the checksum ")?;
        let body = rest.get(..length.parse().ok()?)?;
        (sum.parse() == Ok(checksum(body.as_bytes()))).then(|| body.replace("\r\n", "\n"))
    };
    Some(whole().map_or(Record::Torn, Record::Whole))
}

/// Returns at most so many bytes of the end of a text, from the beginning of a line on.
pub fn tail(text: &str, most: usize) -> &str {
    let Some(cut) = text.len().checked_sub(most).filter(|cut| *cut > 0) else { return text };
    let line = text.as_bytes().iter().skip(cut.saturating_sub(1)).position(|byte| *byte == b'\n');
    line.and_then(|line| text.get(cut.saturating_add(line)..)).unwrap_or_default()
}

/// Returns the end of the kernel's log as lines, from its records (kernel, Documentation/ABI/testing/dev-kmsg).
pub fn kernel_log(records: &[u8], most: usize) -> String {
    let mut text = String::new();
    for line in String::from_utf8_lossy(records).lines() {
        // Lines that begin with a space are about the device of the record before.
        let Some((head, message)) = line.split_once(';').filter(|_| !line.starts_with(' ')) else { continue };
        let Some(time) = head.split(',').nth(2).and_then(|time| time.parse::<u64>().ok()) else { continue };
        let _ = writeln!(text, "[{:5}.{:06}] {message}", time / 1_000_000, time % 1_000_000);
    }
    tail(&text, most).to_owned()
}
