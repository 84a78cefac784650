//! Contents of a partition or disk that are not a filesystem: parts of devices that other software puts together, and files that were
//! written to a disk as they are.

/// Returns the words for a content that nothing mounts, by libblkid's name for it, or `None` for a filesystem.
pub fn describe(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "crypto_LUKS" => "an encrypted container (LUKS)",
        "BitLocker" => "an encrypted container (BitLocker)",
        "bcache" => "a bcache device",
        "LVM2_member" => "an LVM physical volume",
        "linux_raid_member" => "a Linux RAID member",
        "swap" | "swsuspend" => "swap space",
        "DM_verity_hash" => "a dm-verity hash tree",
        "DM_integrity" => "a dm-integrity device",
        "jbd" => "an external journal",
        _ => return None,
    })
}

/// A content that is told by its first bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Content {
    /// The words for it.
    pub words: &'static str,
    /// The way out, where there is one that loses nothing.
    pub remedy: Option<&'static str>,
}

/// The way out for a file that was written to a disk without being unpacked.
const UNPACK: Option<&str> = Some("unpack the file that was written there, then write its content");

/// The way out for a virtual machine's disk that was written to a real one.
const CONVERT: Option<&str> =
    Some("convert the file that was written there (qemu-img convert -O raw), and write the result");

/// Contents that the prober of superblocks does not tell, by bytes at an offset.
///
/// Sources: the pools' on-disk formats (ZFS On-Disk Specification, 1.2: the list of names and values of a label begins with `version`;
/// Stratis Software Design, Static Header; Ceph, `src/os/bluestore/bluestore_types.cc`), RFC 1952, RFC 8878, the specification of xz,
/// APPNOTE of zip, QEMU's `docs/interop/qcow2.txt`, VMDK 5.0, MS-VHDX and `libsparse/sparse_format.h` of Android.
const MAGICS: [(usize, &[u8], &str, Option<&str>); 13] = [
    (16_384 + 24, b"version\0", "a ZFS pool member", None),
    (512 + 4, b"!Stra0tis\x86\xff\x02^\x41rh", "a Stratis pool member", None),
    (0, b"bluestore block device\n", "a Ceph device", None),
    (0, b"\x1f\x8b\x08", "a gzip file", UNPACK),
    (0, b"\xfd7zXZ\0", "an xz file", UNPACK),
    (0, b"\x28\xb5\x2f\xfd", "a zstd file", UNPACK),
    (0, b"BZh", "a bzip2 file", UNPACK),
    (0, b"PK\x03\x04", "a zip archive", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (0, b"QFI\xfb", "a qcow2 disk image", CONVERT),
    (0, b"KDMV", "a VMDK disk image", CONVERT),
    (0, b"vhdxfile", "a VHDX disk image", CONVERT),
    (0, b"\x3a\xff\x26\xed", "an Android sparse image", Some("write it with fastboot, or unpack it (simg2img) first")),
];

/// Tells a content by its first bytes; [`HEAD`] of them are enough.
pub fn recognize(head: &[u8]) -> Option<Content> {
    let is_there = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|bytes| bytes.starts_with(magic));
    let (.., words, remedy) = MAGICS.into_iter().find(|(offset, magic, ..)| is_there(*offset, magic))?;
    Some(Content { words, remedy })
}

/// Bytes at the start of a device that [`recognize`] looks at.
pub const HEAD: usize = 17 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_pools_and_files() {
        for (offset, magic, words, remedy) in MAGICS {
            let mut head = vec![0; HEAD];
            head[offset..][..magic.len()].copy_from_slice(magic);
            assert_eq!(recognize(&head), Some(Content { words, remedy }));
            // A device may be shorter than that.
            assert_eq!(recognize(&head[..offset + magic.len()]), Some(Content { words, remedy }));
            assert_eq!(recognize(&head[..offset + magic.len() - 1]), None);
        }
        assert_eq!(recognize(&[]), None);
    }

    #[test]
    fn containers_are_told_from_filesystems() {
        for kind in ["crypto_LUKS", "BitLocker", "bcache", "LVM2_member", "linux_raid_member", "swap"] {
            assert!(describe(kind).is_some(), "{kind}");
        }
        for kind in ["ext4", "vfat", "squashfs", "luks", ""] {
            assert_eq!(describe(kind), None, "{kind}");
        }
    }
}
