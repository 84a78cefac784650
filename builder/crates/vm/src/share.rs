//! virtiofsd: where distributions keep it, which of the two programs of that name it is, and one started for each directory. It and
//! QEMU talk over a socket that has no name when they start: nobody else can connect to it and nothing of it is left.

use std::{
    io::{self, Read},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use base::{IoContext, program};
use contract::virtiofs::{TAG_MAX, is_tag};
use rustix::{
    fs::OFlags,
    io::FdFlags,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with},
};

use super::Share;
use crate::{Error, Result, die_with_parent, read_only};

/// The paths at which distributions install it: Debian since 13 and Fedora, Arch, Debian 12 and Ubuntu 22.04, openSUSE.
const PLACES: [&str; 4] =
    ["/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd", "/usr/libexec/qemu/virtiofsd"];

/// The implementation of virtiofsd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The one in C, part of QEMU up to 7.2.
    Qemu,
    /// The one in Rust, on its own.
    Own,
}

/// The program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// Its file.
    pub path: PathBuf,
    /// Its implementation.
    pub kind: Kind,
    /// True if it can share a directory without writing to it (`--readonly`).
    pub has_read_only: bool,
}

impl Daemon {
    /// Finds the program at `given`, else the first of the places where distributions keep it, and of `PATH`.
    ///
    /// # Errors
    /// [`Error::Missing`] with the packages that have it; [`Error::WrongFile`] where it is something else.
    pub fn find(given: Option<&Path>) -> Result<Self> {
        let path = match given {
            Some(path) => path.to_owned(),
            None => locate().ok_or_else(|| Error::Missing {
                what: "virtiofsd, which shares directories with the machine".to_owned(),
                tried: vec![format!("it is neither in PATH nor {}", PLACES.join(", "))],
                remedy: "install Debian's package virtiofsd (Debian 12 and older: qemu-system-common), or name the program: \
                         --virtiofsd FILE"
                    .to_owned(),
            })?,
        };
        let output = program::output(Command::new(&path).arg("--help"))?;
        let help = [output.stdout, output.stderr].concat();
        let help = String::from_utf8_lossy(&help);
        match kind_of(&help) {
            // It keeps a list of those that run in a directory of root's.
            Some(Kind::Qemu) if !rustix::process::geteuid().is_root() => Err(Error::Missing {
                what: "a virtiofsd that runs without root".to_owned(),
                tried: vec![format!("{} is the one of QEMU 7.2 and older, which only root can run", path.display())],
                remedy:
                    "run this command as root, or install the one in Rust (Debian 13's package virtiofsd, the crate \
                         virtiofsd) and name it: --virtiofsd FILE"
                        .to_owned(),
            }),
            Some(kind) => Ok(Self { path, kind, has_read_only: help.contains("--readonly") }),
            None => Err(Error::WrongFile {
                path,
                reason: "it is not virtiofsd: its --help names no directory to share".to_owned(),
            }),
        }
    }

    /// Checks that whoever is root in the guest cannot write to the `shares` that are read-only.
    ///
    /// # Errors
    /// [`Error::Missing`] where neither virtiofsd nor this machine's kernel keeps it from that.
    pub fn check(&self, shares: &[Share]) -> Result<()> {
        for share in shares.iter().filter(|share| share.read_only && !self.has_read_only) {
            let directory = share.path.canonicalize().at("find", &share.path)?;
            // This very command, which only says its version, behind the same protection.
            let mut probe = die_with_parent::command_behind(Path::new("/proc/self/exe"), &directory);
            let output = program::output(probe.arg("--version"))?;
            if !output.status.success() {
                let said = program::last_words(&output);
                let reason = said.strip_prefix("initramfs-overlay: ").unwrap_or(&said);
                return Err(Error::Missing {
                    what: format!("protection of {}, without which the machine could write to it", share.path.display()),
                    tried: vec!["this virtiofsd has no --readonly".to_owned(), reason.to_owned()],
                    remedy: "run this command as root or where it may make namespaces (unshare -rm true), install virtiofsd 1.11 or later, \
                             or let the machine write: --write for its root, --share or --mount without :ro for others"
                        .to_owned(),
                });
            }
        }
        Ok(())
    }

