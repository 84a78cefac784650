//! From the initramfs to the new root: its init is checked first, the api mounts move over, the old root is emptied, then init
//! becomes the system. After the first move there is no way back, so everything that can be checked is checked before.

use std::io::{self, ErrorKind};

use crate::{
    error::{Error, Result},
    kernel::{Action, Machine, Mount},
};
use contract::{
    errno::ELOOP,
    inventory::Kind,
    names::{self, store},
    program::{self, Program},
};

/// The mounts that move into the new root.
pub const MOVED: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];

/// The same, and the `/tmp` of the virtiofs way.
pub const MOVED_WITH_TMP: [&str; 5] = ["/dev", "/proc", "/sys", "/run", "/tmp"];

/// Symbolic links followed before a path is given up, as the kernel does (path_resolution(7)).
const LINKS: usize = 40;

/// The files that have to be there so that an init starts, as paths in its root.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Init {
    /// The program, symbolic links resolved.
    pub program: String,
    /// Its dynamic loader or its script's interpreter, symbolic links resolved; none for a static program.
    pub interpreter: Option<String>,
}

/// Checks that `init` is there in the new root and can be executed, and with it the interpreter that it names.
///
/// # Errors
/// [`Error::InitMissing`] with the usual inits that are there, [`Error::InitUnusable`], [`Error::RootUnreadable`].
pub fn check_init(kernel: &mut dyn Machine, root: &str, init: &str) -> Result<Init> {
    let path = match resolve(kernel, root, init) {
        Ok(path) => path,
        Err(end) if end.is_absence() => {
            let mut found = Vec::new();
            for other in ["/sbin/init", "/lib/systemd/systemd", "/usr/lib/systemd/systemd", "/bin/init", "/bin/sh"] {
                if resolve(kernel, root, other).is_ok() {
                    found.push(other.to_string());
                }
            }
            return Err(Error::InitMissing { path: init.into(), reason: end.describe(), found });
        }
        Err(end) => return Err(Error::RootUnreadable { path: init.into(), source: end.source }),
    };
    let unusable = |reason: String| Error::InitUnusable { path: init.into(), reason };
    let unreadable = |source| Error::RootUnreadable { path: init.into(), source };
    let stat = kernel.stat(&path).map_err(unreadable)?;
    if stat.kind != Kind::File {
        return Err(unusable("it is not a regular file".into()));
    }
    if stat.mode & 0o111 == 0 {
        return Err(unusable("no permission bit allows executing it".into()));
    }
    if stat.size == 0 {
        return Err(unusable("it is empty".into()));
    }
    let head = kernel.read(&path, 0, program::HEAD).map_err(unreadable)?;
    let (kind, name) = match Program::read(&head) {
        Program::Script(name) => ("interpreter", name),
        Program::Elf { interpreter: Some((offset, length)), .. } => {
            let bytes = kernel.read(&path, offset, length).map_err(unreadable)?;
            let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
            ("loader", String::from_utf8_lossy(name).into_owned())
        }
        // The kernel decides whether it can run it.
        _ => return Ok(Init { program: within(root, path), interpreter: None }),
    };
    match resolve(kernel, root, &name) {
        Ok(found) => Ok(Init { program: within(root, path), interpreter: Some(within(root, found)) }),
        Err(end) if end.is_absence() => Err(unusable(format!("its {kind} is missing: {}", end.describe()))),
        Err(end) => Err(Error::RootUnreadable { path: name, source: end.source }),
    }
}

/// Returns the files that `init` needs to start and that `persistent` has in the place of the image's: the program, its interpreter and the
/// C library beside that.
pub fn shadowed(kernel: &mut dyn Machine, init: &Init) -> Vec<String> {
    let library = init.interpreter.as_deref().and_then(|path| path.rsplit_once('/'));
    let library = library.map(|(directory, _)| format!("{directory}/libc.so.6"));
    let files = [Some(init.program.clone()), init.interpreter.clone(), library].into_iter().flatten();
    files.filter(|path| kernel.stat(&store(&format!("{}{path}", names::PERSISTENT))).is_ok()).collect()
}

/// Returns a path of the initramfs as a path in `root`.
fn within(root: &str, path: String) -> String {
    path.strip_prefix(root).map(String::from).unwrap_or(path)
}

