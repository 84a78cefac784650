//! The `.modinfo` section of a module (kernel, include/linux/module.h, `MODULE_INFO`): reads it from the ELF file and parses its
//! fields. Looks up none of the names in it.

use base::elf::Machine;
use object::{
    Endianness, FileKind, ReadRef,
    elf::{ET_REL, FileHeader32, FileHeader64},
    read::{
        StringTable,
        elf::{FileHeader, SectionHeader, SectionTable},
    },
};

use super::names;

/// The fields of `.modinfo` that matter to who loads the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModInfo {
    /// The name it was built with, `-` written as `_`.
    pub name: Option<String>,
    /// The kernel it was built for, with the options that must be the same: `6.1.0-50-rpi mod_unload modversions ARMv6 p2v8`.
    pub vermagic: String,
    /// Modules it takes symbols from.
    pub depends: Vec<String>,
    /// Names and aliases of what is to be loaded before it, where there is such (`softdep: pre:`). `weakdep` (what the module asks
    /// the kernel for by itself, once it runs; kernel 6.11) is here too: an initramfs has no modprobe that would answer.
    pub pre: Vec<String>,
    /// The same for after it (`softdep: post:`).
    pub post: Vec<String>,
    /// Patterns of what it serves.
    pub aliases: Vec<String>,
    /// The machine that the file is for; none before its header is read.
    pub machine: Option<Machine>,
}

impl ModInfo {
    /// Takes the content of the section apart: `key=value` entries with a NUL after each.
    pub fn parse(section: &[u8]) -> Self {
        let mut info = Self::default();
        for entry in section.split(|byte| *byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            let Some((key, value)) = entry.split_once('=') else { continue };
            match key {
                "name" => info.name = Some(names::normalize(value)),
                "vermagic" => info.vermagic = value.trim_end().to_string(),
                "depends" => {
                    info.depends.extend(value.split(',').filter(|name| !name.is_empty()).map(names::normalize))
                }
                "softdep" => info.add_softdep(value),
                "weakdep" => info.pre.extend(value.split_ascii_whitespace().map(String::from)),
                "alias" => info.aliases.push(value.to_string()),
                _ => {}
            }
        }
        info
    }

    /// Returns the kernel's version alone: the first word of the vermagic, what `uname -r` says.
    pub fn kernel(&self) -> &str {
        self.vermagic.split(' ').next().unwrap_or_default()
    }

    /// Reads a softdep, `pre: a b post: c` (modprobe.d(5)). Words before the first of the two say nothing, as with modprobe.
    fn add_softdep(&mut self, value: &str) {
        let mut list = None;
        for word in value.split_ascii_whitespace() {
            match (word, &mut list) {
                ("pre:", _) => list = Some(false),
                ("post:", _) => list = Some(true),
                (name, Some(false)) => self.pre.push(name.to_string()),
                (name, Some(true)) => self.post.push(name.to_string()),
                (_, None) => {}
            }
        }
    }
}

/// Reads the `.modinfo` of an ELF file.
///
/// # Errors
/// Why this cannot be a kernel module, as the end of a sentence.
pub fn read<'data, R: ReadRef<'data>>(data: R) -> Result<ModInfo, String> {
    let length = data.len().map_err(|()| "its length is not known".to_string())?;
    if length == 0 {
        return Err("it is empty".into());
    }
    match FileKind::parse(data) {
        Ok(FileKind::Elf32) => section::<FileHeader32<Endianness>, R>(data),
        Ok(FileKind::Elf64) => section::<FileHeader64<Endianness>, R>(data),
        _ => return Err("it is not an ELF file".into()),
    }
    .and_then(|(content, machine)| {
        let info = ModInfo { machine: Some(machine), ..ModInfo::parse(content) };
        if info.kernel().is_empty() {
            return Err("its .modinfo has no vermagic, so the kernel would refuse it".into());
        }
        Ok(info)
    })
}

/// Returns the content of `.modinfo`, and what machine the file is for.
fn section<'data, Elf, R>(data: R) -> Result<(&'data [u8], Machine), String>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    // The section headers stand at the end of a module, so a file that was cut short has lost them.
    let cut = |error: object::read::Error| format!("it is an ELF file, but damaged or cut short ({error})");
    let header = Elf::parse(data).map_err(cut)?;
    let endian = header.endian().map_err(cut)?;
    if header.e_type(endian) != ET_REL {
        return Err("it is an ELF file, but not a relocatable one, so not a module".into());
    }
    let headers = header.section_headers(endian, data).map_err(cut)?;
    let names = header.section_strings_index(endian, data).map_err(cut)?;
    let names = headers
        .get(names.0)
        .ok_or("it is an ELF file, but its sections have no names")?
        .data(endian, data)
        .map_err(cut)?;
    // The table of names is read in one piece: name by name it would cost a system call for each.
    let names = StringTable::new(names, 0, names.len() as u64);
    let (_, section) = SectionTable::<Elf, &[u8]>::new(headers, names)
        .section_by_name(endian, b".modinfo")
        .ok_or("it has no .modinfo section, so it is an object file, but not a module")?;
    let content = section.data(endian, data).map_err(cut)?;
    Ok((content, Machine::of(header, endian)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_taken_apart() {
        let text = "license=GPL\0softdep=pre: crypto-crc32c b post: c\0softdep=nls\0softdep=pre: d\0alias=fs-ext4\0alias=a=b\0\
                    depends=jbd2,mb-cache\0name=ext-4\0weakdep=w\0vermagic=6.1.0-1 SMP mod_unload \0\0odd\0";
        let info = ModInfo::parse(text.as_bytes());
        assert_eq!(
            info,
            ModInfo {
                name: Some("ext_4".into()),
                vermagic: "6.1.0-1 SMP mod_unload".into(),
                depends: vec!["jbd2".into(), "mb_cache".into()],
                pre: vec!["crypto-crc32c".into(), "b".into(), "d".into(), "w".into()],
                post: vec!["c".into()],
                aliases: vec!["fs-ext4".into(), "a=b".into()],
                machine: None,
            }
        );
        assert_eq!(info.kernel(), "6.1.0-1");
    }

    #[test]
    fn empty_lists_are_empty() {
        let info = ModInfo::parse(b"depends=\0softdep=pre:\0");
        assert!(info.depends.is_empty() && info.pre.is_empty());
    }

    #[test]
    fn what_is_no_module_is_said() {
        assert_eq!(read(&b""[..]).unwrap_err(), "it is empty");
        assert_eq!(
            read(&b"#!/bin/sh\necho hello, world, this is long enough\n"[..]).unwrap_err(),
            "it is not an ELF file"
        );
    }
}
