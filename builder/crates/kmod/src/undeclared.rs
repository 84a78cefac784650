//! Needs that modules do not declare in their `.modinfo`: a table, each line with its source. In a running system the kernel asks
//! modprobe for these at the moment they are used; an initramfs has no modprobe, so they must be loaded before. Pure.

use contract::superblock::ext4::ON_DEMAND;

use super::config::KernelConfig;

/// Something that a module needs without saying so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndeclaredNeed {
    /// Names or aliases: all of them, but of a transport's drivers one is enough.
    pub names: Vec<String>,
    /// The time at which they are loaded.
    pub load: Load,
    /// The place in the kernel's source that causes the need.
    pub source: &'static str,
}

/// The time at which modules are loaded that another one needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Before the module.
    Before,
    /// Not for its sake: they drive the hardware that the module's devices are behind, and their own device calls for them. Those that were
    /// asked for go into the image with it, else the first that the kernel has.
    Transport,
    /// Only for a filesystem with the feature that asks for them: init reads its superblock.
    OnDemand,
    /// Before the module, where the kernel has them: what they are for is a matter of the filesystem.
    BeforeIfPresent,
}

/// Filesystems whose checksums are the kernel's crypto: it is asked for by name while they are mounted. Most kernels say so in the module as
/// well, by a softdep. Compressors are not among these: their functions are called, so `depends` names them.
const CHECKSUMS: [(&str, &[&str], &str); 2] = [
    (
        "btrfs",
        &["crypto-crc32c", "crypto-xxhash64", "crypto-sha256", "crypto-blake2b-256"],
        "crypto_alloc_shash() in btrfs_init_csum_hash(), fs/btrfs/disk-io.c",
    ),
    ("f2fs", &["crypto-crc32"], "crypto_alloc_shash() in f2fs_fill_super(), fs/f2fs/super.c"),
];

/// Returns the needs of the module `name` with these aliases beside those that it declares.
pub fn needs(name: &str, aliases: &[String], config: Option<&KernelConfig>) -> Vec<UndeclaredNeed> {
    let mut needs = Vec::new();
    if matches!(name, "vfat" | "msdos") {
        needs.push(UndeclaredNeed {
            names: character_sets(name == "vfat", config),
            load: Load::Before,
            source: "load_nls() in fat_fill_super(), fs/fat/inode.c",
        });
    }
    if let Some((_, algorithms, source)) = CHECKSUMS.iter().find(|(filesystem, ..)| *filesystem == name) {
        needs.push(UndeclaredNeed {
            names: algorithms.iter().map(|name| (*name).into()).collect(),
            load: Load::BeforeIfPresent,
            source,
        });
    }
    if name == "dm_verity" {
        needs.push(UndeclaredNeed {
            names: vec!["crypto-sha256".into()],
            load: Load::Before,
            source: "crypto_alloc_ahash() in verity_ctr(), drivers/md/dm-verity-target.c; sha256 is veritysetup's default",
        });
    }
    if name == "ext4" {
        needs.push(UndeclaredNeed {
            names: ON_DEMAND.iter().map(|(_, module)| (*module).into()).collect(),
            load: Load::OnDemand,
            source: "request_module() in find_quota_format(), fs/quota/dquot.c, and symbol_request() in utf8_load(), fs/unicode",
        });
    }
    if aliases.iter().any(|alias| alias.starts_with("virtio:")) {
        needs.push(UndeclaredNeed {
            names: vec!["virtio_pci".into(), "virtio_mmio".into()],
            load: Load::Transport,
            source: "a virtio device appears only through a transport's driver, drivers/virtio/",
        });
    }
    needs
}

/// Returns the tables that FAT asks for when a mount names none: the code page of short names always, the character set of long names for
/// vfat. Both are constants of the kernel's configuration; where that is not known, the ones of Debian and of the kernel's own
/// defaults (fs/fat/Kconfig), and UTF-8.
fn character_sets(long_names: bool, config: Option<&KernelConfig>) -> Vec<String> {
    let from_config = |key: &str| config.and_then(|config| config.get(key)).filter(|value| !value.is_empty());
    let mut names = vec![format!("nls_cp{}", from_config("CONFIG_FAT_DEFAULT_CODEPAGE").unwrap_or("437"))];
    if long_names {
        match from_config("CONFIG_FAT_DEFAULT_IOCHARSET") {
            Some(charset) => names.push(format!("nls_{charset}")),
            None => names.extend(["nls_ascii".into(), "nls_iso8859-1".into(), "nls_utf8".into()]),
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(name: &str, aliases: &[&str], config: Option<&str>) -> Vec<Vec<String>> {
        let config = config.and_then(KernelConfig::parse);
        let aliases: Vec<String> = aliases.iter().map(ToString::to_string).collect();
        needs(name, &aliases, config.as_ref()).into_iter().map(|need| need.names).collect()
    }

    #[test]
    fn fat_needs_its_tables() {
        let debian = "CONFIG_FAT_DEFAULT_CODEPAGE=437\nCONFIG_FAT_DEFAULT_IOCHARSET=\"ascii\"\n";
        assert_eq!(names("vfat", &["fs-vfat"], Some(debian)), [["nls_cp437", "nls_ascii"]]);
        assert_eq!(names("msdos", &[], Some(debian)), [["nls_cp437"]]);
        let other = "CONFIG_FAT_DEFAULT_CODEPAGE=850\nCONFIG_FAT_DEFAULT_IOCHARSET=\"iso8859-15\"\n";
        assert_eq!(names("vfat", &[], Some(other)), [["nls_cp850", "nls_iso8859-15"]]);
        assert_eq!(names("vfat", &[], None), [["nls_cp437", "nls_ascii", "nls_iso8859-1", "nls_utf8"]]);
    }

    #[test]
    fn virtio_drivers_need_a_transport() {
        assert_eq!(names("virtio_blk", &["virtio:d00000002v*"], None), [["virtio_pci", "virtio_mmio"]]);
        assert!(names("virtio_pci", &["pci:v00001AF4d*sv*sd*bc*sc*i*"], None).is_empty());
    }

    #[test]
    fn checksums_of_filesystems_are_crypto() {
        let btrfs = [["crypto-crc32c", "crypto-xxhash64", "crypto-sha256", "crypto-blake2b-256"]];
        assert_eq!(names("btrfs", &["fs-btrfs"], None), btrfs);
        assert_eq!(names("f2fs", &["fs-f2fs"], None), [["crypto-crc32"]]);
    }

    #[test]
    fn others_need_nothing() {
        assert!(names("xfs", &["fs-xfs"], None).is_empty());
    }
}
