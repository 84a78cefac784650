//! The partition `boot` of a described machine: the smallest FAT32 filesystem, 32 sectors, a table of one, and clusters of a sector (Microsoft,
//! FAT: General Overview of On-Disk Format, 1.03).

use contract::{blackbox, names::PARAMETERS_FILE};

const SECTOR: usize = 512;
/// The byte at which the root directory begins.
const ROOT: usize = 33 * SECTOR;

/// Returns the filesystem, with the text of the black box, or a file of parameters instead.
pub fn boot_partition(parameters: Option<&str>) -> Vec<u8> {
    let mut disk = vec![0; ROOT + SECTOR];
    put(&mut disk, 32 * SECTOR + 8, 0x0fff_ffff, 4);
    let entries = match parameters {
        None => {
            let first = add(&mut disk, &blackbox::template());
            vec![entry(b"BLACKBOXTXT", first, blackbox::TEXT_SIZE)]
        }
        Some(content) => {
            // The page that is written has nothing of the root directory.
            add(&mut disk, &[0; 3072]);
            let first = add(&mut disk, content.as_bytes());
            long_name().into_iter().chain([entry(b"INITRA~1TXT", first, content.len())]).collect()
        }
    };
    let entries = entries.concat();
    disk[ROOT..ROOT + entries.len()].copy_from_slice(&entries);
    let sectors = disk.len() / SECTOR;
    for (at, number, width) in [
        (11, SECTOR, 2),
        (13, 1, 1),
        (14, 32, 2),
        (16, 1, 1),
        (32, sectors, 4),
        (36, 1, 4),
        (44, 2, 4),
        (510, 0xaa55, 2),
    ] {
        put(&mut disk, at, number, width);
    }
    disk
}

fn put(bytes: &mut [u8], at: usize, number: usize, width: usize) {
    bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
}

/// Adds the clusters of a file; returns the number of the first.
fn add(disk: &mut Vec<u8>, content: &[u8]) -> usize {
    let first = (disk.len() - ROOT) / SECTOR + 2;
    disk.extend(content);
    disk.resize(disk.len().next_multiple_of(SECTOR), 0);
    let last = first + content.len().div_ceil(SECTOR) - 1;
    for cluster in first..=last {
        put(disk, 32 * SECTOR + cluster * 4, if cluster == last { 0x0fff_ffff } else { cluster + 1 }, 4);
    }
    first
}

/// Returns the entry of a file in the root directory.
fn entry(name: &[u8; 11], first: usize, size: usize) -> [u8; 32] {
    let mut entry = [0; 32];
    entry[..11].copy_from_slice(name);
    put(&mut entry, 26, first, 2);
    put(&mut entry, 28, size, 4);
    entry
}

/// Returns the entries of the long name of the file of parameters, which has two parts.
fn long_name() -> Vec<[u8; 32]> {
    const CHARACTERS: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
    let sum = b"INITRA~1TXT".iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
    let parts = PARAMETERS_FILE.as_bytes().chunks(13).zip([1, 0x42]);
    let mut entries: Vec<[u8; 32]> = parts
        .map(|(part, order)| {
            let mut entry = [0; 32];
            (entry[0], entry[11], entry[13]) = (order, 0x0f, sum);
            let characters = part.iter().map(|byte| usize::from(*byte)).chain([0]).chain(std::iter::repeat(0xffff));
            for (at, character) in CHARACTERS.into_iter().zip(characters) {
                put(&mut entry, at, character, 2);
            }
            entry
        })
        .collect();
    entries.reverse();
    entries
}
