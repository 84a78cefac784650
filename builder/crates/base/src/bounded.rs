//! Files that the user names and that are read to their end: a device that never ends must neither fill the memory nor keep a command busy.

use std::{
    fs::File,
    io::{self, Read},
    os::unix::fs::FileTypeExt,
    path::Path,
};

/// The longest text that is read whole, in bytes: lists, configuration and keys.
pub const TEXT_MAX: u64 = 16 << 20;
/// The longest program that is read whole, in bytes.
pub const PROGRAM_MAX: u64 = 256 << 20;

/// Opens what is read to its end piece by piece: a file, a pipe or a disk.
///
/// # Errors
/// The system's error; [`io::ErrorKind::InvalidInput`] for a character device, which may have no end.
pub fn open(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    if file.metadata()?.file_type().is_char_device() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a character device, where a file was expected"));
    }
    Ok(file)
}

/// Reads all of a file, or of a pipe, that has at most `max` bytes.
///
/// # Errors
/// The system's error; [`io::ErrorKind::FileTooLarge`] where there is more.
pub fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > max {
        let reason = format!("it has more than {max} bytes, which are the most that are read");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, reason));
    }
    Ok(bytes)
}

/// Reads a text as [`read`] does.
///
/// # Errors
/// As [`read`]; [`io::ErrorKind::InvalidData`] for what is not UTF-8.
pub fn read_text(path: &Path) -> io::Result<String> {
    String::from_utf8(read(path, TEXT_MAX)?).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_ends_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(read(&path, 3).unwrap(), b"abc");
        assert_eq!(read(&path, 2).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_text(&path).unwrap(), "abc");
        assert_eq!(open(Path::new("/dev/zero")).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(open(&path).is_ok());
        assert!(read_text(Path::new("/dev/zero")).unwrap_err().to_string().contains("more than 16777216 bytes"));
    }
}
