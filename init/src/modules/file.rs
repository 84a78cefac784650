//! Module files: taken out of their compression, and what they say of themselves. Pure: bytes in, values out.

use std::io;

/// The suffixes a module file may have, the quickest to load first.
pub const SUFFIXES: [&str; 4] = [".ko", ".ko.zst", ".ko.gz", ".ko.xz"];

/// Returns true for the name of a module file.
pub fn is_module(name: &str) -> bool {
    SUFFIXES.iter().any(|suffix| name.ends_with(suffix))
}

/// No module is larger, so nothing that claims to be is unpacked.
const LIMIT: usize = 64 << 20;

/// Takes a module out of its compression, by the suffix of its name.
///
/// # Errors
/// `InvalidData`: the bytes are damaged, or unpack to more than 64 MiB.
pub fn decompress(name: &str, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{what} data is damaged"));
    if name.ends_with(".gz") {
        gunzip(&bytes).ok_or_else(|| bad("gzip"))
    } else if name.ends_with(".xz") {
        unxz(&bytes).ok_or_else(|| bad("xz"))
    } else if name.ends_with(".zst") {
        unzstd(&bytes).ok_or_else(|| bad("zstd"))
    } else {
        Ok(bytes)
    }
}

/// One gzip member (RFC 1952); its header is passed over, its checksum is left to the kernel's own check of the module.
fn gunzip(bytes: &[u8]) -> Option<Vec<u8>> {
    const HAS_CRC: u8 = 2;
    const HAS_EXTRA: u8 = 4;
    const HAS_NAME: u8 = 8;
    const HAS_COMMENT: u8 = 16;
    let [0x1f, 0x8b, 8, flags, _, _, _, _, _, _, rest @ ..] = bytes else { return None };
    let mut rest = rest;
    if flags & HAS_EXTRA != 0 {
        let [low, high, after @ ..] = rest else { return None };
        rest = after.get(usize::from(u16::from_le_bytes([*low, *high]))..)?;
    }
    for flag in [HAS_NAME, HAS_COMMENT] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0)?;
            rest = rest.get(end.checked_add(1)?..)?;
        }
    }
    if flags & HAS_CRC != 0 {
        rest = rest.get(2..)?;
    }
    miniz_oxide::inflate::decompress_to_vec_with_limit(rest, LIMIT).ok()
}

/// One zstd frame. Errors are dropped as they come: their texts would weigh more than what they tell.
fn unzstd(mut bytes: &[u8]) -> Option<Vec<u8>> {
    use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
    let mut decoder = FrameDecoder::new();
    decoder.init(&mut bytes).ok()?;
    let mut unpacked = Vec::new();
    loop {
        let ended = decoder.decode_blocks(&mut bytes, BlockDecodingStrategy::UptoBytes(1 << 20)).ok()?;
        unpacked.append(&mut decoder.collect().unwrap_or_default());
        if ended {
            return Some(unpacked);
        }
        if unpacked.len() > LIMIT {
            return None;
        }
    }
}

/// One xz stream, with any of its checksums.
fn unxz(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut unpacked = Bounded(Vec::new());
    lzma_rs::xz_decompress(&mut bytes, &mut unpacked).ok()?;
    Some(unpacked.0)
}

/// Takes no more than a module can have.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len().saturating_add(bytes.len()) > LIMIT {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The value of `key` in a module's `.modinfo` section (kernel, include/linux/module.h, MODULE_INFO).
pub fn modinfo(module: &[u8], key: &str) -> Option<String> {
    section(module, b".modinfo")?.split(|byte| *byte == 0).find_map(|entry| {
        let entry = std::str::from_utf8(entry).ok()?;
        entry.strip_prefix(key)?.strip_prefix('=').map(String::from)
    })
}

