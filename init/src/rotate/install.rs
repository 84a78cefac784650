//! The rotation: from `newimg` into `img`, in an order in which the power may be cut anywhere and the image that boots never stops
//! existing. `docs/update.md` says the order in words; `tests/power_cut.rs` cuts it everywhere.

use std::io;

use super::{
    Refusal, discard, incoming, make_writable, names_of, remove_if_there,
    sidecar::{compare, sidecar, signature_of, wanted_digest},
    sync, sync_img,
};
use crate::{
    boot::Boot,
    device::Found,
    error::{Error, IoContext, Result},
    image::{self, Image},
    kernel::{Digest, Kernel, Kind, exists},
    names::{self, img, newimg},
    switch_root,
    text::Size,
    trial, trust,
};

/// A delivered image that looks like one.
struct Delivery {
    /// The file on `newimg`.
    path: String,
    /// What it is, and its size in bytes.
    image: Image,
    size: u64,
    /// What its digest must be.
    wanted: Option<Digest>,
    /// What its signature says.
    signature: Option<String>,
}

/// The rotation. `delivered` is the file on `newimg`, `name` what it is to be called on `img`.
pub(super) fn install(
    boot: &mut Boot<'_>,
    found: &Found,
    delivered: &str,
    name: &str,
) -> Result<&'static str, Refusal> {
    let delivery = look(boot.kernel, delivered)?;
    make_writable(boot.kernel, names::IMG_DIR)?;
    let current = names_of(name).find(|candidate| exists(boot.kernel, &img(candidate)));
    // Two filesystems have no common order: whether it is in already is decided by what is in it.
    if current == Some(name) && is_in(boot.kernel, delivered, &delivery, &img(name))? {
        keep_signature(boot, &delivery, &img(name))?;
        drop_script_names(boot.kernel, name)?;
        return Ok("already installed");
    }
    if delivery.signature.is_none() && trust::required(boot) {
        return Err(Refusal::Rejected(format!(
            "it has no signature ({delivered}.minisig), and only signed images are taken"
        )));
    }
    make_room(boot, delivered, &delivery, name)?;
    boot.say(&format!("update: copying {delivered} ({})", Size(delivery.size)));
    let copy = img(&incoming(name));
    let digest = match bring(boot, found, delivered, &delivery, name) {
        Ok(digest) => digest,
        Err(refusal) => {
            // What was copied is worth nothing; if it cannot be removed either, the next boot does.
            let _ = discard(boot.kernel, &copy);
            return Err(refusal);
        }
    };
    trial::begin(boot, found, &digest)?;
    exchange(boot.kernel, current, name, &img(&names::old_image(name)))?;
    if current.is_some_and(|current| current != name) {
        drop_script_names(boot.kernel, name)?;
    }
    Ok("installed")
}

/// Whether the delivered file is an image, whole by its own word, and what stands beside it.
fn look(kernel: &mut dyn Kernel, delivered: &str) -> Result<Delivery, Refusal> {
    let path = newimg(delivered);
    let stat = kernel.stat(&path).at("read", &path)?;
    if stat.kind != Kind::File {
        return Err(Refusal::Rejected("it is no regular file".into()));
    }
    let format = match image::inspect(kernel, &path) {
        Ok(superblock) => superblock.format,
        Err(error @ (Error::ImageUnknown { .. } | Error::ImageTruncated { .. })) => {
            return Err(Refusal::Rejected(error.to_string()));
        }
        Err(error) => return Err(error.into()),
    };
    let wanted = wanted_digest(kernel, delivered)?;
    let signature = sidecar(kernel, &signature_of(&path))?;
    let image = Image { path: path.clone(), format };
    Ok(Delivery { path, image, size: stat.size, wanted, signature })
}

/// Whether `image` has the same content as what was delivered.
fn is_in(kernel: &mut dyn Kernel, delivered: &str, delivery: &Delivery, image: &str) -> Result<bool, Refusal> {
    if kernel.stat(image).at("read", image)?.size != delivery.size {
        return Ok(false);
    }
    let digest = kernel.digest(&delivery.path).at("read", &delivery.path)?;
    compare(delivered, &digest, delivery.wanted.as_ref())?;
    Ok(kernel.digest(image).at("read", image)? == digest)
}

/// An image that is in already may have been put in when nobody asked for signatures: the delivered one stays with it.
fn keep_signature(boot: &mut Boot<'_>, delivery: &Delivery, image: &str) -> Result<(), Refusal> {
    let Some(signature) = &delivery.signature else { return Ok(()) };
    let path = signature_of(image);
    if trust::required(boot) {
        if trust::check_on_img(boot.kernel, image).is_ok() {
            return Ok(());
        }
        trust::vouch(boot.kernel, image, signature).map_err(Refusal::Rejected)?;
    } else if sidecar(boot.kernel, &path)?.as_ref() == Some(signature) {
        return Ok(());
    }
    remove_if_there(boot.kernel, &path)?;
    Ok(write_signature(boot.kernel, &path, signature)?)
}

fn write_signature(kernel: &mut dyn Kernel, path: &str, signature: &str) -> Result<()> {
    kernel.write(path, signature.as_bytes()).at("write", path)?;
    sync(kernel, path)?;
    sync_img(kernel)
}

