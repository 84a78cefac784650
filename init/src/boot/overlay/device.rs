//! From tags to partitions: init waits for those that are needed until the deadline, and looks for the optional ones once.

use contract::{
    failure::Role,
    names,
    report::Fact,
    tag::{Choice, Tag, Volume, choose},
};

use super::config::Config;
use crate::{
    boot::volumes::{Devices, missing, mount_volume, pick},
    config::{Layers, OverlayStore},
    context::Context,
    error::{Error, Result},
};

/// The partitions of this boot.
#[derive(Debug, Clone)]
pub struct Found {
    /// The partition that holds the image.
    pub img: Volume,
    /// The partition of the writable layer; none for a tmpfs.
    pub overlay: Option<Volume>,
    /// The partition that may hold an update.
    pub newimg: Option<Volume>,
    /// The partition that may hold modules.
    pub boot: Option<Volume>,
    /// The tag that it was looked for by.
    pub boot_tag: Tag,
}

impl Found {
    /// Returns a text in which files are named by their partition and its device: who reads it later knows nothing of the initramfs' paths.
    pub fn readable(&self, text: &str) -> String {
        let partitions = [
            (names::IMG_DIR, Role::Img, Some(&self.img)),
            (names::NEWIMG_DIR, Role::NewImg, self.newimg.as_ref()),
            (names::OVERLAY_DIR, Role::Overlay, self.overlay.as_ref()),
        ];
        let words = |role: Role, volume: Option<&Volume>| {
            format!("{} ({})", role.name(), volume.map(Volume::path).unwrap_or_default())
        };
        names::readable(text, &partitions.map(|(directory, role, volume)| (directory, words(role, volume))))
    }
}

/// The block devices of a boot that looks for its partitions, as they were seen last.
#[derive(Debug, Default)]
pub struct Search {
    devices: Devices,
    volumes: Vec<Volume>,
}

/// Finds the partitions, but for the update medium.
///
/// # Errors
/// A needed partition is missing or ambiguous; the overlay's absence is none where a fallback was asked for.
pub fn find(context: &mut Context<'_>, config: &Config, search: &mut Search) -> Result<Found> {
    let Search { devices, volumes } = search;
    let start = context.kernel.now();
    let deadline = start.saturating_add(context.config.timeout);
    let details = needs_details(&context.config.layers, config);
    *volumes = devices.volumes(context.kernel, details);
    let (img, overlay) = loop {
        let waited = context.config.timeout;
        let img = pick(volumes, Role::Img, &config.img, None, waited);
        let overlay = match (&context.config.layers.overlay, &img) {
            (OverlayStore::Tmpfs(_), _) => None,
            (OverlayStore::Partition(tag), Ok(img)) => Some(pick(volumes, Role::Overlay, tag, Some(&img.disk), waited)),
            (OverlayStore::Partition(tag), Err(_)) => Some(Err(missing(volumes, Role::Overlay, tag, waited))),
        };
        match (img, overlay) {
            (Ok(img), None) => break (img, None),
            (Ok(img), Some(Ok(overlay))) => break (img, Some(overlay)),
            (Err(error @ Error::PartitionAmbiguous { .. }), _) => return Err(error),
            (Ok(_), Some(Err(error @ Error::PartitionAmbiguous { .. }))) => return Err(error),
            (img, overlay) => {
                if devices.wait_for_disks(context, deadline)? {
                    *volumes = devices.volumes(context.kernel, details);
                    continue;
                }
                // Whoever reads the card may know the partition by the name in the table.
                let mut seen = |error| match error {
                    Error::PartitionMissing { role, tag, waited, .. } => {
                        Error::PartitionMissing { role, tag, waited, seen: devices.volumes(context.kernel, true) }
                    }
                    other => other,
                };
                let img = img.map_err(&mut seen)?;
                if let Some(Err(error)) = overlay {
                    if !context.config.layers.fallback {
                        return Err(seen(error));
                    }
                    context.notice(&format!("{error}: booting on a tmpfs, nothing written will be kept"));
                    context.report.degrade();
                }
                break (img, None);
            }
        }
    };
    let boot = optional(context, volumes, Role::Boot, &config.boot, &img);
    Ok(Found { img, overlay, newimg: None, boot, boot_tag: config.boot.clone() })
}

/// Finds the update medium: looks once, or waits as long as the user allows.
///
/// # Errors
/// The kernel tells of no devices.
pub fn find_newimg(
    context: &mut Context<'_>,
    config: &Config,
    Search { devices, volumes }: &mut Search,
    found: &mut Found,
) -> Result<()> {
    let deadline = context.kernel.now().saturating_add(config.newimg_timeout);
    let details = needs_details(&context.config.layers, config);
    let mut has_changed = false;
    while matches!(choose(volumes, &config.newimg, Some(&found.img.disk)), Choice::Missing)
        && !config.newimg_timeout.is_zero()
        && devices.wait_for_disks(context, deadline)?
    {
        *volumes = devices.volumes(context.kernel, details);
        has_changed = true;
    }
    found.newimg = optional(context, volumes, Role::NewImg, &config.newimg, &found.img);
    if has_changed && found.boot.is_none() {
        found.boot = optional(context, volumes, Role::Boot, &config.boot, &found.img);
    }
    Ok(())
}

/// Returns true if a partition is named by more than a label.
fn needs_details(layers: &Layers, config: &Config) -> bool {
    let overlay = matches!(&layers.overlay, OverlayStore::Partition(tag) if tag.needs_details());
    overlay || [&config.img, &config.boot, &config.newimg].into_iter().any(Tag::needs_details)
}

/// Returns an optional partition; of several that nothing decides between, none, with a notice.
fn optional(context: &mut Context<'_>, volumes: &[Volume], role: Role, tag: &Tag, img: &Volume) -> Option<Volume> {
    match choose(volumes, tag, Some(&img.disk)) {
        Choice::One(volume) => Some(volume.clone()),
        Choice::Missing => None,
        Choice::Ambiguous(found) => {
            let paths: Vec<String> = found.iter().map(|volume| volume.path()).collect();
            let line = format!("{} partitions match {tag} ({}): none is used", paths.len(), paths.join(", "));
            context.notice(&format!("{}: {line}", role.name()));
            None
        }
    }
}

/// Mounts the partition that holds the image, read-only (its journal is replayed all the same: ext4 does so unless told not to).
///
/// # Errors
/// The filesystem's module or the mount itself.
pub fn mount_img(context: &mut Context<'_>, img: &Volume) -> Result<()> {
    context.report.fact(Fact::Img, img.path());
    mount_volume(context, img, names::IMG_DIR, Role::Img, true)
}
