//! From tags to partitions: waits for those that are needed until the deadline, on what the kernel says about devices; looks at
//! the optional ones once. Never sleeps.

use std::time::Duration;

use crate::{
    boot::Boot,
    config::OverlayStore,
    error::{Error, Result, Role},
    kernel::{Kernel, Limits, Mount},
    names,
    tag::{Choice, Tag, Volume, choose},
};

/// The partitions of this boot.
#[derive(Debug, Clone)]
pub struct Found {
    /// Holds the image.
    pub img: Volume,
    /// The writable layer; none for a tmpfs.
    pub overlay: Option<Volume>,
    /// May hold an update.
    pub newimg: Option<Volume>,
    /// May hold modules.
    pub boot: Option<Volume>,
}

/// Finds the partitions.
///
/// # Errors
/// A needed partition is missing or ambiguous; the overlay's absence is none where a fallback was asked for.
pub fn find(boot: &mut Boot<'_>) -> Result<Found> {
    let start = boot.kernel.now();
    let deadline = start.saturating_add(boot.config.timeout);
    let details = needs_details(boot);
    let mut volumes = boot.kernel.volumes(details);
    let (img, overlay) = loop {
        let waited = boot.config.timeout;
        let img = pick(&volumes, Role::Img, &boot.config.img, None, waited);
        let overlay = match (&boot.config.overlay, &img) {
            (OverlayStore::Tmpfs(_), _) => None,
            (OverlayStore::Partition(tag), Ok(img)) => {
                Some(pick(&volumes, Role::Overlay, tag, Some(&img.disk), waited))
            }
            (OverlayStore::Partition(tag), Err(_)) => Some(Err(missing(&volumes, Role::Overlay, tag, waited))),
        };
        match (img, overlay) {
            (Ok(img), None) => break (img, None),
            (Ok(img), Some(Ok(overlay))) => break (img, Some(overlay)),
            (Err(error @ Error::PartitionAmbiguous { .. }), _) => return Err(error),
            (Ok(_), Some(Err(error @ Error::PartitionAmbiguous { .. }))) => return Err(error),
            (img, overlay) => {
                if wait(boot, deadline)? {
                    volumes = boot.kernel.volumes(details);
                    continue;
                }
                // Whoever reads the card may know the partition by the name in the table.
                let mut seen = |error| match error {
                    Error::PartitionMissing { role, tag, waited, .. } => {
                        Error::PartitionMissing { role, tag, waited, seen: boot.kernel.volumes(true) }
                    }
                    other => other,
                };
                let img = img.map_err(&mut seen)?;
                if let Some(Err(error)) = overlay {
                    if !boot.config.overlay_fallback {
                        return Err(seen(error));
                    }
                    boot.notice(&format!("{error}: booting on a tmpfs, nothing written will be kept"));
                    boot.report.degrade();
                }
                break (img, None);
            }
        }
    };
    let newimg = find_newimg(boot, &mut volumes, &img)?;
    let tag = boot.config.boot.clone();
    let boot_volume = optional(boot, &volumes, Role::Boot, &tag, &img);
    Ok(Found { img, overlay, newimg, boot: boot_volume })
}

#[cfg(any(feature = "virtiofs", not(feature = "linux")))]
/// Finds the partition of the writable layer alone. None where it is missing and a fallback was asked for.
///
/// # Errors
/// It is missing or ambiguous.
pub fn find_overlay(boot: &mut Boot<'_>, tag: &Tag) -> Result<Option<Volume>> {
    if !cfg!(any(feature = "overlay", not(feature = "linux"))) && !matches!(tag, Tag::Path(_)) {
        let wanted = "tmpfs or a device path: this init reads no labels";
        return Err(Error::Parameter { name: "rd.overlay".into(), value: tag.to_string(), wanted });
    }
    let waited = boot.config.timeout;
    let deadline = boot.kernel.now().saturating_add(waited);
    loop {
        let volumes = boot.kernel.volumes(tag.needs_details());
        match pick(&volumes, Role::Overlay, tag, None, waited) {
            Ok(volume) => return Ok(Some(volume)),
            Err(error @ Error::PartitionAmbiguous { .. }) => return Err(error),
            Err(error) => {
                if wait(boot, deadline)? {
                    continue;
                }
                if !boot.config.overlay_fallback {
                    return Err(error);
                }
                boot.notice(&format!("{error}: booting on a tmpfs, nothing written will be kept"));
                boot.report.degrade();
                return Ok(None);
            }
        }
    }
}

