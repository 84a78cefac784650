//! The identification of an initramfs: `/etc/initrd-release` (systemd's INITRD-RELEASE), else `/etc/os-release`, with the
//! syntax of os-release(5): lines `KEY=value`, with shell-style quotes allowed around the value.

use std::collections::{BTreeMap, HashMap};

use base::elf::{self, Machine};
use contract::names;
use serde::Serialize;

/// Paths of release files, in order of preference.
const PLACES: [&str; 4] = ["etc/initrd-release", "usr/lib/initrd-release", "etc/os-release", "usr/lib/os-release"];

/// Returns true for a file of its image that init itself reads: the baked-in command lines, the keys that it trusts.
fn is_inits(path: &str) -> bool {
    let below = |name: &str| path.strip_prefix(name.trim_start_matches('/')).map(str::to_owned);
    [names::BAKED_CMDLINE, names::FINAL_CMDLINE].iter().any(|name| below(name).is_some_and(|rest| rest.is_empty()))
        || below(names::TRUST_DIR).is_some_and(|rest| rest.starts_with('/'))
}

/// Path of the program that the kernel starts.
const INIT: &str = "init";

/// Enough for any such file; a larger one is something else.
const SIZE_MAX: usize = 64 * 1024;

/// The release file that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Release {
    /// The file it comes from.
    pub path: &'static str,
    /// Keys and values in the file's order.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

impl Release {
    /// Returns the value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields.get(key).and_then(|value| value.as_str())
    }
}

/// Keeps the files in question while an archive goes by.
#[derive(Default)]
pub struct Candidates(HashMap<String, Vec<u8>>);

/// A file in question, being read.
#[derive(Default)]
pub struct Text(Vec<u8>);

impl Text {
    /// Takes the next piece, up to 64 KiB.
    pub fn extend(&mut self, piece: &[u8]) {
        let room = SIZE_MAX - self.0.len();
        self.0.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

impl Candidates {
    /// Returns something to read `path` into, if it is one of the files in question.
    pub fn watch(&self, path: &[u8]) -> Option<Text> {
        place(path).map(|_| Text::default())
    }

    /// Keeps what was read, in place of what came before under the same name.
    pub fn keep(&mut self, path: &[u8], text: Text) {
        if let Some(place) = place(path) {
            self.0.insert(place.to_owned(), text.0);
        }
    }

    /// Returns the files that init reads from its own image, by path.
    pub fn inits(&self) -> BTreeMap<String, Vec<u8>> {
        let own = self.0.iter().filter(|(path, _)| is_inits(path));
        own.map(|(path, content)| (path.clone(), content.clone())).collect()
    }

    /// Returns the machine that `/init` is for, where it is an ELF program.
    pub fn machine(&self) -> Option<Machine> {
        elf::machine(self.0.get(INIT)?)
    }

    /// Returns the best of them that says anything.
    pub fn finish(mut self) -> Option<Release> {
        PLACES.iter().find_map(|path| {
            let fields = parse(&String::from_utf8_lossy(&self.0.remove(*path)?));
            (!fields.is_empty()).then_some(Release { path, fields })
        })
    }
}

fn place(path: &[u8]) -> Option<&str> {
    std::str::from_utf8(path).ok().filter(|path| *path == INIT || PLACES.contains(path) || is_inits(path))
}

fn parse(text: &str) -> serde_json::Map<String, serde_json::Value> {
    text.lines()
        .filter_map(|line| {
            let (key, value) = line.trim().split_once('=')?;
            let named = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            named.then(|| (key.to_owned(), unquote(value).into()))
        })
        .collect()
}

/// Takes the quotes off a value: single quotes keep everything, in double quotes and outside a backslash keeps the next character.
fn unquote(value: &str) -> String {
    let mut text = String::new();
    let mut quote = None;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            ('\\', None | Some('"')) => text.extend(chars.next()),
            _ => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Candidates, SIZE_MAX, Text, parse, unquote};

    #[test]
    fn values_with_and_without_quotes() {
        for (value, text) in [
            ("plain", "plain"),
            ("\"Debian GNU/Linux 12 (bookworm)\"", "Debian GNU/Linux 12 (bookworm)"),
            ("'single \"double\" \\'", "single \"double\" \\"),
            ("\"a \\\"quoted\\\" \\$word\"", "a \"quoted\" $word"),
            ("\"not closed", "not closed"),
            ("\\", ""),
            ("", ""),
        ] {
            assert_eq!(unquote(value), text, "{value}");
        }
    }

    #[test]
    fn lines_that_are_none_are_left_out() {
        let fields = parse("# comment=x\nID=initramfs-overlay\n\n VERSION = 1\nno line\nVERSION=0.1\n=x\n");
        let pairs: Vec<_> = fields.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap())).collect();
        assert_eq!(pairs, [("ID", "initramfs-overlay"), ("VERSION", "0.1")]);
    }

    #[test]
    fn the_best_place_and_the_last_file_count() {
        let mut candidates = Candidates::default();
        for (path, text) in [
            ("usr/lib/initrd-release", "ID=old"),
            ("etc/os-release", "ID=system"),
            ("usr/lib/initrd-release", "ID=new"),
            ("etc/initrd-release", "nothing here"),
        ] {
            let mut content = candidates.watch(path.as_bytes()).unwrap();
            content.extend(text.as_bytes());
            candidates.keep(path.as_bytes(), content);
        }
        assert!(candidates.watch(b"etc/passwd").is_none());
        for (path, text) in [("etc/cmdline", "quiet"), ("etc/cmdline.final", "ro"), ("etc/trust/key.pub", "RW")] {
            let mut content = candidates.watch(path.as_bytes()).unwrap();
            content.extend(text.as_bytes());
            candidates.keep(path.as_bytes(), content);
        }
        let own: Vec<(String, Vec<u8>)> = candidates.inits().into_iter().collect();
        let wanted = [("etc/cmdline", "quiet"), ("etc/cmdline.final", "ro"), ("etc/trust/key.pub", "RW")];
        assert_eq!(own, wanted.map(|(path, text)| (path.into(), text.as_bytes().to_vec())));
        let release = candidates.finish().unwrap();
        assert_eq!((release.path, release.get("ID")), ("usr/lib/initrd-release", Some("new")));
    }

    #[test]
    fn a_huge_file_is_not_kept_whole() {
        let mut text = Text::default();
        for _ in 0..3 {
            text.extend(&[b'x'; 50_000]);
        }
        assert_eq!(text.0.len(), SIZE_MAX);
    }
}
