//! Looks for an image delivered on `newimg` and has it installed. Remains of an earlier update that a power cut interrupted are finished or
//! removed first. Nothing that goes wrong here ends the boot: the current image boots, and the reason is reported and remembered.
//!
//! On a fixed disk a delivered image is moved, and one whose content is bad is deleted once the reason is durable. On a removable medium
//! nothing is changed at all: the same stick serves many machines.

mod delivered;
mod install;
pub mod memory;
mod outcome;

use std::io;

use contract::{
    failure::Role,
    names::{self, img, newimg},
    report::Fact,
    superblock::ext4,
    tag::Volume,
};

use crate::{
    boot::{layers::store::Store, volumes::mount_volume},
    context::Context,
    error::{IoContext, Result},
    kernel::{Machine, exists, read_file, release},
    media::{self, make_writable, sync},
    progress,
    sidecar::{SIDECARS, signature_of},
    trust,
};

use super::{
    config::{Config, Consume},
    device::Found,
    image,
    img::{discard, incoming, is_file, names_of, rename_over, sync_img},
};
use memory::{Entry, Verdict};
use outcome::{Outcome, Refusal, Update};

/// Looks for an update and installs it.
pub fn update(context: &mut Context<'_>, config: &Config, found: &Found, store: &mut Store<'_>) {
    let name = &config.image;
    context.report.fact(Fact::Update, "none");
    recover_interrupted_update(context, found, name);
    let Some(volume) = &found.newimg else { return };
    if context.kernel.read(&volume.path(), 0, ext4::HEAD).is_ok_and(|head| ext4::is_empty(&head)) {
        return;
    }
    if let Err(error) = mount_newimg(context, volume) {
        return context.notice(&format!("newimg is not used: {}", error.with_cause()));
    }
    let consumes = consumes(context, config.newimg_consume, found, volume);
    if consumes {
        remove_leftovers(context, found, name);
    }
    if let Some(delivered) = find_delivery(context, found, name) {
        let update = Update { config, found, delivered, consumes };
        let outcome = install::install(context, &update, store);
        finish_update(context, &update, store, outcome);
    }
    if let Err(error) = context.kernel.unmount(names::NEWIMG_DIR) {
        context.notice(&format!("cannot unmount {}: {error}", names::NEWIMG_DIR));
    }
}

/// Returns the name of the image that was delivered, if there is one.
fn find_delivery<'n>(context: &mut Context<'_>, found: &Found, name: &'n str) -> Option<&'n str> {
    for candidate in names_of(name) {
        match context.kernel.stat(&newimg(candidate)) {
            Ok(_) => return Some(candidate),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let line = format!("newimg is not used: cannot read {}: {error}", newimg(candidate));
                context.notice(&found.readable(&line));
                context.report.degrade();
                break;
            }
        }
    }
    None
}

fn mount_newimg(context: &mut Context<'_>, volume: &Volume) -> Result<()> {
    context.make_dir(names::NEWIMG_DIR)?;
    mount_volume(context, volume, names::NEWIMG_DIR, Role::NewImg, true)
}

/// Returns true where a delivery may be moved and deleted (`rd.newimg.consume=`).
fn consumes(context: &mut Context<'_>, consume: Consume, found: &Found, newimg: &Volume) -> bool {
    match consume {
        Consume::Yes => true,
        Consume::No => false,
        // A machine that runs from a stick as a whole has no other disk.
        Consume::Auto => newimg.disk == found.img.disk || !is_removable(context.kernel, &newimg.disk),
    }
}

/// Returns true for a disk that says it is removable, or hangs on USB (kernel, Documentation/ABI/stable/sysfs-block).
pub(super) fn is_removable(kernel: &mut dyn Machine, disk: &str) -> bool {
    let place = format!("/sys/class/block/{disk}");
    read_file(kernel, &format!("{place}/removable")).is_ok_and(|text| text.starts_with(b"1"))
        || kernel.read_link(&place).is_ok_and(|link| link.contains("/usb"))
}

/// Removes what a power cut left on `newimg`, and what earlier versions of this program set aside there: it takes the room that a
/// delivery needs.
fn remove_leftovers(context: &mut Context<'_>, found: &Found, name: &str) {
    let scratch = newimg(names::SCRATCH);
    let mut outcome = Ok(());
    if exists(context.kernel, &scratch) {
        outcome =
            make_writable(context.kernel, names::NEWIMG_DIR).and_then(|()| media::clear(context.kernel, &scratch));
    }
    for delivered in names_of(name) {
        let rejected = names::rejected_image(delivered);
        if exists(context.kernel, &newimg(&rejected)) {
            context.notice(&format!("{rejected}, refused by an earlier boot, is removed from newimg"));
            let removed = make_writable(context.kernel, names::NEWIMG_DIR)
                .and_then(|()| finish_rejection(context.kernel, delivered, &rejected));
            outcome = outcome.and(removed);
        }
    }
    if let Err(error) = outcome {
        context.notice(&found.readable(&error.with_cause()));
    }
}

