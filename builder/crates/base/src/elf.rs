//! Checks of an ELF program, enough to tell if it will run as part of an image: its machine, static linking and completeness.
//! Runs nothing.

use std::fmt;

use object::{
    Object, ObjectSegment,
    elf::{
        self, EM_386, EM_AARCH64, EM_ARM, EM_LOONGARCH, EM_MIPS, EM_PPC, EM_PPC64, EM_RISCV, EM_S390, EM_X86_64,
        ET_DYN, ET_EXEC, PT_INTERP, PT_LOAD,
    },
    read::elf::{FileHeader, ProgramHeader},
};
use serde::{Deserialize, Deserializer, de};

/// A machine, as the header of its ELF files tells it (System V ABI, "ELF Header").
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// ELF class, in bits.
    class: u32,
    e_machine: elf::Machine,
    is_big_endian: bool,
}

/// The machines that a definition of a target can name, and their description in messages: all that Linux and Rust have in common.
const NAMED: [(&str, Machine, &str); 16] = [
    ("aarch64", Machine::AARCH64, "64-bit ARM"),
    ("arm", Machine::ARM, "32-bit ARM"),
    ("i386", Machine::I386, "32-bit x86"),
    ("loongarch64", Machine::little(64, EM_LOONGARCH), "64-bit LoongArch"),
    ("mips", Machine::big(32, EM_MIPS), "32-bit MIPS, big-endian"),
    ("mipsel", Machine::little(32, EM_MIPS), "32-bit MIPS, little-endian"),
    ("mips64", Machine::big(64, EM_MIPS), "64-bit MIPS, big-endian"),
    ("mips64el", Machine::little(64, EM_MIPS), "64-bit MIPS, little-endian"),
    ("ppc", Machine::big(32, EM_PPC), "32-bit PowerPC"),
    ("ppc64", Machine::big(64, EM_PPC64), "64-bit PowerPC, big-endian"),
    ("ppc64le", Machine::little(64, EM_PPC64), "64-bit PowerPC, little-endian"),
    ("riscv32", Machine::little(32, EM_RISCV), "32-bit RISC-V"),
    ("riscv64", Machine::little(64, EM_RISCV), "64-bit RISC-V"),
    ("s390x", Machine::big(64, EM_S390), "64-bit S/390"),
    ("x32", Machine::little(32, EM_X86_64), "64-bit x86 with 32-bit pointers"),
    ("x86_64", Machine::X86_64, "64-bit x86"),
];

impl Machine {
    /// 64-bit ARM.
    pub const AARCH64: Self = Self::little(64, EM_AARCH64);
    /// 32-bit ARM.
    pub const ARM: Self = Self::little(32, EM_ARM);
    /// 32-bit x86.
    pub const I386: Self = Self::little(32, EM_386);
    /// 64-bit x86.
    pub const X86_64: Self = Self::little(64, EM_X86_64);

    const fn little(class: u32, e_machine: elf::Machine) -> Self {
        Self { class, e_machine, is_big_endian: false }
    }

    const fn big(class: u32, e_machine: elf::Machine) -> Self {
        Self { class, e_machine, is_big_endian: true }
    }

    /// Returns the machine that an ELF file with this header is for.
    pub fn of<H: FileHeader<Endian = object::Endianness>>(header: &H, endian: object::Endianness) -> Self {
        Self {
            class: if header.is_type_64() { 64 } else { 32 },
            e_machine: header.e_machine(endian),
            is_big_endian: header.is_big_endian(),
        }
    }

    /// Returns true if a kernel for this machine runs programs for `program`: its own, and 32-bit ones of its family.
    #[must_use]
    pub fn runs(self, program: Self) -> bool {
        self == program || matches!((self, program), (Self::X86_64, Self::I386) | (Self::AARCH64, Self::ARM))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMED.iter().find(|(_, machine, _)| machine == self) {
            Some((_, _, words)) => f.write_str(words),
            None => write!(f, "{}-bit ELF machine {}", self.class, self.e_machine.0),
        }
    }
}

impl<'de> Deserialize<'de> for Machine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let found = NAMED.iter().find(|(name, ..)| *name == text);
        found.map(|(_, machine, _)| *machine).ok_or_else(|| {
            let names: Vec<&str> = NAMED.iter().map(|(name, ..)| *name).collect();
            de::Error::custom(format!("unknown ELF machine `{text}`: expected one of {}", names.join(", ")))
        })
    }
}

/// Returns the machine that the ELF file which begins with `head` is for; `None` where it is none.
#[must_use]
pub fn machine(head: &[u8]) -> Option<Machine> {
    // e_ident: the magic number, EI_CLASS (1 is 32-bit, 2 is 64-bit), EI_DATA (1 is little-endian, 2 big-endian); e_machine at 18.
    let [b'\x7f', b'E', b'L', b'F', class @ (1 | 2), data @ (1 | 2), ..] = head else { return None };
    let e_machine: [u8; 2] = head.get(18..20)?.try_into().ok()?;
    let class = 32 * u32::from(*class);
    Some(match data {
        1 => Machine::little(class, elf::Machine(u16::from_le_bytes(e_machine))),
        _ => Machine::big(class, elf::Machine(u16::from_be_bytes(e_machine))),
    })
}

