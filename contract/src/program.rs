//! Programs by the bytes that they begin with: what else the kernel needs to start one (execve(2), "Interpreter scripts"; System V ABI,
//! "Program Header").

/// Bytes of a program that hold its headers; the kernel itself reads as much of an ELF file's program headers at most (fs/binfmt_elf.c,
/// `load_elf_phdrs`).
pub const HEAD: usize = 4096;

/// The most bytes of an interpreter's name (kernel, `PATH_MAX`).
const LONGEST_NAME: u64 = 4096;

/// A program, as far as its start tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Program {
    /// A script, with the interpreter that its first line names.
    Script(String),
    /// An ELF file.
    Elf {
        /// The processor (`e_machine`).
        machine: u16,
        /// Offset and length of the dynamic loader's name in the file (`PT_INTERP`); none for a static program.
        interpreter: Option<(u64, usize)>,
    },
    /// Neither.
    Unknown,
}

impl Program {
    /// Reads the start of a file, [`HEAD`] bytes or all there are.
    pub fn read(head: &[u8]) -> Self {
        if let Some(line) = head.strip_prefix(b"#!") {
            let line = line.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let mut words = line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty());
            return match words.next() {
                Some(word) => Self::Script(String::from_utf8_lossy(word).into_owned()),
                None => Self::Unknown,
            };
        }
        if head.starts_with(b"\x7fELF") { Elf::read(head).unwrap_or(Self::Unknown) } else { Self::Unknown }
    }
}

/// An ELF header of a program for little-endian processors, as all are that this one runs on.
struct Elf<'a> {
    head: &'a [u8],
    is_64: bool,
}

impl<'a> Elf<'a> {
    fn read(head: &'a [u8]) -> Option<Program> {
        /// elf(5), `EI_DATA`.
        const BIG_ENDIAN: u8 = 2;
        let elf = Self { head, is_64: *head.get(4)? == 2 };
        let machine = u16::try_from(elf.number(18, 2)?).ok()?;
        if *head.get(5)? == BIG_ENDIAN {
            return Some(Program::Elf { machine: machine.swap_bytes(), interpreter: None });
        }
        let (table, sizes, counts) =
            if elf.is_64 { (elf.number(32, 8)?, 54, 56) } else { (elf.number(28, 4)?, 42, 44) };
        let (size, count) = (elf.number(sizes, 2)?, elf.number(counts, 2)?);
        let interpreter = (0..count).find_map(|number| {
            /// elf(5).
            const PT_INTERP: u64 = 3;
            let header = usize::try_from(table.checked_add(number.checked_mul(size)?)?).ok()?;
            if elf.number(header, 4)? != PT_INTERP {
                return None;
            }
            let (offset, length, width) = if elf.is_64 { (8, 32, 8) } else { (4, 16, 4) };
            let length = elf.number(header.checked_add(length)?, width)?.min(LONGEST_NAME);
            Some((elf.number(header.checked_add(offset)?, width)?, usize::try_from(length).ok()?))
        });
        Some(Program::Elf { machine, interpreter })
    }

    fn number(&self, at: usize, width: usize) -> Option<u64> {
        let bytes = self.head.get(at..at.checked_add(width)?)?;
        Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }
}

/// Returns the name of the processor that an `e_machine` stands for, as `uname -m` begins; none for rare ones (elf.h).
pub fn processor(machine: u16) -> Option<&'static str> {
    const NAMES: [(u16, &str); 9] = [
        (3, "i686"),
        (8, "mips"),
        (20, "ppc"),
        (21, "ppc64"),
        (22, "s390x"),
        (40, "arm"),
        (62, "x86_64"),
        (183, "aarch64"),
        (243, "riscv64"),
    ];
    NAMES.iter().find(|(number, _)| *number == machine).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_their_interpreter() {
        for (head, wanted) in [
            ("#!/bin/sh\nexit", Some("/bin/sh")),
            ("#! /usr/bin/env  python3\n", Some("/usr/bin/env")),
            ("#!\t/bin/sh -e", Some("/bin/sh")),
            ("#!\n/bin/sh", None),
            ("#!", None),
            ("# !/bin/sh", None),
        ] {
            let wanted = wanted.map_or(Program::Unknown, |name| Program::Script(name.into()));
            assert_eq!(Program::read(head.as_bytes()), wanted, "{head:?}");
        }
    }

    /// Returns an ELF header with one program header of `kind` behind it.
    fn elf(is_64: bool, kind: u8) -> Vec<u8> {
        let mut bytes = vec![0_u8; 256];
        bytes[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', 1 + u8::from(is_64), 1]);
        let fields: [(usize, u8); 7] = if is_64 {
            [(18, 62), (32, 64), (54, 56), (56, 1), (64, kind), (64 + 8, 200), (64 + 32, 9)]
        } else {
            [(18, 40), (28, 52), (42, 32), (44, 1), (52, kind), (52 + 4, 200), (52 + 16, 9)]
        };
        for (at, value) in fields {
            bytes[at] = value;
        }
        bytes
    }

    #[test]
    fn elf_programs_name_their_loader() {
        for (is_64, machine, name) in [(true, 62, "x86_64"), (false, 40, "arm")] {
            let found = |kind| Program::read(&elf(is_64, kind));
            assert_eq!(found(3), Program::Elf { machine, interpreter: Some((200, 9)) });
            assert_eq!(found(1), Program::Elf { machine, interpreter: None });
            assert_eq!(processor(machine), Some(name));
        }
        // Big-endian: foreign to all that this is built for.
        let mut big = elf(false, 3);
        big[5] = 2;
        big[18..20].copy_from_slice(&[0, 8]);
        assert_eq!(Program::read(&big), Program::Elf { machine: 8, interpreter: None });
    }

    #[test]
    fn cut_or_odd_headers_are_read_as_far_as_they_go() {
        let whole = elf(true, 3);
        for length in 0..whole.len() {
            let _ = Program::read(&whole[..length]);
        }
        let mut wild = whole;
        wild[32..40].copy_from_slice(&u64::MAX.to_le_bytes());
        wild[54..58].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Program::read(&wild), Program::Elf { machine: 62, interpreter: None });
        assert_eq!(Program::read(b"\x7fELF"), Program::Unknown);
        assert_eq!(Program::read(b""), Program::Unknown);
    }
}
