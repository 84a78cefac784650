//! QEMU's SD card takes only files whose size is a power of two. A disk of another size is copied into one that fits; the
//! disk itself is never changed.

use std::{fs::File, path::Path};

use base::IoContext;
use disk;

use crate::{Error, Result};

/// Returns the size of a card for `bytes`, in bytes.
pub fn card_size(bytes: u64) -> u64 {
    bytes.max(1 << 20).next_power_of_two()
}

/// Makes `output`, a copy of `disk` that fits an SD slot. `false`, and no file, where the disk itself does. Holes stay holes.
///
/// # Errors
/// [`Error::Io`].
pub fn fitting_copy(disk: &Path, output: &Path) -> Result<bool> {
    let file = File::open(disk).at("open", disk)?;
    let size = file.metadata().at("read", disk)?.len();
    if size == card_size(size) {
        return Ok(false);
    }
    let copy = File::create_new(output).at("create", output)?;
    copy.set_len(card_size(size)).at("grow", output)?;
    disk::copy_data(&file, &copy, 0, size).at("write", output)?;
    Ok(true)
}

/// Refuses a disk that does not fit an SD slot, with the command that makes it fit.
///
/// # Errors
/// [`Error::Usage`], or [`Error::Io`] where it cannot be looked at.
pub fn check(disk: &Path) -> Result<()> {
    let size = disk.metadata().at("read", disk)?.len();
    if size == card_size(size) {
        return Ok(());
    }
    Err(Error::Usage(format!(
        "{} has {size} bytes, and QEMU's SD card requires a power of two: `truncate -s {} {0}` makes it fit, \
         and without --write a copy is used",
        disk.display(),
        card_size(size)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_copied_only_where_it_does_not_fit() {
        let directory = tempfile::tempdir().unwrap();
        let disk = directory.path().join("disk");
        std::fs::write(&disk, vec![7; 3 << 20]).unwrap();
        assert!(check(&disk).unwrap_err().to_string().contains("truncate -s 4194304"));
        let copy = directory.path().join("copy");
        assert!(fitting_copy(&disk, &copy).unwrap());
        let bytes = std::fs::read(copy).unwrap();
        assert_eq!(bytes.len(), 4 << 20);
        assert!(bytes[..3 << 20].iter().all(|byte| *byte == 7) && bytes[3 << 20..].iter().all(|byte| *byte == 0));
        assert_eq!(disk.metadata().unwrap().len(), 3 << 20);
        std::fs::write(&disk, vec![7; 4 << 20]).unwrap();
        assert!(!fitting_copy(&disk, &directory.path().join("none")).unwrap());
        assert!(check(&disk).is_ok());
    }
}