    /// Returns its arguments: the socket on descriptor `socket`, a `directory`.
    fn arguments(&self, socket: i32, directory: &str, is_root: bool, read_only: bool) -> Vec<String> {
        let mut arguments = vec![format!("--fd={socket}")];
        // As root it needs no namespaces, which a container may not give it; as a user they are all the protection there is.
        let sandbox = if is_root { "chroot" } else { "namespace" };
        match self.kind {
            Kind::Own => {
                arguments.extend(["--shared-dir".to_owned(), directory.to_owned()]);
                arguments.extend([format!("--sandbox={sandbox}"), "--log-level=error".to_owned()]);
                arguments.extend((read_only && self.has_read_only).then(|| "--readonly".to_owned()));
            }
            Kind::Qemu => {
                // FUSE's option lists are parted by commas.
                let directory = directory.replace('\\', "\\\\").replace(',', "\\,");
                arguments.extend(["-o".to_owned(), format!("source={directory}")]);
                arguments.extend(["-o".to_owned(), format!("sandbox={sandbox}")]);
                arguments.extend(["-o".to_owned(), "log_level=err".to_owned()]);
            }
        }
        arguments
    }
}

fn locate() -> Option<PathBuf> {
    program::locate("virtiofsd").or_else(|| PLACES.iter().map(PathBuf::from).find(|path| path.is_file()))
}

fn kind_of(help: &str) -> Option<Kind> {
    match (help.contains("--shared-dir"), help.contains("source=PATH")) {
        (true, _) => Some(Kind::Own),
        (false, true) => Some(Kind::Qemu),
        (false, false) => None,
    }
}

/// A virtiofsd that runs for one directory.
#[derive(Debug)]
pub struct Running {
    /// The directory's tag.
    pub tag: String,
    /// The process.
    pub child: Child,
    /// QEMU's end of the socket, until QEMU has it: virtiofsd ends when nobody has it any more.
    pub socket: Option<OwnedFd>,
}

/// Starts `daemon` for `share`. What it says goes to `said` in one piece when it has ended.
///
/// # Errors
/// [`Error::Io`].
pub fn start(daemon: &Daemon, share: &Share, said: impl FnOnce(String) + Send + 'static) -> Result<Running> {
    let directory = share.path.canonicalize().at("find", &share.path)?;
    let text = directory.to_str().ok_or_else(|| {
        Error::Usage(format!("{}: virtiofsd takes only directories whose name is UTF-8", share.path.display()))
    })?;
    let (listener, socket) = connected().at("open a socket for", &daemon.path)?;
    let is_behind = share.read_only && !daemon.has_read_only;
    let mut command = match is_behind {
        true => die_with_parent::command_behind(&daemon.path, &directory),
        false => die_with_parent::command(&daemon.path),
    };
    let text = if is_behind { read_only::place() } else { text };
    let is_root = rustix::process::geteuid().is_root();
    command.args(daemon.arguments(listener.as_raw_fd(), text, is_root, share.read_only));
    let (reader, writer) = io::pipe().at("open a pipe for", &daemon.path)?;
    command.stdin(Stdio::null()).stdout(writer.try_clone().at("open a pipe for", &daemon.path)?).stderr(writer);
    inherit(&listener, true).at("open a socket for", &daemon.path)?;
    let child = command.spawn().at("start", &daemon.path)?;
    // With the command goes this process's end of the pipe.
    drop((command, listener));
    std::thread::spawn(move || said(last_words(reader)));
    Ok(Running { tag: share.tag.clone(), child, socket: Some(socket) })
}

