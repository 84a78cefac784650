//! `--exclude GLOB`: names that are left out. A name that is left out takes everything below it along; another hard link of the same
//! file keeps its content.

use std::{cell::Cell, ffi::OsStr, os::unix::ffi::OsStrExt};

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::merge::Merge;
use crate::{Error, Result};

/// Patterns of the names that are left out.
#[derive(Debug, Clone, Default)]
pub struct Exclude {
    set: GlobSet,
    /// The patterns as they were given.
    patterns: Vec<String>,
    /// True for each pattern that a name has matched.
    used: Vec<Cell<bool>>,
}

impl Exclude {
    /// Reads patterns. One with a slash in it is about the whole path, with or without a slash in front; one without is about a name,
    /// wherever it is. `*` and `?` stand for anything but a slash, `**` for any number of directories, `[ab]` and `{a,b}` for one of them.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn new(patterns: &[String]) -> Result<Self> {
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let refuse = |reason: &dyn std::fmt::Display| Error::Usage(format!("--exclude `{pattern}`: {reason}"));
            let glob = |text: &str| -> Result<Glob> {
                GlobBuilder::new(text)
                    .literal_separator(true)
                    .backslash_escape(true)
                    .build()
                    .map_err(|error| refuse(error.kind()))
            };
            let path = pattern.trim_start_matches('/').trim_end_matches('/');
            if path.is_empty() {
                return Err(refuse(&"expected a pattern for names, such as usr/share/doc or *.pyc"));
            }
            let anywhere = !pattern.trim_end_matches('/').contains('/');
            set.add(glob(&if anywhere { format!("**/{path}") } else { path.to_owned() })?);
        }
        let set = set.build().map_err(|error| Error::Usage(format!("--exclude: {}", error.kind())))?;
        Ok(Self { set, patterns: patterns.to_vec(), used: vec![Cell::new(false); patterns.len()] })
    }

    /// Returns true for a name that is left out.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let matching = self.set.matches(OsStr::from_bytes(path));
        matching.iter().filter_map(|index| self.used.get(*index)).for_each(|used| used.set(true));
        !matching.is_empty()
    }

    /// Returns the patterns that no name has matched so far.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        self.patterns.iter().zip(&self.used).filter(|(_, used)| !used.get()).map(|(pattern, _)| pattern.as_str())
    }

    /// Takes the names away.
    pub fn apply(&self, merge: &mut Merge) {
        if self.set.is_empty() {
            return;
        }
        let before = merge.tree.len();
        let mut left_out: Vec<Vec<u8>> = Vec::new();
        let mut below: Option<Vec<u8>> = None;
        for node in merge.tree.iter() {
            let inside = below.as_ref().is_some_and(|directory| node.path.starts_with(directory));
            if self.matches(node.path) || inside {
                if !inside {
                    below = Some([node.path, b"/"].concat());
                }
                left_out.push(node.path.to_vec());
            }
        }
        // Other names sort between a directory and what is in it (`a`, `a-b`, `a/c`): what was missed for that comes now.
        for path in &left_out {
            merge.tree.remove_below(path, |_| false);
            merge.tree.remove(path);
            merge.xattrs.remove(path);
        }
        merge.left_out += before - merge.tree.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use archive::tree::{Content, Entry, OnConflict};

    fn left(patterns: &[&str], names: &[&str]) -> Vec<String> {
        let mut merge = Merge::default();
        for name in names {
            let entry = Entry::file(0o644, Content::Bytes(Vec::new()));
            merge.tree.create_parents(name).unwrap();
            merge.tree.insert(name, entry, OnConflict::Refuse).unwrap();
        }
        let patterns: Vec<String> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        let exclude = Exclude::new(&patterns).unwrap();
        let before = merge.tree.len();
        exclude.apply(&mut merge);
        assert_eq!(exclude.unused().count() == patterns.len(), merge.tree.len() == before, "{patterns:?}");
        merge.tree.iter().map(|node| String::from_utf8_lossy(node.path).into_owned()).collect()
    }

    #[test]
    fn patterns_match_what_they_say() {
        let names = ["usr/share/doc/a", "usr/share/doc-base", "usr/lib/x.pyc", "doc/b", "y.pyc"];
        for (pattern, gone) in [
            ("usr/share/doc", vec!["usr/share/doc", "usr/share/doc/a"]),
            ("/usr/share/doc/", vec!["usr/share/doc", "usr/share/doc/a"]),
            ("usr/share/doc/**", vec!["usr/share/doc/a"]),
            ("usr/share/doc/*", vec!["usr/share/doc/a"]),
            ("*.pyc", vec!["usr/lib/x.pyc", "y.pyc"]),
            ("/*.pyc", vec!["y.pyc"]),
            ("**/*.pyc", vec!["usr/lib/x.pyc", "y.pyc"]),
            ("doc", vec!["doc", "doc/b", "usr/share/doc", "usr/share/doc/a"]),
            ("usr/*/doc", vec!["usr/share/doc", "usr/share/doc/a"]),
            ("usr/*.pyc", vec![]),
            ("doc/{a,b}", vec!["doc/b"]),
        ] {
            let all = left(&[], &names);
            let kept = left(&[pattern], &names);
            let missing: Vec<&String> = all.iter().filter(|name| !kept.contains(name)).collect();
            assert_eq!(missing, gone, "{pattern}");
        }
        for bad in ["", "/", "a[", "{a"] {
            assert!(Exclude::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_pattern_that_matches_nothing_is_known() {
        let mut merge = Merge::default();
        merge.tree.insert("a", Entry::directory(0o755), OnConflict::Refuse).unwrap();
        merge.tree.insert("a/b.pyc", Entry::symlink("x"), OnConflict::Refuse).unwrap();
        let exclude = Exclude::new(&["a", "*.pyc", "/b.pyc", "*.py"].map(str::to_owned)).unwrap();
        exclude.apply(&mut merge);
        assert_eq!(
            Vec::from_iter(exclude.unused()),
            ["/b.pyc", "*.py"],
            "what is below a name that goes counts as well"
        );
    }

    #[test]
    fn a_hard_link_keeps_its_content() {
        let mut merge = Merge::default();
        let content = Content::Bytes(b"abc".to_vec());
        merge.tree.insert("a", Entry::file(0o644, content.clone()), OnConflict::Refuse).unwrap();
        merge.tree.link("a", "b", OnConflict::Refuse).unwrap();
        Exclude::new(&["/a".to_owned()]).unwrap().apply(&mut merge);
        assert_eq!(merge.left_out, 1);
        assert!(merge.tree.get("a").is_none());
        assert_eq!(merge.tree.get("b").unwrap().kind, archive::tree::Kind::File(content));
    }
}
