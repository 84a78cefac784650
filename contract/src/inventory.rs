//! The list of all that must be in a root which runs from memory: the last entry of its archive. The kernel starts init also where it
//! could not unpack all (it says `Initramfs unpacking failed`), so a list that is there, whole, is the proof that the end was reached.
//!
//! A record and a NUL for each name: `kind size digest path`, sorted by path; kind is the letter that `ls -l` has, size is in bytes,
//! the digest SHA-256 in hexadecimal. `-` stands for what a name has not. The last record is `end COUNT`.

use crate::{Digest, hex};

/// The type of a directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, FIFO or socket.
    Other,
}

/// A name of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its type.
    pub kind: Kind,
    /// Bytes, of a file.
    pub size: Option<u64>,
    /// The digest of a file's content; of several hard links one has it.
    pub digest: Option<Digest>,
    /// Relative to the root.
    pub path: &'a str,
}

/// Directories that something is mounted on before anybody could look: what the archive has below them is not listed.
pub const HIDDEN: [&str; 4] = ["dev/", "proc/", "sys/", "run/"];

/// Writes the list.
#[derive(Debug, Default)]
pub struct Writer {
    text: String,
    count: u64,
}

impl Writer {
    /// Adds a name. Whoever writes sees to their order.
    pub fn add(&mut self, record: &Record<'_>) {
        let letter = match record.kind {
            Kind::File => '-',
            Kind::Directory => 'd',
            Kind::Symlink => 'l',
            Kind::Other => 'o',
        };
        self.text.push(letter);
        self.text.push(' ');
        self.text.push_str(&record.size.map_or_else(|| "-".into(), |size| size.to_string()));
        self.text.push(' ');
        match &record.digest {
            Some(digest) => hex::push(&mut self.text, digest),
            None => self.text.push('-'),
        }
        self.text.push(' ');
        self.text.push_str(record.path);
        self.text.push('\0');
        self.count = self.count.saturating_add(1);
    }

    /// Returns the whole list.
    pub fn finish(mut self) -> Vec<u8> {
        self.text.push_str("end ");
        self.text.push_str(&self.count.to_string());
        self.text.push('\0');
        self.text.into_bytes()
    }
}

/// Reads the list.
///
/// # Errors
/// Why it is not whole.
pub fn parse(text: &str) -> Result<Vec<Record<'_>>, &'static str> {
    const SHORT: &str = "the list of what is in it is truncated";
    let (names, end) = text.strip_suffix('\0').and_then(|text| text.rsplit_once('\0')).ok_or(SHORT)?;
    let count = end.strip_prefix("end ").and_then(|count| count.parse().ok());
    let records: Option<Vec<Record<'_>>> = names.split('\0').map(record).collect();
    records.filter(|records| Some(records.len()) == count).ok_or(SHORT)
}

fn record(text: &str) -> Option<Record<'_>> {
    let mut fields = text.splitn(4, ' ');
    let kind = match fields.next()? {
        "-" => Kind::File,
        "d" => Kind::Directory,
        "l" => Kind::Symlink,
        "o" => Kind::Other,
        _ => return None,
    };
    let size = match fields.next()? {
        "-" => None,
        size => Some(size.parse().ok()?),
    };
    let digest = match fields.next()? {
        "-" => None,
        text => Some(hex::decode(text)?.try_into().ok()?),
    };
    Some(Record { kind, size, digest, path: fields.next()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_shorter() {
        let digest = std::array::from_fn(|place| u8::try_from(place * 7 % 256).unwrap());
        let records = [
            Record { kind: Kind::Directory, size: None, digest: None, path: "bin" },
            Record { kind: Kind::File, size: Some(12), digest: Some(digest), path: "bin/a b\nc" },
            Record { kind: Kind::Symlink, size: None, digest: None, path: "lib" },
            Record { kind: Kind::Other, size: None, digest: None, path: "pipe" },
        ];
        let mut writer = Writer::default();
        records.iter().for_each(|record| writer.add(record));
        let bytes = writer.finish();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert_eq!(parse(text).unwrap(), records);
        for length in 0..text.len() {
            assert!(parse(&text[..length]).is_err(), "{length}");
        }
        // A record in the middle that is lost is noticed too.
        let (first, rest) = text.split_once('\0').unwrap();
        assert!(parse(rest).is_err() && first.starts_with("d - - bin"));
    }
}
