//! Contents of a partition that are no filesystem, by libblkid's names, as far as init's libblkid
//! tells them: other software makes a device or a filesystem of them.

/// Returns the words for a partition's content that nothing mounts, or `None` for a filesystem.
pub fn describe(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "crypto_LUKS" => "an encrypted container (LUKS)",
        "BitLocker" => "an encrypted container (BitLocker)",
        "bcache" => "a device for bcache",
        "LVM2_member" => "a physical volume of LVM",
        "linux_raid_member" => "a member of a Linux RAID",
        "swap" | "swsuspend" => "swap space",
        "DM_verity_hash" => "the hash tree of dm-verity",
        "DM_integrity" => "a device for dm-integrity",
        "jbd" => "an external journal",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::describe;

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
