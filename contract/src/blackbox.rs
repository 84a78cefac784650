//! The black box: how the last boots ended, in one preallocated file on the writable partition, and the last failed boot as a text on
//! `boot`. `docs/blackbox.md` describes both. Pure: bytes in, values out; whatever stands in the file, reading it is bounded.
//!
//! The file has eight slots, which are overwritten in place. Two take good boots in turn, the others failures and crashes: good boots do
//! not push failures out. Each slot has a head with a checksum of its own, so that a boot learns all it needs from a few heads.

mod text;

use crate::{bytes::u32_at, crc32::crc32 as checksum, failure::Code, step::Step};

pub use text::{
    Record, TEXT_NAME, TEXT_SIZE, WINDOW, is_named, is_text, kernel_log, locate, record, render, tail, template, window,
};

/// Slots of the file.
pub const SLOTS: usize = 8;
/// Bytes of a slot.
pub const SLOT: usize = 32 << 10;
/// Bytes of the file.
pub const SIZE: usize = SLOTS * SLOT;
/// Bytes of a slot's head.
pub const HEAD: usize = 128;
/// The byte that an empty file is filled with: zeros would be holes where a tool makes the filesystem.
pub const FILL: u8 = 0xff;
/// The first slots, for good boots; the rest is for failures.
const GOOD_SLOTS: usize = 2;
const FAILED_SLOTS: u32 = 6;
/// Slots are written in whole pages: what is left of an earlier entry in the last one is never seen as this one's.
const PAGE: usize = 4096;
const MAGIC: &[u8; 8] = b"blackbx1";
/// Bytes of a code or a step in a head, and where these are.
const NAME: usize = 32;
const CODE: usize = 36;
const STEP: usize = CODE + NAME;
/// Places of the checksums: that of the content, and that of the head before it.
const SUMS: usize = HEAD - 8;
const COVERED: usize = HEAD - 4;

/// The end of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The new root's init was started.
    Good,
    /// A failure card was shown.
    Failed,
    /// The kernel or the firmware kept records of a crash (pstore).
    Crashed,
}

impl End {
    const ALL: [Self; 3] = [Self::Good, Self::Failed, Self::Crashed];

    /// Returns the word for it in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Failed => "failed",
            Self::Crashed => "crashed",
        }
    }
}

/// A boot that ended badly, as a report tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The end.
    pub end: End,
    /// The code of the failure; empty for a crash.
    pub code: String,
    /// The step that failed; empty for a crash.
    pub step: String,
}

/// The head of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The number of the entry, counted from 1.
    pub sequence: u64,
    /// The end of the boot, with its code and step.
    pub ended: Ended,
    /// Entries that the slots for failures have taken so far, this one among them.
    failures: u32,
    /// Bytes of the report, the card and the log.
    lengths: [u32; 3],
    /// Checksum of these.
    checksum: u32,
}

/// The state of a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Slot {
    /// Nothing was ever written there.
    Empty,
    /// An entry that was not written to its end, or is damaged.
    Torn,
    /// An entry whose head is whole.
    Written(Head),
}

/// An entry, whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The number of the entry, counted from 1.
    pub sequence: u64,
    /// The end of the boot, with its code and step.
    pub ended: Ended,
    /// The report as JSON; empty for a crash.
    pub report: String,
    /// The failure card, if there was one.
    pub card: String,
    /// The end of the kernel's log, or the records of a crash.
    pub log: String,
}

/// The place of the next entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// Its slot.
    pub slot: usize,
    sequence: u64,
    failures: u32,
}

/// The part of the box that a boot needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The boots since the last good one, the oldest first.
    pub since: Vec<Ended>,
    good: Next,
    failed: Next,
}

impl Survey {
    /// Returns the place for the entry of a boot that ends so.
    pub fn next(&self, end: End) -> Next {
        if end == End::Good { self.good } else { self.failed }
    }
}

/// Surveys a box by the heads of some slots; `read` returns the first [`HEAD`] bytes of a slot.
pub fn survey(read: &mut dyn FnMut(usize) -> Vec<u8>) -> Survey {
    let mut slot = |number: usize| Slot::read(&read(number));
    let mut good: Option<(usize, Head)> = None;
    for number in 0..GOOD_SLOTS {
        if let Slot::Written(head) = slot(number)
            && good.as_ref().is_none_or(|(_, best)| best.sequence < head.sequence)
        {
            good = Some((number, head));
        }
    }
    let start = good.as_ref().map_or(0, |(_, head)| head.failures);
    let last = good.as_ref().map_or(0, |(_, head)| head.sequence);
    let mut since: Vec<Head> = Vec::new();
    for offset in 0..FAILED_SLOTS {
        match slot(place(start.wrapping_add(offset))) {
            // In the order of their numbers, wherever the ring began.
            Slot::Written(head) if head.sequence > last => {
                let later = since.iter().position(|other| other.sequence > head.sequence);
                since.insert(later.unwrap_or(since.len()), head);
            }
            // Without a good boot nothing says where the others begin.
            Slot::Written(_) | Slot::Empty if good.is_some() => break,
            // Behind a torn one there may be more.
            _ => {}
        }
    }
    let sequence = since.last().map_or(last, |head| head.sequence).saturating_add(1);
    let failures = since.last().map_or(start, |head| head.failures);
    let other = match &good {
        Some((0, _)) => 1,
        _ => 0,
    };
    Survey {
        since: since.into_iter().map(|head| head.ended).collect(),
        good: Next { slot: other, sequence, failures },
        failed: Next { slot: place(failures), sequence, failures: failures.wrapping_add(1) },
    }
}

