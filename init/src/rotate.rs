//! Looks for an image delivered on `newimg` and has it put in. What a power cut left of an earlier update is finished or removed
//! first. Nothing that goes wrong here ends the boot: the current image boots, and the reason is said and remembered.
//!
//! On a fixed disk a delivered image is moved, and one whose content is bad is deleted once the reason is durable. On a removable medium
//! nothing is changed at all: the same stick serves many machines.

mod install;
pub mod memory;
mod sidecar;
mod vacant;

pub use install::exchange;
pub use sidecar::{SIDECARS, hex, parse_digest, sidecar, signature_of};
pub use vacant::{HEAD as VACANT_HEAD, is_vacant};

use crate::{
    boot::Boot,
    config::Consume,
    device::{Found, mount_volume},
    error::{Error, IoContext, Result, Role},
    image,
    kernel::{Kernel, Kind, exists},
    media,
    names::{self, img, newimg},
    tag::Volume,
    trust,
};
use memory::{Entry, Verdict};

/// Why an update is not put in.
enum Refusal {
    /// The delivery is bad by itself, whoever looks at it.
    Bad(String),
    /// The running kernel cannot use it. Only a copy shows that, so it is remembered.
    Unusable(String),
    /// It cannot be put in as things are: a signature is missing, there is no room. Each boot looks again.
    Refused(String),
    /// It was tried before, and this is what came of it.
    Known(Entry),
    /// A medium failed: it is tried again at the next boot.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// The outcome of an update that is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was put in.
    Installed,
    /// It was in already.
    Already,
}

impl Outcome {
    /// Its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Already => "already installed",
        }
    }
}

/// Looks for an update and puts it in.
pub fn update(boot: &mut Boot<'_>, found: &Found) {
    let name = boot.config.image.clone();
    boot.report.fact("update", "none");
    tidy(boot, found, &name);
    let Some(volume) = &found.newimg else { return };
    if boot.kernel.read_at(&volume.path(), 0, vacant::HEAD).is_ok_and(|head| is_vacant(&head)) {
        return;
    }
    if let Err(error) = mount_newimg(boot, volume) {
        return boot.notice(&format!("newimg is not used: {}", with_cause(&error)));
    }
    let consumes = consumes(boot, found, volume);
    if consumes {
        remove_leftovers(boot, found, &name);
    }
    if let Some(delivered) = names_of(&name).find(|candidate| exists(boot.kernel, &newimg(candidate))) {
        let outcome = install::install(boot, found, delivered, &name, consumes);
        settle(boot, found, delivered, consumes, outcome);
    }
    if let Err(error) = boot.kernel.unmount(names::NEWIMG_DIR) {
        boot.notice(&format!("cannot unmount {}: {error}", names::NEWIMG_DIR));
    }
}

fn mount_newimg(boot: &mut Boot<'_>, volume: &Volume) -> Result<()> {
    boot.make_dir(names::NEWIMG_DIR)?;
    mount_volume(boot, volume, names::NEWIMG_DIR, Role::NewImg, true)
}

/// The image's name and, where it is the default, the one that the script used.
fn names_of(name: &str) -> impl Iterator<Item = &str> {
    [name, names::SCRIPT_IMAGE].into_iter().filter(move |candidate| *candidate == name || name == names::IMAGE)
}

/// True where what was delivered may be moved and deleted (`rd.newimg.consume=`).
fn consumes(boot: &mut Boot<'_>, found: &Found, newimg: &Volume) -> bool {
    match boot.config.newimg_consume {
        Consume::Yes => true,
        Consume::No => false,
        // A machine that runs from a stick as a whole has no other disk.
        Consume::Auto => newimg.disk == found.img.disk || !is_removable(boot.kernel, &newimg.disk),
    }
}

/// True for a disk that says it is removable, or hangs on USB (kernel, Documentation/ABI/stable/sysfs-block).
fn is_removable(kernel: &mut dyn Kernel, disk: &str) -> bool {
    let place = format!("/sys/class/block/{disk}");
    kernel.read(&format!("{place}/removable")).is_ok_and(|text| text.starts_with(b"1"))
        || kernel.read_link(&place).is_ok_and(|link| link.contains("/usb"))
}

