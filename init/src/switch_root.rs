//! From the initramfs to the new root: its init is checked first, the api mounts move over, the old root is emptied, then init
//! becomes the system. After the first move there is no way back, so everything that can be checked is checked before.

use crate::{
    error::{Error, IoContext, Result},
    kernel::{Kernel, Kind},
};

/// The mounts that move into the new root.
pub const MOVED: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// The same, and the `/tmp` of the virtiofs way.
#[cfg(any(feature = "virtiofs", not(feature = "linux")))]
pub const MOVED_WITH_TMP: [&str; 5] = ["/dev", "/proc", "/sys", "/run", "/tmp"];

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
pub fn resolve(kernel: &mut dyn Kernel, root: &str, path: &str) -> Option<String> {
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
        let here = place(root, &walked);
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
    Some(place(root, &walked))
}

/// Where a path of the new root is now: what is going to move into it is not there yet.
fn place(root: &str, walked: &[String]) -> String {
    let is_moving = walked.first().is_some_and(|first| MOVED.iter().any(|folder| folder.get(1..) == Some(first)));
    [if is_moving { "" } else { root }, "/", &walked.join("/")].concat()
}

/// Moves the mounts `moved` and enters the new root.
///
/// # Errors
/// What the kernel refused. Then there is no way back.
pub fn switch(kernel: &mut dyn Kernel, root: &str, moved: &[&str]) -> Result<()> {
    for folder in moved {
        kernel.move_mount(folder, &[root, folder].concat()).at("move to the new root:", folder)?;
    }
    kernel.enter_root(root).at("switch to", root)
}
