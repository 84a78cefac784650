//! The disk's file: which names it may have (never a block device's), and how filesystems get into it with their holes.

use std::{
    fs::File,
    os::unix::fs::{FileExt, FileTypeExt},
    path::Path,
};

use base::{IoContext, cleanup::TempDir};

use crate::{Error, Result};
use rustix::{
    fs::{SeekFrom, seek},
    io::Errno,
};

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// Runs of zeros of this length, and aligned to it, are left out.
const GRAIN: usize = 4096;

/// Returns a directory beside `path` for files in between, removed when it is dropped.
pub fn work_directory(path: &Path) -> Result<TempDir> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    parent.metadata().at("find the directory", parent)?;
    // Absolute, as the tools run in it.
    let parent = std::path::absolute(parent).at("find", parent)?;
    Ok(TempDir::new(".initramfs-overlay-disk-", Some(&parent))?)
}

/// Copies the filesystem in `part` to `start` of the disk, and removes `part`.
pub fn place(part: &Path, disk: &File, path: &Path, start: u64, size: u64) -> Result<()> {
    let source = File::open(part).at("open", part)?;
    copy_data(&source, disk, start, size).at("write", path)?;
    Ok(std::fs::remove_file(part).at("remove", part)?)
}

/// Refuses a name that a disk must not take: an existing one is only replaced on demand, and what is no plain file never.
pub fn check(path: &Path, force: bool) -> Result<()> {
    let shown = path.display();
    if path.file_name().is_none() || path.as_os_str().as_encoded_bytes().ends_with(b"/") {
        return Err(Error::Usage(format!("{shown} is not a file name for a disk")));
    }
    let Ok(metadata) = path.metadata() else { return Ok(()) };
    let kind = metadata.file_type();
    if kind.is_block_device() {
        return Err(Error::Usage(format!(
            "{shown} is a block device, which this command never writes to: make a file and copy it, \
             with `dd if=FILE of={shown} bs=4M conv=fsync` for example"
        )));
    }
    if !kind.is_file() {
        return Err(Error::Usage(format!("{shown} exists and is not a regular file: name another output")));
    }
    if !force {
        return Err(Error::Usage(format!("{shown} exists already: --force replaces it")));
    }
    Ok(())
}

/// Copies `size` bytes of `source` to `start` of `target`, which holds zeros there: holes and zeros are left out.
pub fn copy_data(source: &File, target: &File, start: u64, size: u64) -> std::io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    let mut position = 0;
    while position < size {
        position = match seek(source, SeekFrom::Data(position)) {
            Ok(data) => data,
            // No data up to the end.
            Err(Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        };
        let hole = seek(source, SeekFrom::Hole(position))?.min(size);
        while position < hole {
            let length = usize::try_from(hole - position).unwrap_or(CHUNK).min(CHUNK);
            let chunk = &mut buffer[..length];
            source.read_exact_at(chunk, position)?;
            write_data(target, chunk, start + position)?;
            position += length as u64;
        }
    }
    Ok(())
}

/// Writes the parts of `chunk` that are not zeros.
fn write_data(target: &File, chunk: &[u8], start: u64) -> std::io::Result<()> {
    let mut offset = start;
    for run in chunk.chunks(GRAIN).collect::<Vec<_>>().chunk_by(|a, b| is_zero(a) == is_zero(b)) {
        let length: usize = run.iter().map(|grain| grain.len()).sum();
        if !run.first().is_some_and(|grain| is_zero(grain)) {
            let begin = usize::try_from(offset - start).unwrap_or(0);
            target.write_all_at(&chunk[begin..begin + length], offset)?;
        }
        offset += length as u64;
    }
    Ok(())
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn data_is_copied_and_holes_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("part");
        let source = File::create_new(&path).unwrap();
        let size = 9 * CHUNK as u64 + 100;
        source.set_len(size).unwrap();
        source.write_all_at(b"begin", 0).unwrap();
        source.write_all_at(&[0; 3 * GRAIN], 2 * CHUNK as u64).unwrap();
        source.write_all_at(b"middle", 2 * CHUNK as u64 + 5000).unwrap();
        source.write_all_at(b"end", size - 3).unwrap();
        let target = directory.path().join("disk");
        let disk = File::options().read(true).write(true).create_new(true).open(&target).unwrap();
        disk.set_len(1 << 24).unwrap();
        place(&path, &disk, &target, 1 << 20, size).unwrap();
        assert!(!path.exists());
        let bytes = std::fs::read(&target).unwrap();
        assert_eq!(bytes.len(), 1 << 24);
        let at = |offset: u64, length: usize| {
            let begin = (1 << 20) + usize::try_from(offset).unwrap();
            &bytes[begin..begin + length]
        };
        assert_eq!(at(0, 6), b"begin\0");
        assert_eq!(at(2 * CHUNK as u64 + 4999, 8), b"\0middle\0");
        assert_eq!(at(size - 4, 5), b"\0end\0");
        assert_eq!(bytes.iter().filter(|byte| **byte != 0).count(), 14);
        assert!(disk.metadata().unwrap().blocks() * 512 < 1 << 20);
    }

    #[test]
    fn what_is_there_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("disk");
        std::fs::write(&path, "precious").unwrap();
        let refused = |path: &Path, force| check(path, force).unwrap_err().to_string();
        assert!(refused(&path, false).contains("--force"));
        assert!(check(&path, true).is_ok());
        assert!(refused(directory.path(), true).contains("not a regular file"));
        assert!(refused(Path::new("/dev/null"), true).contains("not a regular file"));
        assert!(refused(Path::new("/"), true).contains("not a file name"));
        let text = work_directory(&directory.path().join("nowhere/disk")).unwrap_err().to_string();
        assert!(text.contains("cannot find the directory"), "{text}");
    }
}
