//! From the initramfs to the new root: its init is checked first, the api mounts move over, the old root is emptied, then init
//! becomes the system. After the first move there is no way back, so everything that can be checked is checked before.

use crate::{
    error::{Error, IoContext, Result},
    kernel::{Action, Machine, Mount},
};
use contract::inventory::Kind;

/// The mounts that move into the new root.
pub const MOVED: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// The same, and the `/tmp` of the virtiofs way.
pub const MOVED_WITH_TMP: [&str; 5] = ["/dev", "/proc", "/sys", "/run", "/tmp"];

/// Symbolic links followed before a path is given up, as the kernel does (path_resolution(7)).
const LINKS: usize = 40;

/// Checks that `init` is there in the new root and can be executed.
///
/// # Errors
/// [`Error::InitMissing`] with the usual inits that are there, or [`Error::InitUnusable`].
pub fn check_init(kernel: &mut dyn Machine, root: &str, init: &str) -> Result<()> {
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
pub fn resolve(kernel: &mut dyn Machine, root: &str, path: &str) -> Option<String> {
    let mut rest = path.to_string();
    let mut walked = String::new();
    let mut links = 0_usize;
    loop {
        let ahead = rest.trim_start_matches('/');
        if ahead.is_empty() {
            return Some(place(root, &walked));
        }
        let (part, ahead) = ahead.split_once('/').unwrap_or((ahead, ""));
        let parent = walked.len();
        match part {
            "." => {}
            ".." => walked.truncate(walked.rfind('/').unwrap_or(0)),
            _ => {
                walked.push('/');
                walked.push_str(part);
                let here = place(root, &walked);
                match kernel.stat(&here).ok()?.kind {
                    Kind::Symlink => {
                        links = links.saturating_add(1);
                        if links > LINKS {
                            return None;
                        }
                        let target = kernel.read_link(&here).ok()?;
                        walked.truncate(if target.starts_with('/') { 0 } else { parent });
                        rest = [&target, "/", ahead].concat();
                        continue;
                    }
                    Kind::File | Kind::Other if !ahead.trim_start_matches('/').is_empty() => return None,
                    _ => {}
                }
            }
        }
        rest = ahead.to_string();
    }
}

/// Where a path of the new root is now: what is going to move into it is not there yet.
fn place(root: &str, walked: &str) -> String {
    let is_moving = MOVED
        .iter()
        .any(|folder| walked.strip_prefix(folder).is_some_and(|below| below.is_empty() || below.starts_with('/')));
    [if is_moving { "" } else { root }, if walked.is_empty() { "/" } else { walked }].concat()
}

/// Moves the mounts `moved` and enters the new root.
///
/// # Errors
/// What the kernel refused. Then there is no way back.
pub fn switch(kernel: &mut dyn Machine, root: &str, moved: &[&str]) -> Result<()> {
    for folder in moved {
        let target = [root, folder].concat();
        let mount = Mount { action: Action::Move, source: folder, target: &target, ..Mount::default() };
        kernel.mount(&mount).at("move to the new root:", folder)?;
    }
    kernel.enter_root(root).at("switch to", root)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::recorder::{Node, Recorder};

    #[test]
    fn paths_stay_in_the_root() {
        let link = |target: &str| Node::Symlink(target.to_string());
        let mut kernel = Recorder::default();
        for (path, node) in [
            ("r", Node::Directory),
            ("r/usr", Node::Directory),
            ("r/usr/bin", Node::Directory),
            ("r/usr/bin/real", Node::file("x", 0o755)),
            ("r/bin", link("usr/bin")),
            ("r/abs", link("/usr/bin/real")),
            ("r/up", link("../../../usr//bin/./real")),
            ("r/usr/bin/near", link("real")),
            ("r/usr/bin/folder", link("/")),
            ("r/loop", link("loop")),
            ("r/gone", link("nowhere")),
            ("r/on", link("/run/there")),
            ("run", Node::Directory),
            ("run/there", Node::file("x", 0o755)),
        ] {
            kernel.files.insert(path.to_string(), node);
        }
        for (path, wanted) in [
            ("/usr/bin/real", Some("/r/usr/bin/real")),
            ("//usr/./bin//real/", Some("/r/usr/bin/real")),
            ("/bin/real", Some("/r/usr/bin/real")),
            ("/bin/near", Some("/r/usr/bin/real")),
            ("/bin/../../..", Some("/r/")),
            ("/bin/folder/abs", Some("/r/usr/bin/real")),
            ("/abs", Some("/r/usr/bin/real")),
            ("/up", Some("/r/usr/bin/real")),
            ("/on", Some("/run/there")),
            ("/run/../usr", Some("/r/usr")),
            ("/runs", None),
            ("/loop", None),
            ("/gone", None),
            ("/abs/real", None),
            ("/abs/.", None),
            ("/usr/none", None),
            ("", Some("/r/")),
        ] {
            assert_eq!(resolve(&mut kernel, "/r", path).as_deref(), wanted, "{path}");
        }
        assert_eq!(resolve(&mut kernel, "", "/r/bin").as_deref(), Some("/r/usr/bin"));
        assert_eq!(resolve(&mut kernel, "", "/").as_deref(), Some("/"));
    }
}
