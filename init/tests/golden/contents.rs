//! Contents of described files: the smallest superblock, program, module, disk and black box that init takes for one.

use super::*;

/// Returns the first sector of a disk with a GPT, and nothing behind it (UEFI 2.10, "Protective MBR").
pub(super) fn protective() -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    bytes[446 + 4] = 0xee;
    bytes[446 + 8] = 1;
    bytes[446 + 12..446 + 16].fill(0xff);
    bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
    bytes
}

/// Returns a black box after boots that ended so: `good`, `crashed`, or the code and the step of a failure.
pub(super) fn black_box(boots: &[String]) -> Vec<u8> {
    let mut bytes = vec![blackbox::FILL; blackbox::SIZE];
    for words in boots {
        let survey = blackbox::survey(&mut |slot| bytes[slot * blackbox::SLOT..][..blackbox::HEAD].to_vec());
        let ended = match (words.as_str(), words.split_once(' ')) {
            ("good", _) => Ended::plain(End::Good),
            (_, Some((code, step))) => Ended { end: End::Failed, code: code.into(), step: step.into() },
            _ => Ended::plain(End::Crashed),
        };
        let next = survey.next(ended.end);
        let entry = blackbox::encode(next, &ended, "{}", "", "");
        bytes[next.slot * blackbox::SLOT..][..entry.len()].copy_from_slice(&entry);
    }
    bytes
}

/// Returns the start of a program for the processor `machine` (`e_machine`): an ELF header and one program header, which names the loader.
pub(super) fn elf(machine: u16, loader: Option<&str>) -> Vec<u8> {
    let name = loader.map(|loader| format!("{loader}\0")).unwrap_or_default();
    let mut bytes = vec![0; 64 + 56];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    bytes[18..20].copy_from_slice(&machine.to_le_bytes());
    for (at, value) in [(32, 64_u8), (54, 56), (56, 1), (64, if loader.is_some() { 3 } else { 1 }), (72, 120)] {
        bytes[at] = value;
    }
    bytes[96..104].copy_from_slice(&(name.len() as u64).to_le_bytes());
    bytes.extend(name.bytes());
    bytes
}

/// Returns a squashfs superblock that claims `claims` bytes, in a file of `size`; `mark` says which image it is.
pub(super) fn image(mark: &str, size: u64, claims: u64) -> Node {
    let mut bytes = vec![0; 48];
    bytes[..4].copy_from_slice(b"hsqs");
    bytes[40..48].copy_from_slice(&claims.to_le_bytes());
    bytes.extend(format!("[{mark}]").bytes());
    Node::File(bytes, size, 0o644)
}

/// Returns an ext4 superblock and its first group descriptor, as far as init reads them (kernel,
/// Documentation/filesystems/ext4/super.rst): clean, 100 inodes, the first of a file being 11.
pub(super) fn superblock(files: u32, has_quota: bool, folds_case: bool) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let fields: [(usize, u32); 9] = [
        (0x0, 100),
        (0x10, 89 - files),
        (0x14, 1),
        (0x18, 0),
        (0x38, 0x0001_ef53),
        (0x4c, 1),
        (0x54, 11),
        (0x60, if folds_case { 0x2_0000 } else { 0 }),
        (0x64, if has_quota { 0x100 } else { 0 }),
    ];
    for (at, value) in fields {
        bytes[1024 + at..][..4].copy_from_slice(&value.to_le_bytes());
    }
    bytes[2048 + 0x10] = 2;
    bytes
}

/// Returns the smallest ELF file with a `.modinfo`: a file header, the sections' names and contents, three section headers.
pub(super) fn module(vermagic: &str) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let info = format!("vermagic={vermagic} SMP mod_unload\0");
    let (names_at, info_at) = (64_u64, 64 + names.len() as u64);
    let table = info_at + info.len() as u64;
    let mut elf = vec![0_u8; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[0x28..0x30].copy_from_slice(&table.to_le_bytes());
    elf[0x3a..0x3c].copy_from_slice(&64_u16.to_le_bytes());
    elf[0x3c..0x3e].copy_from_slice(&3_u16.to_le_bytes());
    elf[0x3e..0x40].copy_from_slice(&2_u16.to_le_bytes());
    elf.extend_from_slice(names);
    elf.extend_from_slice(info.as_bytes());
    for (name, at, size) in [(0_u32, 0, 0), (1, info_at, info.len() as u64), (10, names_at, names.len() as u64)] {
        let mut header = [0_u8; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[0x18..0x20].copy_from_slice(&u64::to_le_bytes(at));
        header[0x20..0x28].copy_from_slice(&u64::to_le_bytes(size));
        elf.extend_from_slice(&header);
    }
    elf
}
