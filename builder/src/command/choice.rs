//! Choices of the libraries' as options take them: names, with a line of help where there is more to say.

use archive::compress::Compression;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use disk::{self, image::Format, layout::Table};
use vm::qemu::Accelerator;

/// A type with a few named values.
pub trait Choice: Copy + Send + Sync + 'static {
    /// The values, their names and what is said about them.
    const VALUES: &'static [(Self, &'static str, &'static str)];
}

/// Returns the parser of an option that takes one of them.
pub fn choice<T: Choice>() -> impl TypedValueParser<Value = T> {
    let values = T::VALUES.iter().map(|(_, name, help)| {
        let value = PossibleValue::new(*name);
        if help.is_empty() { value } else { value.help(*help) }
    });
    PossibleValuesParser::new(values).try_map(|name| {
        let value = T::VALUES.iter().find(|(_, known, _)| *known == name);
        value.map(|(value, ..)| *value).ok_or("no such value")
    })
}

impl Choice for Compression {
    const VALUES: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Gzip, "gzip", "DEFLATE at level 9: every kernel reads it"),
        (Self::Zstd, "zstd", "Zstandard at level 19: quick to unpack, Linux 5.9 and later"),
        (Self::Xz, "xz", "LZMA2 with CRC32: the smallest, slow to unpack"),
        (Self::Lz4, "lz4", "LZ4 in its legacy frame: the quickest to unpack, the largest"),
        (Self::None, "none", "Not compressed at all"),
    ];
}

impl Choice for Format {
    const VALUES: &'static [(Self, &'static str, &'static str)] =
        &[(Self::Squashfs, "squashfs", "squashfs 4"), (Self::Erofs, "erofs", "EROFS")];
}

impl Choice for disk::image::Compression {
    const VALUES: &'static [(Self, &'static str, &'static str)] = &[
        (Self::None, "none", "Not compressed"),
        (Self::Gzip, "gzip", "Every kernel with squashfs reads it"),
        (Self::Zstd, "zstd", "Smaller and quicker to read than gzip"),
        (Self::Xz, "xz", "The smallest, slow to read"),
        (Self::Lz4, "lz4", "The largest and quickest. For EROFS this is its high-compression form"),
    ];
}

impl Choice for Table {
    const VALUES: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Gpt, "gpt", "GUID partition table: PCs, and boards with U-Boot"),
        (Self::Mbr, "mbr", "Master boot record: Raspberry Pi, old BIOSes"),
    ];
}

impl Choice for Accelerator {
    const VALUES: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Tcg, "tcg", "QEMU's own emulation: slow, works everywhere"),
        (Self::Kvm, "kvm", "The processor, through /dev/kvm. Where that exists but does not work, guests hang"),
    ];
}
/// Reads the size of a memory page: a power of two from 4 KiB to 64 KiB, all that Linux has.
///
/// # Errors
/// The text that clap shows.
pub fn page_size(text: &str) -> Result<u64, String> {
    let size =
        disk::size::parse(text).ok().filter(|size| size.is_power_of_two() && (4 << 10..=64 << 10).contains(size));
    size.ok_or_else(|| "expected a power of two from 4K to 64K".to_owned())
}
