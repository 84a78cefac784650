//! Contents of a partition that are no filesystem, by libblkid's names: other software makes a device or a filesystem of them.

/// Returns the words for a partition's content that nothing mounts, or `None` for a filesystem.
pub fn describe(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "crypto_LUKS" => "an encrypted container (LUKS)",
        "BitLocker" => "an encrypted container (BitLocker)",
        "LVM1_member" | "LVM2_member" => "a physical volume of LVM",
        "linux_raid_member" => "a member of a Linux RAID",
        "mpath_member" => "a path of a multipath device",
        "swap" | "swsuspend" => "swap space",
        "DM_verity_hash" => "the hash tree of dm-verity",
        "DM_integrity" => "a device for dm-integrity",
        "DM_snapshot_cow" => "a snapshot's changes",
        "bcache" => "a bcache device",
        "zfs_member" => "a member of a ZFS pool",
        "VMFS_volume_member" => "a volume of VMFS",
        "jbd" => "an external journal",
        "drbd" | "drbdmanage_control_volume" | "drbdproxy_datalog" => "a DRBD device",
        "ceph_bluestore" => "a Ceph store",
        kind if kind.ends_with("_raid_member") => "a member of a RAID",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::describe;

    #[test]
    fn containers_are_told_from_filesystems() {
        for kind in ["crypto_LUKS", "LVM2_member", "isw_raid_member", "swap"] {
            assert!(describe(kind).is_some(), "{kind}");
        }
        for kind in ["ext4", "vfat", "squashfs", "luks", ""] {
            assert_eq!(describe(kind), None, "{kind}");
        }
    }
}
