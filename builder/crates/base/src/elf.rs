//! Checks of an ELF program, enough to tell if it will run as part of an image: its machine, static linking and completeness.
//! Runs nothing.

use std::fmt;

use object::{
    elf::{self, EM_386, EM_AARCH64, EM_ARM, EM_RISCV, EM_X86_64, ET_DYN, ET_EXEC, PT_INTERP, PT_LOAD},
    read::elf::{FileHeader, ProgramHeader},
};
use serde::Deserialize;

/// The machines that a definition of a target can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Machine {
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Arm,
    /// 32-bit x86.
    I386,
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit x86.
    #[serde(rename = "x86_64")]
    X86_64,
}

impl Machine {
    /// ELF class in bits and `e_machine` (System V ABI, "ELF Header", and `elf.h`).
    fn identity(self) -> (u32, elf::Machine) {
        match self {
            Self::Aarch64 => (64, EM_AARCH64),
            Self::Arm => (32, EM_ARM),
            Self::I386 => (32, EM_386),
            Self::Riscv64 => (64, EM_RISCV),
            Self::X86_64 => (64, EM_X86_64),
        }
    }

    /// The machine that an ELF file is for, by its class in bits and its `e_machine`.
    pub fn with_identity(class: u32, e_machine: elf::Machine) -> Option<Self> {
        [Self::Aarch64, Self::Arm, Self::I386, Self::Riscv64, Self::X86_64]
            .into_iter()
            .find(|machine| machine.identity() == (class, e_machine))
    }

    /// Returns true if a kernel for this machine runs programs for `program`: its own, and 32-bit ones of its family.
    #[must_use]
    pub fn runs(self, program: Self) -> bool {
        self == program || matches!((self, program), (Self::X86_64, Self::I386) | (Self::Aarch64, Self::Arm))
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Aarch64 => "64-bit ARM",
            Self::Arm => "32-bit ARM",
            Self::I386 => "32-bit x86",
            Self::Riscv64 => "64-bit RISC-V",
            Self::X86_64 => "64-bit x86",
        })
    }
}

/// Returns the machine that the ELF file which begins with `head` is for; `None` where it is none, or for a machine that no target has.
#[must_use]
pub fn machine(head: &[u8]) -> Option<Machine> {
    // e_ident: the magic number, EI_CLASS (1 is 32-bit, 2 is 64-bit), EI_DATA (1 is little-endian); e_machine at 18.
    let [b'\x7f', b'E', b'L', b'F', class @ (1 | 2), 1, ..] = head else { return None };
    let e_machine = u16::from_le_bytes(head.get(18..20)?.try_into().ok()?);
    Machine::with_identity(32 * u32::from(*class), elf::Machine(e_machine))
}

/// Returns the reason why `bytes` is not a complete, statically linked program for `machine`; `None` if it is one.
pub fn objection(bytes: &[u8], machine: Machine) -> Option<String> {
    if !bytes.starts_with(b"\x7fELF") {
        return Some("it is no ELF program".to_owned());
    }
    // e_ident[EI_CLASS]: 1 is 32-bit, 2 is 64-bit.
    match bytes.get(4) {
        Some(1) => objection_in::<object::elf::FileHeader32<object::Endianness>>(bytes, 32, machine),
        Some(2) => objection_in::<object::elf::FileHeader64<object::Endianness>>(bytes, 64, machine),
        _ => Some("its ELF header is damaged".to_owned()),
    }
}

fn objection_in<H: FileHeader<Endian = object::Endianness>>(
    bytes: &[u8],
    class: u32,
    machine: Machine,
) -> Option<String> {
    let damaged = || Some("it is damaged or cut off: its program headers cannot be read".to_owned());
    let Ok(header) = H::parse(bytes) else { return damaged() };
    let Ok(endian) = header.endian() else { return damaged() };
    let e_machine = header.e_machine(endian);
    if (class, e_machine) != machine.identity() {
        let other = Machine::with_identity(class, e_machine);
        let other = other.map_or_else(|| format!("{class}-bit ELF machine {}", e_machine.0), |other| other.to_string());
        return Some(format!("it is a program for {other}, not for {machine}"));
    }
    if !matches!(header.e_type(endian), ET_EXEC | ET_DYN) {
        return Some("it is an ELF file but no program".to_owned());
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A 64-bit little-endian x86 program with one segment of `size` bytes and, if wanted, an interpreter.
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
            (&whole, Machine::Arm, "it is a program for 64-bit x86, not for 32-bit ARM"),
            (&whole[..999], Machine::X86_64, "it is cut off: it has 999 bytes of at least 1000"),
            (&whole[..80], Machine::X86_64, "it is damaged or cut off: its program headers cannot be read"),
            (&whole[..10], Machine::X86_64, "it is damaged or cut off: its program headers cannot be read"),
            (b"#!/bin/sh\n", Machine::X86_64, "it is no ELF program"),
            (&program(1000, true), Machine::X86_64, "it is linked dynamically, and the image has no shared libraries"),
        ];
        for (bytes, machine, expected) in cases {
            assert_eq!(objection(bytes, machine).as_deref(), Some(expected));
        }
    }
}
