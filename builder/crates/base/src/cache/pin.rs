//! Entries with a digest that the source tree of the command has: what is in them is held against that digest, not against a list that
//! lies beside it. Once it has been, the list says which files these were, so that the next look need not read them all.

use std::{fs, os::unix::ffi::OsStrExt, path::Path, thread};

use super::list::{LIST, List, Listed, stamp};
use crate::{
    Error, IoContext, Result,
    atomic_file::write_file,
    digest::{digest, file_digest},
};

/// The digest of an entry's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin<'a> {
    /// SHA-256 in hexadecimal, see [`tree_digest`].
    pub sha256: &'a str,
    /// Paths in the entry that count, with all below them; everything where there are none.
    pub parts: &'a [&'a str],
}

impl Pin<'_> {
    /// Returns true if the files of `entry` are those that are pinned.
    pub(super) fn holds(self, entry: &Path) -> bool {
        let list = fs::read(entry.join(LIST)).ok().and_then(|text| serde_json::from_slice::<List>(&text).ok());
        if list.is_some_and(|list| list.pinned.as_deref() == Some(self.sha256) && self.is_untouched(entry, &list)) {
            return true;
        }
        match tree_digest(entry, self.parts) {
            Ok(found) if found == self.sha256 => {
                // A cache that cannot be written to is read whole again the next time.
                let _ = self.write_list(entry);
                true
            }
            _ => false,
        }
    }

    /// Checks the new entry in `directory` and lists its files.
    ///
    /// # Errors
    /// [`Error::NotPinned`] for other files than the pinned ones.
    pub(super) fn confirm(self, directory: &Path) -> Result<()> {
        let found = tree_digest(directory, self.parts)?;
        if found != self.sha256 {
            return Err(Error::NotPinned { path: directory.to_owned(), expected: self.sha256.to_owned(), found });
        }
        self.write_list(directory)
    }

    /// Returns true if all files are there that were, and no others, and none was changed since.
    fn is_untouched(self, entry: &Path, list: &List) -> bool {
        let Ok(names) = names(entry, self.parts) else { return false };
        names.len() == list.files.len()
            && names.iter().all(|name| {
                let metadata = entry.join(name).symlink_metadata();
                let listed = list.files.get(name).and_then(|listed| listed.stamp);
                metadata.is_ok_and(|metadata| listed == Some(stamp(&metadata)))
            })
    }

    fn write_list(self, directory: &Path) -> Result<()> {
        let mut list = List { pinned: Some(self.sha256.to_owned()), ..List::default() };
        for name in names(directory, self.parts)? {
            let path = directory.join(&name);
            let metadata = path.symlink_metadata().at("read", &path)?;
            list.files.insert(name, Listed { size: metadata.len(), sha256: None, stamp: Some(stamp(&metadata)) });
        }
        let path = directory.join(LIST);
        let text = serde_json::to_vec(&list).map_err(std::io::Error::from).at("write", &path)?;
        write_file(&path, &text)
    }
}

/// Returns the digest of all files below `directory` that are in `parts`: the SHA-256 of a line for each in the order of their paths, as
/// `sha256sum` writes it; for a symbolic link `-> ` and its target stand for the digest.
///
/// # Errors
/// [`Error::Io`].
pub fn tree_digest(directory: &Path, parts: &[&str]) -> Result<String> {
    let names = names(directory, parts)?;
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let share = names.len().div_ceil(workers).max(1);
    let lines = |names: &[String]| names.iter().map(|name| line(directory, name)).collect::<Result<Vec<String>>>();
    let all = thread::scope(|scope| {
        let running: Vec<_> = names.chunks(share).map(|names| scope.spawn(move || lines(names))).collect();
        running
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<_>>>()
    })?;
    Ok(digest(all.concat().concat().as_bytes()))
}

fn line(directory: &Path, name: &str) -> Result<String> {
    let path = directory.join(name);
    if path.is_symlink() {
        let target = path.read_link().at("read", &path)?;
        return Ok(format!("-> {}  {name}\n", String::from_utf8_lossy(target.as_os_str().as_bytes())));
    }
    Ok(format!("{}  {name}\n", file_digest(&path)?))
}

/// Returns the paths of all that is not a directory, sorted.
fn names(directory: &Path, parts: &[&str]) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for item in walkdir::WalkDir::new(directory).min_depth(1) {
        let item = item.map_err(std::io::Error::from).at("read", directory)?;
        let name = item.path().strip_prefix(directory).unwrap_or(item.path());
        let counts = parts.is_empty() || parts.iter().any(|part| name.starts_with(part));
        if item.file_type().is_dir() || !counts || name == Path::new(LIST) {
            continue;
        }
        names.push(name.to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::{Cache, Check};

    fn fill(directory: &Path) {
        fs::create_dir(directory.join("sub")).unwrap();
        fs::write(directory.join("sub/file"), "right").unwrap();
        std::os::unix::fs::symlink("sub/file", directory.join("link")).unwrap();
        fs::write(directory.join("unimportant"), "anything").unwrap();
    }

    #[test]
    fn an_entry_is_what_the_source_tree_says() {
        let model = tempfile::tempdir().unwrap();
        fill(model.path());
        let parts = ["sub", "link"];
        let sha256 = tree_digest(model.path(), &parts).unwrap();
        let check = Check::Pinned(Pin { sha256: &sha256, parts: &parts });
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path());
        let mut count = 0;
        let mut make = |change: &dyn Fn(&Path)| {
            cache.entry::<Error>("room", "key", check, |directory| {
                count += 1;
                fill(directory);
                change(directory);
                Ok(())
            })
        };
        let entry = make(&|_| ()).unwrap();
        fs::write(entry.join("unimportant"), "else").unwrap();
        make(&|_| unreachable!("whole")).unwrap();
        // Whoever changes the files can change the list beside them.
        let forge = |entry: &Path| {
            let mut list: List = serde_json::from_slice(&fs::read(entry.join(LIST)).unwrap()).unwrap();
            let file = entry.join("sub/file");
            list.files.get_mut("sub/file").unwrap().sha256 = Some(file_digest(&file).unwrap());
            fs::write(entry.join(LIST), serde_json::to_vec(&list).unwrap()).unwrap();
        };
        let changes: [&dyn Fn(&Path); 4] = [
            &|entry| fs::write(entry.join("sub/file"), "wrong").unwrap(),
            &|entry| fs::write(entry.join("sub/more"), "").unwrap(),
            &|entry| fs::remove_file(entry.join("link")).unwrap(),
            &|entry| {
                fs::write(entry.join("sub/file"), "wrong").unwrap();
                forge(entry);
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            change(&entry);
            assert!(cache.find("room", "key", check).is_none(), "{number}");
            make(&|_| ()).unwrap();
            assert!(cache.find("room", "key", check).is_some(), "{number}");
        }
        // Copied to another machine, and from before there were pins: read whole, and listed.
        fs::remove_file(entry.join(LIST)).unwrap();
        fs::write(entry.join("sub/file"), "right").unwrap();
        make(&|_| unreachable!("whole")).unwrap();
        assert!(entry.join(LIST).exists());
        cache.remove("room", "key").unwrap();
        let error = make(&|directory| fs::write(directory.join("sub/file"), "other").unwrap()).unwrap_err();
        assert!(matches!(error, Error::NotPinned { .. }), "{error}");
        assert!(!entry.exists());
        assert_eq!(count, 6);
    }
}
