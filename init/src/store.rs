//! The writable partition: from its mount to an empty `upper` and `work`. What earlier boots wrote is renamed aside, which takes the same
//! time whatever it was, and deleted behind the boot. The partition may be full to the last block and inode, of what this very boot is
//! about to throw away: so what is needed was made by the boot before, and else room is made until it works.

use crate::{
    boot::Boot,
    device::mount_volume,
    error::{Error, IoContext, Result, Role},
    kernel::{Kernel, Kind, exists},
    media,
    names::{self, store},
    tag::Volume,
};

/// Directories whose content nobody needs any more, in the order in which a boot that lacks room may delete it.
pub const DISPOSABLE: [&str; 3] = [names::DISCARDED, names::UPPER, names::WORK];

const ENOSPC: i32 = 28;
const EDQUOT: i32 = 122;

/// Mounts the partition, if it is not mounted yet: an image on trial needs it earlier than the layers do.
///
/// # Errors
/// The mount.
pub fn open(boot: &mut Boot<'_>, volume: &Volume) -> Result<()> {
    if !boot.store_open {
        mount_volume(boot, volume, names::OVERLAY_DIR, Role::Overlay, false)?;
        boot.store_open = true;
    }
    Ok(())
}

/// Unmounts the partition, if it is mounted.
pub fn close(boot: &mut Boot<'_>) {
    if std::mem::take(&mut boot.store_open) {
        // One that stays mounted is hidden by what is mounted over it.
        let _ = boot.kernel.unmount(names::OVERLAY_DIR);
    }
}

/// True for an error that says that a filesystem is full: of blocks, inodes or what a quota allows.
pub fn is_full(error: &Error) -> bool {
    matches!(error.number(), Some(ENOSPC | EDQUOT))
}

/// Takes a step that needs room on the partition. While it is full, the reserve is given up, then the content of `disposable` is deleted,
/// batch by batch, until the step works or nothing is left to delete.
///
/// # Errors
/// The step's last.
pub fn with_room<T>(
    boot: &mut Boot<'_>,
    disposable: &[&str],
    step: &mut dyn FnMut(&mut dyn Kernel) -> Result<T>,
) -> Result<T> {
    let mut outcome = step(boot.kernel);
    let is_short = |outcome: &Result<T>| outcome.as_ref().is_err_and(is_full);
    if !is_short(&outcome) {
        return outcome;
    }
    if boot.kernel.remove(&format!("{}/{}", store(names::SPARE), names::RESERVE)).is_ok() {
        outcome = step(boot.kernel);
    }
    let mut is_said = false;
    for directory in disposable.iter().map(|name| store(name)) {
        // What is not there, or no directory, holds nothing.
        while is_short(&outcome)
            && let Ok(removal) = boot.kernel.remove_below(&directory, media::BATCH)
            && removal.removed > 0
        {
            if !std::mem::replace(&mut is_said, true) {
                boot.notice("overlay is full: what earlier boots wrote is deleted before this one goes on");
            }
            outcome = step(boot.kernel);
        }
    }
    outcome
}

/// Makes `upper` and `work` empty, and `persistent` if it is missing.
///
/// # Errors
/// The kernel's.
pub fn prepare(boot: &mut Boot<'_>) -> Result<()> {
    for name in [names::DISCARDED, names::SPARE] {
        let path = store(name);
        if boot.kernel.stat(&path).is_ok_and(|stat| stat.kind != Kind::Directory) {
            media::clear(boot.kernel, &path)?;
        }
    }
    media::clear(boot.kernel, &store(names::SCRATCH))?;
    if boot.config.overlay_reset {
        reset(boot)?;
    }
    renew(boot, names::UPPER, 0o755, &DISPOSABLE)?;
    renew(boot, names::WORK, 0o700, &[names::DISCARDED, names::WORK])?;
    let persistent = store(names::PERSISTENT);
    if boot.kernel.stat(&persistent).is_ok_and(|stat| stat.kind != Kind::Directory) {
        boot.notice("persistent on overlay is no directory: it is replaced by an empty one");
        boot.report.degrade();
    }
    with_room(boot, &[names::DISCARDED], &mut |kernel| media::make_dir(kernel, &persistent, 0o755))
}

/// Empties one of the directories: by taking the spare one, or by making another.
fn renew(boot: &mut Boot<'_>, name: &str, mode: u32, disposable: &[&str]) -> Result<()> {
    let path = store(name);
    if is_fresh(boot.kernel, name, &path) {
        return Ok(());
    }
    if exists(boot.kernel, &path) {
        with_room(boot, disposable, &mut |kernel| set_aside(kernel, name).map(drop))?;
    }
    let spare = format!("{}/{name}", store(names::SPARE));
    if is_fresh(boot.kernel, name, &spare) && boot.kernel.rename(&spare, &path).is_ok() {
        return Ok(());
    }
    with_room(boot, disposable, &mut |kernel| kernel.make_dir(&path, mode).at("create", &path))
}

/// True for a directory that is as good as new: empty, or with nothing but the empty directory that overlayfs makes in its `work`. That
/// one goes, as overlayfs would have it go, or mount without a word that nothing can be written.
fn is_fresh(kernel: &mut dyn Kernel, name: &str, path: &str) -> bool {
    match kernel.list(path) {
        Ok(names) if name == names::WORK && names == [names::WORKDIR] => {
            kernel.remove_dir(&format!("{path}/{}", names::WORKDIR)).is_ok()
        }
        Ok(names) => names.is_empty(),
        Err(_) => false,
    }
}

/// Renames a directory aside, to be deleted behind the boot; what is no directory is removed at once. Returns the new path.
fn set_aside(kernel: &mut dyn Kernel, name: &str) -> Result<Option<String>> {
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
fn reset(boot: &mut Boot<'_>) -> Result<()> {
    if !exists(boot.kernel, &store(names::PERSISTENT)) {
        return Ok(());
    }
    let mut aside = None;
    with_room(boot, &DISPOSABLE, &mut |kernel| {
        aside = set_aside(kernel, names::PERSISTENT)?;
        Ok(())
    })?;
    let kernel = &mut *boot.kernel;
    // From here on nothing of it comes back, whatever happens while it is deleted.
    kernel.sync(names::OVERLAY_DIR).at("sync", names::OVERLAY_DIR)?;
    let refused = match &aside {
        Some(aside) => media::empty(kernel, aside)?,
        None => 0,
    };
    if refused == 0 {
        boot.notice("factory reset: persistent is emptied");
    } else {
        boot.notice(&format!(
            "factory reset: persistent is emptied, but {refused} names of what was in it could not be deleted and are in {} of overlay",
            names::DISCARDED
        ));
        boot.report.degrade();
    }
    Ok(())
}

/// Has what earlier boots left deleted behind this one, and what the next one needs made.
pub fn sweep(boot: &mut Boot<'_>) {
    let spare = store(names::SPARE);
    let is_complete =
        [names::UPPER, names::WORK, names::RESERVE].iter().all(|name| exists(boot.kernel, &format!("{spare}/{name}")));
    let is_swept = boot.kernel.list(&store(names::DISCARDED)).is_ok_and(|names| names.is_empty())
        || !exists(boot.kernel, &store(names::DISCARDED));
    if is_complete && is_swept {
        return;
    }
    if let Err(error) = boot.kernel.sweep(names::OVERLAY_DIR) {
        boot.notice(&format!("what earlier boots wrote is not deleted: {error}; the next boot tries again"));
    }
}
