//! Paths as a program sees them whose `/` is a directory of this machine.

use std::path::{Component, Path, PathBuf};

/// Links followed at most, as the kernel does (`MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// Returns the file that `path` names when `root` is `/`: links, absolute ones too, are followed inside `root` and never leave it.
pub fn find(root: &Path, path: &Path) -> Option<PathBuf> {
    let mut rest: Vec<std::ffi::OsString> = names(path);
    let mut inside: Vec<std::ffi::OsString> = Vec::new();
    let mut links = 0;
    while let Some(name) = rest.pop() {
        if name == ".." {
            inside.pop();
            continue;
        }
        let file = root.join(inside.iter().collect::<PathBuf>()).join(&name);
        let metadata = file.symlink_metadata().ok()?;
        if !metadata.is_symlink() {
            inside.push(name);
            continue;
        }
        links += 1;
        if links > MOST_LINKS {
            return None;
        }
        let target = file.read_link().ok()?;
        if target.is_absolute() {
            inside.clear();
        }
        rest.extend(names(&target));
    }
    Some(root.join(inside.iter().collect::<PathBuf>()))
}

/// Returns the names in `path`, last one first.
fn names(path: &Path) -> Vec<std::ffi::OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    let mut names: Vec<_> = names.collect();
    names.reverse();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_inside_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        std::fs::create_dir_all(root.join("usr/sbin")).unwrap();
        std::fs::write(root.join("usr/sbin/runit"), "").unwrap();
        symlink("usr/sbin", root.join("sbin")).unwrap();
        symlink("/sbin/runit", root.join("usr/sbin/init")).unwrap();
        symlink("../../../../etc/passwd", root.join("usr/sbin/out")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        assert_eq!(find(root, Path::new("/sbin/init")), Some(root.join("usr/sbin/runit")));
        assert_eq!(find(root, Path::new("/sbin/out")), None);
        assert_eq!(find(root, Path::new("/loop")), None);
    }
}
