//! Partition tables: which parts a disk has, by their number, as the kernel would find them. GPT, MBR and the logical
//! partitions of an MBR. Reads numbers; what is in the partitions is looked at elsewhere.

use gpt::{
    GptConfig,
    disk::LogicalBlockSize,
    header::Header,
    mbr::{PartRecord, ProtectiveMBR},
};

use super::block_reader::{Shared, Stream};

/// A partition as its table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its number, from 1.
    pub number: u32,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its size in bytes.
    pub size: u64,
    /// Its name, which only a GPT has.
    pub name: Option<String>,
    /// What `PARTUUID=` asks for, lower case.
    pub uuid: String,
}

/// What tells the kinds of an MBR's partitions apart: the whole disk is a GPT, or others are in it.
const PROTECTIVE: u8 = 0xee;
const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];

/// The partitions of a disk as the kernel makes them; none where it has no table. What is past the disk's end is cut off (kernel,
/// block/partitions/core.c).
pub fn read(disk: &Shared) -> Vec<Partition> {
    let mut partitions = read_table(disk);
    partitions.retain(|partition| partition.start < disk.size());
    for partition in &mut partitions {
        partition.size = partition.size.min(disk.size() - partition.start);
    }
    partitions
}

fn read_table(disk: &Shared) -> Vec<Partition> {
    let Some(mbr) = read_mbr(disk, 0) else { return Vec::new() };
    let records: Vec<PartRecord> = (0..4).filter_map(|place| mbr.partition(place)).collect();
    if records.iter().any(|record| record.os_type == PROTECTIVE) {
        return read_gpt(disk);
    }
    // A filesystem's boot sector ends like an MBR; an MBR's records begin with 0 or 0x80 (kernel, block/partitions/msdos.c).
    if records.iter().any(|record| record.boot_indicator & 0x7f != 0) {
        return Vec::new();
    }
    let signature = u32::from_le_bytes(*mbr.disk_signature());
    let mut found = Vec::new();
    for (number, record) in (1..).zip(&records) {
        if EXTENDED.contains(&record.os_type) {
            found.extend(logical(disk, signature, u64::from(record.lb_start)));
        } else if record.os_type != 0 && record.lb_size > 0 {
            found.push(partition(number, signature, u64::from(record.lb_start), record.lb_size));
        }
    }
    found.sort_unstable_by_key(|partition| partition.number);
    found
}

fn partition(number: u32, signature: u32, first: u64, sectors: u32) -> Partition {
    Partition {
        number,
        start: first * 512,
        size: u64::from(sectors) * 512,
        name: None,
        uuid: format!("{signature:08x}-{number:02x}"),
    }
}

/// The chain of tables in an extended partition: each has one partition, and where the next table is.
fn logical(disk: &Shared, signature: u32, extended: u64) -> Vec<Partition> {
    let mut found = Vec::new();
    let mut here = extended;
    // The kernel stops after 100 tables as well: a chain may be a circle.
    for _ in 0..100 {
        let Some(table) = read_mbr(disk, here * 512) else { break };
        let records: Vec<PartRecord> = (0..4).filter_map(|place| table.partition(place)).collect();
        let number = 5 + u32::try_from(found.len()).unwrap_or(u32::MAX);
        let own = records
            .iter()
            .find(|record| record.os_type != 0 && record.lb_size > 0 && !EXTENDED.contains(&record.os_type));
        found.extend(own.map(|own| partition(number, signature, here + u64::from(own.lb_start), own.lb_size)));
        let next = records.iter().find(|record| EXTENDED.contains(&record.os_type) && record.lb_size > 0);
        match next {
            Some(next) => here = extended + u64::from(next.lb_start),
            None => break,
        }
    }
    found
}

fn read_mbr(disk: &Shared, offset: u64) -> Option<ProtectiveMBR> {
    let mut sector = [0; 512];
    disk.read_at(offset, &mut sector).ok()?;
    ProtectiveMBR::from_bytes(&sector, LogicalBlockSize::Lb512).ok()
}

