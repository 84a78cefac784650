//! Puts a delivered image in: from `newimg` into `img`, in an order in which the power may be cut anywhere and the image that
//! boots never stops existing. Nothing that goes wrong here ends the boot: the current image boots and the reason is said.

use crate::{
    boot::Boot,
    device::{Found, mount_volume},
    error::{Error, IoContext, Result, Role},
    image,
    kernel::{Digest, Kernel, Kind, exists},
    names,
    text::Size,
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
    let Some(newimg) = &found.newimg else {
        boot.report.fact("update", "none");
        return clean(boot, &name);
    };
    boot.report.fact("update", "none");
    if let Err(error) = boot
        .make_dir(names::NEWIMG_DIR)
        .and_then(|()| mount_volume(boot, newimg, names::NEWIMG_DIR, Role::NewImg, true))
    {
        boot.notice(&format!("newimg is not used: {}", with_cause(&error)));
        return clean(boot, &name);
    }
    let delivered = [name.as_str(), names::SCRIPT_IMAGE]
        .into_iter()
        .filter(|candidate| *candidate == name || name == names::IMAGE)
        .find(|candidate| exists(boot.kernel, &format!("{}/{candidate}", names::NEWIMG_DIR)));
    match delivered {
        Some(delivered) => {
            let outcome = install(boot, delivered, &name);
            settle(boot, delivered, outcome);
        }
        None => clean(boot, &name),
    }
    if let Err(error) = boot.kernel.unmount(names::NEWIMG_DIR) {
        boot.notice(&format!("cannot unmount {}: {error}", names::NEWIMG_DIR));
    }
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
        }
        Err(Refusal::Rejected(reason)) => {
            boot.notice(&format!("update {delivered} rejected: {reason}"));
            boot.report.fact("update", "rejected");
            if let Err(error) = set_aside(boot.kernel, delivered, &reason) {
                boot.notice(&format!("the rejected update stays in place: {}", with_cause(&error)));
            }
        }
        Err(Refusal::Failed(error)) => {
            boot.notice(&format!(
                "update {delivered} failed and is tried again at the next boot: {}",
                with_cause(&error)
            ));
            boot.report.fact("update", "failed");
        }
    }
}

