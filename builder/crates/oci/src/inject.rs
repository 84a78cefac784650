//! `--inject SRC:DEST[:MODE]`: files and directories of the host, put into an image's root and owned by root there.

use std::{
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::PathBuf,
};

use archive::tree::{Content, Entry, Kind, OnConflict, Tree};
use base::escape::shown;

use super::merge::{Merge, components, join};
use crate::{Error, Result};

/// A file or a directory of the host to put into the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inject {
    source: PathBuf,
    /// Without a leading slash.
    destination: String,
    mode: Option<u32>,
}

impl Inject {
    /// Reads `SRC:DEST[:MODE]`. A destination that ends with a slash is the directory that the source goes into, under its own name.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn parse(text: &str) -> Result<Self> {
        let refuse = |reason: &str| {
            Error::Usage(format!(
                "--inject `{text}`: {reason}; expected SRC:DEST or SRC:DEST:MODE, such as agent:/usr/bin/agent:755"
            ))
        };
        let parts: Vec<&str> = text.split(':').collect();
        let (source, destination, mode) = match parts.as_slice() {
            [source, destination] => (*source, *destination, None),
            [source, destination, mode] => {
                let mode = u32::from_str_radix(mode, 8).ok().filter(|mode| *mode <= 0o7777);
                (*source, *destination, Some(mode.ok_or_else(|| refuse("the mode is not an octal number up to 7777"))?))
            }
            _ => return Err(refuse("there are not two or three parts between colons")),
        };
        if source.is_empty() || destination.is_empty() {
            return Err(refuse("a part is empty"));
        }
        if destination.split('/').any(|part| part == "..") {
            return Err(refuse("the destination has a `..`"));
        }
        let source = PathBuf::from(source);
        let mut parts = components(destination.as_bytes()).map_err(|reason| refuse(&reason))?;
        if destination.ends_with('/') {
            let name = source.file_name().ok_or_else(|| refuse("the source has no name"))?;
            parts.push(name.as_bytes());
        }
        let destination = String::from_utf8_lossy(&parts.join(&b'/')).into_owned();
        Ok(Self { source, destination, mode })
    }

    /// Puts it into `merge`, in place of what is there. Links on the way are followed inside the tree.
    ///
    /// # Errors
    /// [`Error::Usage`] for what cannot be, [`Error::Io`].
    pub fn apply(&self, merge: &mut Merge) -> Result<()> {
        let refuse =
            |reason: String| Error::Usage(format!("--inject {}:/{}: {reason}", shown(&self.source), self.destination));
        let metadata =
            std::fs::metadata(&self.source).map_err(|error| refuse(format!("cannot read the source: {error}")))?;
        let parts = components(self.destination.as_bytes()).map_err(refuse)?;
        if metadata.is_dir() {
            if self.mode.is_some() {
                return Err(refuse("a mode is for a file, and the source is a directory".to_owned()));
            }
            return self.apply_directory(merge, &merge.resolve(&parts).map_err(refuse)?);
        }
        if !metadata.is_file() {
            return Err(refuse("the source is neither a file nor a directory".to_owned()));
        }
        let Some((name, parents)) = parts.split_last() else {
            return Err(refuse("the destination is the root, and the source a file".to_owned()));
        };
        let parent = merge.resolve(parents).map_err(refuse)?;
        let path = join(&parent, name);
        if merge.tree.get(&path).is_some_and(|there| there.kind == Kind::Directory) {
            return Err(refuse(
                "there is a directory of that name in the image; end DEST with a slash to put the file into it"
                    .to_owned(),
            ));
        }
        merge.create_parents(&parent).map_err(refuse)?;
        let mode = self.mode.unwrap_or(if metadata.mode() & 0o111 == 0 { 0o644 } else { 0o755 });
        merge.insert(&path, Entry::file(mode, Content::host(&self.source)?)).map_err(refuse)?;
        merge.xattrs.remove(&path);
        Ok(())
    }

    /// Puts all that is in the source below `directory`. Names of one file stay hard links.
    fn apply_directory(&self, merge: &mut Merge, directory: &[u8]) -> Result<()> {
        let refuse =
            |reason: String| Error::Usage(format!("--inject {}:/{}: {reason}", shown(&self.source), self.destination));
        let mut tree = Tree::new();
        tree.include(&self.source, OnConflict::Refuse)?;
        merge.create_parents(directory).map_err(refuse)?;
        let mut firsts: std::collections::HashMap<usize, Vec<u8>> = std::collections::HashMap::new();
        for node in tree.iter() {
            let parts: Vec<&[u8]> =
                directory.split(|byte| *byte == b'/').chain(node.path.split(|byte| *byte == b'/')).collect();
            let Some((name, parents)) = parts.split_last() else { continue };
            let path = join(&merge.resolve(parents).map_err(refuse)?, name);
            let there = merge.tree.get(&path).map(|entry| entry.kind.clone());
            // A directory keeps what is in it, its mode and its owner; one that is reached through a link as well.
            if node.entry.kind == Kind::Directory
                && there.as_ref().is_some_and(|kind| matches!(kind, Kind::Directory | Kind::Symlink(_)))
            {
                continue;
            }
            match firsts.get(&node.inode) {
                Some(first) => merge.tree.link(first, &path, OnConflict::Replace)?,
                None => {
                    merge.insert(&path, node.entry.clone()).map_err(refuse)?;
                    firsts.insert(node.inode, path.clone());
                }
            }
            merge.xattrs.remove(&path);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let parsed = |text: &str| Inject::parse(text).map(|inject| (inject.destination, inject.mode)).ok();
        assert_eq!(parsed("a:/b/c"), Some(("b/c".into(), None)));
        assert_eq!(parsed("x/a:/b/"), Some(("b/a".into(), None)));
        assert_eq!(parsed("a:b:4755"), Some(("b".into(), Some(0o4755))));
        assert_eq!(parsed("a:/"), Some(("a".into(), None)));
        for bad in ["a", "a:", ":b", "a:b:c:d", "a:b:999", "a:b:17777", "a:../b", "a:/b/../c", "/:b/"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    #[test]
    fn links_are_followed_inside_the_image() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("tool");
        std::fs::write(&source, "x").unwrap();
        let mut merge = Merge::default();
        merge.insert(b"bin", Entry::symlink("/usr/bin")).unwrap();
        merge.insert(b"out", Entry::symlink("../../..")).unwrap();
        merge.insert(b"dir", Entry::directory(0o755)).unwrap();
        let inject = |merge: &mut Merge, destination: &str| {
            Inject::parse(&format!("{}:{destination}", source.display())).unwrap().apply(merge)
        };
        inject(&mut merge, "/bin/tool:755").unwrap();
        inject(&mut merge, "/out/tool2").unwrap();
        assert_eq!(merge.tree.get("usr/bin/tool").unwrap().mode, 0o755);
        assert_eq!(merge.tree.get("tool2").unwrap().mode, 0o644);
        assert!(inject(&mut merge, "/dir").unwrap_err().to_string().contains("end DEST with a slash"));
        let whole = Inject::parse(&format!("{}:/bin", directory.path().display())).unwrap();
        whole.apply(&mut merge).unwrap();
        assert_eq!(merge.tree.get("usr/bin/tool").unwrap().mode, 0o644);
        merge.tree.check_parents().unwrap();
    }
}
