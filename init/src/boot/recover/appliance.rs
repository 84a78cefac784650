//! The appliance whose boot failed, as far as its menu wants to know it.

use contract::{failure::Role, tag::Tag};

use crate::config::{HAS_SHELL, Layers, ModeConfig, OverlayStore};

/// The appliance whose boot failed; empty for a boot that is none, or whose parameters cannot be read.
#[derive(Debug, Default)]
pub struct Appliance {
    /// The name of the image.
    pub image: String,
    /// The tags of its partitions, as far as a repair wants them.
    pub tags: Vec<(Role, Tag)>,
}

impl Appliance {
    /// Returns the appliance that boots with these parameters.
    pub fn of(mode: &ModeConfig, layers: &Layers) -> Self {
        let Some(config) = mode.overlay() else { return Self::default() };
        let mut tags = Vec::new();
        if HAS_SHELL {
            if let OverlayStore::Partition(tag) = &layers.overlay {
                tags.push((Role::Overlay, tag.clone()));
            }
            for (role, tag) in [(Role::Img, &config.img), (Role::Boot, &config.boot), (Role::NewImg, &config.newimg)] {
                tags.push((role, tag.clone()));
            }
        }
        Self { image: config.image.clone(), tags }
    }
}