/// Reports and remembers the outcome of the update, and removes what is to be removed.
fn finish_update(
    context: &mut Context<'_>,
    update: &Update<'_>,
    store: &mut Store<'_>,
    outcome: Result<(Outcome, Entry), Refusal>,
) {
    let delivered = update.delivered;
    match outcome {
        Ok((outcome, entry)) => {
            context.say(&format!("update {delivered}: {}", outcome.name()));
            context.report.fact(Fact::Update, outcome.name());
            finish(context, update, store, Some(entry));
        }
        Err(Refusal::Known(entry)) if entry.verdict == Verdict::Installed => {
            context.say(&format!("update {delivered}: it was installed before, and another one after it"));
            context.report.fact(Fact::Update, Outcome::Already.name());
        }
        Err(Refusal::Known(entry)) => refuse(context, delivered, &format!("as before, {}", entry.reason)),
        Err(Refusal::Bad(reason)) => {
            refuse(context, delivered, &reason);
            let entry = entry_of(context, delivered, Verdict::Bad, &reason);
            finish(context, update, store, entry);
            if update.consumes {
                leave_note(context, delivered, &reason);
            }
        }
        Err(Refusal::Unusable(reason)) => {
            refuse(context, delivered, &reason);
            let entry = entry_of(context, delivered, Verdict::Unusable, &reason);
            remember(context, update.found, store, entry);
        }
        Err(Refusal::Refused(reason)) => {
            refuse(context, delivered, &reason);
            let entry = entry_of(context, delivered, Verdict::Refused, &reason);
            remember(context, update.found, store, entry);
        }
        Err(Refusal::Unsafe(reason)) => {
            refuse(context, delivered, &reason);
            if update.consumes {
                leave_note(context, delivered, &reason);
            }
        }
        Err(Refusal::Failed(error)) => {
            let reason = update.found.readable(&error.with_cause());
            context.notice(&format!("update {delivered} failed: {reason}; it is tried again at the next boot"));
            context.report.fact(Fact::Update, "failed");
            context.report.degrade();
            if update.consumes {
                leave_note(context, delivered, &reason);
            }
        }
    }
    // The image partition is only written to while an update is put in.
    let is_writable = context.kernel.space(names::IMG_DIR).is_ok_and(|space| !space.read_only);
    if is_writable && let Err(error) = media::remount(context.kernel, names::IMG_DIR, true) {
        context.notice(&format!("img stays writable: {error}"));
    }
}

fn refuse(context: &mut Context<'_>, delivered: &str, reason: &str) {
    context.notice(&format!("update {delivered} rejected: {reason}"));
    context.report.fact(Fact::Update, "rejected");
    context.report.degrade();
}

/// Returns what is to be remembered of a delivered image; none where it cannot be read. What is no image, or larger than all of `img`, has
/// no digest and no size: it is told again from its first bytes, and a file of terabytes, all of them holes, must not be read.
fn entry_of(context: &mut Context<'_>, delivered: &str, verdict: Verdict, reason: &str) -> Option<Entry> {
    let kernel = &mut *context.kernel;
    let most = kernel.space(names::IMG_DIR).ok()?.total;
    let (digest, size) = match media::resolve(kernel, &newimg(delivered)).ok()? {
        media::Resolved::File(path) => match kernel.stat(&path).ok()?.size {
            size if size <= most && image::inspect(kernel, &path).is_ok() => {
                (progress::digest(kernel, &path).ok()?, size)
            }
            _ => Default::default(),
        },
        media::Resolved::Refused(_) => Default::default(),
    };
    Some(Entry { digest, size, verdict, release: release(context.kernel), reason: format!("{delivered}: {reason}") })
}

fn remember(context: &mut Context<'_>, found: &Found, store: &mut Store<'_>, entry: Option<Entry>) -> bool {
    let Some(entry) = entry else { return false };
    match memory::remember(context, found, store, &entry) {
        Ok(()) => true,
        Err(error) => {
            let reason = found.readable(&error.with_cause());
            context.notice(&format!("the outcome of the update cannot be recorded: {reason}"));
            false
        }
    }
}

