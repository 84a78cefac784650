//! The boot of the appliance: partitions by tag, an image from `img`, the writable layer from `overlay`, one root out of both.
//! Reads from top to bottom as the boot goes; each module answers one question.

pub mod candidates;
pub mod config;
mod counting;
pub mod device;
pub mod image;
pub mod img;
pub mod parameters;
mod toram;
mod trial;
pub mod update;

use std::io::ErrorKind;

use contract::step::Step;

use super::{
    button,
    layers::{self, store::Store},
    root::Root,
};
use crate::{context::Context, error::Result, switch_root};
use config::Config;

/// The end of putting a root together.
#[derive(Debug)]
pub enum Assembled {
    /// The root.
    Root(Root),
    /// None: the boot starts over, with parameters that were found on `boot`.
    Anew,
    /// None: the boot starts over, as a factory reset that somebody with the button wants.
    Reset,
}

/// Puts the root together at [`contract::names::SYSROOT`].
///
/// # Errors
/// The first thing the root cannot do without.
pub fn assemble(context: &mut Context<'_>, config: &Config) -> Result<Assembled> {
    context.begin(Step::Modules);
    load_drivers(context);
    arm_watchdog(context);
    context.begin(Step::Devices);
    let mut search = device::Search::default();
    let found = device::find(context, config, &mut search);
    if parameters::read(context, config, found.as_ref().ok()) {
        return Ok(Assembled::Anew);
    }
    if button::look(context) {
        return Ok(Assembled::Reset);
    }
    let mut found = found?;
    // Not before the parameters are known: it may be waited for.
    device::find_newimg(context, config, &mut search, &mut found)?;
    let mut store = Store::new(found.overlay.as_ref());
    preload_modules(context);
    device::mount_img(context, &found.img)?;
    context.begin(Step::Update);
    update::update(context, config, &found, &mut store);
    counting::count(context, config, &found, &mut store);
    let image = candidates::start(context, config, &found).map_err(|error| error.of_img(&found.img.path()))?;
    layers::assemble(context, &mut store, Some(&found.img))?;
    toram::release(context, &found, &image);
    Ok(Assembled::Root(Root { moved: &switch_root::MOVED }))
}

/// Loads the drivers of the hardware there is.
fn load_drivers(context: &mut Context<'_>) {
    context.open_modules();
    let certain = certain(context);
    context.modules.coldplug(context.kernel, &certain);
}

/// Arms the watchdog, where that is asked for: its driver may have been baked in.
fn arm_watchdog(context: &mut Context<'_>) {
    let Some(seconds) = context.config.watchdog else { return };
    match context.kernel.arm_watchdog(seconds) {
        Ok(taken) if taken == seconds => {}
        Ok(taken) => context.notice(&format!("rd.watchdog={seconds}: the watchdog waits {taken} s")),
        Err(error) if error.kind() == ErrorKind::NotFound => context.notice(&format!(
            "rd.watchdog={seconds}: there is no watchdog to arm (/dev/watchdog0: {error}); bake its driver in"
        )),
        // One that could be opened is armed, for a time that only its driver knows.
        Err(error) => context.notice(&format!("rd.watchdog={seconds}: /dev/watchdog0 refuses it: {error}")),
    }
}

/// Loads the modules that this boot is certain to need, together.
fn preload_modules(context: &mut Context<'_>) {
    let certain = certain(context);
    context.modules.load_together(context.kernel, &certain);
}

/// Returns the modules that the boot mode is certain to need, as far as they are baked in. `loop` stands last: it makes a device node and
/// waits for that.
fn certain(context: &Context<'_>) -> Vec<&'static str> {
    let mut certain = vec!["ext4", "overlay"];
    if !(context.modules.has("squashfs") && context.modules.has("erofs")) {
        certain.extend(["squashfs", "erofs"]);
    }
    certain.push("loop");
    certain
}