/// Removes what a power cut left on `newimg`, and what earlier versions of this program set aside there: it takes the room that a
/// delivery needs.
fn remove_leftovers(boot: &mut Boot<'_>, found: &Found, name: &str) {
    let scratch = newimg(names::SCRATCH);
    let mut outcome = Ok(());
    if exists(boot.kernel, &scratch) {
        outcome = make_writable(boot.kernel, names::NEWIMG_DIR).and_then(|()| media::clear(boot.kernel, &scratch));
    }
    for delivered in names_of(name) {
        let rejected = names::rejected_image(delivered);
        if exists(boot.kernel, &newimg(&rejected)) {
            boot.notice(&format!("{rejected}, refused by an earlier boot, is removed from newimg"));
            let removed = make_writable(boot.kernel, names::NEWIMG_DIR)
                .and_then(|()| finish_rejection(boot.kernel, delivered, &rejected));
            outcome = outcome.and(removed);
        }
    }
    if let Err(error) = outcome {
        boot.notice(&readable(&with_cause(&error), found));
    }
}

/// Says and remembers what came of the update, and removes what is to be removed.
fn settle(
    boot: &mut Boot<'_>,
    found: &Found,
    delivered: &str,
    consumes: bool,
    outcome: Result<(Outcome, Entry), Refusal>,
) {
    match outcome {
        Ok((outcome, entry)) => {
            boot.say(&format!("update {delivered}: {}", outcome.name()));
            boot.report.fact("update", outcome.name());
            finish(boot, found, delivered, consumes, Some(entry));
        }
        Err(Refusal::Known(entry)) if entry.verdict == Verdict::Installed => {
            boot.say(&format!("update {delivered}: it was installed before, and another one after it"));
            boot.report.fact("update", Outcome::Already.name());
        }
        Err(Refusal::Known(entry)) => refuse(boot, delivered, &format!("as before, {}", entry.reason)),
        Err(Refusal::Bad(reason)) => {
            refuse(boot, delivered, &reason);
            let entry = entry_of(boot, delivered, Verdict::Bad, &reason);
            finish(boot, found, delivered, consumes, entry);
            if consumes {
                leave_note(boot, delivered, &reason);
            }
        }
        Err(Refusal::Unusable(reason)) => {
            refuse(boot, delivered, &reason);
            let entry = entry_of(boot, delivered, Verdict::Unusable, &reason);
            remember(boot, found, entry);
        }
        Err(Refusal::Refused(reason)) => {
            refuse(boot, delivered, &reason);
            let entry = entry_of(boot, delivered, Verdict::Refused, &reason);
            remember(boot, found, entry);
        }
        Err(Refusal::Failed(error)) => {
            let reason = readable(&with_cause(&error), found);
            boot.notice(&format!("update {delivered} failed and is tried again at the next boot: {reason}"));
            boot.report.fact("update", "failed");
            boot.report.degrade();
            if consumes {
                leave_note(boot, delivered, &reason);
            }
        }
    }
    // The image partition is only written to while an update is put in.
    let is_writable = boot.kernel.space(names::IMG_DIR).is_ok_and(|space| !space.read_only);
    if is_writable && let Err(error) = boot.kernel.remount(names::IMG_DIR, true) {
        boot.notice(&format!("img stays writable: {error}"));
    }
}

fn refuse(boot: &mut Boot<'_>, delivered: &str, reason: &str) {
    boot.notice(&format!("update {delivered} rejected: {reason}"));
    boot.report.fact("update", "rejected");
    boot.report.degrade();
}

/// Returns what is to be remembered of a delivered image; none where it cannot be read. What is no image, or larger than all of `img`, has no digest
/// and no size: it is told anew from its first bytes, and a file of terabytes, all of them holes, must not be read.
fn entry_of(boot: &mut Boot<'_>, delivered: &str, verdict: Verdict, reason: &str) -> Option<Entry> {
    let kernel = &mut *boot.kernel;
    let most = kernel.space(names::IMG_DIR).ok()?.total;
    let (digest, size) = match media::resolve(kernel, &newimg(delivered)).ok()? {
        media::Resolved::File(path) => match kernel.stat(&path).ok()?.size {
            size if size <= most && image::inspect(kernel, &path).is_ok() => (kernel.digest(&path).ok()?, size),
            _ => Default::default(),
        },
        media::Resolved::Refused(_) => Default::default(),
    };
    Some(Entry { digest, size, verdict, release: boot.kernel.release(), reason: format!("{delivered}: {reason}") })
}

