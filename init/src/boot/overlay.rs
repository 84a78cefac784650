//! The way of the appliance: partitions by tag, an image from `img`, the writable layer from `overlay`, one root out of both.
//! Reads from top to bottom as the boot goes; each room asked here answers one question.

use super::Boot;
use crate::{config::OverlayStore, device, error::Result, image, layers, rotate, step::Step, trial};

/// Puts the root together at [`crate::names::SYSROOT`].
///
/// # Errors
/// The first thing the root cannot do without.
pub fn assemble(boot: &mut Boot<'_>) -> Result<()> {
    boot.begin(Step::Modules);
    load_drivers(boot);
    boot.begin(Step::Devices);
    let found = device::find(boot)?;
    device::mount_img(boot, &found.img)?;
    boot.begin(Step::Update);
    rotate::update(boot, &found);
    trial::count(boot, &found);
    image::start(boot, &found)?;
    boot.begin(Step::Layers);
    layers::prepare(boot, found.overlay.as_ref())?;
    boot.begin(Step::Overlay);
    layers::mount_root(boot)
}

/// Loads the drivers of the hardware there is; beside them, where there is a processor to spare, what the way is sure to need.
fn load_drivers(boot: &mut Boot<'_>) {
    boot.modules = crate::modules::Modules::open(boot.kernel);
    boot.modules.load_always(boot.kernel);
    let mut ahead = vec!["ext4", "loop", "overlay"];
    if !matches!((boot.modules.has("squashfs"), boot.modules.has("erofs")), (true, true)) {
        ahead.extend(["squashfs", "erofs"]);
    }
    if matches!(boot.config.overlay, OverlayStore::Tmpfs(_)) && boot.config.debug {
        boot.say("the writable layer is a tmpfs");
    }
    boot.modules.coldplug(boot.kernel, &ahead);
}
