//! Access to files by descriptor. A path below the mount point of a medium is resolved here and nowhere else: beneath that mount, on its
//! own device, without following a symbolic link, so that nothing on a medium leads init out of it. Only regular files are opened to be
//! read. Whoever made the medium may be hostile.
//!
//! These are the rules of openat2(2)'s `RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV`, walked by hand: kernels before 5.6 are
//! in use, names lie a few directories deep, and one walk is easier to trust than two. Errors are the kernel's.

use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags, OFlag, openat},
    libc,
    sys::stat::{FileStat, Mode, fstat, fstatat},
};

use contract::names;

/// Returns true for a path on a medium.
pub(super) fn is_medium(path: &str) -> bool {
    names::on_medium(path).is_some()
}

/// A name in a directory that is open: what the calls of the `*at` family take.
pub(super) struct Place<'p> {
    /// None for paths that lie on no medium: these are the initramfs' own.
    directory: Option<OwnedFd>,
    /// The last component, or the whole path on no medium.
    pub(super) name: &'p str,
}

impl<'p> Place<'p> {
    /// Resolves all of `path` but its last component.
    ///
    /// # Errors
    /// The kernel's; `ELOOP` or `ENOTDIR` for a symbolic link on the way, `EXDEV` where another filesystem is mounted on the way,
    /// `EINVAL` for `.` and `..`.
    pub(super) fn of(path: &'p str) -> io::Result<Self> {
        // The mount point itself is ours, and there before anything is mounted on it.
        let Some((medium, rest)) = names::on_medium(path).filter(|(_, rest)| !rest.trim_matches('/').is_empty()) else {
            return Ok(Self { directory: None, name: path });
        };
        let mut directory = open_directory(AT_FDCWD, medium)?;
        let device = fstat(&directory)?.st_dev;
        let mut parts = rest.split('/').filter(|part| !part.is_empty()).peekable();
        let mut name = "";
        while let Some(part) = parts.next() {
            if matches!(part, "." | "..") {
                return Err(Errno::EINVAL.into());
            }
            if parts.peek().is_none() {
                name = part;
                break;
            }
            directory = open_directory(directory.as_fd(), part)?;
            if fstat(&directory)?.st_dev != device {
                return Err(Errno::EXDEV.into());
            }
        }
        Ok(Self { directory: Some(directory), name })
    }

    /// Returns the directory that holds the name.
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_ref().map_or(AT_FDCWD, AsFd::as_fd)
    }

    /// Returns true on a medium.
    pub(super) fn is_confined(&self) -> bool {
        self.directory.is_some()
    }

    /// Asks what the name stands for; a symbolic link stands for itself.
    pub(super) fn stat(&self) -> nix::Result<FileStat> {
        fstatat(self.directory(), self.name, AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    /// Opens the name. On a medium: without following a link, and without waiting for who writes to a FIFO.
    pub(super) fn open(&self, flags: OFlag, mode: Mode) -> io::Result<File> {
        let confined = if self.is_confined() { OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK } else { OFlag::empty() };
        Ok(openat(self.directory(), self.name, flags | confined | OFlag::O_CLOEXEC, mode)?.into())
    }

    /// Takes the attributes "immutable" and "append-only" (chattr(1)) off the name and off its directory. Returns whether one was set.
    fn unlock(&self) -> bool {
        if !self.is_confined() {
            return false;
        }
        let holder = openat(self.directory(), ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        let holder = holder.is_ok_and(|directory| unlock(directory.as_fd()));
        unlock_name(self.directory(), self.name) || holder
    }
}

/// Opens a directory as a point to resolve from. Not one behind a symbolic link.
fn open_directory(parent: BorrowedFd<'_>, name: &str) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Opens a file to be read: on a medium only a regular one.
///
/// # Errors
/// The kernel's; `InvalidInput` for what is no regular file.
pub(super) fn open_file(path: &str) -> io::Result<File> {
    open(path, OFlag::O_RDONLY)
}

/// Opens a file that is there: on a medium only a regular one.
///
/// # Errors
/// As [`open_file`].
pub(super) fn open(path: &str, flags: OFlag) -> io::Result<File> {
    let place = Place::of(path)?;
    let is_regular = |stat: FileStat| stat.st_mode & libc::S_IFMT == libc::S_IFREG;
    let irregular = || io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
    // Asked before it is opened: to open a device can be an action of its own.
    if place.is_confined() && !is_regular(place.stat()?) {
        return Err(irregular());
    }
    let file = place.open(flags, Mode::empty())?;
    if place.is_confined() && !is_regular(fstat(&file)?) {
        return Err(irregular());
    }
    Ok(file)
}

/// Opens a directory to be listed or synced.
pub(super) fn open_listing(path: &str) -> io::Result<File> {
    Place::of(path)?.open(OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty())
}

/// Creates a file that must not exist yet. The black box has the kernel's log in it, which not everybody may read.
pub(super) fn create(path: &str) -> io::Result<File> {
    let place = Place::of(path)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
    let mode = Mode::from_bits_truncate(if place.name == names::BLACKBOX { 0o600 } else { 0o644 });
    match place.open(flags, mode) {
        Err(error) if is_refused(&error) && place.unlock() => place.open(flags, mode),
        outcome => outcome,
    }
}

/// Does what changes names. Where that is refused on a medium, it is tried once more without the attributes that protect files there: a
/// name of ours must not block the machine for good.
pub(super) fn change(places: &[&Place<'_>], call: &dyn Fn() -> nix::Result<()>) -> io::Result<()> {
    let outcome = match call() {
        Err(Errno::EPERM) if places.iter().filter(|place| place.unlock()).count() > 0 => call(),
        outcome => outcome,
    };
    Ok(outcome?)
}

fn is_refused(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPERM)
}

// Their argument is declared as a long, but the kernel reads and writes an int (kernel, Documentation/filesystems/ext4, ioctl FS_IOC_*).
nix::ioctl_read!(get_flags, b'f', 1, libc::c_long);
nix::ioctl_write_ptr!(set_flags, b'f', 2, libc::c_long);

/// Takes "immutable" and "append-only" off an open file or directory. Returns whether one was set and is off now.
pub(super) fn unlock(file: BorrowedFd<'_>) -> bool {
    use std::os::fd::AsRawFd;
    // kernel, include/uapi/linux/fs.h: FS_IMMUTABLE_FL, FS_APPEND_FL.
    const LOCKS: libc::c_long = 0x10 | 0x20;
    let mut flags: libc::c_long = 0;
    // SAFETY: the descriptor is open, and the kernel writes an int into a long.
    let known = unsafe { get_flags(file.as_raw_fd(), &raw mut flags) };
    if known.is_err() || flags & LOCKS == 0 {
        return false;
    }
    flags &= !LOCKS;
    // SAFETY: the descriptor is open, and the kernel reads an int from a long.
    unsafe { set_flags(file.as_raw_fd(), &raw const flags) }.is_ok()
}

/// Does the same by name. Only files and directories have such attributes that can be taken off.
pub(super) fn unlock_name<P: nix::NixPath + ?Sized>(directory: BorrowedFd<'_>, name: &P) -> bool {
    let known = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW);
    if !known.is_ok_and(|stat| matches!(stat.st_mode & libc::S_IFMT, libc::S_IFREG | libc::S_IFDIR)) {
        return false;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    openat(directory, name, flags, Mode::empty()).is_ok_and(|file| unlock(file.as_fd()))
}