fn with_cause(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// What may stand beside a delivered image.
const SIDECARS: [&str; 2] = ["sha256", "minisig"];

fn img(name: &str) -> String {
    format!("{}/{name}", names::IMG_DIR)
}

fn newimg(name: &str) -> String {
    format!("{}/{name}", names::NEWIMG_DIR)
}

/// The name an image is copied under until it is whole.
fn incoming(name: &str) -> String {
    format!("{name}.new")
}

/// Removes what a cut in the middle of a copy left behind.
fn clean(boot: &mut Boot<'_>, name: &str) {
    let orphan = img(&incoming(name));
    if !exists(boot.kernel, &orphan) {
        return;
    }
    boot.say(&format!("removing {}, left by an update that did not finish", incoming(name)));
    let kernel = &mut *boot.kernel;
    let outcome = kernel
        .remount(names::IMG_DIR, false)
        .and_then(|()| kernel.remove(&orphan))
        .and_then(|()| kernel.sync(names::IMG_DIR))
        .and_then(|()| kernel.remount(names::IMG_DIR, true));
    if let Err(error) = outcome {
        boot.notice(&format!("cannot remove {orphan}: {error}"));
    }
}

/// The rotation. `delivered` is the file on `newimg`, `name` what it is to be called on `img`.
fn install(boot: &mut Boot<'_>, delivered: &str, name: &str) -> Result<&'static str, Refusal> {
    let source = newimg(delivered);
    let size = check(boot.kernel, &source)?;
    let digest = boot.kernel.digest(&source).at("read", &source)?;
    check_sidecar(boot.kernel, delivered, &digest)?;
    let kernel = &mut *boot.kernel;
    kernel.remount(names::IMG_DIR, false).at("make writable", names::IMG_DIR)?;
    let current = [name, names::SCRIPT_IMAGE]
        .into_iter()
        .filter(|candidate| *candidate == name || name == names::IMAGE)
        .find(|candidate| exists(kernel, &img(candidate)));
    // Two filesystems have no common order: whether it is in already is decided by what is in it.
    if let Some(current) = current
        && current == name
        && kernel.stat(&img(current)).at("read", current)?.size == size
        && kernel.digest(&img(current)).at("read", current)? == digest
    {
        // A copy that was cut short may stand beside it.
        remove_if_there(kernel, &img(&incoming(name)))?;
        kernel.sync(names::IMG_DIR).at("sync", names::IMG_DIR)?;
        remove_delivered(kernel, delivered)?;
        return Ok("already installed");
    }
    let old = img(&names::old_image(name));
    let copy = img(&incoming(name));
    remove_if_there(kernel, &copy)?;
    make_room(kernel, size, &old)?;
    boot.say(&format!("update: copying {delivered} ({})", Size(size)));
    let kernel = &mut *boot.kernel;
    let copied = match kernel.copy(&source, &copy) {
        Ok(copied) => copied,
        Err(error) => {
            // What was copied is worth nothing; if it cannot be removed either, the next boot does.
            let _ = kernel.remove(&copy);
            return Err(Refusal::Failed(Error::Io { action: "copy", path: source, source: error }));
        }
    };
    let written = kernel.digest(&copy).at("read back", &copy)?;
    if copied != digest || written != digest {
        let _ = kernel.remove(&copy);
        let source = std::io::Error::other("what was read back differs from what was delivered");
        return Err(Refusal::Failed(Error::Io { action: "copy", path: copy, source }));
    }
    kernel.sync(names::IMG_DIR).at("sync", names::IMG_DIR)?;
    if let Some(current) = current {
        remove_if_there(kernel, &old)?;
        kernel.sync(names::IMG_DIR).at("sync", names::IMG_DIR)?;
        kernel.link(&img(current), &old).at("keep", current)?;
        kernel.sync(names::IMG_DIR).at("sync", names::IMG_DIR)?;
    }
    kernel.rename(&copy, &img(name)).at("rename", &copy)?;
    kernel.sync(names::IMG_DIR).at("sync", names::IMG_DIR)?;
    if current.is_some_and(|current| current != name) {
        // The script's names are not needed any more: the old image has its documented one.
        remove_if_there(kernel, &img(names::SCRIPT_IMAGE))?;
        remove_if_there(kernel, &img(&format!("{}-old", names::SCRIPT_IMAGE)))?;
        kernel.sync(names::IMG_DIR).at("sync", names::IMG_DIR)?;
    }
    remove_delivered(kernel, delivered)?;
    Ok("installed")
}

/// Makes room for `size` bytes on `img`. The old image goes if that helps, the current one never.
fn make_room(kernel: &mut dyn Kernel, size: u64, old: &str) -> Result<(), Refusal> {
    let mut free = kernel.free_space(names::IMG_DIR).at("ask for the room on", names::IMG_DIR)?;
    let reclaimed = kernel.stat(old).map_or(0, |stat| stat.size);
    if free < size && size <= free.saturating_add(reclaimed) {
        remove_if_there(kernel, old)?;
        kernel.sync(names::IMG_DIR).at("sync", names::IMG_DIR)?;
        free = kernel.free_space(names::IMG_DIR).at("ask for the room on", names::IMG_DIR)?;
    }
    if free < size {
        let line = format!("it needs {}, but img has {} free beside the current image", Size(size), Size(free));
        return Err(Refusal::Rejected(line));
    }
    Ok(())
}

/// Whether the delivered file is an image, whole by its own word. Returns its size in bytes.
fn check(kernel: &mut dyn Kernel, path: &str) -> Result<u64, Refusal> {
    let stat = kernel.stat(path).at("read", path)?;
    if stat.kind != Kind::File {
        return Err(Refusal::Rejected("it is no regular file".into()));
    }
    match image::inspect(kernel, path) {
        Ok(_) => Ok(stat.size),
        Err(error @ (Error::ImageUnknown { .. } | Error::ImageTruncated { .. })) => {
            Err(Refusal::Rejected(error.to_string()))
        }
        Err(error) => Err(error.into()),
    }
}

/// Compares the digest with the `.sha256` beside the image, if there is one (the format of sha256sum).
fn check_sidecar(kernel: &mut dyn Kernel, delivered: &str, digest: &Digest) -> Result<(), Refusal> {
    let path = newimg(&format!("{delivered}.sha256"));
    if !exists(kernel, &path) {
        return Ok(());
    }
    let bytes = kernel.read_at(&path, 0, 4096).at("read", &path)?;
    let text = String::from_utf8_lossy(&bytes);
    let Some(wanted) = text.split_ascii_whitespace().next().and_then(parse_digest) else {
        return Err(Refusal::Rejected(format!("{delivered}.sha256 does not begin with a SHA-256 digest")));
    };
    if wanted == *digest {
        return Ok(());
    }
    Err(Refusal::Rejected(format!("its digest is {}, but {delivered}.sha256 says {}", hex(digest), hex(&wanted))))
}

fn parse_digest(text: &str) -> Option<Digest> {
    let mut digest = Digest::default();
    let mut digits = text.bytes();
    for byte in &mut digest {
        let mut digit = || char::from(digits.next()?).to_digit(16);
        *byte = u8::try_from((digit()? << 4) | digit()?).ok()?;
    }
    digits.next().is_none().then_some(digest)
}

fn hex(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn remove_if_there(kernel: &mut dyn Kernel, path: &str) -> Result<()> {
    match kernel.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { action: "remove", path: path.into(), source: error })
        }
        _ => Ok(()),
    }
}

