//! Tables of bytes, and the verdict on each.

use super::*;

fn read_bytes(bytes: &[u8], sector: u64) -> Table {
    let mut source = |offset: u64, buffer: &mut [u8]| {
        let place = usize::try_from(offset).unwrap();
        bytes.get(place..place + buffer.len()).is_some_and(|found| {
            buffer.copy_from_slice(found);
            true
        })
    };
    read(&mut Disk { read: &mut source, size: bytes.len() as u64, sector })
}

/// Puts an MBR's records and its signature into a sector.
fn put(disk: &mut [u8], offset: usize, records: &[(u8, u32, u32)]) {
    for (place, (kind, first, count)) in records.iter().enumerate() {
        let record = &mut disk[offset + 446 + place * 16..][..16];
        record[4] = *kind;
        record[8..12].copy_from_slice(&first.to_le_bytes());
        record[12..16].copy_from_slice(&count.to_le_bytes());
    }
    disk[offset + 510..offset + 512].copy_from_slice(&[0x55, 0xaa]);
}

/// Makes a disk of 100 sectors with a GPT of one partition, its backup at the end.
fn gpt(sector: usize) -> Vec<u8> {
    const SECTORS: usize = 100;
    let mut disk = vec![0; SECTORS * sector];
    put(&mut disk, 0, &[(PROTECTIVE, 1, SECTORS as u32 - 1)]);
    let mut entries = vec![0; 4 * ENTRY];
    entries[ENTRY..ENTRY + 32].copy_from_slice(&std::array::from_fn::<u8, 32, _>(|place| place as u8 + 1));
    entries[ENTRY + 32..ENTRY + 40].copy_from_slice(&40_u64.to_le_bytes());
    entries[ENTRY + 40..ENTRY + 48].copy_from_slice(&49_u64.to_le_bytes());
    for (place, letter) in "img".bytes().enumerate() {
        entries[ENTRY + 56 + 2 * place] = letter;
    }
    for (own, other, table) in [(1_usize, SECTORS - 1, 2_usize), (SECTORS - 1, 1, SECTORS - 3)] {
        let mut head = [0; HEADER];
        head[..12].copy_from_slice(b"EFI PART\0\0\x01\0");
        head[12..16].copy_from_slice(&(HEADER as u32).to_le_bytes());
        for (at, number) in [(24, own), (32, other), (40, 34), (48, SECTORS - 4), (72, table)] {
            head[at..at + 8].copy_from_slice(&(number as u64).to_le_bytes());
        }
        for (at, number) in [(80, 4), (84, ENTRY as u32), (88, crc32(&entries))] {
            head[at..at + 4].copy_from_slice(&number.to_le_bytes());
        }
        let sum = crc32(&head);
        head[16..20].copy_from_slice(&sum.to_le_bytes());
        disk[own * sector..][..HEADER].copy_from_slice(&head);
        disk[table * sector..][..entries.len()].copy_from_slice(&entries);
    }
    disk
}

#[test]
fn a_gpt_is_read_in_sectors_of_the_disk() {
    for sector in SECTORS {
        let Table { state, partitions, .. } = read_bytes(&gpt(sector as usize), sector);
        let wanted = Partition {
            number: 2,
            start: 40 * sector,
            size: 10 * sector,
            name: Some("img".into()),
            uuid: "14131211-1615-1817-191a-1b1c1d1e1f20".into(),
        };
        assert_eq!((state, partitions), (State::Gpt, vec![wanted]), "{sector}");
    }
}

