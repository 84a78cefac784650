//! The black box of a disk: how the last boots ended, from the writable partition and from `boot`.

use std::io::Read;

use contract::{
    blackbox::{self, Content, Record, SIZE, TEXT_NAME, TEXT_SIZE},
    names,
    tag::{Choice, Tag, Volume, choose},
};
use initramfs_overlay_init::config::{Config, OverlayStore};
use serde::Serialize;

use super::volume::Device;

/// All that is kept of boots on a disk.
#[derive(Debug, Clone, Default)]
pub struct BlackBox {
    /// The entries on the writable partition; none where it has no black box.
    pub content: Option<Content>,
    /// The failed boot on `boot`.
    pub text: Option<Record>,
}

/// The end of a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Boot {
    /// Its number in the black box, counted from 1.
    pub number: u64,
    /// `good`, `failed` or `crashed`.
    pub end: &'static str,
    /// The code of a failure.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub code: String,
    /// The step that failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub step: String,
}

impl BlackBox {
    /// Returns true where nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.text.is_none()
            && self.content.as_ref().is_none_or(|content| content.entries.is_empty() && content.torn == 0)
    }

    /// Returns the ends of the boots on the writable partition, the newest first.
    pub fn boots(&self) -> Vec<Boot> {
        let entries = self.content.iter().flat_map(|content| &content.entries);
        entries
            .map(|entry| Boot {
                number: entry.sequence,
                end: entry.ended.end.name(),
                code: entry.ended.code.clone(),
                step: entry.ended.step.clone(),
            })
            .collect()
    }
}

/// Reads the black box of these devices, where a boot with these parameters would keep it. What cannot be read is not there.
pub fn read(devices: &[Device], config: &Config) -> BlackBox {
    let Some(overlay) = config.mode.overlay() else { return BlackBox::default() };
    let volumes: Vec<Volume> = devices.iter().map(|device| device.volume.clone()).collect();
    let find = |tag: &Tag, disk: Option<&str>| match choose(&volumes, tag, disk) {
        Choice::One(volume) => devices.iter().find(|device| device.volume.name == volume.name),
        _ => None,
    };
    let disk = find(&overlay.img, None).map(|img| img.volume.disk.clone());
    let content = |tag: &Tag, name: &str, most: usize| {
        let filesystem = find(tag, disk.as_deref())?.open().ok()?;
        let mut bytes = Vec::new();
        filesystem.open(name).ok()?.take(most as u64).read_to_end(&mut bytes).ok()?;
        Some(bytes)
    };
    let store = match &config.common.layers.overlay {
        OverlayStore::Partition(tag) => tag.clone(),
        // An earlier boot may have had one.
        OverlayStore::Tmpfs(_) => Tag::Label("overlay".into()),
    };
    BlackBox {
        content: content(&store, names::BLACKBOX, SIZE).map(|bytes| blackbox::read(&bytes)),
        text: content(&overlay.boot, TEXT_NAME, TEXT_SIZE).and_then(|bytes| blackbox::record(&bytes)),
    }
}
