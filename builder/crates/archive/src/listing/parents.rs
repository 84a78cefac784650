//! Detection of entries that the kernel drops because their directory does not precede them. The kernel drops them silently,
//! so `inspect` reports them.

use std::collections::HashMap;

use base::escape::escape;

use crate::manifest::Type;

/// The names seen so far.
#[derive(Default)]
pub struct Parents {
    /// The names; true for a symbolic link, as an entry below one lands in the link's target.
    seen: HashMap<Vec<u8>, bool>,
    missing: u64,
    first: Option<String>,
}

/// Directories of the kernel's built-in initramfs (`usr/default_cpio_list`).
const BUILT_IN: [&[u8]; 2] = [b"dev", b"root"];

impl Parents {
    /// Takes note of the next entry.
    pub fn see(&mut self, path: &[u8], kind: Type) {
        let path = path.strip_prefix(b"/").unwrap_or(path);
        let path = path.strip_suffix(b"/").unwrap_or(path);
        if !self.has_parent(path) {
            self.missing += 1;
            self.first.get_or_insert_with(|| escape(path).to_string());
        }
        self.seen.insert(path.to_vec(), kind == Type::Symlink);
    }

    fn has_parent(&self, path: &[u8]) -> bool {
        let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else { return true };
        let parent = &path[..slash];
        match self.seen.get(parent) {
            Some(_) => true,
            None => BUILT_IN.contains(&parent) || self.below_a_link(parent),
        }
    }

    fn below_a_link(&self, path: &[u8]) -> bool {
        path.iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'/')
            .any(|(slash, _)| self.seen.get(&path[..slash]).is_some_and(|is_link| *is_link))
    }

    /// Returns the note about dropped entries; `None` if there are none.
    pub fn note(&self) -> Option<String> {
        let first = self.first.as_ref()?;
        Some(format!(
            "{} entries come before their directory or without one, `{first}` for example: the kernel drops them silently",
            self.missing
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::Parents;
    use crate::manifest::Type;

    #[test]
    fn directories_must_come_first() {
        let mut parents = Parents::default();
        for (path, kind) in [
            ("usr", Type::Directory),
            ("usr/bin", Type::Directory),
            ("bin", Type::Symlink),
            ("bin/sh", Type::File),
            ("bin/deep/sh", Type::File),
            ("dev/null", Type::CharDevice),
            ("init", Type::File),
        ] {
            parents.see(path.as_bytes(), kind);
        }
        assert_eq!(parents.note(), None);
        parents.see(b"etc/fstab", Type::File);
        parents.see(b"etc", Type::Directory);
        parents.see(b"etc/passwd", Type::File);
        let note = parents.note().unwrap();
        assert!(note.starts_with("1 entries") && note.contains("`etc/fstab`"), "{note}");
    }
}