#[test]
fn each_fault_of_a_gpt_is_told() {
    let damaged = |places: &[usize]| {
        let mut disk = gpt(512);
        places.iter().for_each(|place| disk[*place] ^= 0xff);
        disk
    };
    let end = 99 * 512;
    let mut zeroed = gpt(512);
    zeroed[..1 << 14].fill(0);
    let short = gpt(512)[..90 * 512].to_vec();
    let mut large = gpt(512);
    large.resize(200 * 512, 0);
    for (disk, sector, state) in [
        (gpt(512), 512, State::Gpt),
        (large, 512, State::Gpt),
        (damaged(&[end + 20]), 512, State::Gpt),
        (damaged(&[512 + 20]), 512, State::Fault(Fault::BackupOnly)),
        (damaged(&[1024 + ENTRY]), 512, State::Fault(Fault::BackupOnly)),
        (zeroed, 512, State::Fault(Fault::BackupOnly)),
        (damaged(&[512 + 20, end + 20]), 512, State::Fault(Fault::Gone)),
        (damaged(&[512, 510]), 512, State::Fault(Fault::BackupOnly)),
        (damaged(&[512, end, 510]), 512, State::None),
        (damaged(&[510]), 512, State::Fault(Fault::Unprotected)),
        (damaged(&[446 + 9]), 512, State::Fault(Fault::Unprotected)),
        (short, 512, State::Fault(Fault::Short { wanted: 100 * 512 })),
        (gpt(512), 4096, State::Fault(Fault::Sector { table: 512 })),
        (gpt(4096), 512, State::Fault(Fault::Sector { table: 4096 })),
    ] {
        let table = read_bytes(&disk, sector);
        assert_eq!(table.state, state);
        assert_eq!(table.partitions.is_empty(), state != State::Gpt);
    }
}

#[test]
fn an_mbr_with_logical_partitions_is_numbered_as_the_kernel_does() {
    for sector in [512_usize, 4096] {
        let mut disk = vec![0; sector * 400];
        disk[440..444].copy_from_slice(&0xdead_beef_u32.to_le_bytes());
        put(&mut disk, 0, &[(0x83, 10, 20), (0x0f, 100, 200), (0, 0, 0), (0x0c, 390, 50)]);
        put(&mut disk, 100 * sector, &[(0x83, 2, 10), (0x05, 50, 60)]);
        put(&mut disk, 150 * sector, &[(0x83, 3, 11)]);
        let table = read_bytes(&disk, sector as u64);
        let sectors = |bytes: u64| bytes / sector as u64;
        let places: Vec<(u32, u64, u64)> =
            table.partitions.iter().map(|found| (found.number, sectors(found.start), sectors(found.size))).collect();
        // The last but one ends with the disk.
        assert_eq!(places, [(1, 10, 20), (4, 390, 10), (5, 102, 10), (6, 153, 11)]);
        assert_eq!((table.state, table.partitions[2].uuid.as_str()), (State::Mbr, "deadbeef-05"));
        assert_eq!(table.missing, 40 * sector as u64);
    }
}

#[test]
fn circles_boot_sectors_and_garbage_end() {
    let mut circle = vec![0; 512 * 20];
    put(&mut circle, 0, &[(0x05, 10, 5)]);
    put(&mut circle, 10 * 512, &[(0x83, 1, 1), (0x05, 0, 5)]);
    assert_eq!(read_bytes(&circle, 512).partitions.len(), 100);
    let mut boot_sector = vec![0x2e; 512];
    boot_sector[510..].copy_from_slice(&[0x55, 0xaa]);
    for disk in [Vec::new(), vec![0; 100], vec![0; 4096], vec![0xff; 8192], boot_sector] {
        assert_eq!(read_bytes(&disk, 512), Table { state: State::None, partitions: Vec::new(), missing: 0 });
    }
    let mut protective = vec![0; 4096];
    put(&mut protective, 0, &[(0xee, 1, 7)]);
    assert_eq!(read_bytes(&protective, 512).state, State::Fault(Fault::Gone));
}

/// Damage anywhere is a fault, never a panic and never another partition than those that are there.
#[test]
fn damage_is_told_or_does_not_matter() {
    let whole = gpt(512);
    let wanted = read_bytes(&whole, 512).partitions;
    // An MBR has no checksum: a record of another type is another table.
    for place in (512..whole.len()).filter(|place| whole[*place] != 0 || place % 97 == 0) {
        for bit in [0, 7] {
            let mut disk = whole.clone();
            disk[place] ^= 1 << bit;
            let Table { state, partitions, .. } = read_bytes(&disk, 512);
            assert!(partitions.is_empty() || partitions == wanted, "{place}: {state:?} {partitions:?}");
        }
    }
}