/// The update medium: looked for once, or waited for as long as the user allows.
fn find_newimg(boot: &mut Boot<'_>, volumes: &mut Vec<Volume>, img: &Volume) -> Result<Option<Volume>> {
    let deadline = boot.kernel.now().saturating_add(boot.config.newimg_timeout);
    let tag = boot.config.newimg.clone();
    let details = needs_details(boot);
    while matches!(choose(volumes, &tag, Some(&img.disk)), Choice::Missing)
        && !boot.config.newimg_timeout.is_zero()
        && wait(boot, deadline)?
    {
        *volumes = boot.kernel.volumes(details);
    }
    Ok(optional(boot, volumes, Role::NewImg, &tag, img))
}

fn needs_details(boot: &Boot<'_>) -> bool {
    let overlay = matches!(&boot.config.overlay, OverlayStore::Partition(tag) if tag.needs_details());
    overlay || [&boot.config.img, &boot.config.boot, &boot.config.newimg].into_iter().any(Tag::needs_details)
}

fn pick(volumes: &[Volume], role: Role, tag: &Tag, img_disk: Option<&str>, waited: Duration) -> Result<Volume> {
    match choose(volumes, tag, img_disk) {
        Choice::One(volume) => Ok(volume.clone()),
        Choice::Missing => Err(missing(volumes, role, tag, waited)),
        Choice::Ambiguous(found) => {
            Err(Error::PartitionAmbiguous { role, tag: tag.clone(), found: found.into_iter().cloned().collect() })
        }
    }
}

fn missing(volumes: &[Volume], role: Role, tag: &Tag, waited: Duration) -> Error {
    Error::PartitionMissing { role, tag: tag.clone(), waited, seen: volumes.to_vec() }
}

/// An optional partition; of several that nothing decides between, none, loudly.
fn optional(boot: &mut Boot<'_>, volumes: &[Volume], role: Role, tag: &Tag, img: &Volume) -> Option<Volume> {
    match choose(volumes, tag, Some(&img.disk)) {
        Choice::One(volume) => Some(volume.clone()),
        Choice::Missing => None,
        Choice::Ambiguous(found) => {
            let paths: Vec<String> = found.iter().map(|volume| volume.path()).collect();
            let line = format!("{} partitions answer to {tag} ({}): none is used", paths.len(), paths.join(", "));
            boot.notice(&format!("{}: {line}", role.name()));
            None
        }
    }
}

/// Waits until block devices may have changed, loading drivers for what appears meanwhile. False at the deadline.
fn wait(boot: &mut Boot<'_>, deadline: Duration) -> Result<bool> {
    let deaf = |source| Error::Io { action: "listen to", path: "the kernel's uevents".into(), source };
    if boot.starts_to_listen().map_err(deaf)? {
        return Ok(true);
    }
    let mut changed = false;
    loop {
        // After the first change, take what is there without waiting.
        let until = if changed { Duration::ZERO } else { deadline };
        let Some(uevent) = boot.kernel.next_uevent(until).map_err(deaf)? else { return Ok(changed) };
        changed |= uevent.subsystem == "block";
        if let (Some(modalias), "add" | "change") = (uevent.modalias, uevent.action.as_str()) {
            boot.modules.serve(boot.kernel, &[modalias]);
        }
    }
}

/// Mounts the partition that holds the image, read-only (its journal is replayed all the same: ext4 does so unless told not to).
///
/// # Errors
/// The filesystem's module or the mount itself.
pub fn mount_img(boot: &mut Boot<'_>, img: &Volume) -> Result<()> {
    boot.report.fact("img", img.path());
    mount_volume(boot, img, names::IMG_DIR, Role::Img, true)
}

/// Mounts a partition, its filesystem's module loaded first.
///
/// # Errors
/// The filesystem's module or the mount itself.
pub fn mount_volume(boot: &mut Boot<'_>, volume: &Volume, target: &str, role: Role, read_only: bool) -> Result<()> {
    // Without a known superblock the default of the contract gives the clearest words from the kernel.
    let filesystem = volume.kind.as_deref().unwrap_or("ext4");
    let served = boot.modules.load_filesystem(boot.kernel, filesystem)?;
    let device = volume.path();
    let mount = Mount { source: &device, target, filesystem, read_only, limits: Limits::Medium, data: "" };
    boot.kernel
        .mount(&mount)
        .map_err(|source| mount_error(boot.kernel, role.name(), &mount, source, served, || boot.modules.places()))
}

/// Tells a filesystem the kernel does not know from one it cannot mount.
pub fn mount_error(
    kernel: &mut dyn Kernel,
    what: &'static str,
    mount: &Mount<'_>,
    source: std::io::Error,
    served: bool,
    looked: impl FnOnce() -> Vec<String>,
) -> Error {
    const ENODEV: i32 = 19;
    if source.raw_os_error() == Some(ENODEV) && !served {
        let kernel = kernel.release();
        return Error::FilesystemUnsupported { filesystem: mount.filesystem.into(), looked: looked(), kernel };
    }
    Error::Mount { what, device: mount.source.into(), filesystem: mount.filesystem.into(), source }
}
