//! Files of the real machine: copies and digests in large blocks, and the deletion of whole trees by directory descriptor.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, RawFd},
        unix::fs::{MetadataExt, PermissionsExt},
    },
};

use nix::{
    dir::{Dir, Type},
    fcntl::{AtFlags, OFlag, PosixFadviseAdvice, posix_fadvise},
    mount::MsFlags,
    sys::{
        stat::{Mode, fstatat},
        statfs::{FsType, fstatfs},
    },
    unistd::{UnlinkatFlags, unlinkat},
};
use sha2::{Digest as _, Sha256};

use super::meter::Meter;
use crate::kernel::{Digest, Kind, Stat};

/// Block size of copies and digests, in bytes. Larger gains nothing on SD cards and disks, and memory stays bounded.
const BLOCK: usize = 1 << 20;

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

/// How many bytes of a copy may wait to be written. Without a push the kernel would write most of them at the very end, and the
/// processor would idle meanwhile.
const PUSH: u64 = 8 << 20;

pub(super) fn copy(from: &str, to: &str) -> io::Result<Digest> {
    let mut source = File::open(from)?;
    let mut target = File::options().write(true).create_new(true).open(to)?;
    let mut digest = Sha256::new();
    let mut written = 0_u64;
    stream(&mut source, "copying", |block| {
        target.write_all(block)?;
        digest.update(block);
        written = written.saturating_add(block.len() as u64);
        if written >= PUSH {
            written = 0;
            start_writing(&target);
        }
        Ok(())
    })?;
    target.sync_all()?;
    Ok(digest.finalize().into())
}

/// Has the kernel begin to write what a file has in memory. It is synced later in any case.
fn start_writing(file: &File) {
    // SAFETY: the descriptor is open and plain numbers go in; nothing is read or written through pointers.
    let _ = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, libc::SYNC_FILE_RANGE_WRITE) };
}

/// Opens a file to be read from the medium, not from memory. Advice: where it is not taken what is read is right all the same.
fn open_on_medium(path: &str) -> io::Result<File> {
    let file = File::open(path)?;
    let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
    Ok(file)
}

pub(super) fn digest(path: &str) -> io::Result<Digest> {
    let mut digest = Sha256::new();
    stream(&mut open_on_medium(path)?, "checking", |block| {
        digest.update(block);
        Ok(())
    })?;
    Ok(digest.finalize().into())
}

/// Checks a signature, which must be one over the file's digest: only those can be checked without all of the file in memory.
#[cfg(feature = "trust")]
pub(super) fn vouch(path: &str, signature: &str, key: &str) -> io::Result<()> {
    use minisign_verify::{Error as Objection, PublicKey, Signature};
    let reason = |objection| {
        io::Error::other(match objection {
            Objection::UnexpectedKeyId => "the signature is by another key",
            Objection::InvalidSignature => "the signature is for another file",
            Objection::UnsupportedLegacyMode => "the signature is of minisign's old kind: sign again, with minisign -H",
            _ => "the signature or the key is damaged",
        })
    };
    let key = PublicKey::decode(key).map_err(reason)?;
    let signature = Signature::decode(signature).map_err(reason)?;
    let mut verifier = key.verify_stream(&signature).map_err(reason)?;
    stream(&mut open_on_medium(path)?, "checking", |block| {
        verifier.update(block);
        Ok(())
    })?;
    verifier.finalize().map_err(reason)
}

/// Reads a file to its end, block by block.
fn stream(source: &mut File, what: &'static str, mut sink: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut meter = Meter::new(what, source.metadata()?.size());
    let mut block = vec![0; BLOCK];
    loop {
        let length = match source.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sink(block.get(..length).unwrap_or_default())?;
        meter.advance(length as u64);
    }
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
