//! Partition tables of disks: the contract's reader on a [`Shared`] medium.

use contract::partitions::{self, Fault, State, Table};

use super::block_reader::Shared;

/// Reads the table of a disk with sectors of `sector` bytes; of an image of a disk these are not known, and those that its table counts in
/// hold.
pub fn read(disk: &Shared, sector: Option<u64>) -> Table {
    match (read_in(disk, sector.unwrap_or(512)), sector) {
        (Table { state: State::Fault(Fault::Sector { table }), .. }, None) => read_in(disk, table),
        (table, _) => table,
    }
}

fn read_in(disk: &Shared, sector: u64) -> Table {
    let mut read = |offset: u64, buffer: &mut [u8]| disk.read_at(offset, buffer).is_ok();
    partitions::read(&mut partitions::Disk { read: &mut read, size: disk.size(), sector })
}

/// Returns the sentence about the table of the disk `name` that the kernel does not take. `sector`: bytes of its sectors.
pub fn describe(name: &str, disk: &Shared, fault: Fault, sector: Option<u64>) -> String {
    let (words, remedy) = fault.words();
    let sizes = match fault {
        Fault::Short { wanted } => format!(" ({wanted} bytes, and this one has {})", disk.size()),
        Fault::Sector { table } => format!(" ({table} bytes, and this one's have {})", sector.unwrap_or(512)),
        Fault::Gone | Fault::BackupOnly | Fault::Unprotected => String::new(),
    };
    format!("{name}: {words}{sizes}; {remedy}")
}

/// Returns the sentence about a disk that is too small for the partitions of its MBR.
pub fn describe_short(name: &str, disk: &Shared, missing: u64) -> String {
    let (_, remedy) = Fault::Short { wanted: 0 }.words();
    let size = disk.size();
    format!("/dev/{name}: its partitions end {missing} bytes past its end (it has {size} bytes); {remedy}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn the_sentence_has_both_sizes() {
        let disk: Shared = Arc::new(vec![0_u8; 4096]);
        let text = describe("/dev/sda", &disk, Fault::Short { wanted: 8192 }, None);
        assert!(
            text.starts_with(
                "/dev/sda: its partition table is for a larger disk (8192 bytes, and this one has 4096); "
            )
        );
        let text = describe("/dev/sda", &disk, Fault::Sector { table: 512 }, Some(4096));
        assert!(
            text.contains("sectors of another size (512 bytes, and this one's have 4096); make the image"),
            "{text}"
        );
        assert!(describe("/dev/sda", &disk, Fault::BackupOnly, None).contains("kernel parameter `gpt`"));
    }
}
