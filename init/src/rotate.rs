//! Looks for an image delivered on `newimg` and has it put in. What a power cut left of an earlier update is finished or removed
//! first. Nothing that goes wrong here ends the boot: the current image boots, and the reason is said and left on the medium.

mod install;
mod sidecar;
mod vacant;

pub use install::exchange;
pub use sidecar::{SIDECARS, hex, parse_digest, sidecar, signature_of};
pub use vacant::{HEAD as VACANT_HEAD, is_vacant};

use crate::{
    boot::Boot,
    device::{Found, mount_volume},
    error::{Error, IoContext, Result, Role},
    kernel::{Kernel, exists},
    names::{self, img, newimg},
    tag::Volume,
    trust,
};

/// Why an update is not put in.
enum Refusal {
    /// The delivered image is bad: it is set aside on the medium, with the reason.
    Rejected(String),
    /// Something else went wrong: the update stays where it is and is tried again at the next boot.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Looks for an update and puts it in.
pub fn update(boot: &mut Boot<'_>, found: &Found) {
    let name = boot.config.image.clone();
    boot.report.fact("update", "none");
    tidy(boot, &name);
    let Some(volume) = &found.newimg else { return };
    if boot.kernel.read_at(&volume.path(), 0, vacant::HEAD).is_ok_and(|head| is_vacant(&head)) {
        return;
    }
    if let Err(error) = mount_newimg(boot, volume) {
        return boot.notice(&format!("newimg is not used: {}", with_cause(&error)));
    }
    let delivered = names_of(&name).find(|candidate| exists(boot.kernel, &newimg(candidate)));
    match delivered {
        Some(delivered) => {
            let outcome = install::install(boot, found, delivered, &name);
            settle(boot, delivered, outcome);
        }
        None => finish_set_aside(boot, &name),
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

fn settle(boot: &mut Boot<'_>, delivered: &str, outcome: Result<&'static str, Refusal>) {
    // The image partition is only written to while an update is put in.
    if let Err(error) = boot.kernel.remount(names::IMG_DIR, true) {
        boot.notice(&format!("img stays writable: {error}"));
    }
    match outcome {
        Ok(outcome) => {
            boot.say(&format!("update {delivered}: {outcome}"));
            boot.report.fact("update", outcome);
            // Only now: as long as it is not certain to be in, it stays where it is.
            if let Err(error) = remove_delivered(boot.kernel, delivered) {
                boot.notice(&format!("it stays on newimg as well: {}", with_cause(&error)));
            }
        }
        Err(Refusal::Rejected(reason)) => {
            boot.notice(&format!("update {delivered} rejected: {reason}"));
            boot.report.fact("update", "rejected");
            if let Err(error) = set_aside(boot.kernel, delivered, &reason) {
                boot.notice(&format!("the rejected update stays in place: {}", with_cause(&error)));
            }
        }
        Err(Refusal::Failed(error)) => {
            let reason = with_cause(&error);
            boot.notice(&format!("update {delivered} failed and is tried again at the next boot: {reason}"));
            boot.report.fact("update", "failed");
            // The medium may be what failed; the report has the reason in any case.
            let _ = leave_note(boot.kernel, &newimg(delivered), &reason);
        }
    }
}

/// An error and what it rests on, in one line.
pub fn with_cause(error: &Error) -> String {
    error.with_cause()
}

/// The name an image is copied under until it is whole.
pub fn incoming(name: &str) -> String {
    format!("{name}.new")
}

/// Finishes or removes what a power cut left of an update.
fn tidy(boot: &mut Boot<'_>, name: &str) {
    let copy = img(&incoming(name));
    let signature = signature_of(&copy);
    let orphan = exists(boot.kernel, &copy);
    if !orphan && !exists(boot.kernel, &signature) {
        return;
    }
    boot.say(&format!("removing {}, left by an update that did not finish", incoming(name)));
    let image = img(name);
    // The signature is there, the image beside it is not: it has become the current one, and its signature follows it. That
    // is how it is on any filesystem where a rename happens whole or not at all; where a key decides, it is asked all the same.
    let vouched = trust::required(boot) && trust::check(boot.kernel, &image, &[signature_of(&image)]).is_ok();
    let follows = !(orphan || vouched);
    let kernel = &mut *boot.kernel;
    let outcome = make_writable(kernel, names::IMG_DIR).and_then(|()| {
        if follows {
            kernel.rename(&signature, &signature_of(&image)).at("rename", &signature)?;
            return sync_img(kernel);
        }
        discard(kernel, &copy)
    });
    let outcome = outcome.and(boot.kernel.remount(names::IMG_DIR, true).at("make read-only", names::IMG_DIR));
    if let Err(error) = outcome {
        boot.notice(&with_cause(&error));
    }
}

/// Makes a mount writable.
pub fn make_writable(kernel: &mut dyn Kernel, target: &str) -> Result<()> {
    kernel.remount(target, false).at("make writable", target)
}

/// Makes what was written to a file, or done to the names in a folder, last.
pub fn sync(kernel: &mut dyn Kernel, path: &str) -> Result<()> {
    kernel.sync(path).at("sync", path)
}

/// Makes everything that was done to names on `img` last.
pub fn sync_img(kernel: &mut dyn Kernel) -> Result<()> {
    sync(kernel, names::IMG_DIR)
}

/// Removes an image from `img`. Its signature goes first: one that stands alone means something else.
pub fn discard(kernel: &mut dyn Kernel, image: &str) -> Result<()> {
    for path in [signature_of(image), image.to_string()] {
        if exists(kernel, &path) {
            kernel.remove(&path).at("remove", &path)?;
            sync_img(kernel)?;
        }
    }
    Ok(())
}

/// Removes a file that may be there.
pub fn remove_if_there(kernel: &mut dyn Kernel, path: &str) -> Result<()> {
    match kernel.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { action: "remove", path: path.into(), source: error })
        }
        _ => Ok(()),
    }
}