/// Copies a delivered image beside the current one, checks it in every way there is, and makes it last. Returns its digest.
fn bring(
    boot: &mut Boot<'_>,
    found: &Found,
    delivered: &str,
    delivery: &Delivery,
    name: &str,
) -> Result<Digest, Refusal> {
    let copy = img(&incoming(name));
    let digest = boot.kernel.copy(&delivery.path, &copy).at("copy", &delivery.path)?;
    compare(delivered, &digest, delivery.wanted.as_ref())?;
    // Read back from the medium: by whoever checks the signature, or for the digest.
    let objection = match &delivery.signature {
        Some(signature) if trust::required(boot) => trust::vouch(boot.kernel, &copy, signature).err(),
        _ => None,
    };
    let signed = delivery.signature.is_some() && trust::required(boot) && objection.is_none();
    if !signed && boot.kernel.digest(&copy).at("read back", &copy)? != digest {
        let source = io::Error::other("what was read back differs from what was delivered");
        return Err(Refusal::Failed(Error::Io { action: "copy", path: copy, source }));
    }
    if let Some(reason) = objection {
        return Err(Refusal::Rejected(reason));
    }
    if is_same(boot.kernel, &img(&names::rejected_image(name)), delivery.size, &digest) {
        return Err(Refusal::Rejected("it was in already, never said that it was well, and was put back".into()));
    }
    sync_img(boot.kernel)?;
    try_mount(boot, found, &Image { path: copy.clone(), format: delivery.image.format })?;
    if let Some(signature) = &delivery.signature {
        write_signature(boot.kernel, &signature_of(&copy), signature)?;
    }
    Ok(digest)
}

fn is_same(kernel: &mut dyn Kernel, path: &str, size: u64, digest: &Digest) -> bool {
    kernel.stat(path).is_ok_and(|stat| stat.size == size) && kernel.digest(path).is_ok_and(|other| other == *digest)
}

/// Mounts an image once before it is trusted, and looks for its init.
fn try_mount(boot: &mut Boot<'_>, found: &Found, image: &Image) -> Result<(), Refusal> {
    let reject = |error: Error| match error {
        Error::Mount { .. }
        | Error::FilesystemUnsupported { .. }
        | Error::InitMissing { .. }
        | Error::InitUnusable { .. } => Refusal::Rejected(super::with_cause(&error)),
        error => Refusal::Failed(error),
    };
    image::mount(boot, image, found).map_err(reject)?;
    let outcome = switch_root::check_init(boot.kernel, names::IMAGE_DIR, &boot.config.init);
    boot.kernel.unmount(names::IMAGE_DIR).at("unmount", names::IMAGE_DIR)?;
    outcome.map_err(reject)
}

/// Puts the image that waits under its incoming name in the place of the current one, which stays as `keep`. At every instant one
/// of the two has the name that boots, and every image has its signature under one of the names that are looked at.
///
/// # Errors
/// What the kernel said. Then the current image is either of the two, whole.
pub fn exchange(kernel: &mut dyn Kernel, current: Option<&str>, name: &str, keep: &str) -> Result<()> {
    if let Some(current) = current {
        let current = img(current);
        discard(kernel, keep)?;
        kernel.link(&current, keep).at("keep", &current)?;
        let signature = signature_of(&current);
        if exists(kernel, &signature) {
            kernel.link(&signature, &signature_of(keep)).at("keep", &signature)?;
        }
        sync_img(kernel)?;
    }
    let (copy, image) = (img(&incoming(name)), img(name));
    kernel.rename(&copy, &image).at("rename", &copy)?;
    sync_img(kernel)?;
    let (from, to) = (signature_of(&copy), signature_of(&image));
    if exists(kernel, &from) {
        kernel.rename(&from, &to).at("rename", &from)?;
        sync_img(kernel)?;
    } else if exists(kernel, &to) {
        kernel.remove(&to).at("remove", &to)?;
        sync_img(kernel)?;
    }
    Ok(())
}

/// The names that the script used are not needed any more where what they stood for has its documented names. The image goes
/// last: as long as it is there, this is done again.
fn drop_script_names(kernel: &mut dyn Kernel, name: &str) -> Result<()> {
    let image = img(names::SCRIPT_IMAGE);
    let old = img(&names::old_image(name));
    if name != names::IMAGE || !exists(kernel, &image) {
        return Ok(());
    }
    let size = kernel.stat(&old).at("read", &old)?.size;
    let digest = kernel.digest(&old).at("read", &old)?;
    if is_same(kernel, &image, size, &digest) {
        discard(kernel, &format!("{image}-old"))?;
        discard(kernel, &image)?;
    }
    Ok(())
}

/// Makes room for `size` bytes on `img`. What was put back before and the old image go if that helps, the current one never.
fn make_room(boot: &mut Boot<'_>, delivered: &str, delivery: &Delivery, name: &str) -> Result<(), Refusal> {
    let required = trust::required(boot);
    let (kernel, size) = (&mut *boot.kernel, delivery.size);
    let mut free = kernel.free_space(names::IMG_DIR).at("ask for the room on", names::IMG_DIR)?;
    let spare = [img(&names::rejected_image(name)), img(&names::old_image(name))];
    let mut most = free;
    for image in &spare {
        most = most.saturating_add(kernel.stat(image).map_or(0, |stat| stat.size));
    }
    if free < size && size <= most {
        // Nothing is given up for an image that is bad; usually that shows while it is copied, and costs no reading twice.
        if delivery.wanted.is_some() {
            let digest = kernel.digest(&delivery.path).at("read", &delivery.path)?;
            compare(delivered, &digest, delivery.wanted.as_ref())?;
        }
        if let (true, Some(signature)) = (required, &delivery.signature) {
            trust::vouch(kernel, &delivery.path, signature).map_err(Refusal::Rejected)?;
        }
    }
    for image in spare {
        if free < size && size <= most && exists(kernel, &image) {
            discard(kernel, &image)?;
            free = kernel.free_space(names::IMG_DIR).at("ask for the room on", names::IMG_DIR)?;
        }
    }
    if free < size {
        let line = format!("it needs {}, but img has {} free beside the current image", Size(size), Size(free));
        return Err(Refusal::Rejected(line));
    }
    Ok(())
}
