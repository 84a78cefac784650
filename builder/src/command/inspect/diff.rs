//! Two initramfs compared: names that only one has, and what is different where both have one.

use std::{collections::BTreeMap, fmt::Write as _};

use archive::{listing::Listed, manifest::Record};
use base::escape::escape;
use indicatif::BinaryBytes;
use serde_json::{Value, json};

/// The differences, each list in the order of the names.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Diff {
    added: Vec<(Vec<u8>, Option<u64>)>,
    removed: Vec<(Vec<u8>, Option<u64>)>,
    changed: Vec<(Vec<u8>, Vec<String>)>,
}

impl Diff {
    /// Compares them by name; where one has a name twice, the last counts, as for the kernel.
    pub fn of(old: &[Listed], new: &[Listed]) -> Self {
        let by_name = |files: &[Listed]| -> BTreeMap<Vec<u8>, Record> {
            files.iter().map(|file| (file.record.path.bytes(), file.record.clone())).collect()
        };
        let (old, mut new) = (by_name(old), by_name(new));
        let mut diff = Self::default();
        for (name, record) in old {
            match new.remove(&name) {
                None => diff.removed.push((name, record.size)),
                Some(other) => {
                    let differences = differences(&record, &other);
                    if !differences.is_empty() {
                        diff.changed.push((name, differences));
                    }
                }
            }
        }
        diff.added = new.into_iter().map(|(name, record)| (name, record.size)).collect();
        diff
    }

    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    pub fn to_json(&self) -> Value {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let list = |files: &[(Vec<u8>, Option<u64>)]| -> Vec<Value> {
            files.iter().map(|(name, size)| json!({ "path": text(name), "size": size })).collect()
        };
        let changed: Vec<Value> =
            self.changed.iter().map(|(name, what)| json!({ "path": text(name), "changes": what })).collect();
        json!({ "added": list(&self.added), "removed": list(&self.removed), "changed": changed })
    }
}

impl std::fmt::Display for Diff {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (sign, files) in [('-', &self.removed), ('+', &self.added)] {
            for (name, size) in files {
                let size = size.map(|size| format!("  ({})", BinaryBytes(size))).unwrap_or_default();
                writeln!(f, "{sign} {}{size}", escape(name))?;
            }
        }
        for (name, what) in &self.changed {
            writeln!(f, "~ {}: {}", escape(name), what.join(", "))?;
        }
        if self.is_empty() {
            return writeln!(f, "No differences.");
        }
        let mut counts = String::new();
        for (count, word) in
            [(self.removed.len(), "removed"), (self.added.len(), "added"), (self.changed.len(), "changed")]
        {
            let _ = write!(counts, "{}{count} {word}", if counts.is_empty() { "" } else { ", " });
        }
        writeln!(f, "\n{counts}.")
    }
}

/// Returns the differences of two entries of a name. Times are none: builds differ in them and mean nothing by it.
fn differences(old: &Record, new: &Record) -> Vec<String> {
    let mut found = Vec::new();
    if old.kind != new.kind {
        found.push(format!("{:?} became {:?}", old.kind, new.kind).to_lowercase());
    }
    if let (Some(before), Some(after)) = (old.size, new.size)
        && before != after
    {
        found.push(format!("{} became {}", BinaryBytes(before), BinaryBytes(after)));
    } else if old.sha256 != new.sha256 {
        found.push("content".to_owned());
    }
    if old.mode != new.mode {
        found.push(format!("mode {:04o} became {:04o}", old.mode, new.mode));
    }
    if (old.uid, old.gid) != (new.uid, new.gid) {
        found.push(format!("owner {}:{} became {}:{}", old.uid, old.gid, new.uid, new.gid));
    }
    if old.target != new.target {
        found.push("target".to_owned());
    }
    if old.device != new.device {
        found.push("device".to_owned());
    }
    if old.hard_link != new.hard_link {
        found.push("hard link".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use archive::manifest::{Name, Type};

    fn file(path: &str, size: u64, mode: u32, sha256: &str) -> Listed {
        let record = Record {
            path: Name::new(path.as_bytes()),
            kind: Type::File,
            mode,
            uid: 0,
            gid: 0,
            mtime: u32::from(mode == 0),
            size: Some(size),
            sha256: Some(sha256.to_owned()),
            target: None,
            device: None,
            hard_link: None,
        };
        Listed { segment: 0, record }
    }

    #[test]
    fn names_sizes_contents_and_modes() {
        let old =
            [file("a", 1, 0o644, "x"), file("b", 1, 0o644, "x"), file("c\n", 2048, 0, ""), file("d", 1, 0o644, "x")];
        let new = [
            file("d", 9, 0o644, "z"),
            file("d", 1, 0o755, "y"),
            file("b", 1, 0o644, "x"),
            file("a", 2, 0o644, "x"),
            file("e", 5, 0, ""),
        ];
        let diff = Diff::of(&old, &new);
        let text = diff.to_string();
        let expected = "- c\\n  (2.00 KiB)\n+ e  (5 B)\n~ a: 1 B became 2 B\n~ d: content, mode 0644 became 0755\n\n1 removed, 1 added, 2 changed.\n";
        assert_eq!(text, expected);
        assert_eq!(diff.to_json()["changed"][1]["changes"][0], "content");
        assert!(Diff::of(&old, &old).is_empty() && Diff::of(&old, &old).to_string() == "No differences.\n");
    }
}