/// Ends a delivery: it is remembered where it must stay, and removed where it may be. As long as its fate is not durable, it stays.
fn finish(context: &mut Context<'_>, update: &Update<'_>, store: &mut Store<'_>, entry: Option<Entry>) {
    let Update { found, delivered, consumes, .. } = *update;
    let is_in = entry.as_ref().is_some_and(|entry| entry.verdict == Verdict::Installed);
    // An image that is in says so by itself; that others were in before it, only the memory tells.
    let says_itself = consumes && is_in && memory::read(context.kernel, names::IMG_DIR).is_empty();
    let is_remembered = says_itself || remember(context, found, store, entry);
    if !consumes {
        return;
    }
    if !is_remembered && !is_in {
        return context.notice(&format!("{delivered} stays on newimg"));
    }
    // Only now: as long as it is not certain to be in, it stays where it is.
    let remove = if is_in { remove_delivered } else { reject };
    let removed = make_writable(context.kernel, names::NEWIMG_DIR).and_then(|()| remove(context.kernel, delivered));
    if let Err(error) = removed {
        context.notice(&format!("it stays on newimg as well: {}", found.readable(&error.with_cause())));
    }
}

/// Finishes or removes what a power cut left of an update.
fn recover_interrupted_update(context: &mut Context<'_>, found: &Found, name: &str) {
    let copy = img(&incoming(name));
    let signature = signature_of(&copy);
    let scratch = img(names::SCRATCH);
    let orphan = exists(context.kernel, &copy);
    if !orphan && !exists(context.kernel, &signature) && !exists(context.kernel, &scratch) {
        return;
    }
    context.say("removing the remains of an unfinished update");
    let image = img(name);
    // The signature is there, the image beside it is not: it has become the current one, and its signature follows it. That
    // is how it is on any filesystem where a rename happens whole or not at all; where a key decides, it is asked all the same.
    let verified =
        trust::required(context.abilities) && trust::check(context.kernel, &image, &[signature_of(&image)]).is_ok();
    let follows = !(orphan || verified) && is_file(context.kernel, &signature);
    let kernel = &mut *context.kernel;
    let outcome = make_writable(kernel, names::IMG_DIR).and_then(|()| {
        media::clear(kernel, &scratch)?;
        if follows {
            rename_over(kernel, &signature, &signature_of(&image))?;
            return sync_img(kernel);
        }
        discard(kernel, &copy, &image)
    });
    let outcome = outcome.and(media::make_read_only(context.kernel, names::IMG_DIR));
    if let Err(error) = outcome {
        context.notice(&found.readable(&error.with_cause()));
    }
}

/// Removes what was delivered, the last step. Its sidecars go first: one that stayed alone would be held against the next delivery,
/// an image that stays alone is seen to be in already.
fn remove_delivered(kernel: &mut dyn Machine, delivered: &str) -> Result<()> {
    remove_sidecars(kernel, delivered)?;
    media::remove_image(kernel, &newimg(delivered), "")?;
    sync(kernel, names::NEWIMG_DIR)
}

/// Removes a bad delivery. As long as its sidecars are what speaks against it, it must not stand alone under its name: it gets another
/// one first, which also tells the next boot what a power cut has left to do.
fn reject(kernel: &mut dyn Machine, delivered: &str) -> Result<()> {
    let (path, rejected) = (newimg(delivered), names::rejected_image(delivered));
    media::clear(kernel, &newimg(&rejected))?;
    kernel.rename(&path, &newimg(&rejected)).at("rename", &path)?;
    sync(kernel, names::NEWIMG_DIR)?;
    finish_rejection(kernel, delivered, &rejected)
}

/// Removes the sidecars of a delivery that has its rejected name already, then the image. Sidecars of a new delivery stay.
fn finish_rejection(kernel: &mut dyn Machine, delivered: &str, rejected: &str) -> Result<()> {
    if !exists(kernel, &newimg(delivered)) {
        remove_sidecars(kernel, delivered)?;
    }
    remove_delivered(kernel, rejected)
}

fn remove_sidecars(kernel: &mut dyn Machine, delivered: &str) -> Result<()> {
    for suffix in SIDECARS {
        media::clear(kernel, &newimg(&format!("{delivered}.{suffix}")))?;
    }
    sync(kernel, names::NEWIMG_DIR)
}

/// Writes beside a delivered image why it is not in. The report and the memory have it as well, so nothing depends on it.
fn leave_note(context: &mut Context<'_>, delivered: &str, reason: &str) {
    let kernel = &mut *context.kernel;
    let name = format!("{delivered}.txt");
    let text = format!("{reason}\n");
    let present = media::read_text(kernel, &newimg(&name), text.len().saturating_add(1));
    if matches!(present, Ok(Some(present)) if present == text) {
        return;
    }
    let _ = make_writable(kernel, names::NEWIMG_DIR)
        .and_then(|()| media::replace(kernel, names::NEWIMG_DIR, &name, text.as_bytes()));
}