/// The last step: what was delivered goes. Its sidecars first: one that stayed alone would be held against the next delivery,
/// an image that stays alone is seen to be in already.
fn remove_delivered(kernel: &mut dyn Kernel, delivered: &str) -> Result<()> {
    make_writable(kernel, names::NEWIMG_DIR)?;
    let path = newimg(delivered);
    for suffix in SIDECARS {
        remove_if_there(kernel, &format!("{path}.{suffix}"))?;
    }
    sync(kernel, names::NEWIMG_DIR)?;
    kernel.remove(&path).at("remove", &path)?;
    sync(kernel, names::NEWIMG_DIR)
}

/// Writes the reason beside an image.
pub fn leave_note(kernel: &mut dyn Kernel, image: &str, reason: &str) -> Result<()> {
    let folder = if image.starts_with(names::NEWIMG_DIR) { names::NEWIMG_DIR } else { names::IMG_DIR };
    make_writable(kernel, folder)?;
    let note = format!("{image}.txt");
    kernel.write(&note, format!("{reason}\n").as_bytes()).at("write", &note)?;
    sync(kernel, &note)
}

/// Renames a rejected image, so that it is not looked at again, and writes the reason beside it.
fn set_aside(kernel: &mut dyn Kernel, delivered: &str, reason: &str) -> Result<()> {
    let rejected = newimg(&names::rejected_image(delivered));
    leave_note(kernel, &rejected, reason)?;
    kernel.rename(&newimg(delivered), &rejected).at("rename", delivered)?;
    sync(kernel, names::NEWIMG_DIR)?;
    set_sidecars_aside(kernel, delivered)
}

/// A sidecar that stayed would be held against the next delivery. It follows the image: one that went first would leave an image
/// that nothing speaks against.
fn set_sidecars_aside(kernel: &mut dyn Kernel, delivered: &str) -> Result<()> {
    let rejected = newimg(&names::rejected_image(delivered));
    for suffix in ["sha256", "minisig"] {
        let beside = format!("{}.{suffix}", newimg(delivered));
        if exists(kernel, &beside) {
            kernel.rename(&beside, &format!("{rejected}.{suffix}")).at("rename", &beside)?;
        }
    }
    sync(kernel, names::NEWIMG_DIR)
}

/// No image was delivered. One that was just being set aside may have left its sidecars behind.
fn finish_set_aside(boot: &mut Boot<'_>, name: &str) {
    for delivered in names_of(name) {
        let left = SIDECARS.into_iter().any(|suffix| exists(boot.kernel, &format!("{}.{suffix}", newimg(delivered))));
        if left && exists(boot.kernel, &newimg(&names::rejected_image(delivered))) {
            let outcome = make_writable(boot.kernel, names::NEWIMG_DIR);
            if let Err(error) = outcome.and_then(|()| set_sidecars_aside(boot.kernel, delivered)) {
                boot.notice(&with_cause(&error));
            }
        }
    }
}
