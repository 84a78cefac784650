//! A look at a root folder before it is packed: can it be a root at all, and will it start?

use std::{
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use base::IoContext;
use contract::names::INIT;

use crate::{Error, Result};

/// Links followed at most, as the kernel does (`MAXSYMLINKS`).
const MOST_LINKS: usize = 40;

/// Checks that `root` is a folder with something in it, and tells what may not be meant so.
///
/// # Errors
/// [`Error::Io`] where it cannot be read, [`Error::Usage`] for an empty folder or none.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let metadata = root.metadata().at("read", root)?;
    if !metadata.is_dir() {
        return Err(Error::Usage(format!("{} is no folder: give an image with --image", root.display())));
    }
    if std::fs::read_dir(root).at("read", root)?.next().is_none() {
        return Err(Error::Usage(format!("{} is empty: a root folder holds bin, etc, sbin, …", root.display())));
    }
    let mut warnings = Vec::new();
    match find(root, Path::new(INIT)).map(|path| path.metadata()) {
        Some(Ok(file)) if file.is_file() && file.permissions().mode() & 0o111 == 0 => warnings.push(format!(
            "{}: {INIT} is not executable, so the system will only start with another `init=`",
            root.display()
        )),
        Some(Ok(file)) if file.is_file() => {}
        _ => warnings.push(format!(
            "{} has no {INIT}: the system will only start with another `init=` on the kernel's command line",
            root.display()
        )),
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o555 != 0o555 {
        warnings.push(format!(
            "{} has mode {mode:04o}, and so will `/`: only root will be able to enter it (chmod 755 opens it)",
            root.display()
        ));
    }
    Ok(warnings)
}

/// The file that `path` names when `root` is `/`: links, absolute ones too, are followed inside `root` and never leave it.
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

/// The names in `path`, last one first.
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
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
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

    #[test]
    fn a_root_without_init_is_warned_about_and_an_empty_one_refused() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert!(check(root).unwrap_err().to_string().contains("is empty"));
        std::fs::create_dir(root.join("sbin")).unwrap();
        assert!(check(root).unwrap()[0].contains("has no /sbin/init"));
        std::fs::write(root.join("sbin/init"), "").unwrap();
        std::fs::set_permissions(root.join("sbin/init"), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(check(root).unwrap()[0].contains("not executable"));
        std::fs::set_permissions(root.join("sbin/init"), std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(check(root).unwrap(), Vec::<String>::new());
        std::fs::set_permissions(root, std::fs::Permissions::from_mode(0o700)).unwrap();
        assert!(check(root).unwrap()[0].contains("0700"));
        assert!(check(&root.join("sbin/init")).unwrap_err().to_string().contains("--image"));
    }
}