/// The content of a section of a little-endian ELF file, 32 or 64 bits wide (System V ABI, chapter 4).
fn section<'a>(elf: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let wide = match elf {
        [0x7f, b'E', b'L', b'F', 1, 1, ..] => false,
        [0x7f, b'E', b'L', b'F', 2, 1, ..] => true,
        _ => return None,
    };
    // Offsets in the file header and the section header: (32 bits, 64 bits).
    let pick = |narrow: usize, broad: usize| if wide { broad } else { narrow };
    let word = |at: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(pick(4, 8))?)?;
        usize::try_from(bytes.iter().rev().fold(0_u64, |value, byte| (value << 8) | u64::from(*byte))).ok()
    };
    let half = |at: usize| -> Option<usize> {
        let bytes = elf.get(at..at.checked_add(2)?)?;
        bytes.try_into().ok().map(|bytes| usize::from(u16::from_le_bytes(bytes)))
    };
    let table = word(pick(0x20, 0x28))?;
    let entry_size = half(pick(0x2e, 0x3a))?;
    let count = half(pick(0x30, 0x3c))?;
    let names = half(pick(0x32, 0x3e))?;
    let header = |number: usize| table.checked_add(number.checked_mul(entry_size)?);
    let content = |number: usize| -> Option<&'a [u8]> {
        let header = header(number)?;
        let start = word(header.checked_add(pick(0x10, 0x18))?)?;
        let size = word(header.checked_add(pick(0x14, 0x20))?)?;
        elf.get(start..start.checked_add(size)?)
    };
    let names = content(names)?;
    (0..count).find_map(|number| {
        let at = header(number)?;
        let name = u32::from_le_bytes(elf.get(at..at.checked_add(4)?)?.try_into().ok()?);
        let name = names.get(usize::try_from(name).ok()?..)?;
        (name.strip_prefix(wanted)?.first() == Some(&0)).then(|| content(number))?
    })
}

/// The files of module `name` and of all it depends on, in load order, as `modules.dep` has them (depmod(8), modules.dep(5)):
/// each line names a file and, behind the colon, what must be loaded before it, the last one first. Empty where it is not listed.
pub fn dependency_order(modules_dep: &str, name: &str) -> Vec<String> {
    for line in modules_dep.lines() {
        let Some((path, needs)) = line.split_once(':') else { continue };
        if module_name(path) != name {
            continue;
        }
        let mut order: Vec<String> = needs.split_ascii_whitespace().rev().map(String::from).collect();
        order.push(path.into());
        return order;
    }
    Vec::new()
}

/// The kernel's name of the module in a file: `kernel/net/8021q-x.ko.xz` → `8021q_x`.
pub fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    let stem = SUFFIXES.iter().find_map(|suffix| file.strip_suffix(suffix)).unwrap_or(file);
    stem.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_dep_gives_the_load_order() {
        let dep = "kernel/fs/a.ko:\nkernel/fs/squashfs/squashfs.ko.xz: kernel/lib/b.ko.xz kernel/lib/c.ko.xz\n";
        let seen = dependency_order(dep, "squashfs");
        assert_eq!(seen, ["kernel/lib/c.ko.xz", "kernel/lib/b.ko.xz", "kernel/fs/squashfs/squashfs.ko.xz"]);
        assert!(dependency_order(dep, "overlay").is_empty());
    }

    #[test]
    fn names_come_from_files() {
        assert_eq!(module_name("kernel/crypto/crc32c-intel.ko.zst"), "crc32c_intel");
        assert_eq!(module_name("overlay.ko"), "overlay");
    }

    #[test]
    fn damaged_archives_are_errors() {
        for name in ["a.ko.gz", "a.ko.xz", "a.ko.zst"] {
            assert!(decompress(name, b"not an archive".to_vec()).is_err(), "{name}");
            assert!(decompress(name, Vec::new()).is_err(), "{name}");
        }
        assert_eq!(decompress("a.ko", b"plain".to_vec()).unwrap(), b"plain");
    }

    #[test]
    fn sections_of_cut_files_are_not_there() {
        assert_eq!(modinfo(b"\x7fELF\x02\x01", "vermagic"), None);
        assert_eq!(modinfo(&[0x7f, b'E', b'L', b'F', 2, 1, 0xff, 0xff], "vermagic"), None);
    }
}
