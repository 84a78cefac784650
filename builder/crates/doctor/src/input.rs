//! The initramfs and the command line of the boot that is looked at.

use std::collections::{BTreeMap, BTreeSet};

use contract::names;
use initramfs_overlay_init::config::{Abilities, Config};

/// The initramfs and the command line of a boot.
#[derive(Debug, Clone, Default)]
pub struct BootInput {
    /// Files that init reads of its initramfs, by path: the baked-in command lines, trusted keys.
    pub inits: BTreeMap<String, Vec<u8>>,
    /// The kernel's command line.
    pub cmdline: String,
    /// True if the initramfs is of the debug variant.
    pub is_debug: bool,
    /// Names of the modules in the initramfs; none where no initramfs is known.
    pub modules: Option<BTreeSet<String>>,
    /// Bytes in a memory page of the kernel; `None` where nobody said, which is taken for [`USUAL_PAGE`].
    pub page: Option<u64>,
}

/// Bytes in a memory page of most kernels.
pub const USUAL_PAGE: u64 = 4096;

impl BootInput {
    /// Returns what init can do, which follows from its files.
    pub fn abilities(&self) -> Abilities {
        let keys = names::TRUST_DIR.trim_start_matches('/');
        Abilities { shell: self.is_debug, trust: self.inits.keys().any(|path| path.starts_with(keys)) }
    }

    /// Returns the configuration that init reads from all command lines, as far as they can be read.
    pub fn config(&self) -> Config {
        let text = |path: &str| {
            let bytes = self.inits.get(path.trim_start_matches('/'));
            bytes.map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default()
        };
        let (baked, last) = (text(names::BAKED_CMDLINE), text(names::FINAL_CMDLINE));
        Config::parse([&baked, &self.cmdline, &last], self.abilities(), false).0
    }
}

#[cfg(test)]
mod tests {
    use initramfs_overlay_init::config::OverlayStore;

    use super::*;

    #[test]
    fn the_lines_of_the_initramfs_hold_as_at_boot() {
        let file = |text: &str| text.as_bytes().to_vec();
        let inits =
            [("etc/cmdline", "rd.image=a.img rd.timeout=3s"), ("etc/cmdline.final", "rd.overlay=LABEL=overlay")];
        let boots = BootInput {
            inits: inits.into_iter().map(|(path, text)| (path.to_owned(), file(text))).collect(),
            cmdline: "rd.image=b.img rd.overlay=tmpfs".to_owned(),
            ..BootInput::default()
        };
        let config = boots.config();
        let image = config.mode.overlay().map(|own| own.image.as_str());
        assert_eq!((image, config.common.timeout.as_secs()), (Some("b.img"), 3));
        let overlay = config.common.layers.overlay;
        assert!(matches!(overlay, OverlayStore::Partition(_)), "{overlay:?}");
    }
}