fn remember(boot: &mut Boot<'_>, found: &Found, entry: Option<Entry>) -> bool {
    let Some(entry) = entry else { return false };
    match memory::remember(boot, found, &entry) {
        Ok(()) => true,
        Err(error) => {
            let reason = readable(&with_cause(&error), found);
            boot.notice(&format!("what came of the update cannot be remembered: {reason}"));
            false
        }
    }
}

/// The end of a delivery: it is remembered where it must stay, and removed where it may be. As long as its fate is not durable, it stays.
fn finish(boot: &mut Boot<'_>, found: &Found, delivered: &str, consumes: bool, entry: Option<Entry>) {
    let is_in = entry.as_ref().is_some_and(|entry| entry.verdict == Verdict::Installed);
    // An image that is in says so by itself; that others were in before it, only the memory tells.
    let says_itself = consumes && is_in && memory::read(boot.kernel, names::IMG_DIR).is_empty();
    let is_remembered = says_itself || remember(boot, found, entry);
    if !consumes {
        return;
    }
    if !is_remembered && !is_in {
        return boot.notice(&format!("{delivered} stays on newimg"));
    }
    // Only now: as long as it is not certain to be in, it stays where it is.
    let remove = if is_in { remove_delivered } else { reject };
    let removed = make_writable(boot.kernel, names::NEWIMG_DIR).and_then(|()| remove(boot.kernel, delivered));
    if let Err(error) = removed {
        boot.notice(&format!("it stays on newimg as well: {}", readable(&with_cause(&error), found)));
    }
}

/// An error and what it rests on, in one line.
pub fn with_cause(error: &Error) -> String {
    error.with_cause()
}

/// A text in which files are named by their partition and its device: who reads it later knows nothing of the initramfs' paths.
fn readable(text: &str, found: &Found) -> String {
    let mut out = text.to_string();
    let partitions = [
        (names::IMG_DIR, Role::Img, Some(&found.img)),
        (names::NEWIMG_DIR, Role::NewImg, found.newimg.as_ref()),
        (names::OVERLAY_DIR, Role::Overlay, found.overlay.as_ref()),
    ];
    for (directory, role, volume) in partitions {
        let device = volume.map(Volume::path).unwrap_or_default();
        while let Some((before, after)) = out.split_once(directory) {
            let end = after.find([' ', ':', ',', ')']).unwrap_or(after.len());
            let (name, rest) = after.split_at_checked(end).unwrap_or((after, ""));
            let name = name.trim_start_matches('/');
            let on = if name.is_empty() { "" } else { " on " };
            out = format!("{before}{name}{on}{} ({device}){rest}", role.name());
        }
    }
    out
}

/// The name an image is copied under until it is whole.
pub fn incoming(name: &str) -> String {
    format!("{name}.new")
}

/// True for a regular file.
pub fn is_file(kernel: &mut dyn Kernel, path: &str) -> bool {
    kernel.stat(path).is_ok_and(|stat| stat.kind == Kind::File)
}

/// Finishes or removes what a power cut left of an update.
fn tidy(boot: &mut Boot<'_>, found: &Found, name: &str) {
    let copy = img(&incoming(name));
    let signature = signature_of(&copy);
    let scratch = img(names::SCRATCH);
    let orphan = exists(boot.kernel, &copy);
    if !orphan && !exists(boot.kernel, &signature) && !exists(boot.kernel, &scratch) {
        return;
    }
    boot.say("removing what an update left that did not finish");
    let image = img(name);
    // The signature is there, the image beside it is not: it has become the current one, and its signature follows it. That
    // is how it is on any filesystem where a rename happens whole or not at all; where a key decides, it is asked all the same.
    let vouched = trust::required(boot) && trust::check(boot.kernel, &image, &[signature_of(&image)]).is_ok();
    let follows = !(orphan || vouched) && is_file(boot.kernel, &signature);
    let kernel = &mut *boot.kernel;
    let outcome = make_writable(kernel, names::IMG_DIR).and_then(|()| {
        media::clear(kernel, &scratch)?;
        if follows {
            rename_over(kernel, &signature, &signature_of(&image))?;
            return sync_img(kernel);
        }
        discard(kernel, &copy, &image)
    });
    let outcome = outcome.and(boot.kernel.remount(names::IMG_DIR, true).at("make read-only", names::IMG_DIR));
    if let Err(error) = outcome {
        boot.notice(&readable(&with_cause(&error), found));
    }
}

