//! What modules need and do not say in their `.modinfo`: a table, each line with its source. In a running system the kernel asks
//! modprobe for these at the moment they are used; an initramfs has none, so they must be loaded before. Pure.

use super::config::KernelConfig;

/// Something that a module needs without saying so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UndeclaredNeed {
    /// Names or aliases: all of them, but of a transport's drivers one is enough.
    pub names: Vec<String>,
    /// These are drivers of the hardware that the module's devices are behind. Those that were asked for go into the image with
    /// it, else the first that the kernel has. They are not loaded for its sake: their own device calls for them.
    pub transport: bool,
    /// Where in the kernel it is asked for.
    pub source: &'static str,
}

/// What the module `name` with these aliases needs beside what it says.
pub fn needs(name: &str, aliases: &[String], config: Option<&KernelConfig>) -> Vec<UndeclaredNeed> {
    let mut needs = Vec::new();
    if matches!(name, "vfat" | "msdos") {
        needs.push(UndeclaredNeed {
            names: character_sets(name == "vfat", config),
            transport: false,
            source: "load_nls() in fat_fill_super(), fs/fat/inode.c",
        });
    }
    if name == "dm_verity" {
        needs.push(UndeclaredNeed {
            names: vec!["crypto-sha256".into()],
            transport: false,
            source: "crypto_alloc_ahash() in verity_ctr(), drivers/md/dm-verity-target.c; sha256 is veritysetup's default",
        });
    }
    if aliases.iter().any(|alias| alias.starts_with("virtio:")) {
        needs.push(UndeclaredNeed {
            names: vec!["virtio_pci".into(), "virtio_mmio".into()],
            transport: true,
            source: "a virtio device appears only through a transport's driver, drivers/virtio/",
        });
    }
    needs
}

/// The tables that FAT asks for when a mount names none: the code page of short names always, the character set of long names for
/// vfat. Both are constants of the kernel's configuration; where that is not known, the ones of Debian and of the kernel's own
/// defaults (fs/fat/Kconfig).
fn character_sets(long_names: bool, config: Option<&KernelConfig>) -> Vec<String> {
    let from_config = |key: &str| config.and_then(|config| config.get(key)).filter(|value| !value.is_empty());
    let mut names = vec![format!("nls_cp{}", from_config("CONFIG_FAT_DEFAULT_CODEPAGE").unwrap_or("437"))];
    if long_names {
        match from_config("CONFIG_FAT_DEFAULT_IOCHARSET") {
            Some(charset) => names.push(format!("nls_{charset}")),
            None => names.extend(["nls_ascii".into(), "nls_iso8859-1".into()]),
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
        assert_eq!(names("vfat", &[], None), [["nls_cp437", "nls_ascii", "nls_iso8859-1"]]);
    }

    #[test]
    fn virtio_drivers_need_a_transport() {
        assert_eq!(names("virtio_blk", &["virtio:d00000002v*"], None), [["virtio_pci", "virtio_mmio"]]);
        assert!(names("virtio_pci", &["pci:v00001AF4d*sv*sd*bc*sc*i*"], None).is_empty());
    }

    #[test]
    fn others_need_nothing() {
        assert!(names("ext4", &["fs-ext4"], None).is_empty());
    }
}
