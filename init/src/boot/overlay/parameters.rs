//! Parameters that somebody wrote into a file on `boot`, where the boot loader's line cannot be edited. The file is found by reading the
//! device, as the black box finds its own: nothing is mounted. A boot that finds none reads the boot sector and the root directory.

use contract::{
    fat::{self, Name, Place},
    names,
    parameters::{self, DONE, FileWords},
    tag::{Choice, choose},
};

use super::{config::Config, device::Found, update::is_removable};
use crate::{
    boot::volumes::Devices,
    config::HAS_PARAMETERS,
    context::Context,
    given::Given,
    kernel::{Level, Machine},
};

/// The kernel writes whole pages: a write takes along what surrounds it.
const PAGE: u64 = 4096;

/// Reads the parameters on `boot`, once in a boot. Returns true where there are some: the boot starts over with them. `found` are the
/// partitions, none where one is missing: what the file says may name it otherwise. Nothing is waited for.
pub fn read(context: &mut Context<'_>, config: &Config, found: Option<&Found>) -> bool {
    if !HAS_PARAMETERS || !context.config.parameters || !context.given.words.is_empty() {
        return false;
    }
    let boot = match found {
        Some(found) => found.boot.clone(),
        None => match choose(&Devices::default().volumes(context.kernel, true), &config.boot, None) {
            Choice::One(volume) => Some(volume.clone()),
            _ => None,
        },
    };
    let Some(boot) = boot.filter(|volume| volume.kind.as_deref() == Some("vfat")) else { return false };
    // A stick that somebody plugs in gives nobody parameters.
    let is_own = found.is_some_and(|found| found.img.disk == boot.disk);
    if !is_own && is_removable(context.kernel, &boot.disk) {
        return false;
    }
    let device = boot.path();
    let name = Name::Long(names::PARAMETERS_FILE);
    let kernel = &mut *context.kernel;
    let Some(place) = fat::look_up(&mut |at, most| kernel.read(&device, at, most).ok(), name, parameters::MOST) else {
        return false;
    };
    let source = [names::PARAMETERS_FILE, " on ", &device].concat();
    match obey(kernel, &device, &place) {
        Ok(Some(FileWords { words, once })) => {
            kernel.log(Level::Info, &["the boot starts over with the parameters in ", &source].concat());
            context.given = Given { words, source, is_once: once.is_some() };
            true
        }
        Ok(None) => false,
        Err(reason) => {
            context.notice(&[&source, " is ignored: it ", reason].concat());
            false
        }
    }
}

/// Returns the parameters in the file. Those for one boot are marked done first: a boot that failed would else begin with them again and
/// again.
fn obey(kernel: &mut dyn Machine, device: &str, place: &Place) -> Result<Option<FileWords>, &'static str> {
    const UNREADABLE: &str = "cannot be read";
    if place.size > parameters::MOST {
        return Err("has more than 4096 bytes");
    }
    let start = place.start.ok_or("is empty or in several pieces: copy it there again")?;
    let size = usize::try_from(place.size).map_err(|_| UNREADABLE)?;
    let bytes = kernel.read(device, start, size).map_err(|_| UNREADABLE)?;
    let found = parameters::read_file(&bytes)?;
    if let Some(once) = found.as_ref().and_then(|found| found.once) {
        let at = start.saturating_add(u64::try_from(once).map_err(|_| UNREADABLE)?);
        mark_done(kernel, device, place, at)?;
    }
    Ok(found)
}

/// Overwrites the first word on the device. Neither the tables of the filesystem nor its root directory are written, nor is what surrounds
/// them. An error where the word did not change: a worn SD card takes a write and forgets it.
fn mark_done(kernel: &mut dyn Machine, device: &str, place: &Place, at: u64) -> Result<(), &'static str> {
    const FAILED: &str = "is for one boot and cannot be marked done";
    let first = at.saturating_sub(at % PAGE);
    let last = at.saturating_add(u64::try_from(DONE.len()).unwrap_or(PAGE));
    let end = last.checked_next_multiple_of(PAGE).ok_or(FAILED)?;
    if !place.is_apart(&(first..end)) {
        return Err(
            "is for one boot and lies too near its filesystem's tables to be marked done: copy a larger file there first",
        );
    }
    kernel.write_at(device, at, DONE.as_bytes()).map_err(|_| FAILED)?;
    kernel.sync(device).map_err(|_| FAILED)?;
    match kernel.read(device, at, DONE.len()) {
        Ok(bytes) if bytes == DONE.as_bytes() => Ok(()),
        _ => Err(FAILED),
    }
}
