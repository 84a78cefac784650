//! Identification of a file that was mistaken for an initramfs. Only for the error's text: nothing depends on the result.

use base::escape::escape;

/// Bytes of a file that tell what it is.
pub const HEAD: usize = 2048;

const OLD_CPIO: &str = "it is a cpio archive in an old format, and the kernel reads only `newc` (`cpio -H newc`)";

/// Offset, magic, and what has it there. The first that fits counts.
const MAGICS: &[(usize, &[u8], &str)] = &[
    (0, b"070707", OLD_CPIO),
    (0, b"\xc7\x71", OLD_CPIO),
    (0, b"\x71\xc7", OLD_CPIO),
    (0, b"\x7fELF", "it is an ELF program"),
    (0x202, b"HdrS", "it is a Linux kernel"),
    (0, b"MZ", "it is an EFI program: a kernel or a unified kernel image"),
    (0, b"hsqs", "it is an OS image (squashfs): `mount -o loop` shows what is in it"),
    (1024, b"\xe2\xe1\xf5\xe0", "it is an OS image (EROFS): `mount -o loop` shows what is in it"),
    (1080, b"\x53\xef", "it is an ext4 filesystem: `initramfs-overlay doctor` reads it"),
    (0, b"\x27\x05\x19\x56", "it is an image for U-Boot: the initramfs in it begins after 64 bytes (`tail -c +65`)"),
    (0, b"\xd0\x0d\xfe\xed", "it is a device tree or a FIT image"),
    (0, b"ANDROID!", "it is an Android boot image"),
    (257, b"ustar", "it is a tar archive: `initramfs-overlay oci tar:FILE` makes an initramfs of it"),
    (510, b"\x55\xaa", "it is a disk or a filesystem with a boot sector: `initramfs-overlay doctor` reads it"),
];

/// Returns the kind of file that begins with `zeros` zero bytes and then `head`, 2048 bytes, among those commonly mistaken for an
/// initramfs. What ends with the zero bytes is empty.
pub fn identify(zeros: u64, head: &[u8]) -> String {
    if head.is_empty() {
        return if zeros == 0 { "it is empty" } else { "there are only zero bytes in it" }.to_owned();
    }
    let zeros = usize::try_from(zeros).map_or(HEAD, |zeros| zeros.min(HEAD));
    let head = [&vec![0; zeros], head].concat();
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    if let Some((.., what)) = MAGICS.iter().find(|(offset, magic, _)| at(*offset, magic)) {
        (*what).to_owned()
    } else if head.starts_with(b"<") || head.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) {
        "it is text".to_owned()
    } else {
        format!("it begins with `{}`", escape(&head[..head.len().min(8)]))
    }
}

#[cfg(test)]
mod tests {
    use super::identify;

    #[test]
    fn names_what_it_knows() {
        let at = |offset: usize, magic: &[u8]| {
            let mut head = vec![1; offset];
            head.extend(magic);
            head.resize(2048, 0);
            head
        };
        for (head, part) in [
            (at(0, b"070707"), "newc"),
            (at(0, b"\x7fELF"), "ELF"),
            (at(0x202, b"HdrS"), "Linux kernel"),
            (at(0, b"MZ"), "EFI"),
            (at(0, b"hsqs"), "squashfs"),
            (at(1080, b"\x53\xef"), "ext4"),
            (at(0, b"\x27\x05\x19\x56"), "U-Boot"),
            (at(257, b"ustar"), "oci tar:"),
            (at(510, b"\x55\xaa"), "doctor"),
            (b"#!/bin/sh\n".to_vec(), "text"),
            (b"\x01\x02\xff".to_vec(), "`\\u{1}\\u{2}\\xff`"),
        ] {
            let what = identify(0, &head);
            assert!(what.contains(part), "{part}: {what}");
        }
        assert!(identify(440, &at(70, b"\x55\xaa")).contains("doctor"));
        assert!(identify(1 << 40, &at(0, b"\x7fELF")).starts_with("it begins with `\\0"));
    }
}
