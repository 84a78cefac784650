//! Files of the real machine: what they are, and the deletion of whole trees by directory descriptor.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, RawFd},
        unix::fs::{MetadataExt, PermissionsExt},
    },
};

use crate::kernel::{Kind, Stat};
use nix::{
    dir::{Dir, Type},
    fcntl::{AtFlags, OFlag},
    mount::MsFlags,
    sys::{
        stat::{Mode, fstatat},
        statfs::{FsType, fstatfs},
    },
    unistd::{UnlinkatFlags, unlinkat},
};

/// A small file, whole. The files of proc and sysfs do not know their size, so it is read until it ends.
pub(super) fn read(path: &str) -> io::Result<Vec<u8>> {
    /// For small files: modules, lists.
    const LIMIT: usize = 64 << 20;
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    let mut filled = 0_usize;
    loop {
        bytes.resize(filled.saturating_mul(2).max(1024), 0);
        match file.read(bytes.get_mut(filled..).unwrap_or_default()) {
            Ok(0) => {
                bytes.truncate(filled);
                return Ok(bytes);
            }
            Ok(length) => filled = filled.saturating_add(length),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        if filled >= LIMIT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
    }
}

/// The same as text; what cannot be read is empty.
pub(super) fn text(path: &str) -> String {
    read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// The names in a directory, in no order.
pub(super) fn names(path: &str) -> io::Result<Vec<String>> {
    let mut directory = Dir::open(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut names = Vec::new();
    for entry in directory.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name.to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

pub(super) fn stat(path: &str) -> io::Result<Stat> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = match metadata.file_type() {
        kind if kind.is_file() => Kind::File,
        kind if kind.is_dir() => Kind::Directory,
        kind if kind.is_symlink() => Kind::Symlink,
        _ => Kind::Other,
    };
    Ok(Stat { kind, mode: metadata.permissions().mode() & 0o7777, size: metadata.size() })
}

/// Makes a character device with exactly that mode.
#[cfg(feature = "virtiofs")]
pub(super) fn make_node(node: &crate::kernel::Node<'_>) -> io::Result<()> {
    use nix::sys::stat::{SFlag, makedev, mknod};
    let device = makedev(node.major.into(), node.minor.into());
    mknod(node.path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), device)?;
    // The umask takes bits from what mknod is asked for; chmod it does not touch.
    fs::set_permissions(node.path, fs::Permissions::from_mode(node.mode))
}

/// Makes the mount at `root` the root of everything, then empties the old one.
///
/// `pivot_root` does not work from rootfs, so the new root is moved over it (kernel,
/// Documentation/filesystems/ramfs-rootfs-initramfs.rst).
pub(super) fn enter_root(root: &str) -> io::Result<()> {
    let old = File::open("/")?;
    std::env::set_current_dir(root)?;
    nix::mount::mount(Some("."), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>)?;
    nix::unistd::chroot(".")?;
    std::env::set_current_dir("/")?;
    // Whatever else is mounted as the old root is somebody's data.
    let kind = fstatfs(&old)?.filesystem_type();
    if kind == nix::sys::statfs::TMPFS_MAGIC || kind == RAMFS_MAGIC {
        let device = old.metadata()?.dev();
        // What cannot be deleted costs memory, nothing else.
        let _ = empty(old.as_fd(), device);
    }
    Ok(())
}

/// kernel, include/uapi/linux/magic.h.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);

/// Deletes everything in a directory that is on the same device. Never follows a link.
#[allow(clippy::unnecessary_cast, reason = "the width of st_dev depends on the processor")]
fn empty(directory: BorrowedFd<'_>, device: u64) -> nix::Result<()> {
    let mut outcome = Ok(());
    let mut open = Dir::openat(directory, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?;
    // The names are read before anything is removed: what a listing shows while it changes is not defined (readdir(3)).
    let entries: Vec<_> =
        open.iter().flatten().filter(|entry| !matches!(entry.file_name().to_bytes(), b"." | b"..")).collect();
    for entry in entries {
        let name = entry.file_name();
        let is_directory = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            None => fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR),
        };
        let removed = if is_directory {
            remove_directory(directory, name, device)
        } else {
            unlinkat(directory, name, UnlinkatFlags::NoRemoveDir)
        };
        outcome = outcome.and(removed);
    }
    outcome
}

#[allow(clippy::unnecessary_cast, reason = "the width of st_dev depends on the processor")]
fn remove_directory(parent: BorrowedFd<'_>, name: &std::ffi::CStr, device: u64) -> nix::Result<()> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let child = nix::fcntl::openat(parent, name, flags, Mode::empty())?;
    if nix::sys::stat::fstat(&child)?.st_dev as u64 != device {
        return Ok(());
    }
    empty(child.as_fd(), device)?;
    unlinkat(parent, name, UnlinkatFlags::RemoveDir)
}

/// Empties the directory open as `directory`, at the lowest priority there is.
pub(super) fn sweep(directory: RawFd) {
    super::process::become_idle();
    // SAFETY: the descriptor is this process's standard input, open for as long as the process lives.
    let directory = unsafe { BorrowedFd::borrow_raw(directory) };
    let Ok(stat) = nix::sys::stat::fstat(directory) else { return };
    #[allow(clippy::unnecessary_cast, reason = "the width of st_dev depends on the processor")]
    // What is left, the next boot takes up again.
    let _ = empty(directory, stat.st_dev as u64);
}