fn read_gpt(disk: &Shared) -> Vec<Partition> {
    // A card reader or a disk with sectors of 4096 bytes counts in those.
    let sizes = [(LogicalBlockSize::Lb512, 512), (LogicalBlockSize::Lb4096, 4096)];
    let table = sizes.into_iter().find_map(|(size, bytes)| {
        let stream = Stream::new(disk.clone());
        let table = GptConfig::new().logical_block_size(size).open_from_device(stream).ok()?;
        // Without `gpt` on its command line the kernel takes no copy of a damaged header, and no table that is made for a larger
        // disk (kernel, block/partitions/efi.c, find_valid_gpt and is_gpt_valid).
        let is_taken = |header: &Header| header.current_lba == 1 && header.last_usable < disk.size() / bytes;
        let is_valid = table.primary_header().is_ok_and(is_taken);
        is_valid.then_some((table, bytes))
    });
    let Some((table, bytes)) = table else { return Vec::new() };
    table
        .partitions()
        .iter()
        .filter(|(_, entry)| entry.is_used() && entry.last_lba >= entry.first_lba)
        .map(|(number, entry)| Partition {
            number: *number,
            start: entry.first_lba.saturating_mul(bytes),
            size: (entry.last_lba - entry.first_lba).saturating_add(1).saturating_mul(bytes),
            name: (!entry.name.is_empty()).then(|| entry.name.clone()),
            uuid: entry.part_guid.to_string().to_ascii_lowercase(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    fn put(disk: &mut [u8], sector: usize, records: &[(u8, u32, u32)]) {
        let at = sector * 512;
        for (place, (kind, first, count)) in records.iter().enumerate() {
            let record = &mut disk[at + 446 + place * 16..][..16];
            record[4] = *kind;
            record[8..12].copy_from_slice(&first.to_le_bytes());
            record[12..16].copy_from_slice(&count.to_le_bytes());
        }
        disk[at + 510..at + 512].copy_from_slice(&[0x55, 0xaa]);
    }

    #[test]
    fn an_mbr_with_logical_partitions_is_numbered_as_the_kernel_does() {
        let mut disk = vec![0; 512 * 400];
        disk[440..444].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
        put(&mut disk, 0, &[(0x83, 10, 20), (0x0f, 100, 200), (0, 0, 0), (0x0c, 40, 5)]);
        put(&mut disk, 100, &[(0x83, 2, 10), (0x05, 50, 60)]);
        put(&mut disk, 150, &[(0x83, 3, 11)]);
        let found = read(&(Arc::new(disk) as Shared));
        let places: Vec<(u32, u64, u64)> =
            found.iter().map(|partition| (partition.number, partition.start / 512, partition.size / 512)).collect();
        assert_eq!(places, [(1, 10, 20), (4, 40, 5), (5, 102, 10), (6, 153, 11)]);
        assert_eq!(found[2].uuid, "deadbeef-05");
    }

    #[test]
    fn circles_boot_sectors_and_garbage_end() {
        let mut circle = vec![0; 512 * 20];
        put(&mut circle, 0, &[(0x05, 10, 5)]);
        put(&mut circle, 10, &[(0x83, 1, 1), (0x05, 0, 5)]);
        assert_eq!(read(&(Arc::new(circle) as Shared)).len(), 100);
        let mut boot_sector = vec![0x2e; 512];
        boot_sector[510..].copy_from_slice(&[0x55, 0xaa]);
        let mut protective = vec![0; 4096];
        put(&mut protective, 0, &[(0xee, 1, 7)]);
        for disk in [Vec::new(), vec![0; 100], vec![0; 4096], boot_sector, protective] {
            assert_eq!(read(&(Arc::new(disk) as Shared)), []);
        }
    }
}
