//! `--mount HOST:GUEST[:ro]`: directories of this machine that a program has.

use contract::workload;
use vm::Share;

use crate::{Error, Result};

/// A directory of this machine in the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// The directory as the host shares it.
    pub share: Share,
    /// The share as init mounts it.
    pub entry: workload::Share,
}

/// Reads the values of the option.
///
/// # Errors
/// [`Error::Usage`].
pub(super) fn shares(values: &[String]) -> Result<Vec<Mount>> {
    let mut all: Vec<Mount> = Vec::new();
    for (number, value) in values.iter().enumerate() {
        let refuse = |reason: String| {
            Err(Error::Usage(format!(
                "--mount {value}: {reason}; expected HOST:GUEST or HOST:GUEST:ro, such as .:/work"
            )))
        };
        let (path, target, read_only) = match value.split(':').collect::<Vec<_>>().as_slice() {
            [path, target] | [path, target, "rw"] => (*path, *target, false),
            [path, target, "ro"] => (*path, *target, true),
            [_, _, other] => return refuse(format!("`{other}` is neither ro nor rw")),
            _ => return refuse("there are not two or three parts between colons".to_owned()),
        };
        let target = target.trim_end_matches('/');
        if !target.starts_with('/')
            || target.split('/').any(|part| part == ".." || part == ".")
            || target.contains('\0')
        {
            return refuse("GUEST is not an absolute path below the root, without `.` and `..`".to_owned());
        }
        if !std::path::Path::new(path).is_dir() {
            return refuse("HOST is not a directory of this machine".to_owned());
        }
        if all.iter().any(|mount| mount.entry.target == target) {
            return refuse("there is a directory at GUEST already".to_owned());
        }
        let tag = format!("mount{number}");
        all.push(Mount {
            share: Share { tag: tag.clone(), path: path.into(), read_only },
            entry: workload::Share { tag, target: target.to_owned(), read_only },
        });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_read() {
        let read = |values: &[&str]| shares(&values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
        let all = read(&["/:/host:ro", ".:/work/", "/tmp:/a b:rw"]).unwrap();
        let seen: Vec<_> = all.iter().map(|mount| (mount.entry.target.as_str(), mount.share.read_only)).collect();
        assert_eq!(seen, [("/host", true), ("/work", false), ("/a b", false)]);
        assert!(
            all.iter()
                .all(|mount| mount.share.tag == mount.entry.tag && mount.share.read_only == mount.entry.read_only)
        );
        for (bad, words) in [
            (&["/"][..], "two or three parts"),
            (&["/:/a:rx"], "neither ro nor rw"),
            (&["/:a"], "not an absolute path"),
            (&["/:/"], "not an absolute path"),
            (&["/:/a/../b"], "not an absolute path"),
            (&["/no/such:/a"], "not a directory"),
            (&["/dev/null:/a"], "not a directory"),
            (&["/:/a", "/tmp:/a/"], "already"),
        ] {
            let error = read(bad).unwrap_err().to_string();
            assert!(error.contains(words) && error.starts_with("--mount "), "{error}");
        }
    }
}
