//! The places of the black box: partitions that a boot with certain parameters may write it to.

use contract::tag::Tag;

use crate::config::{HAS_BLACKBOX, Layers, ModeConfig, OverlayStore};

/// The places of the black box in this boot.
#[derive(Debug, Default)]
pub struct Places {
    /// The tag of the writable partition, where this boot mode writes to one.
    pub store: Option<Tag>,
    /// The tag of the partition that may hold the text.
    pub boot: Option<Tag>,
    /// True while a writable partition is mounted.
    pub is_open: bool,
}

impl Places {
    /// Returns the places of a boot with these parameters.
    pub fn of(mode: &ModeConfig, layers: &Layers) -> Self {
        let Some(config) = mode.overlay().filter(|_| HAS_BLACKBOX) else { return Self::default() };
        let store = match &layers.overlay {
            OverlayStore::Partition(tag) => Some(tag.clone()),
            OverlayStore::Tmpfs(_) => None,
        };
        Self { store, boot: Some(config.boot.clone()), is_open: false }
    }

    /// Returns true while the writable partition is mounted and this boot mode keeps a black box there.
    pub fn is_ready(&self) -> bool {
        self.is_open && self.store.is_some()
    }
}