/// Renames a file over whatever has the name.
pub fn rename_over(kernel: &mut dyn Kernel, from: &str, to: &str) -> Result<()> {
    if kernel.stat(to).is_ok_and(|stat| stat.kind == Kind::Directory) {
        media::clear(kernel, to)?;
    }
    kernel.rename(from, to).at("rename", from)
}

/// Makes a mount writable.
pub fn make_writable(kernel: &mut dyn Kernel, target: &str) -> Result<()> {
    kernel.remount(target, false).at("make writable", target)
}

/// Flushes a file's data, or a directory's entries, to disk.
pub fn sync(kernel: &mut dyn Kernel, path: &str) -> Result<()> {
    kernel.sync(path).at("sync", path)
}

/// Flushes the entries of `img` to disk.
pub fn sync_img(kernel: &mut dyn Kernel) -> Result<()> {
    sync(kernel, names::IMG_DIR)
}

/// Removes an image from `img`, or whatever else has its name. Its signature goes first: one that stands alone means something else. What
/// `kept` stands for stays.
pub fn discard(kernel: &mut dyn Kernel, image: &str, kept: &str) -> Result<()> {
    let signature = signature_of(image);
    if exists(kernel, &signature) {
        media::clear(kernel, &signature)?;
        sync_img(kernel)?;
    }
    if exists(kernel, image) {
        media::remove_image(kernel, image, kept)?;
        sync_img(kernel)?;
    }
    Ok(())
}

/// The last step: what was delivered goes. Its sidecars first: one that stayed alone would be held against the next delivery,
/// an image that stays alone is seen to be in already.
fn remove_delivered(kernel: &mut dyn Kernel, delivered: &str) -> Result<()> {
    remove_sidecars(kernel, delivered)?;
    media::remove_image(kernel, &newimg(delivered), "")?;
    sync(kernel, names::NEWIMG_DIR)
}

/// Removes a bad delivery. As long as its sidecars are what speaks against it, it must not stand alone under its name: it gets another
/// one first, which also tells the next boot what a power cut has left to do.
fn reject(kernel: &mut dyn Kernel, delivered: &str) -> Result<()> {
    let (path, rejected) = (newimg(delivered), names::rejected_image(delivered));
    media::clear(kernel, &newimg(&rejected))?;
    kernel.rename(&path, &newimg(&rejected)).at("rename", &path)?;
    sync(kernel, names::NEWIMG_DIR)?;
    finish_rejection(kernel, delivered, &rejected)
}

/// Removes the sidecars of a delivery that has its rejected name already, then the image. Sidecars of a new delivery stay.
fn finish_rejection(kernel: &mut dyn Kernel, delivered: &str, rejected: &str) -> Result<()> {
    if !exists(kernel, &newimg(delivered)) {
        remove_sidecars(kernel, delivered)?;
    }
    remove_delivered(kernel, rejected)
}

fn remove_sidecars(kernel: &mut dyn Kernel, delivered: &str) -> Result<()> {
    for suffix in SIDECARS {
        media::clear(kernel, &newimg(&format!("{delivered}.{suffix}")))?;
    }
    sync(kernel, names::NEWIMG_DIR)
}

/// Writes beside a delivered image why it is not in. The report and the memory have it as well, so nothing depends on it.
fn leave_note(boot: &mut Boot<'_>, delivered: &str, reason: &str) {
    let kernel = &mut *boot.kernel;
    let name = format!("{delivered}.txt");
    let text = format!("{reason}\n");
    let present = media::read_text(kernel, &newimg(&name), text.len().saturating_add(1));
    if matches!(present, Ok(Some(present)) if present == text) {
        return;
    }
    let _ = make_writable(kernel, names::NEWIMG_DIR)
        .and_then(|()| media::replace(kernel, names::NEWIMG_DIR, &name, text.as_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_become_names_and_devices() {
        let volume = |name: &str| Volume { name: name.into(), ..Volume::default() };
        let found = Found { img: volume("vda2"), overlay: None, newimg: Some(volume("sda1")), boot: None };
        for (text, wanted) in [
            ("cannot read /run/initramfs/newimg/a.img: EIO", "cannot read a.img on newimg (/dev/sda1): EIO"),
            ("cannot sync /run/initramfs/img: EIO", "cannot sync img (/dev/vda2): EIO"),
            ("/run/initramfs/img/a, /run/initramfs/img/b", "a on img (/dev/vda2), b on img (/dev/vda2)"),
            ("/run/initramfs/image stays", "/run/initramfs/image stays"),
        ] {
            assert_eq!(readable(text, &found), wanted);
        }
    }
}
