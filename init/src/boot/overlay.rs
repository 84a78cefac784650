//! The way of the appliance: partitions by tag, an image from `img`, the writable layer from `overlay`, one root out of both.
//! Reads from top to bottom as the boot goes; each room asked here answers one question.

use super::Boot;
use crate::{device, error::Result, image, layers, rotate, step::Step, toram, trial};

/// Puts the root together at [`crate::names::SYSROOT`].
///
/// # Errors
/// The first thing the root cannot do without.
pub fn assemble(boot: &mut Boot<'_>) -> Result<()> {
    boot.begin(Step::Modules);
    load_drivers(boot);
    boot.begin(Step::Devices);
    let found = device::find(boot)?;
    let sure = sure(boot);
    boot.modules.load_together(boot.kernel, &sure);
    device::mount_img(boot, &found.img)?;
    boot.begin(Step::Update);
    rotate::update(boot, &found);
    trial::count(boot, &found);
    image::start(boot, &found)?;
    layers::assemble(boot, found.overlay.as_ref(), Some(&found.img))?;
    toram::release(boot, &found);
    Ok(())
}

/// Loads the drivers of the hardware there is.
fn load_drivers(boot: &mut Boot<'_>) {
    boot.open_modules();
    let sure = sure(boot);
    boot.modules.coldplug(boot.kernel, &sure);
}

/// What the way is sure to need, as far as it is baked in. `loop` stands last: it makes a device node and waits for that.
fn sure(boot: &Boot<'_>) -> Vec<&'static str> {
    let mut sure = vec!["ext4", "overlay"];
    if !(boot.modules.has("squashfs") && boot.modules.has("erofs")) {
        sure.extend(["squashfs", "erofs"]);
    }
    sure.push("loop");
    sure
}
