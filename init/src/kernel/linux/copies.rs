//! Copies and digests of whole files, in large blocks.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::MetadataExt,
};
#[cfg(feature = "disks")]
use std::{io::Write, os::fd::AsRawFd};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
#[cfg(feature = "disks")]
use nix::{
    errno::Errno,
    fcntl::{FallocateFlags, fallocate},
};
use sha2::{Digest as _, Sha256};

use super::media::open_file;
#[cfg(feature = "disks")]
use super::media::{create, is_medium};
use super::meter::Meter;
use contract::Digest;

/// Block size of copies and digests, in bytes. Larger gains nothing on SD cards and disks, and memory stays bounded.
const BLOCK: usize = 1 << 20;

/// After how many bytes of a copy those before are waited for, while these are written. Without that the kernel would write most of
/// them at the very end; on a slow card that would be a minute in which nobody feeds the watchdog.
#[cfg(feature = "disks")]
const PUSH: u64 = 8 << 20;

#[cfg(feature = "disks")]
pub(super) fn copy(from: &str, to: &str) -> io::Result<Digest> {
    let mut source = open_file(from)?;
    let mut target = create(to)?;
    if is_medium(to) {
        reserve(&target, source.metadata()?.size())?;
    }
    let mut digest = Sha256::new();
    let mut written = 0_u64;
    stream(&mut source, "copying", |block| {
        target.write_all(block)?;
        digest.update(block);
        written = written.saturating_add(block.len() as u64);
        if written >= PUSH {
            written = 0;
            keep_writing(&target)?;
        }
        Ok(())
    })?;
    target.sync_all()?;
    Ok(digest.finalize().into())
}

/// Takes the room that a file of `size` bytes needs, all of it: what does not fit shows before anything is copied. ext4 keeps some of what
/// it counts as free to itself (kernel, fs/ext4/super.c, ext4_calculate_resv_clusters), so no count tells.
#[cfg(feature = "disks")]
fn reserve(file: &File, size: u64) -> io::Result<()> {
    let Ok(length @ 1..) = libc::off_t::try_from(size) else { return Ok(()) };
    match fallocate(file, FallocateFlags::empty(), 0, length) {
        // ext3 and FAT cannot; there it shows while it is copied.
        Err(Errno::EOPNOTSUPP) => Ok(()),
        outcome => Ok(outcome?),
    }
}

/// Has the kernel finish what it writes of a file and begin with the rest. An error told here is not told again by fsync.
#[cfg(feature = "disks")]
fn keep_writing(file: &File) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE | libc::SYNC_FILE_RANGE_WRITE;
    // SAFETY: the descriptor is open and plain numbers go in; nothing is read or written through pointers.
    nix::errno::Errno::result(unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) })?;
    Ok(())
}

/// Opens a file to be read from the medium, not from memory. Advice: where it is not taken what is read is right all the same.
fn open_on_medium(path: &str) -> io::Result<File> {
    let file = open_file(path)?;
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

/// Checks a signature for a file.
#[cfg(feature = "trust")]
pub(super) fn vouch(path: &str, signature: &str, key: &str) -> io::Result<()> {
    verify(signature, key, |sink| {
        stream(&mut open_on_medium(path)?, "checking", |block| {
            sink(block);
            Ok(())
        })
    })
}

/// Checks a signature for what `read` gives. It must be one over the content's digest: only those can be checked without all of a file
/// in memory.
#[cfg(feature = "trust")]
pub(super) fn verify(
    signature: &str,
    key: &str,
    read: impl FnOnce(&mut dyn FnMut(&[u8])) -> io::Result<()>,
) -> io::Result<()> {
    use minisign_verify::{Error as Objection, PublicKey, Signature};
    let reason = |objection| {
        io::Error::other(match objection {
            Objection::UnexpectedKeyId => "the signature is by another key",
            Objection::InvalidSignature => contract::names::WRONG_SIGNATURE,
            Objection::UnsupportedLegacyMode => contract::names::OLD_SIGNATURE,
            _ => "the signature or the key is damaged",
        })
    };
    let key = PublicKey::decode(key).map_err(reason)?;
    let signature = Signature::decode(signature).map_err(reason)?;
    let mut verifier = key.verify_stream(&signature).map_err(reason)?;
    read(&mut |block| verifier.update(block))?;
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
