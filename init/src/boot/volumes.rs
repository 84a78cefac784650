//! Partitions for every boot mode: picked by tag, waited for on the kernel's events, mounted. Never sleeps.

use std::{io, time::Duration};

use contract::{
    container::{self, Content},
    errno::{ENODEV, EROFS},
    failure::{Mounted, Role},
    filesystem::{upper_objection, without_replay},
    superblock::ext4,
    tag::{Choice, Tag, Volume, choose},
};

use super::block::Probed;
use crate::{
    config::HAS_OVERLAY,
    context::Context,
    error::{Error, Result},
    kernel::{Event, Limits, Machine, Mount, Sources, release},
};

/// Returns the one partition that `tag` names.
///
/// # Errors
/// There is none, or there are several.
pub fn pick(volumes: &[Volume], role: Role, tag: &Tag, img_disk: Option<&str>, waited: Duration) -> Result<Volume> {
    match choose(volumes, tag, img_disk) {
        Choice::One(volume) => Ok(volume.clone()),
        Choice::Missing => Err(missing(volumes, role, tag, waited)),
        Choice::Ambiguous(found) => {
            Err(Error::PartitionAmbiguous { role, tag: tag.clone(), found: found.into_iter().cloned().collect() })
        }
    }
}

/// Returns the error of a partition that is not there.
pub fn missing(volumes: &[Volume], role: Role, tag: &Tag, waited: Duration) -> Error {
    Error::PartitionMissing { role, tag: tag.clone(), waited, seen: volumes.to_vec() }
}