/// The last step: the delivered image goes, and what stood beside it.
fn remove_delivered(kernel: &mut dyn Kernel, delivered: &str) -> Result<()> {
    kernel.remount(names::NEWIMG_DIR, false).at("make writable", names::NEWIMG_DIR)?;
    let path = newimg(delivered);
    kernel.remove(&path).at("remove", &path)?;
    for sidecar in SIDECARS {
        remove_if_there(kernel, &newimg(&format!("{delivered}.{sidecar}")))?;
    }
    kernel.sync(names::NEWIMG_DIR).at("sync", names::NEWIMG_DIR)
}

/// Renames a rejected image, so that it is not looked at again, and writes the reason beside it.
fn set_aside(kernel: &mut dyn Kernel, delivered: &str, reason: &str) -> Result<()> {
    kernel.remount(names::NEWIMG_DIR, false).at("make writable", names::NEWIMG_DIR)?;
    let rejected = newimg(&names::rejected_image(delivered));
    let note = format!("{rejected}.txt");
    kernel.write(&note, format!("{reason}\n").as_bytes()).at("write", &note)?;
    kernel.sync(&note).at("sync", &note)?;
    kernel.rename(&newimg(delivered), &rejected).at("rename", delivered)?;
    // A sidecar that stayed would be held against the next delivery.
    for sidecar in SIDECARS {
        let beside = newimg(&format!("{delivered}.{sidecar}"));
        if exists(kernel, &beside) {
            kernel.rename(&beside, &format!("{rejected}.{sidecar}")).at("rename", &beside)?;
        }
    }
    kernel.sync(names::NEWIMG_DIR).at("sync", names::NEWIMG_DIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_read_as_sha256sum_writes_them() {
        let text = "00ff".repeat(16);
        let digest = parse_digest(&text).unwrap();
        assert_eq!(hex(&digest), text);
        assert_eq!(parse_digest(&text.to_uppercase()), Some(digest));
        assert_eq!(parse_digest(&text[1..]), None);
        assert_eq!(parse_digest(&format!("{text}0")), None);
        assert_eq!(parse_digest(&"zz".repeat(32)), None);
    }
}