/// Returns the reason why `bytes` is not a complete, statically linked program for `machine`; `None` if it is one.
pub fn objection(bytes: &[u8], machine: Machine) -> Option<String> {
    if !bytes.starts_with(b"\x7fELF") {
        return Some("it is not an ELF program".to_owned());
    }
    // e_ident[EI_CLASS]: 1 is 32-bit, 2 is 64-bit.
    match bytes.get(4) {
        Some(1) => objection_in::<elf::FileHeader32<object::Endianness>>(bytes, machine),
        Some(2) => objection_in::<elf::FileHeader64<object::Endianness>>(bytes, machine),
        _ => Some("its ELF header is damaged".to_owned()),
    }
}

fn objection_in<H: FileHeader<Endian = object::Endianness>>(bytes: &[u8], machine: Machine) -> Option<String> {
    let damaged = || Some("it is damaged or cut off: its program headers cannot be read".to_owned());
    let Ok(header) = H::parse(bytes) else { return damaged() };
    let Ok(endian) = header.endian() else { return damaged() };
    let found = Machine::of(header, endian);
    if found != machine {
        return Some(format!("it is a program for {found}, not for {machine}"));
    }
    if !matches!(header.e_type(endian), ET_EXEC | ET_DYN) {
        return Some("it is an ELF file, but not a program".to_owned());
    }
    let Ok(segments) = header.program_headers(endian, bytes) else { return damaged() };
    let end =
        |segment: &H::ProgramHeader| segment.p_offset(endian).into().saturating_add(segment.p_filesz(endian).into());
    let is = |kind| move |segment: &&H::ProgramHeader| segment.p_type(endian) == kind;
    if let Some(needed) = segments.iter().filter(is(PT_LOAD)).map(end).max()
        && needed > bytes.len() as u64
    {
        return Some(format!("it is cut off: it has {} bytes of at least {needed}", bytes.len()));
    }
    if segments.iter().any(|segment| segment.p_type(endian) == PT_INTERP) {
        return Some("it is linked dynamically, and the image has no shared libraries".to_owned());
    }
    None
}

/// Returns the size of the largest memory pages that a kernel can have to map the program `bytes`: the least alignment of its segments
/// (System V ABI, "Program Loading"). `None` for what is no program.
pub fn largest_page(bytes: &[u8]) -> Option<u64> {
    let file = object::File::parse(bytes).ok()?;
    file.segments().map(|segment| segment.align()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns a 64-bit little-endian x86 program with one segment of `size` bytes and, if wanted, an interpreter.
    fn program(size: u64, interpreter: bool) -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01".to_vec();
        bytes.resize(16, 0);
        bytes.extend([2, 0, 62, 0]); // ET_EXEC, EM_X86_64
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes()); // entry
        bytes.extend(64_u64.to_le_bytes()); // program headers
        bytes.extend(0_u64.to_le_bytes()); // section headers
        bytes.extend(0_u32.to_le_bytes());
        for half in [64_u16, 56, 1 + u16::from(interpreter), 64, 0, 0] {
            bytes.extend(half.to_le_bytes());
        }
        for kind in [1_u32, 3].into_iter().take(1 + usize::from(interpreter)) {
            bytes.extend(kind.to_le_bytes());
            bytes.extend(5_u32.to_le_bytes());
            for word in [0_u64, 0, 0, size, size, 4096] {
                bytes.extend(word.to_le_bytes());
            }
        }
        bytes.resize(size as usize, 0);
        bytes
    }

    #[test]
    fn a_static_program_is_accepted_and_nothing_else() {
        let whole = program(1000, false);
        assert_eq!(objection(&whole, Machine::X86_64), None);
        assert_eq!(machine(&whole[..20]), Some(Machine::X86_64));
        assert_eq!([&whole[..19], b"#!/bin/sh and so on", b""].map(machine), [None; 3]);
        let cases: [(&[u8], Machine, &str); 6] = [
            (&whole, Machine::ARM, "it is a program for 64-bit x86, not for 32-bit ARM"),
            (&whole[..999], Machine::X86_64, "it is cut off: it has 999 bytes of at least 1000"),
            (&whole[..80], Machine::X86_64, "it is damaged or cut off: its program headers cannot be read"),
            (&whole[..10], Machine::X86_64, "it is damaged or cut off: its program headers cannot be read"),
            (b"#!/bin/sh\n", Machine::X86_64, "it is not an ELF program"),
            (&program(1000, true), Machine::X86_64, "it is linked dynamically, and the image has no shared libraries"),
        ];
        for (bytes, machine, expected) in cases {
            assert_eq!(objection(bytes, machine).as_deref(), Some(expected));
        }
    }

    #[test]
    fn the_least_alignment_decides_on_pages() {
        let mut program = program(1000, false);
        assert_eq!(largest_page(&program), Some(4096));
        // `p_align` of the only segment.
        program[64 + 48..64 + 56].copy_from_slice(&65536_u64.to_le_bytes());
        assert_eq!(largest_page(&program), Some(65536));
        assert_eq!(largest_page(b"#!/bin/sh"), None);
    }

    #[test]
    fn machines_differ_by_class_and_byte_order() {
        let named = |name: &str| NAMED.iter().find(|(known, ..)| *known == name).unwrap().1;
        for (place, (name, machine, words)) in NAMED.iter().enumerate() {
            assert!(NAMED[..place].iter().all(|(_, other, _)| other != machine), "{name} is there twice");
            assert_eq!(machine.to_string(), *words);
        }
        assert_ne!(named("ppc64"), named("ppc64le"));
        let mut big = program(1000, false);
        big[5] = 2;
        // In the other byte order its machine is 62 << 8.
        assert_eq!(
            objection(&big, Machine::X86_64).as_deref(),
            Some("it is a program for 64-bit ELF machine 15872, not for 64-bit x86")
        );
    }
}
