//! Files of the real machine: what they are and what is in them.

use std::{
    ffi::{CStr, CString},
    fs::File,
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::FileExt,
    },
};

use sys_mount::MountFlags;

use super::media::{Place, open_file};
use crate::kernel::Stat;
use contract::inventory::Kind;

/// Reads up to `most` bytes of a file from `offset` on. The files of proc and sysfs do not know their size, so it is read until it ends.
pub(super) fn read(path: &str, offset: u64, most: usize) -> io::Result<Vec<u8>> {
    let file = open_file(path)?;
    let mut bytes = Vec::new();
    let mut filled = 0_usize;
    loop {
        bytes.resize(filled.saturating_mul(2).max(1024).min(most), 0);
        let at = offset.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
        match file.read_at(bytes.get_mut(filled..).unwrap_or_default(), at) {
            Ok(0) => {
                bytes.truncate(filled);
                return Ok(bytes);
            }
            Ok(length) => filled = filled.saturating_add(length),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Reads a small file as text; one that cannot be read is empty.
pub(super) fn text(path: &str) -> String {
    read(path, 0, usize::MAX).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Returns up to `limit` names in an open directory, in no order.
pub(super) fn names_of(directory: &File, limit: usize) -> io::Result<Vec<String>> {
    let mut all = Vec::new();
    list(directory.as_fd(), limit, &mut all)?;
    Ok(all.into_iter().map(|entry| entry.name.to_string_lossy().into_owned()).collect())
}

/// An entry of a directory.
pub(super) struct Entry {
    pub(super) name: CString,
    /// Its type (getdents64(2), d_type).
    pub(super) kind: u8,
}

/// Adds what is in an open directory, but itself and its parent, in no order, until there are `limit`.
///
/// The kernel is asked without the C library's streams between: these ask for the directory's state first, and the crate around
/// them winds it back afterwards, system calls that a boot makes for every directory it looks into.
pub(super) fn list(directory: BorrowedFd<'_>, limit: usize, all: &mut Vec<Entry>) -> io::Result<()> {
    // For a few dozen names at a time.
    let mut buffer = [0_u8; 2048];
    loop {
        // SAFETY: the kernel writes into the buffer, at most as many bytes as it has (getdents64(2)).
        let length =
            unsafe { libc::syscall(libc::SYS_getdents64, directory.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
        let mut rest = match usize::try_from(length) {
            Ok(0) => return Ok(()),
            Ok(length) => buffer.get(..length).unwrap_or_default(),
            Err(_) => return Err(io::Error::last_os_error()),
        };
        while let Some((entry, length)) = entry(rest) {
            if all.len() >= limit {
                return Ok(());
            }
            if !matches!(entry.name.to_bytes(), b"." | b"..") {
                all.push(entry);
            }
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// Returns the first of the kernel's records (getdents64(2), struct linux_dirent64), and how long it is.
fn entry(records: &[u8]) -> Option<(Entry, usize)> {
    let [low, high] = *records.get(16..)?.first_chunk()?;
    let length = usize::from(u16::from_ne_bytes([low, high]));
    let record = records.get(..length)?;
    let name = CStr::from_bytes_until_nul(record.get(19..)?).ok()?.to_owned();
    Some((Entry { name, kind: *record.get(18)? }, length))
}

#[allow(clippy::unnecessary_cast, clippy::useless_conversion, reason = "the widths depend on the processor")]
pub(super) fn stat(path: &str) -> io::Result<Stat> {
    let stat = Place::of(path)?.stat()?;
    let kind = match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG => Kind::File,
        libc::S_IFDIR => Kind::Directory,
        libc::S_IFLNK => Kind::Symlink,
        _ => Kind::Other,
    };
    Ok(Stat { kind, mode: u32::from(stat.st_mode) & 0o7777, size: u64::try_from(stat.st_size).unwrap_or(0) })
}

/// Calls mount(2), without data where that is empty.
pub(super) fn mount(source: &str, target: &str, filesystem: &str, flags: MountFlags, data: &str) -> io::Result<()> {
    let mut builder = sys_mount::Mount::builder().fstype(filesystem).flags(flags);
    if !data.is_empty() {
        builder = builder.data(data);
    }
    builder.mount(source, target).map(drop)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_directory_is_listed_whole() {
        let directory = std::env::temp_dir().join(format!("listed-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        // More than the kernel tells at once, names of all lengths.
        let mut wanted: Vec<String> =
            (1..=200_usize).map(|length| format!("{length}-{}", "x".repeat(length))).collect();
        wanted.iter().for_each(|name| fs::write(directory.join(name), name).unwrap());
        fs::create_dir(directory.join("deep")).unwrap();
        wanted.push("deep".to_string());
        wanted.sort_unstable();
        let path = directory.to_str().unwrap();
        let names = |path: &str| names_of(&File::open(path)?, usize::MAX);
        let mut seen = names(path).unwrap();
        seen.sort_unstable();
        assert_eq!(seen, wanted);
        let open = File::open(&directory).unwrap();
        let mut all = Vec::new();
        list(open.as_fd(), usize::MAX, &mut all).unwrap();
        let is = |name: &CStr, kind| all.iter().any(|entry| entry.name.as_c_str() == name && entry.kind == kind);
        // A filesystem may leave the kind open.
        assert!(is(c"deep", libc::DT_DIR) || is(c"deep", libc::DT_UNKNOWN));
        assert_eq!(names_of(&File::open(&directory).unwrap(), 7).unwrap().len(), 7, "no more than asked for");
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(names(path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(names("/proc/self/comm").is_err(), "not a directory");
    }

    #[test]
    fn records_that_are_cut_short_are_none() {
        let mut record = vec![0; 16];
        record.extend(24_u16.to_ne_bytes());
        record.extend([libc::DT_REG, b'a', b'b', 0, 0, 0]);
        let (entry, length) = super::entry(&record).unwrap();
        assert_eq!((entry.name.as_c_str(), entry.kind, length), (c"ab", libc::DT_REG, 24));
        for length in 0..record.len() {
            assert!(super::entry(&record[..length]).is_none(), "{length}");
        }
        record[16..18].copy_from_slice(&19_u16.to_ne_bytes());
        assert!(super::entry(&record).is_none(), "no name");
        record[16..18].copy_from_slice(&0_u16.to_ne_bytes());
        assert!(super::entry(&record).is_none(), "no end");
    }
}
