//! Copies and digests of whole files, in large blocks.

use std::{
    fs::File,
    io::{self, Read, Write},
    os::{fd::AsRawFd, unix::fs::MetadataExt},
};

use contract::Digest;
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise},
};
use sha2::{Digest as _, Sha256};

use super::{
    Linux,
    media::{create, is_medium, open_file},
    pace::Steps,
};
use crate::kernel::{Pace, disks::Contents};

impl Contents for Linux {
    fn digest(&mut self, path: &str, copy: Option<&str>, pace: Pace<'_>) -> io::Result<Digest> {
        digest(path, copy, Steps::new(pace, &mut self.watchdog))
    }
}

/// Block size of copies and digests, in bytes. Larger gains nothing on SD cards and disks, and memory stays bounded.
const BLOCK: usize = 1 << 20;

/// After how many bytes of a copy those before are waited for, while these are written. Without that the kernel would write most of
/// them at the very end; on a slow card that would be a minute in which nobody feeds the watchdog.
const PUSH: u64 = 8 << 20;

fn digest(path: &str, copy: Option<&str>, steps: Steps<'_>) -> io::Result<Digest> {
    let mut source = if copy.is_some() { open_file(path)? } else { open_on_medium(path)? };
    let mut target = None;
    if let Some(copy) = copy {
        let file = create(copy)?;
        if is_medium(copy) {
            reserve(&file, source.metadata()?.size())?;
        }
        target = Some(file);
    }
    let mut digest = Sha256::new();
    let mut written = 0_u64;
    stream(&mut source, steps, |block| {
        digest.update(block);
        let Some(target) = &mut target else { return Ok(()) };
        target.write_all(block)?;
        written = written.saturating_add(block.len() as u64);
        if written >= PUSH {
            written = 0;
            keep_writing(target)?;
        }
        Ok(())
    })?;
    if let Some(target) = target {
        target.sync_all()?;
    }
    Ok(digest.finalize().into())
}

/// Takes the room that a file of `size` bytes needs, all of it: what does not fit shows before anything is copied. ext4 keeps some of what
/// it counts as free to itself (kernel, fs/ext4/super.c, ext4_calculate_resv_clusters), so no count tells.
fn reserve(file: &File, size: u64) -> io::Result<()> {
    let Ok(length @ 1..) = libc::off_t::try_from(size) else { return Ok(()) };
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        // ext3 and FAT cannot; there it shows while it is copied.
        Err(Errno::EOPNOTSUPP) => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// Has the kernel finish what it writes of a file and begin with the rest. An error told here is not told again by fsync.
fn keep_writing(file: &File) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: the descriptor is open and plain numbers go in; nothing is read or written through pointers.
    nix::errno::Errno::result(unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) })?;
    Ok(())
}

/// Opens a file to be read from the medium, not from memory. Advice: where it is not taken what is read is right all the same.
pub(super) fn open_on_medium(path: &str) -> io::Result<File> {
    let file = open_file(path)?;
    let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
    let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
    Ok(file)
}

/// Reads a file to its end, block by block.
pub(super) fn stream(
    source: &mut File,
    mut steps: Steps<'_>,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut block = vec![0; BLOCK];
    loop {
        let length = match source.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        sink(block.get(..length).unwrap_or_default())?;
        steps.step(length as u64);
    }
}
