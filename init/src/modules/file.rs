//! Module files: taken out of their compression, and what they say of themselves. Pure: bytes in, values out.

use std::io;

use contract::bytes::{u16_at, u32_at};

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
/// `InvalidData`: the bytes are damaged, or unpack to 64 MiB or more.
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

/// Unpacks one gzip member (RFC 1952). Skips its header, and leaves its checksum to the kernel's own check of the module.
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

/// Unpacks one zstd frame. Drops the library's errors: their texts would add more bytes to init than they are worth.
fn unzstd(mut bytes: &[u8]) -> Option<Vec<u8>> {
    use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(LIMIT as u64);
    decoder.init(&mut bytes).ok()?;
    let mut unpacked = Vec::new();
    loop {
        let ended = decoder.decode_blocks(&mut bytes, BlockDecodingStrategy::UptoBytes(1 << 20)).ok()?;
        if unpacked.len().saturating_add(decoder.can_collect()) > LIMIT {
            return None;
        }
        unpacked.append(&mut decoder.collect().unwrap_or_default());
        if ended {
            return Some(unpacked);
        }
    }
}

/// Unpacks one xz stream whose blocks are LZMA2 and nothing else (The .xz File Format, 1.2.1). Ignores its index, which only repeats
/// the sizes of the blocks.
fn unxz(bytes: &[u8]) -> Option<Vec<u8>> {
    /// More blocks than that are not in a module; each of them costs time before its first byte.
    const MOST_BLOCKS: usize = 1024;
    let [0xfd, b'7', b'z', b'X', b'Z', 0, 0, check, _, _, _, _, rest @ ..] = bytes else { return None };
    let mut rest = rest;
    let mut unpacked = Vec::new();
    for _ in 0..MOST_BLOCKS {
        let words = usize::from(*rest.first()?);
        if words == 0 {
            return Some(unpacked);
        }
        let (header, body) = rest.split_at_checked(words.saturating_add(1).saturating_mul(4))?;
        let start = unpacked.len();
        let left = unlzma2(body, dictionary(header)?, &mut unpacked)?;
        // Each block ends at a multiple of four bytes, counted from its start.
        let length = body.len().checked_sub(left.len())?.checked_next_multiple_of(4)?;
        let (sum, after) = body.get(length..)?.split_at_checked(check_length(*check))?;
        let content = unpacked.get(start..)?;
        let good = match *check {
            1 => sum == u32::try_from(crc(content, 0xedb8_8320, u32::MAX.into())).ok()?.to_le_bytes(),
            4 => sum == crc(content, 0xc96c_5795_d787_0f42, u64::MAX).to_le_bytes(),
            _ => true,
        };
        if !good {
            return None;
        }
        rest = after;
    }
    None
}

/// Adds what an LZMA2 stream unpacks to. Returns what stands behind it. The dictionary grows with what is unpacked.
fn unlzma2<'a>(packed: &'a [u8], dictionary: u32, unpacked: &mut Vec<u8>) -> Option<&'a [u8]> {
    use lzma_rust2::{Lzma2Reader, Read};
    const BLOCK: usize = 64 << 10;
    let mut reader = Lzma2Reader::new(packed, dictionary, None);
    loop {
        let filled = unpacked.len();
        let room = LIMIT.checked_sub(filled).filter(|room| *room > 0)?.min(BLOCK);
        unpacked.resize(filled.checked_add(room)?, 0);
        let length = reader.read(unpacked.get_mut(filled..)?).ok()?;
        unpacked.truncate(filled.checked_add(length)?);
        if length == 0 {
            return Some(reader.into_inner());
        }
    }
}

/// Returns the size of the dictionary that a block's header asks for (3.1 and 5.3.1 of the format), no more than a module can make use of.
fn dictionary(header: &[u8]) -> Option<u32> {
    let [_, flags, rest @ ..] = header else { return None };
    let mut rest = rest;
    // One filter; the two sizes may be there.
    if flags & 0x3f != 0 {
        return None;
    }
    for flag in [0x40, 0x80] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| byte & 0x80 == 0)?;
            rest = rest.get(end.checked_add(1)?..)?;
        }
    }
    let [0x21, 1, bits @ 0..=40, ..] = rest else { return None };
    let size = (2 | u64::from(bits & 1)) << (bits / 2).saturating_add(11);
    u32::try_from(size.min(LIMIT as u64)).ok()
}

