//! Small root directories around a BusyBox: a skeleton and the files that make it do something. What demonstrations and tests
//! boot. Writes into an empty directory and nowhere else.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
};

use base::IoContext;

use crate::Result;

/// A file of a root directory.
#[derive(Debug, Clone, Copy)]
pub struct RootFile<'a> {
    /// Its path below the root, `/` between the names. The directories above it are made.
    pub path: &'a str,
    /// Permission bits.
    pub mode: u32,
    /// Its content.
    pub content: &'a [u8],
}

/// Directories that every root has. `dev`, `proc`, `run` and `sys` are where the init moves its mounts to.
const DIRECTORIES: [(&str, u32); 14] = [
    ("bin", 0o755),
    ("dev", 0o755),
    ("etc", 0o755),
    ("lib", 0o755),
    ("mnt", 0o755),
    ("proc", 0o555),
    ("root", 0o700),
    ("run", 0o755),
    ("sbin", 0o755),
    ("sys", 0o555),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("var", 0o755),
    ("var/log", 0o755),
];

/// Makes the root in the empty directory `root`: directories, `/bin/busybox` with the bytes `busybox`, `/bin/sh`, a user `root`, and
/// `files`.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn make(root: &Path, busybox: &[u8], files: &[RootFile<'_>]) -> Result<()> {
    set_mode(root, 0o755)?;
    for (directory, mode) in DIRECTORIES {
        let path = root.join(directory);
        fs::create_dir(&path).at("create", &path)?;
        set_mode(&path, mode)?;
    }
    let shell = root.join("bin/sh");
    symlink("busybox", &shell).at("create", &shell)?;
    let own = [
        RootFile { path: "bin/busybox", mode: 0o755, content: busybox },
        RootFile { path: "etc/passwd", mode: 0o644, content: b"root::0:0:root:/root:/bin/sh\n" },
        RootFile { path: "etc/group", mode: 0o644, content: b"root:x:0:\n" },
    ];
    for file in own.iter().chain(files) {
        put(root, file)?;
    }
    Ok(())
}

/// Puts one file into the root.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn put(root: &Path, file: &RootFile<'_>) -> Result<()> {
    let path = root.join(file.path);
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).at("create", parent)?;
    }
    fs::write(&path, file.content).at("write", &path)?;
    set_mode(&path, file.mode)
}

/// Sets the mode whatever the umask says.
fn set_mode(path: &Path, mode: u32) -> Result<()> {
    Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode)).at("change the mode of", path)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use disk::root;

    #[test]
    fn a_small_root_can_be_booted() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let made = path.join("root");
        fs::create_dir(&made).unwrap();
        let init = RootFile { path: "sbin/init", mode: 0o755, content: b"#!/bin/sh\n" };
        make(&made, b"program", &[init, RootFile { path: "etc/a/b", mode: 0o600, content: b"x" }]).unwrap();
        assert_eq!(root::check(&made).unwrap(), Vec::<String>::new());
        assert_eq!(fs::read(made.join("bin/sh")).unwrap(), b"program");
        let mode = |path: &str| made.join(path).metadata().unwrap().permissions().mode() & 0o7777;
        assert_eq!((mode("bin/busybox"), mode("tmp"), mode("etc/a/b")), (0o755, 0o1777, 0o600));
    }
}