/// The end of a path that leads nowhere.
#[derive(Debug)]
pub struct DeadEnd {
    /// The name that could not be asked for, as a path in the root.
    at: String,
    /// The last symbolic link that was followed, and its target.
    link: Option<(String, String)>,
    /// The kernel's reason.
    source: io::Error,
}

impl DeadEnd {
    /// Returns the kernel's reason where a name cannot be read; none where it is not there.
    pub fn failure(&self) -> Option<&io::Error> {
        (!self.is_absence()).then_some(&self.source)
    }

    /// Returns true if a name is not there; false if it cannot be read.
    fn is_absence(&self) -> bool {
        matches!(self.source.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
            || self.source.raw_os_error() == Some(ELOOP)
    }

    /// Returns a sentence about it.
    fn describe(&self) -> String {
        let Self { at, link, source } = self;
        let link = link.as_ref().map(|(link, target)| format!("{link} is a symbolic link to {target}"));
        match link {
            Some(link) if source.raw_os_error() == Some(ELOOP) => format!("{link}, in a circle"),
            Some(link) => format!("{link}, and {at} is not there"),
            None => format!("{at} is not there"),
        }
    }
}

/// Returns where `path` leads inside `root`: absolute links and `..` stay in it.
///
/// # Errors
/// It leads nowhere, or cannot be read.
pub fn resolve(kernel: &mut dyn Machine, root: &str, path: &str) -> Result<String, DeadEnd> {
    let mut rest = path.to_string();
    let mut walked = String::new();
    let mut links = 0_usize;
    let mut link = None;
    loop {
        let ahead = rest.trim_start_matches('/');
        if ahead.is_empty() {
            return Ok(place(root, &walked));
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
                let stat = match kernel.stat(&here) {
                    Ok(stat) => stat,
                    Err(source) => return Err(DeadEnd { at: walked, link, source }),
                };
                match stat.kind {
                    Kind::Symlink => {
                        let target = match kernel.read_link(&here) {
                            Ok(target) => target,
                            Err(source) => return Err(DeadEnd { at: walked, link, source }),
                        };
                        link = Some((walked.clone(), target.clone()));
                        links = links.saturating_add(1);
                        if links > LINKS {
                            return Err(DeadEnd { at: walked, link, source: io::Error::from_raw_os_error(ELOOP) });
                        }
                        walked.truncate(if target.starts_with('/') { 0 } else { parent });
                        rest = [&target, "/", ahead].concat();
                        continue;
                    }
                    Kind::File | Kind::Other if !ahead.trim_start_matches('/').is_empty() => {
                        return Err(DeadEnd { at: walked, link, source: ErrorKind::NotADirectory.into() });
                    }
                    _ => {}
                }
            }
        }
        rest = ahead.to_string();
    }
}

/// Returns the present place of a path of the new root: the mounts that are going to move into it are not there yet.
fn place(root: &str, walked: &str) -> String {
    let is_moving = MOVED.iter().any(|directory| {
        walked.strip_prefix(directory).is_some_and(|below| below.is_empty() || below.starts_with('/'))
    });
    [if is_moving { "" } else { root }, if walked.is_empty() { "/" } else { walked }].concat()
}

/// Moves the mounts `moved` and enters the new root.
///
/// # Errors
/// [`Error::RootUnreadable`] with the kernel's reason. Mounts that were moved by then are not moved back.
pub fn switch(kernel: &mut dyn Machine, root: &str, moved: &[&str]) -> Result<()> {
    for directory in moved {
        let target = [root, directory].concat();
        let mount = Mount { action: Action::Move, source: directory, target: &target, ..Mount::default() };
        kernel.mount(&mount).map_err(|source| Error::RootUnreadable { path: (*directory).into(), source })?;
    }
    kernel.enter_root(root).map_err(|source| Error::RootUnreadable { path: "/".into(), source })
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
            ("r/usr/bin/directory", link("/")),
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
            ("/bin/directory/abs", Some("/r/usr/bin/real")),
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
            assert_eq!(resolve(&mut kernel, "/r", path).ok().as_deref(), wanted, "{path}");
        }
        assert_eq!(resolve(&mut kernel, "", "/r/bin").ok().as_deref(), Some("/r/usr/bin"));
        assert_eq!(resolve(&mut kernel, "", "/").ok().as_deref(), Some("/"));
    }
}