/// Returns the length in bytes of the check behind each block (2.1.1.2 of the format).
fn check_length(kind: u8) -> usize {
    match kind & 15 {
        0 => 0,
        kind => 4 << (kind.saturating_sub(1) / 3),
    }
}

/// Returns a cyclic redundancy check, four bits at a time: `polynomial` with its bits reversed, `ones` as many as it has.
fn crc(bytes: &[u8], polynomial: u64, ones: u64) -> u64 {
    let mut table = [0_u64; 16];
    for (sum, cell) in (0..).zip(&mut table) {
        *cell = (0..4).fold(sum, |sum, _| (sum >> 1) ^ if sum & 1 == 1 { polynomial } else { 0 });
    }
    let step = |sum: u64| (sum >> 4) ^ table.get((sum & 15) as usize).copied().unwrap_or_default();
    bytes.iter().fold(ones, |sum, byte| step(step(sum ^ u64::from(*byte)))) ^ ones
}

/// Returns the value of `key` in a module's `.modinfo` section (kernel, include/linux/module.h, MODULE_INFO).
pub fn modinfo(module: &[u8], key: &str) -> Option<String> {
    section(module, b".modinfo")?.split(|byte| *byte == 0).find_map(|entry| {
        let entry = std::str::from_utf8(entry).ok()?;
        entry.strip_prefix(key)?.strip_prefix('=').map(String::from)
    })
}

/// Returns the content of a section of a little-endian ELF file, 32 or 64 bits wide (System V ABI, chapter 4).
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
    let half = |at: usize| u16_at(elf, at).map(usize::from);
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
        let name = names.get(usize::try_from(u32_at(elf, at)?).ok()?..)?;
        (name.strip_prefix(wanted)?.first() == Some(&0)).then(|| content(number))?
    })
}

/// Returns the files of module `name` and of all it depends on, in load order, as `modules.dep` has them (depmod(8), modules.dep(5)):
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

/// Returns the kernel's name of the module in a file: `kernel/net/8021q-x.ko.xz` → `8021q_x`.
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

    /// Returns an xz stream with that check, in blocks of so many bytes where it is not 0.
    fn xz(content: &[u8], check: liblzma::stream::Check, preset: u32, block: u64) -> Vec<u8> {
        use std::io::Write;
        let mut builder = liblzma::stream::MtStreamBuilder::new();
        builder.threads(1).preset(preset).check(check).block_size(block);
        let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), builder.encoder().unwrap());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn xz_streams_of_all_kinds_are_unpacked() {
        use liblzma::stream::Check;
        let content: Vec<u8> =
            (0..60_000_u32).flat_map(|number| (number.wrapping_mul(2_654_435_761) >> 20).to_le_bytes()).collect();
        for (check, preset, block) in [
            (Check::None, 0, 0),
            (Check::Crc32, 6, 0),
            (Check::Crc64, 9, 100_000),
            (Check::Crc32, 1, 100_001),
            (Check::Sha256, 3, 99_999),
        ] {
            let packed = xz(&content, check, preset, block);
            assert!(unxz(&packed).as_ref() == Some(&content), "{check:?} {preset} {block}");
            assert_eq!(unxz(&xz(b"", check, preset, block)), Some(Vec::new()));
            assert!(unxz(&packed[..packed.len() / 2]).is_none(), "cut short");
            if matches!(check, Check::Crc32 | Check::Crc64) {
                // Behind the headers of the stream and of the first block, which have sums of their own.
                for at in (60..packed.len() - 200).step_by(packed.len() / 50) {
                    let mut damaged = packed.clone();
                    damaged[at] ^= 1;
                    assert!(unxz(&damaged).is_none(), "{check:?} {preset} {block} at {at}");
                }
            }
        }
        // The most that a header can ask for: 4 GiB of a dictionary.
        let mut large = xz(b"a few bytes", Check::Crc32, 6, 0);
        let filter = large.windows(2).position(|window| window == [0x21, 1]).unwrap();
        large[filter + 2] = 40;
        assert_eq!(unxz(&large), Some(b"a few bytes".to_vec()));
        large[filter + 2] = 41;
        assert_eq!(unxz(&large), None);
    }

    #[test]
    fn sections_of_cut_files_are_not_there() {
        assert_eq!(modinfo(b"\x7fELF\x02\x01", "vermagic"), None);
        assert_eq!(modinfo(&[0x7f, b'E', b'L', b'F', 2, 1, 0xff, 0xff], "vermagic"), None);
    }
}
