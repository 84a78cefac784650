//! Sizes as people write them: `64M`, `1.5G`, `4096`. Powers of 1024, as `mke2fs`, `truncate` and QEMU read them.
//! Knows text and numbers, nothing of disks.

/// Bytes in a KiB.
pub const KIB: u64 = 1 << 10;
/// Bytes in a MiB.
pub const MIB: u64 = 1 << 20;
/// Bytes in a GiB.
pub const GIB: u64 = 1 << 30;

/// Reads a size in bytes: a number, a fraction allowed, and one of `K` `M` `G` `T` (also `KiB`, `MiB` …). No letter means bytes.
///
/// # Errors
/// Says what was expected, for clap to print.
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a size: write a number and K, M, G or T, such as 64M or 1.5G");
    let text_end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(text_end);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.contains('.') || fraction.len() > 9 || (number.contains('.') && fraction.is_empty())
    {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().map_err(|_| wrong())?;
    let part: u128 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| wrong())? };
    let part = (part << shift) / 10u128.pow(u32::try_from(fraction.len()).map_err(|_| wrong())?);
    let bytes = (u128::from(whole) << shift) + part;
    u64::try_from(bytes).map_err(|_| format!("`{text}` is more than a disk can hold"))
}

/// Writes `bytes` for people: `40 MiB`, `1.5 GiB`, `512 B`.
pub fn show(bytes: u64) -> String {
    let (unit, name) = match bytes {
        b if b < KIB => return format!("{b} B"),
        b if b < MIB => (KIB, "KiB"),
        b if b < GIB => (MIB, "MiB"),
        b if b < 1024 * GIB => (GIB, "GiB"),
        _ => (1024 * GIB, "TiB"),
    };
    if bytes.is_multiple_of(unit) {
        return format!("{} {name}", bytes / unit);
    }
    // One decimal, rounded to the nearest.
    let tenths = (u128::from(bytes) * 10 + u128::from(unit) / 2) / u128::from(unit);
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64M", 64 * MIB),
            ("64m", 64 * MIB),
            ("64MiB", 64 * MIB),
            ("1.5G", GIB + GIB / 2),
            ("0.25K", 256),
            ("2T", 2048 * GIB),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in
            ["", "M", "64X", "-1", "1.", ".5M", "1.2.3M", "64 M", "1e9", "99999999T", "1.0000000000001M", "64MB"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_with_their_unit() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (40 * MIB, "40 MiB"),
            (GIB + GIB / 2, "1.5 GiB"),
            (MIB - 1, "1024.0 KiB"),
        ] {
            assert_eq!(show(bytes), text);
        }
    }
}
