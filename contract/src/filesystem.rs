//! Abilities of filesystems that a boot depends on, by libblkid's names.

/// Returns why overlayfs cannot have its writable layer on a filesystem, or `None` where it may (kernel,
/// Documentation/filesystems/overlayfs.rst, "Upper and Lower": extended attributes `trusted.*` and valid types of directory entries).
pub fn upper_objection(kind: &str) -> Option<&'static str> {
    match kind {
        "vfat" | "exfat" | "ntfs" => Some("it has neither extended attributes nor device nodes"),
        "squashfs" | "erofs" | "iso9660" | "udf" => Some("nothing can be written to it"),
        _ => None,
    }
}

/// Returns why an image on a filesystem cannot be replaced so that a power cut leaves the old one or the new one, or `None` where it can.
pub fn update_objection(kind: &str) -> Option<&'static str> {
    match kind {
        "ext2" => Some("it has no journal"),
        "vfat" | "exfat" | "ntfs" => Some("it has neither hard links nor a journal"),
        "squashfs" | "erofs" | "iso9660" | "udf" => Some("nothing can be written to it"),
        _ => None,
    }
}

/// Returns the option that mounts a filesystem read-only without a replay of its journal, which a write-protected device does not allow
/// (kernel, Documentation/filesystems/ext4/, admin-guide/xfs.rst, f2fs.rst; btrfs(5)).
pub fn without_replay(kind: &str) -> Option<&'static str> {
    match kind {
        "ext3" | "ext4" => Some("noload"),
        "xfs" | "f2fs" => Some("norecovery"),
        "btrfs" => Some("rescue=nologreplay"),
        _ => None,
    }
}

/// Returns the command that checks a filesystem, as a technician types it before the device.
pub fn checker(kind: &str) -> Option<&'static str> {
    match kind {
        "ext2" | "ext3" | "ext4" => Some("e2fsck -f"),
        "vfat" => Some("fsck.fat -a"),
        "exfat" => Some("fsck.exfat -a"),
        "xfs" => Some("xfs_repair"),
        "f2fs" => Some("fsck.f2fs -f"),
        "btrfs" => Some("btrfs check"),
        _ => None,
    }
}

/// Returns the command that labels a filesystem, as a technician types it before the device and the label.
pub fn labeller(kind: &str) -> Option<&'static str> {
    match kind {
        "ext2" | "ext3" | "ext4" => Some("e2label"),
        "vfat" => Some("fatlabel"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn abilities_follow_from_the_kind() {
        // Kind, upper layer, updates, mount without a replay.
        for (kind, upper, update, replay) in [
            ("ext4", true, true, true),
            ("ext3", true, true, true),
            ("ext2", true, false, false),
            ("xfs", true, true, true),
            ("btrfs", true, true, true),
            ("f2fs", true, true, true),
            ("vfat", false, false, false),
            ("exfat", false, false, false),
            ("squashfs", false, false, false),
            ("jfs", true, true, false),
        ] {
            let found =
                (upper_objection(kind).is_none(), update_objection(kind).is_none(), without_replay(kind).is_some());
            assert_eq!(found, (upper, update, replay), "{kind}");
        }
        assert_eq!(checker("xfs"), Some("xfs_repair"));
        assert_eq!(checker("jfs"), None);
    }
}
