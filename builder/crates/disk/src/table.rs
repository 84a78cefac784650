//! Writes a [`Layout`] as a GPT or an MBR. The disk's identity comes from outside: nothing here is random.

use std::{collections::BTreeMap, fs::File, os::unix::fs::FileExt, path::Path};

use base::IoContext;
use gpt::{
    GptConfig,
    disk::LogicalBlockSize,
    mbr::{PartRecord, ProtectiveMBR},
    partition::Partition,
    partition_types,
};

use crate::{Error, Result};

use super::{
    identity::Identity,
    layout::{LARGE_SECTOR, Layout, Role, Slot, Table},
    vfat,
};

/// Writes the table into `file`, which has the disk's size. `efi` makes `boot` an EFI system partition.
///
/// # Errors
/// [`Error::Table`] or [`Error::Io`].
pub fn write(file: &mut File, path: &Path, layout: &Layout, identity: &Identity, efi: bool) -> Result<()> {
    match layout.table {
        Table::Gpt => {
            write_gpt(file, layout, identity, efi).map_err(|source| Error::Table { path: path.to_owned(), source })
        }
        Table::Mbr => {
            let mbr = mbr(layout, identity).to_bytes();
            Ok(file.write_all_at(&mbr, 0).at("write", path)?)
        }
    }
}

fn write_gpt(file: &mut File, layout: &Layout, identity: &Identity, efi: bool) -> Result<(), gpt::GptError> {
    // The protective entry covers the disk from the second sector on, as far as 32 bits reach (UEFI 2.10, table 5.4).
    let covered = u32::try_from(layout.disk / layout.sector - 1).unwrap_or(u32::MAX);
    file.write_all_at(&ProtectiveMBR::with_lb_size(covered).to_bytes(), 0)?;
    let sector = if layout.sector == LARGE_SECTOR { LogicalBlockSize::Lb4096 } else { LogicalBlockSize::Lb512 };
    let config = GptConfig::new().writable(true).logical_block_size(sector);
    let mut table = config.create_from_device(file, Some(identity.disk()))?;
    let partitions: BTreeMap<u32, Partition> =
        layout.slots.iter().map(|slot| (slot.number, gpt_entry(layout, slot, identity, efi))).collect();
    table.update_partitions(partitions)?;
    table.write()?;
    Ok(())
}

fn gpt_entry(layout: &Layout, slot: &Slot, identity: &Identity, efi: bool) -> Partition {
    let part_type_guid = match slot.role {
        Role::Boot if efi => partition_types::EFI,
        Role::Boot => partition_types::BASIC,
        _ => partition_types::LINUX_FS,
    };
    Partition {
        part_type_guid,
        part_guid: identity.partition(slot.role),
        first_lba: slot.start / layout.sector,
        last_lba: (slot.start + slot.size) / layout.sector - 1,
        flags: 0,
        name: slot.role.label().to_owned(),
    }
}

/// Returns the MBR's type of a partition, as a number.
fn mbr_type(slot: &Slot, sector: u64) -> u8 {
    match slot.role {
        // FAT32 and FAT16, both with LBA.
        Role::Boot if vfat::is_fat32(slot.size, sector) => 0x0c,
        Role::Boot => 0x0e,
        _ => 0x83,
    }
}

/// Returns the kind of a partition for people.
pub fn type_name(layout: &Layout, slot: &Slot, efi: bool) -> &'static str {
    match (layout.table, slot.role) {
        (Table::Gpt, Role::Boot) if efi => "EFI system",
        (Table::Gpt, Role::Boot) => "basic data",
        (Table::Gpt, _) => "Linux filesystem",
        (Table::Mbr, Role::Boot) if vfat::is_fat32(slot.size, layout.sector) => "0x0c FAT32",
        (Table::Mbr, Role::Boot) => "0x0e FAT16",
        (Table::Mbr, _) => "0x83 Linux",
    }
}

fn mbr(layout: &Layout, identity: &Identity) -> ProtectiveMBR {
    let mut mbr = ProtectiveMBR::new();
    mbr.set_disk_signature(identity.signature().to_le_bytes());
    for index in 0..4 {
        let record = layout.slots.get(index).map_or_else(PartRecord::zero, |slot| mbr_record(slot, layout.sector));
        mbr.set_partition(index, record);
    }
    mbr
}

fn mbr_record(slot: &Slot, sector_size: u64) -> PartRecord {
    // Cylinders, heads and sectors are long out of use; this is the value for "does not fit, look at the sector numbers".
    let (head, sector, track) = (0xfe, 0xff, 0xff);
    let sectors = |bytes: u64| u32::try_from(bytes / sector_size).unwrap_or(u32::MAX);
    PartRecord {
        boot_indicator: if slot.role == Role::Boot { 0x80 } else { 0 },
        start_head: head,
        start_sector: sector,
        start_track: track,
        os_type: mbr_type(slot, sector_size),
        end_head: head,
        end_sector: sector,
        end_track: track,
        lb_start: sectors(slot.start),
        lb_size: sectors(slot.size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::size::MIB;

    fn layout(table: Table) -> Layout {
        let slots = vec![
            Slot { role: Role::Boot, number: 1, start: MIB, size: 64 * MIB },
            Slot { role: Role::Img, number: 2, start: 65 * MIB, size: 16 * MIB },
        ];
        Layout { table, disk: 82 * MIB, sector: 512, slots }
    }

    #[test]
    fn an_mbr_has_types_and_places() {
        let identity = Identity::new(b"seed");
        let bytes = mbr(&layout(Table::Mbr), &identity).to_bytes();
        assert_eq!(bytes[440..444], identity.signature().to_le_bytes());
        assert_eq!((bytes[446], bytes[446 + 4], bytes[462], bytes[462 + 4]), (0x80, 0x0c, 0, 0x83));
        assert_eq!(bytes[446 + 8..446 + 16], [0, 8, 0, 0, 0, 0, 2, 0]);
        assert_eq!(bytes[478..510], [0; 32]);
        assert_eq!(bytes[510..], [0x55, 0xaa]);
    }

    #[test]
    fn a_gpt_reads_back_with_names_and_fixed_identities() {
        let mut file = tempfile::tempfile().unwrap();
        let (layout, identity) = (layout(Table::Gpt), Identity::new(b"seed"));
        file.set_len(layout.disk).unwrap();
        write(&mut file, Path::new("disk"), &layout, &identity, true).unwrap();
        let disk = GptConfig::new().only_valid_headers(true).open_from_device(&mut file).unwrap();
        assert_eq!(*disk.guid(), identity.disk());
        let names: Vec<&str> = disk.partitions().values().map(|partition| partition.name.as_str()).collect();
        assert_eq!(names, ["boot", "img"]);
        assert_eq!(disk.partitions()[&1].part_type_guid, partition_types::EFI);
        assert_eq!(disk.partitions()[&2].part_guid, identity.partition(Role::Img));
        assert_eq!((disk.partitions()[&2].first_lba, disk.partitions()[&2].last_lba), (65 * 2048, 81 * 2048 - 1));
    }
}
