//! Little-endian fields of structures on disk, by their offset. None where the bytes end before the field does.

/// Returns the `N` bytes at `at`.
pub fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

/// Returns the number of 16 bits at `at`.
pub fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    array(bytes, at).map(u16::from_le_bytes)
}

/// Returns the number of 32 bits at `at`.
pub fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    array(bytes, at).map(u32::from_le_bytes)
}

/// Returns the number of 64 bits at `at`.
pub fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_lies_in_the_bytes_whole_or_is_none() {
        let bytes = [1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!((u16_at(&bytes, 6), u16_at(&bytes, 7)), (Some(0x0807), None));
        assert_eq!((u32_at(&bytes, 4), u32_at(&bytes, 5)), (Some(0x0807_0605), None));
        assert_eq!((u64_at(&bytes, 0), u64_at(&bytes, usize::MAX)), (Some(0x0807_0605_0403_0201), None));
    }
}