/// Returns the end of what a program says until it and all it started have ended.
fn last_words(mut reader: io::PipeReader) -> String {
    const KEPT: usize = 8 << 10;
    let mut kept = Vec::new();
    let mut part = [0; 1024];
    loop {
        match reader.read(&mut part) {
            Ok(0) => break,
            Ok(length) => kept.extend_from_slice(&part[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
        kept.drain(..kept.len().saturating_sub(KEPT));
    }
    program::last_lines(&String::from_utf8_lossy(&kept), 12)
}

/// Returns a listening socket, and the one connection that will ever be made to it. Its name is in no filesystem and gone with it. The
/// queue has room for one: had somebody else been quicker, connecting would fail.
fn connected() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Each has a name of its own: the one before may still be listened on.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("initramfs-overlay/{}/{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    bind(&listener, &address)?;
    listen(&listener, 0)?;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &address)?;
    rustix::fs::fcntl_setfl(&socket, OFlags::empty())?;
    Ok((listener, socket))
}

/// Lets programs started from here on inherit the descriptor if `wanted`, else closes it in them (`FD_CLOEXEC`).
///
/// # Errors
/// The error of fcntl(2).
pub fn inherit(descriptor: &OwnedFd, wanted: bool) -> io::Result<()> {
    let flags = if wanted { FdFlags::empty() } else { FdFlags::CLOEXEC };
    Ok(rustix::io::fcntl_setfd(descriptor, flags)?)
}

/// Refuses what can be no tag, with `option` in the message.
///
/// # Errors
/// [`Error::Usage`].
pub fn check_tag(option: &str, tag: &str) -> Result<()> {
    if is_tag(tag) && !tag.contains(|c: char| c.is_whitespace() || c == '"') {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{option} `{tag}`: a tag has 1 to {} bytes (this one {}) and no slash, space or quote, and is neither . nor ..",
        TAG_MAX,
        tag.len()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_programs_are_told_apart() {
        assert_eq!(kind_of("  --shared-dir <SHARED_DIR>\n  -o <...>"), Some(Kind::Own));
        assert_eq!(kind_of("    -o source=PATH   shared directory tree\n"), Some(Kind::Qemu));
        assert_eq!(kind_of("usage: true"), None);
        let error = Daemon::find(Some(Path::new("/bin/true"))).unwrap_err().to_string();
        assert!(error.contains("it is not virtiofsd"), "{error}");
        assert!(Daemon::find(Some(Path::new("/no/such"))).is_err());
    }

    #[test]
    fn each_has_its_arguments() {
        let arguments = |kind, is_root, has_read_only| {
            let daemon = Daemon { path: "virtiofsd".into(), kind, has_read_only };
            daemon.arguments(5, "/a,b\\c", is_root, true).join(" ")
        };
        assert!(arguments(Kind::Own, true, true).ends_with(" --readonly"));
        assert_eq!(
            arguments(Kind::Own, false, false),
            "--fd=5 --shared-dir /a,b\\c --sandbox=namespace --log-level=error"
        );
        assert_eq!(
            arguments(Kind::Qemu, true, false),
            "--fd=5 -o source=/a\\,b\\\\c -o sandbox=chroot -o log_level=err"
        );
    }

    #[test]
    fn nobody_else_can_connect() {
        let (listener, socket) = connected().unwrap();
        let address = rustix::net::getsockname(&listener).unwrap();
        let other = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).unwrap();
        assert!(connect(&other, &address).is_err());
        drop((listener, socket));
        assert!(connect(&other, &address).is_err());
    }

    #[test]
    fn tags_are_what_virtio_takes() {
        for tag in ["rootfs", "a", &"x".repeat(36), "ä", "a,b"] {
            assert!(check_tag("--share", tag).is_ok(), "{tag}");
        }
        for tag in ["", ".", "..", "a/b", "/a", "a b", "a\"", "a\n", &"x".repeat(37), &"ä".repeat(19)] {
            let error = check_tag("--share", tag).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("--share `{tag}`: a tag has 1 to 36 bytes (this one {})", tag.len())),
                "{error}"
            );
        }
    }
}
