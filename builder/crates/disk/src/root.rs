//! A look at a root directory before it is packed: can it be a root at all, and will it start?

use std::{os::unix::fs::PermissionsExt, path::Path};

use base::{IoContext, rooted::find};
use contract::names::INIT;

use crate::{Error, Result};

/// Checks that `root` is a directory with something in it, and tells what may not be meant so.
///
/// # Errors
/// [`Error::Io`] where it cannot be read, [`Error::Usage`] for an empty directory or none.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let metadata = root.metadata().at("read", root)?;
    if !metadata.is_dir() {
        return Err(Error::Usage(format!("{} is not a directory: give an image with --image", root.display())));
    }
    if std::fs::read_dir(root).at("read", root)?.next().is_none() {
        return Err(Error::Usage(format!("{} is empty: a root directory holds bin, etc, sbin, …", root.display())));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_without_init_is_warned_about_and_an_empty_one_refused() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
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
