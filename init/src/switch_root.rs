//! From the initramfs to the new root: its init is checked first, the api mounts move over, the old root is emptied, then init
//! becomes the system. After the first move there is no way back, so everything that can be checked is checked before.

use crate::{
    error::{Error, Result},
    kernel::{Kernel, Kind, exists},
};

/// The mounts that move into the new root.
pub const MOVED: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// Symbolic links followed before a path is given up, as the kernel does (path_resolution(7)).
const LINKS: usize = 40;

/// Checks that `init` is there in the new root and can be executed.
///
/// # Errors
/// [`Error::InitMissing`] with the usual inits that are there, or [`Error::InitUnusable`].
pub fn check_init(kernel: &mut dyn Kernel, root: &str, init: &str) -> Result<()> {
    let Some(path) = resolve(kernel, root, init) else {
        let mut found = Vec::new();
        for other in ["/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/bin/init", "/bin/sh"] {
            if resolve(kernel, root, other).is_some() {
                found.push(other.to_string());
            }
        }
        return Err(Error::InitMissing { path: init.into(), found });
    };
    let unusable = |reason| Err(Error::InitUnusable { path: init.into(), reason });
    match kernel.stat(&path) {
        Ok(stat) if stat.kind != Kind::File => unusable("it is no regular file"),
        Ok(stat) if stat.mode & 0o111 == 0 => unusable("no permission bit allows to execute it"),
        Ok(stat) if stat.size == 0 => unusable("it is empty"),
        _ => Ok(()),
    }
}

/// Where `path` leads inside `root`: absolute links and `..` stay in it. None where it leads nowhere.
fn resolve(kernel: &mut dyn Kernel, root: &str, path: &str) -> Option<String> {
    let mut pending: Vec<String> = path.rsplit('/').map(String::from).collect();
    let mut walked: Vec<String> = Vec::new();
    let mut links = 0_usize;
    while let Some(part) = pending.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                walked.pop();
                continue;
            }
            _ => walked.push(part),
        }
        let here = format!("{root}/{}", walked.join("/"));
        match kernel.stat(&here).ok()?.kind {
            Kind::Symlink => {
                links = links.saturating_add(1);
                if links > LINKS {
                    return None;
                }
                let target = kernel.read_link(&here).ok()?;
                if target.starts_with('/') {
                    walked.clear();
                } else {
                    walked.pop();
                }
                pending.extend(target.rsplit('/').map(String::from));
            }
            Kind::File | Kind::Other if pending.iter().any(|part| !part.is_empty()) => return None,
            _ => {}
        }
    }
    Some(format!("{root}/{}", walked.join("/")))
}

/// Moves the api mounts, enters the new root and becomes its init. Comes back only with an error.
pub fn switch(kernel: &mut dyn Kernel, root: &str, init: &str, arguments: &[String]) -> Error {
    for folder in MOVED {
        if !exists(kernel, folder) {
            continue;
        }
        let target = format!("{root}{folder}");
        if let Err(source) = kernel.move_mount(folder, &target) {
            return Error::Io { action: "move to the new root:", path: folder.into(), source };
        }
    }
    if let Err(source) = kernel.enter_root(root) {
        return Error::Io { action: "switch to", path: root.into(), source };
    }
    Error::Exec { path: init.into(), source: kernel.exec(init, arguments) }
}
