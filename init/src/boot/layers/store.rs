//! The writable partition: from its mount to an empty `upper` and `work`. What earlier boots wrote is renamed aside, which takes the same
//! time whatever it was, and deleted behind the boot. The partition may be full to the last block and inode, of what this very boot is
//! about to throw away: so what is needed was made by the boot before, and else room is made until it works.

use contract::{
    errno::{EDQUOT, ENOSPC},
    failure::Role,
    names::{self, store},
    tag::Volume,
};

use crate::{
    boot::volumes::mount_volume,
    context::Context,
    error::{Error, IoContext, Result},
    kernel::{Kind, Machine, exists},
    media,
    progress::Meter,
};

/// Directories whose content nobody needs any more, in the order in which a boot that lacks room may delete it.
pub const DISPOSABLE: [&str; 3] = [names::DISCARDED, names::UPPER, names::WORK];

/// The writable layer's partition, if it is not in memory: mounted when the first step needs it. An image on trial needs it earlier than
/// the layers do.
#[derive(Debug)]
pub struct Store<'f> {
    volume: Option<&'f Volume>,
    is_open: bool,
}

impl<'f> Store<'f> {
    /// Returns the store on a partition, or one in memory.
    pub fn new(volume: Option<&'f Volume>) -> Self {
        Self { volume, is_open: false }
    }

    /// Returns the partition; none for a store in memory.
    pub fn volume(&self) -> Option<&'f Volume> {
        self.volume
    }

    /// Mounts the partition, if it is not mounted yet. Returns false for a store in memory.
    ///
    /// # Errors
    /// The mount.
    pub fn open(&mut self, context: &mut Context<'_>) -> Result<bool> {
        let Some(volume) = self.volume else { return Ok(false) };
        if !self.is_open {
            mount_volume(context, volume, names::OVERLAY_DIR, Role::Overlay, false)?;
            self.is_open = true;
            context.blackbox.is_open = true;
        }
        Ok(true)
    }

    /// Unmounts the partition, if it is mounted.
    pub fn close(&mut self, context: &mut Context<'_>) {
        if std::mem::take(&mut self.is_open) {
            context.blackbox.is_open = false;
            // One that stays mounted is hidden by what is mounted over it.
            let _ = context.kernel.unmount(names::OVERLAY_DIR);
        }
    }
}

/// Returns true for an error that says that a filesystem is full: of blocks, inodes or what a quota allows.
pub fn is_full(error: &Error) -> bool {
    matches!(error.number(), Some(ENOSPC | EDQUOT))
}

/// Takes a step that needs room on the partition. While it is full, the reserve is given up, then the content of `disposable` is deleted,
/// batch by batch, until the step works or nothing is left to delete.
///
/// # Errors
/// The step's last.
pub fn with_room<T>(
    context: &mut Context<'_>,
    disposable: &[&str],
    step: &mut dyn FnMut(&mut dyn Machine) -> Result<T>,
) -> Result<T> {
    let mut outcome = step(context.kernel);
    let is_short = |outcome: &Result<T>| outcome.as_ref().is_err_and(is_full);
    if !is_short(&outcome) {
        return outcome;
    }
    if context.kernel.remove(&format!("{}/{}", store(names::SPARE), names::RESERVE), Kind::File).is_ok() {
        outcome = step(context.kernel);
    }
    let mut is_said = false;
    let mut meter = Meter::new("deleting", None);
    for directory in disposable.iter().map(|name| store(name)) {
        // What is not there, or no directory, holds nothing.
        while is_short(&outcome)
            && let Ok(removal) =
                context.kernel.remove_below(&directory, media::BATCH, &mut |step, now| meter.count(step, now))
            && removal.removed > 0
        {
            if !std::mem::replace(&mut is_said, true) {
                context.notice("overlay is full: what earlier boots wrote is deleted before this one goes on");
            }
            outcome = step(context.kernel);
        }
    }
    outcome
}

/// Makes `upper` and `work` empty, and `persistent` if it is missing.
///
/// # Errors
/// The kernel's.
pub fn prepare(context: &mut Context<'_>) -> Result<()> {
    for name in [names::DISCARDED, names::SPARE] {
        let path = store(name);
        if context.kernel.stat(&path).is_ok_and(|stat| stat.kind != Kind::Directory) {
            media::clear(context.kernel, &path)?;
        }
    }
    media::clear(context.kernel, &store(names::SCRATCH))?;
    let request = store(names::RESET_REQUEST);
    let is_requested = context.kernel.stat(&request).is_ok_and(|stat| stat.kind == Kind::File);
    if context.config.layers.reset || is_requested {
        reset(context)?;
    }
    if is_requested {
        // Until it is gone each boot resets again, so a power cut loses nothing of the request.
        context.kernel.remove(&request, Kind::File).at("remove", &request)?;
        context.notice("the running system asked for a factory reset");
    }
    renew(context, names::UPPER, 0o755, &DISPOSABLE)?;
    renew(context, names::WORK, 0o700, &[names::DISCARDED, names::WORK])?;
    let persistent = store(names::PERSISTENT);
    if context.kernel.stat(&persistent).is_ok_and(|stat| stat.kind != Kind::Directory) {
        context.notice("persistent on overlay is not a directory: it is replaced by an empty one");
        context.report.degrade();
    }
    with_room(context, &[names::DISCARDED], &mut |kernel| media::make_dir(kernel, &persistent, 0o755))
}

