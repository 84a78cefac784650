//! A root on a disk: its image is mounted read-only, a layer in memory goes over it, and what is put together so is entered. From there on
//! the boot goes on as with a root that was unpacked.

use contract::{
    failure::{Mounted, Role},
    names,
    report::Fact,
    step::Step,
    superblock::Format,
    tag::Tag,
};

use crate::{
    boot::{
        layers::{self, store::Store},
        volumes::{Devices, mount_error, wait_for},
    },
    context::Context,
    error::{IoContext, Result},
    kernel::{Kind, Mount},
    switch_root::{self, MOVED},
};

/// The mounts that move into a root with files in its own `/run`: those of [`MOVED`] but `/run`, which would hide them.
const KEPT_RUN: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Enters the root whose image is on the disk `device`.
///
/// # Errors
/// The disk is missing, or the layers do not become a root.
pub fn enter(context: &mut Context<'_>, device: &str) -> Result<()> {
    context.begin(Step::Devices);
    let disk = wait_for(context, &mut Devices::default(), Role::Img, &Tag::Path(device.into()))?;
    context.begin(Step::Image);
    context.report.fact(Fact::Img, disk.path());
    for directory in [names::IMAGE_DIR, names::OVERLAY_DIR] {
        context.make_dir(directory)?;
    }
    let filesystem = Format::Erofs.name();
    let served = context.modules.load_filesystem(context.kernel, filesystem)?;
    let mount = Mount { source: device, target: names::IMAGE_DIR, filesystem, read_only: true, ..Mount::default() };
    context.kernel.mount(&mount).map_err(|source| {
        mount_error(context.kernel, Mounted::Image, &mount, source, served, || context.modules.places())
    })?;
    // Nothing is kept from boot to boot, so there is no `persistent` between image and layer.
    context.config.layers.persistent = false;
    layers::assemble(context, &mut Store::new(None), None)?;
    // The root holds its layers by itself; programs are not to see more than with a root that was unpacked.
    for directory in [names::OVERLAY_DIR, names::IMAGE_DIR] {
        context.kernel.unmount(directory).at("unmount", directory)?;
        // An empty directory does no harm.
        let _ = context.kernel.remove(directory, Kind::Directory);
    }
    let has_run = context.kernel.list(&[names::SYSROOT, "/run"].concat()).is_ok_and(|names| !names.is_empty());
    switch_root::switch(context.kernel, names::SYSROOT, if has_run { &KEPT_RUN } else { &MOVED })?;
    context.make_dir(names::STATE_DIR)
}
