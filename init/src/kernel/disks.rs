//! Operations of the boot modes that read images: whole files, signatures, loop devices, the image's programs. A kernel without them answers
//! `Unsupported`.

use std::io;

use contract::{Digest, tag::Volume};

use super::pace::Pace;

/// A kernel that reads whole files.
pub trait Contents {
    /// Reads a file to its end in large blocks and returns the digest of its content. Without a copy what is read is what the medium has:
    /// pages in memory are dropped first. With one it is written to that new file and synced; on a medium all blocks of the copy are
    /// reserved first (fallocate(2)), where the filesystem can do that. The steps of its pace are bytes.
    ///
    /// # Errors
    /// The kernel's. Then a part of the copy may be left.
    fn digest(&mut self, _path: &str, _copy: Option<&str>, _pace: Pace<'_>) -> io::Result<Digest> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Something that a signature is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed<'a> {
    /// The file of that name.
    File(&'a str),
    /// These bytes.
    Bytes(&'a [u8]),
}

/// A kernel that verifies signatures.
pub trait Signatures {
    /// Verifies `signature` (minisign's format, prehashed) by the public `key`. A file is read in large blocks, from the medium; the steps of
    /// its pace are bytes.
    ///
    /// # Errors
    /// The reason why it does not hold, or the kernel's.
    fn verify(&mut self, _signed: Signed<'_>, _signature: &str, _key: &str, _pace: Pace<'_>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A kernel with images on disks.
pub trait Disks {
    /// Adds the type and the label of a block device's filesystem, as far as they are known. `details`: also UUIDs and what its partition
    /// table says.
    fn probe(&mut self, _volume: &mut Volume, _details: bool) {}
    /// Attaches a file to a free loop device, read-only, to be cleared by itself when its mount is gone. Returns the device.
    ///
    /// # Errors
    /// The kernel's.
    fn attach_loop(&mut self, _path: &str) -> io::Result<String> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Runs a program with `root` as its root and waits for it. Returns its exit status; for one that a signal ended, -1.
    ///
    /// # Errors
    /// The kernel's. A program that cannot be run ends with status 127.
    fn run(&mut self, _root: &str, _program: &str, _arguments: &[&str]) -> io::Result<i32> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