/// Empties one of the directories: by taking the spare one, or by making another.
fn renew(context: &mut Context<'_>, name: &str, mode: u32, disposable: &[&str]) -> Result<()> {
    let path = store(name);
    if is_fresh(context.kernel, name, &path) {
        return Ok(());
    }
    if exists(context.kernel, &path) {
        with_room(context, disposable, &mut |kernel| set_aside(kernel, name).map(drop))?;
    }
    let spare = format!("{}/{name}", store(names::SPARE));
    if is_fresh(context.kernel, name, &spare) && context.kernel.rename(&spare, &path).is_ok() {
        return Ok(());
    }
    with_room(context, disposable, &mut |kernel| kernel.make_dir(&path, mode).at("create", &path))
}

/// Returns true for a directory that is as good as new: empty, or with nothing but the empty directory that overlayfs makes in its `work`. That
/// one goes, as overlayfs would have it go, or mount without a word that nothing can be written.
fn is_fresh(kernel: &mut dyn Machine, name: &str, path: &str) -> bool {
    match kernel.list(path) {
        Ok(names) if name == names::WORK && names == [names::WORKDIR] => {
            kernel.remove(&format!("{path}/{}", names::WORKDIR), Kind::Directory).is_ok()
        }
        Ok(names) => names.is_empty(),
        Err(_) => false,
    }
}

/// Renames a directory aside, to be deleted behind the boot; what is not a directory is removed at once. Returns the new path.
fn set_aside(kernel: &mut dyn Machine, name: &str) -> Result<Option<String>> {
    // As many boots in a row may have been cut before anything was deleted.
    const MOST: u32 = 1000;
    let path = store(name);
    if kernel.stat(&path).at("read", &path)?.kind != Kind::Directory {
        media::clear(kernel, &path)?;
        return Ok(None);
    }
    let discarded = store(names::DISCARDED);
    media::make_dir(kernel, &discarded, 0o755)?;
    let mut aside = String::new();
    for number in 0..MOST {
        aside = format!("{discarded}/{name}.{number}");
        if !exists(kernel, &aside) {
            break;
        }
    }
    kernel.rename(&path, &aside).at("rename", &path)?;
    Ok(Some(aside))
}

/// Empties `persistent` before the boot goes on: who asks for that wants to know that it is done.
fn reset(context: &mut Context<'_>) -> Result<()> {
    if !exists(context.kernel, &store(names::PERSISTENT)) {
        return Ok(());
    }
    let mut aside = None;
    with_room(context, &DISPOSABLE, &mut |kernel| {
        aside = set_aside(kernel, names::PERSISTENT)?;
        Ok(())
    })?;
    let kernel = &mut *context.kernel;
    // From here on nothing of it comes back, whatever happens while it is deleted.
    kernel.sync(names::OVERLAY_DIR).at("sync", names::OVERLAY_DIR)?;
    let refused = match &aside {
        Some(aside) => media::empty(kernel, aside)?,
        None => 0,
    };
    if refused == 0 {
        context.notice("factory reset: persistent is emptied");
    } else {
        context.notice(&format!(
            "factory reset: persistent is emptied, but {refused} of its names could not be deleted and are in {} of overlay",
            names::DISCARDED
        ));
        context.report.degrade();
    }
    Ok(())
}

/// Has what earlier boots left deleted behind this one, and what the next one needs made.
pub fn sweep(context: &mut Context<'_>) {
    let spare = store(names::SPARE);
    let is_complete = [names::UPPER, names::WORK, names::RESERVE]
        .iter()
        .all(|name| exists(context.kernel, &format!("{spare}/{name}")));
    let is_swept = context.kernel.list(&store(names::DISCARDED)).is_ok_and(|names| names.is_empty())
        || !exists(context.kernel, &store(names::DISCARDED));
    if is_complete && is_swept {
        return;
    }
    if let Err(error) = context.kernel.sweep(names::OVERLAY_DIR) {
        context.notice(&format!("what earlier boots wrote is not deleted: {error}; the next boot tries again"));
    }
}