/// Returns the slot for a failure after so many others.
fn place(failures: u32) -> usize {
    usize::try_from(failures % FAILED_SLOTS).unwrap_or(0).saturating_add(GOOD_SLOTS)
}

/// Returns the bytes of an entry from the beginning of its slot on, in whole pages. A report that is too long is left out; of the log the
/// end is kept.
pub fn encode(next: Next, ended: &Ended, report: &str, card: &str, log: &str) -> Vec<u8> {
    let mut left = SLOT.saturating_sub(HEAD);
    let mut take = |length: usize| {
        left = left.saturating_sub(length);
        length
    };
    let card = card.get(..take(card.len().min(SLOT / 4))).unwrap_or_default();
    let report = if report.len() <= SLOT / 2 { report } else { "" };
    take(report.len());
    let log = text::tail(log, left);
    let content = [report, card, log].concat();
    let sequence = next.sequence;
    let end = End::ALL.iter().position(|end| *end == ended.end).unwrap_or(0);
    // Of a number as large as that, the lower half comes first.
    let numbers = [
        (8, sequence as u32),
        (12, (sequence >> 32) as u32),
        (16, length(end)),
        (20, next.failures),
        (24, length(report.len())),
        (28, length(card.len())),
        (32, length(log.len())),
        (SUMS, checksum(content.as_bytes())),
    ];
    let mut bytes = vec![0; HEAD];
    put(&mut bytes, 0, MAGIC);
    for (at, number) in numbers {
        put(&mut bytes, at, &number.to_le_bytes());
    }
    for (at, name) in [(CODE, &ended.code), (STEP, &ended.step)] {
        put(&mut bytes, at, name.as_bytes().get(..NAME).unwrap_or(name.as_bytes()));
    }
    let sum = checksum(bytes.get(..COVERED).unwrap_or_default());
    put(&mut bytes, COVERED, &sum.to_le_bytes());
    bytes.extend_from_slice(content.as_bytes());
    bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
    bytes
}

/// Puts bytes into others, at a place.
fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    for (cell, byte) in bytes.iter_mut().skip(at).zip(part) {
        *cell = *byte;
    }
}

fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

impl Slot {
    /// Reads the head of a slot.
    pub fn read(bytes: &[u8]) -> Self {
        let Some(head) = bytes.get(..HEAD) else { return Self::Empty };
        if head.iter().all(|byte| *byte == FILL) || head.iter().all(|byte| *byte == 0) {
            return Self::Empty;
        }
        Head::parse(head).map_or(Self::Torn, Self::Written)
    }
}

impl Head {
    fn parse(head: &[u8]) -> Option<Self> {
        let number = |at: usize| u32_at(head, at);
        if !head.starts_with(MAGIC) || number(COVERED)? != checksum(head.get(..COVERED)?) {
            return None;
        }
        let sequence = u64::from(number(8)?) | u64::from(number(12)?) << 32;
        let end = *End::ALL.get(usize::try_from(number(16)?).ok()?)?;
        let name = |at: usize| {
            let bytes = head.get(at..at.saturating_add(NAME))?;
            let text = bytes.split(|byte| *byte == 0).next()?;
            // Codes and steps have no other characters: nothing of it drives a terminal, or breaks a report.
            let is_name = text.iter().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'-' | b'0'..=b'9'));
            is_name.then(|| String::from_utf8_lossy(text).into_owned())
        };
        let (code, step) = (name(CODE)?, name(STEP)?);
        Some(Self {
            sequence,
            ended: Ended { end, code, step },
            failures: number(20)?,
            lengths: [number(24)?, number(28)?, number(32)?],
            checksum: number(SUMS)?,
        })
    }
}

/// Reads the entry in the bytes of a slot. None where there is no whole one.
pub fn decode(slot: &[u8]) -> Option<Entry> {
    let Slot::Written(head) = Slot::read(slot) else { return None };
    let mut rest = slot.get(HEAD..)?;
    let mut parts = Vec::new();
    let mut whole = Vec::new();
    for length in head.lengths {
        let (part, behind) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        whole.extend_from_slice(part);
        parts.push(String::from_utf8_lossy(part).into_owned());
        rest = behind;
    }
    if checksum(&whole) != head.checksum {
        return None;
    }
    let [report, card, log] = parts.try_into().ok()?;
    Some(Entry { sequence: head.sequence, ended: head.ended, report, card, log })
}

/// The content of a box.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Content {
    /// The whole entries, the newest first.
    pub entries: Vec<Entry>,
    /// Slots whose entry is torn.
    pub torn: usize,
}

/// Reads a box, or as much as is there of one.
pub fn read(bytes: &[u8]) -> Content {
    let mut content = Content::default();
    for slot in bytes.chunks(SLOT).take(SLOTS) {
        match decode(slot) {
            Some(entry) => content.entries.push(entry),
            None if Slot::read(slot) != Slot::Empty => content.torn = content.torn.saturating_add(1),
            None => {}
        }
    }
    content.entries.sort_by_key(|entry| std::cmp::Reverse(entry.sequence));
    content
}

impl Ended {
    /// Returns a boot that failed.
    pub fn failed(code: Code, step: Step) -> Self {
        Self { end: End::Failed, code: code.name().into(), step: step.name().into() }
    }

    /// Returns a boot that ended without a failure of its own.
    pub fn plain(end: End) -> Self {
        Self { end, code: String::new(), step: String::new() }
    }
}

#[cfg(test)]
mod tests;
