//! The change of the root.

use std::{fs::File, io, os::fd::AsFd};

use nix::sys::statfs::{FsType, TMPFS_MAGIC, fstatfs};
use sys_mount::MountFlags;

use super::{files::mount, removal};

/// Makes the mount at `root` the root of everything, then empties the old one.
///
/// `pivot_root` does not work from rootfs, so the new root is moved over it (kernel,
/// Documentation/filesystems/ramfs-rootfs-initramfs.rst).
pub(super) fn enter(root: &str) -> io::Result<()> {
    let old = File::open("/")?;
    std::env::set_current_dir(root)?;
    mount(".", "/", "", MountFlags::MOVE, "")?;
    nix::unistd::chroot(".")?;
    std::env::set_current_dir("/")?;
    // Whatever else is mounted as the old root is somebody's data.
    let kind = fstatfs(&old)?.filesystem_type();
    if kind == TMPFS_MAGIC || kind == RAMFS_MAGIC {
        // What cannot be deleted costs memory, nothing else.
        removal::empty_all(old.as_fd());
    }
    Ok(())
}

/// kernel, include/uapi/linux/magic.h.
const RAMFS_MAGIC: FsType = FsType(0x8584_58f6);
