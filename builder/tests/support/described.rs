//! A description of everything below a directory, as lines that can be compared.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Returns every name below `directory` with all that an extraction gives it. Hard links have the same number.
pub fn described(directory: &Path) -> Vec<String> {
    let mut inodes: Vec<u64> = Vec::new();
    let mut lines = Vec::new();
    for entry in walkdir::WalkDir::new(directory).sort_by_file_name() {
        let entry = entry.unwrap();
        let (path, meta) = (entry.path(), entry.path().symlink_metadata().unwrap());
        let content = if meta.is_file() { fs::read(path).unwrap() } else { Vec::new() };
        let target = meta.is_symlink().then(|| fs::read_link(path).unwrap());
        let first = inodes.iter().position(|inode| *inode == meta.ino()).unwrap_or(inodes.len());
        inodes.push(meta.ino());
        // GNU cpio leaves the times of links and directories as they come; the kernel sets those of directories last, as we do.
        let time = if meta.is_file() || meta.mode() & 0o170_000 == 0o010_000 { meta.mtime() } else { 0 };
        lines.push(format!(
            "{} {:o} {}:{} {time} {} {first} {target:?} {}",
            path.strip_prefix(directory).unwrap().display(),
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.rdev(),
            content.iter().fold(content.len(), |sum, byte| sum.wrapping_mul(31) + usize::from(*byte))
        ));
    }
    lines
}
