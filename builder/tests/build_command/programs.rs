//! Tiny programs and modules, made byte by byte: a build needs no compiler to be tested.

use object::{Architecture, BinaryFormat, Endianness, SectionKind, write::Object};

/// The applets of [`busybox`].
pub const APPLETS: [&str; 18] = [
    "[", "[[", "ash", "awk", "cat", "hostname", "ip", "kill", "ls", "mkdir", "mount", "mv", "rm", "sh", "sort",
    "udhcpc", "uevent", "zcat",
];

/// Returns a whole, static 64-bit x86 program that holds `data`. Header and program header as in the System V ABI.
pub fn program(data: &[u8]) -> Vec<u8> {
    let size = 120 + data.len() as u64;
    let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
    bytes.resize(16, 0);
    bytes.extend([2, 0, 62, 0]); // ET_EXEC, EM_X86_64
    bytes.extend(1_u32.to_le_bytes());
    for word in [0_u64, 64, 0] {
        bytes.extend(word.to_le_bytes()); // entry, program headers, section headers
    }
    bytes.extend(0_u32.to_le_bytes());
    for half in [64_u16, 56, 1, 64, 0, 0] {
        bytes.extend(half.to_le_bytes());
    }
    bytes.extend(1_u32.to_le_bytes()); // PT_LOAD
    bytes.extend(5_u32.to_le_bytes());
    for word in [0_u64, 0, 0, size, size, 4096] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(data);
    bytes
}

/// Returns a BusyBox, as far as it can be told from outside.
pub fn busybox() -> Vec<u8> {
    program(format!("Usage\0{}\0\0", APPLETS.join("\0")).as_bytes())
}

/// Returns a kernel module for 64-bit x86 with a section that only debuggers read.
pub fn module(name: &str, depends: &str) -> Vec<u8> {
    let modinfo = format!("license=GPL\0name={name}\0depends={depends}\0vermagic=6.1.0-1-test SMP mod_unload \0");
    let mut module = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    for (section, kind, data) in [
        (".text", SectionKind::Text, &[0x90; 64][..]),
        (".comment", SectionKind::OtherString, b"a compiler\0"),
        (".modinfo", SectionKind::ReadOnlyData, modinfo.as_bytes()),
        (".gnu.linkonce.this_module", SectionKind::Data, &[0; 64]),
    ] {
        let id = module.add_section(Vec::new(), section.as_bytes().to_vec(), kind);
        module.append_section_data(id, data, 4);
    }
    module.write().unwrap()
}
