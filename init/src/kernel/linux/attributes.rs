//! Attributes of directories: mode, owner, times, extended attributes.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd},
};

use nix::{
    errno::Errno,
    libc,
    sys::{
        stat::{Mode, fchmod, fstat, futimens},
        time::TimeSpec,
    },
    unistd::{Gid, Uid, fchown},
};

use super::media::{open_listing, unlock};

/// The most that the kernel gives of a list of names or of a value (include/uapi/linux/limits.h, XATTR_LIST_MAX, XATTR_SIZE_MAX).
const LIMIT: usize = 64 << 10;

/// Gives the directory `to` what the directory `from` has. What is the same already is not written again.
pub(super) fn copy(from: &str, to: &str) -> io::Result<()> {
    let (source, target) = (open_listing(from)?, open_listing(to)?);
    let (wanted, present) = (fstat(&source)?, fstat(&target)?);
    // Nothing could be written to a directory that is protected.
    unlock(target.as_fd());
    let mut outcome = Ok(());
    let mut note = |result: nix::Result<()>| {
        if outcome.is_ok() {
            outcome = result;
        }
    };
    let names = attribute_names(&source)?;
    for name in attribute_names(&target)? {
        if is_overlays(&name) || !names.contains(&name) {
            note(remove(&target, &name));
        }
    }
    for name in names.into_iter().filter(|name| !is_overlays(name)) {
        match attribute(&source, &name) {
            Ok(value) if attribute(&target, &name).as_ref() != Ok(&value) => note(set(&target, &name, &value)),
            Ok(_) => {}
            Err(error) => note(Err(error)),
        }
    }
    if (wanted.st_uid, wanted.st_gid) != (present.st_uid, present.st_gid) {
        note(fchown(&target, Some(Uid::from_raw(wanted.st_uid)), Some(Gid::from_raw(wanted.st_gid))));
    }
    // A change of owner takes bits from the mode, so it comes first.
    if wanted.st_mode != present.st_mode {
        note(fchmod(&target, Mode::from_bits_truncate(wanted.st_mode)));
    }
    #[allow(clippy::useless_conversion, reason = "the width of times depends on the processor")]
    if (wanted.st_mtime, wanted.st_mtime_nsec) != (present.st_mtime, present.st_mtime_nsec) {
        let time = |seconds, nanoseconds| TimeSpec::from(libc::timespec { tv_sec: seconds, tv_nsec: nanoseconds });
        let accessed = time(wanted.st_atime, wanted.st_atime_nsec as libc::c_long);
        note(futimens(&target, &accessed, &time(wanted.st_mtime, wanted.st_mtime_nsec as libc::c_long)));
    }
    Ok(outcome?)
}

/// Returns the names of a file's extended attributes. A filesystem without any has none.
fn attribute_names(file: &File) -> nix::Result<Vec<CString>> {
    let mut names = vec![0_u8; LIMIT];
    // SAFETY: the kernel writes into the buffer, at most as many bytes as it has (flistxattr(2)).
    let length = unsafe { libc::flistxattr(file.as_raw_fd(), names.as_mut_ptr().cast(), names.len()) };
    match Errno::result(length) {
        Err(Errno::EOPNOTSUPP) => return Ok(Vec::new()),
        outcome => names.truncate(usize::try_from(outcome?).unwrap_or(0)),
    }
    Ok(names
        .split_inclusive(|byte| *byte == 0)
        .filter_map(|name| CStr::from_bytes_with_nul(name).ok())
        .map(CStr::to_owned)
        .collect())
}

/// Returns true for the attributes that overlayfs keeps for itself: they mean something only where they were made (kernel,
/// fs/overlayfs/copy_up.c, ovl_copy_xattr).
fn is_overlays(name: &CStr) -> bool {
    name.to_bytes().starts_with(b"trusted.overlay.")
}

fn attribute(file: &File, name: &CStr) -> nix::Result<Vec<u8>> {
    let mut value = vec![0_u8; LIMIT];
    // SAFETY: `name` ends in a zero byte, and the kernel writes at most as many bytes as the buffer has (fgetxattr(2)).
    let length = unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
    value.truncate(usize::try_from(Errno::result(length)?).unwrap_or(0));
    Ok(value)
}

fn set(file: &File, name: &CStr, value: &[u8]) -> nix::Result<()> {
    // SAFETY: `name` ends in a zero byte, and the kernel reads `value.len()` bytes of `value` (fsetxattr(2)).
    let outcome = unsafe { libc::fsetxattr(file.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(outcome).map(drop)
}

fn remove(file: &File, name: &CStr) -> nix::Result<()> {
    // SAFETY: `name` ends in a zero byte, and the kernel only reads it (fremovexattr(2)).
    Errno::result(unsafe { libc::fremovexattr(file.as_raw_fd(), name.as_ptr()) }).map(drop)
}