/// Finds the partition of the writable layer alone; `None` where it is missing and a fallback was asked for.
///
/// # Errors
/// It is missing or ambiguous.
pub fn find_overlay(context: &mut Context<'_>, devices: &mut Devices, tag: &Tag) -> Result<Option<Volume>> {
    if !HAS_OVERLAY && !matches!(tag, Tag::Path(_)) {
        let wanted = "tmpfs or a device path: this init reads no labels";
        return Err(Error::Parameter { name: "rd.overlay".into(), value: tag.to_string(), wanted });
    }
    match wait_for(context, devices, Role::Overlay, tag) {
        Err(error @ Error::PartitionMissing { .. }) if context.config.layers.fallback => {
            context.notice(&format!("{error}: booting on a tmpfs, nothing written will be kept"));
            context.report.degrade();
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Returns the partition that `tag` names, waiting for it up to `rd.timeout`.
///
/// # Errors
/// It is missing or ambiguous.
pub fn wait_for(context: &mut Context<'_>, devices: &mut Devices, role: Role, tag: &Tag) -> Result<Volume> {
    let waited = context.config.timeout;
    let deadline = context.kernel.now().saturating_add(waited);
    loop {
        let volumes = devices.volumes(context.kernel, tag.needs_details());
        match pick(&volumes, role, tag, None, waited) {
            Err(error @ Error::PartitionMissing { .. }) => {
                if !devices.wait_for_disks(context, deadline)? {
                    return Err(error);
                }
            }
            other => return other,
        }
    }
}

/// The block devices, and the kernel's events about devices. These are opened once something is waited for: a boot that finds all it needs at
/// once asks for none.
#[derive(Debug, Default)]
pub struct Devices {
    is_open: bool,
    probed: Probed,
}

impl Devices {
    /// Returns the block devices, with what they are asked for by ([`Probed::volumes`]).
    pub fn volumes(&mut self, kernel: &mut dyn Machine, details: bool) -> Vec<Volume> {
        self.probed.volumes(kernel, details)
    }

    /// Opens the source of events. Returns true the first time: then everything has to be looked at once more, so that nothing that came
    /// after the first look is missed.
    ///
    /// # Errors
    /// As [`Kernel::listen`].
    fn open(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        if self.is_open {
            return Ok(false);
        }
        context.kernel.listen(Sources::Devices)?;
        self.is_open = true;
        context.modules.coldplug(context.kernel, &[]);
        Ok(true)
    }

    /// Waits until block devices may have changed, loading drivers for what appears meanwhile. Returns false at the deadline.
    ///
    /// # Errors
    /// The kernel tells no events.
    pub fn wait_for_disks(&mut self, context: &mut Context<'_>, deadline: Duration) -> Result<bool> {
        let deaf = |source| Error::Io { action: "listen to", path: "the kernel's uevents".into(), source };
        if self.open(context).map_err(deaf)? {
            return Ok(true);
        }
        let mut changed = false;
        loop {
            // After the first change, take what is there without waiting.
            let until = if changed { Duration::ZERO } else { deadline };
            let events = context.kernel.next_events(Some(until)).map_err(deaf)?;
            if events.is_empty() {
                return Ok(changed);
            }
            changed |= serve(context, events, "block");
        }
    }

    /// Waits until a virtio device may have come, loading drivers for what appears. Returns false at the deadline, and on a kernel that
    /// tells no events: nothing can come then.
    pub fn wait_for_virtio(&mut self, context: &mut Context<'_>, deadline: Duration) -> bool {
        match self.open(context) {
            Ok(true) => return true,
            Ok(false) => {}
            Err(_) => return false,
        }
        loop {
            match context.kernel.next_events(Some(deadline)) {
                Ok(events) if !events.is_empty() => {
                    if serve(context, events, "virtio") {
                        return true;
                    }
                }
                _ => return false,
            }
        }
    }
}

/// Loads the drivers of devices that came. Returns true if one of them was of this subsystem.
fn serve(context: &mut Context<'_>, events: Vec<Event>, subsystem: &str) -> bool {
    let mut is_there = false;
    for event in events {
        let Event::Device(uevent) = event else { continue };
        is_there |= uevent.subsystem == subsystem;
        if let (Some(modalias), "add" | "change") = (uevent.modalias, uevent.action.as_str()) {
            context.modules.serve(context.kernel, &[modalias]);
        }
    }
    is_there
}

/// Mounts a partition, its filesystem's module loaded first.
///
/// # Errors
/// The filesystem's module or the mount itself.
pub fn mount_volume(
    context: &mut Context<'_>,
    volume: &Volume,
    target: &str,
    role: Role,
    read_only: bool,
) -> Result<()> {
    if let Some(content) = volume.kind.as_deref().and_then(container::describe) {
        return Err(Error::NotFilesystem { what: role.into(), device: volume.path(), content });
    }
    // Without a known superblock the default of the contract gives the clearest words from the kernel.
    let filesystem = volume.kind.as_deref().unwrap_or("ext4");
    if let (Role::Overlay, Some(reason)) = (role, upper_objection(filesystem)) {
        return Err(Error::NotWritableLayer { device: volume.path(), filesystem: filesystem.into(), reason });
    }
    let served = context.modules.load_filesystem(context.kernel, filesystem)?;
    load_on_demand(context, volume)?;
    let device = volume.path();
    let mount = Mount { source: &device, target, filesystem, read_only, limits: Limits::Medium, ..Mount::default() };
    let mut outcome = context.kernel.mount(&mount);
    // A journal that is not empty cannot be replayed on a device that is write-protected (kernel, fs/ext4/super.c, ext4_load_journal).
    if read_only
        && outcome.as_ref().is_err_and(|error| error.raw_os_error() == Some(EROFS))
        && let Some(data) = without_replay(filesystem)
        && context.kernel.mount(&Mount { data, ..mount }).is_ok()
    {
        context.notice(&format!(
            "{}, {device}, is write-protected and was not unmounted cleanly: it is read without its journal",
            role.name()
        ));
        outcome = Ok(());
    }
    if outcome.is_err()
        && volume.kind.is_none()
        && let Ok(head) = context.kernel.read(&device, 0, container::HEAD)
        && let Some(Content { words: content, .. }) = container::recognize(&head)
    {
        return Err(Error::NotFilesystem { what: role.into(), device, content });
    }
    outcome
        .map_err(|source| mount_error(context.kernel, role.into(), &mount, source, served, || context.modules.places()))
}

/// Loads the baked-in modules that the kernel would ask modprobe for while it mounts an ext4 filesystem.
///
/// # Errors
/// A module is there and would not load.
pub fn load_on_demand(context: &mut Context<'_>, volume: &Volume) -> Result<()> {
    if !ext4::ON_DEMAND.iter().any(|(_, module)| context.modules.has(module)) {
        return Ok(());
    }
    // What cannot be read the mount will tell.
    let head = context.kernel.read(&volume.path(), 0, ext4::HEAD).unwrap_or_default();
    for module in ext4::demands(&head) {
        context.modules.load_named(context.kernel, module)?;
    }
    Ok(())
}

/// Tells a filesystem the kernel does not know from one it cannot mount.
pub fn mount_error(
    kernel: &mut dyn Machine,
    what: Mounted,
    mount: &Mount<'_>,
    source: std::io::Error,
    served: bool,
    looked: impl FnOnce() -> Vec<String>,
) -> Error {
    if source.raw_os_error() == Some(ENODEV) && !served {
        let kernel = release(kernel);
        return Error::FilesystemUnsupported { filesystem: mount.filesystem.into(), looked: looked(), kernel };
    }
    Error::Mount { what, device: mount.source.into(), filesystem: mount.filesystem.into(), source }
}
