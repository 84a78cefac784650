//! The installation: from `newimg` into `img`, in an order in which the power may be cut anywhere and the image that boots never stops
//! existing. `docs/update.md` says the order in words; `tests/power_cut.rs` cuts it everywhere.

use std::io;

use contract::{
    Digest,
    errno::{EBADMSG, EINVAL, EOPNOTSUPP, EUCLEAN},
    filesystem,
    names::{self, img, newimg},
    superblock::ext4,
    tag::Volume,
    text::Size,
};

use super::{
    delivered::{compare, delivered_sidecar, wanted_digest},
    memory::{self, Entry, Verdict},
    outcome::{Outcome, Refusal, Update},
};
use crate::{
    boot::{
        layers::store::{Store, is_full},
        overlay::{
            device::Found,
            image::{self, Image},
            img::{discard, exchange, incoming, names_of, sync_img},
            trial,
        },
    },
    context::Context,
    error::{Error, IoContext, Result},
    kernel::{Machine, exists, release},
    media::{self, Resolved, make_writable, sync},
    progress,
    sidecar::{sidecar, signature_of},
    switch_root, trust,
};

/// A delivered image that looks like one.
struct Delivery {
    /// The file on `newimg`.
    path: String,
    /// The image in it, and its size in bytes.
    image: Image,
    size: u64,
    /// The digest that it must have.
    wanted: Option<Digest>,
    /// The signature delivered with it.
    signature: Option<String>,
    /// Its digest, once it was read.
    digest: Option<Digest>,
}

impl Delivery {
    /// Reads the file for its digest, once, and compares that with what was delivered.
    fn digest(&mut self, kernel: &mut dyn Machine, delivered: &str) -> Result<Digest, Refusal> {
        let digest = match self.digest {
            Some(digest) => digest,
            None => progress::digest(kernel, &self.path).at("read", &self.path)?,
        };
        self.digest = Some(digest);
        compare(delivered, &digest, self.wanted.as_ref())?;
        Ok(digest)
    }
}

/// Installs a delivered image under the name of the image on `img`.
pub(super) fn install(
    context: &mut Context<'_>,
    update: &Update<'_>,
    store: &mut Store<'_>,
) -> Result<(Outcome, Entry), Refusal> {
    let (delivered, name) = (update.delivered, update.config.image.as_str());
    let mut delivery = look(context.kernel, delivered)?;
    let size = delivery.size;
    let entry = |context: &mut Context<'_>, digest| Entry {
        digest,
        size,
        verdict: Verdict::Installed,
        release: release(context.kernel),
        reason: delivered.into(),
    };
    let current = names_of(name).find(|candidate| is_image(context.kernel, &img(candidate)));
    // Two filesystems have no common order: whether it is in already is decided by what is in it.
    if current == Some(name)
        && let Some(digest) = is_in(context.kernel, delivered, &mut delivery, &img(name))?
    {
        keep_signature(context, &delivery, &img(name))?;
        drop_script_names(context.kernel, name)?;
        return Ok((Outcome::Already, entry(context, digest)));
    }
    if let Some(objection) = objection_to(context.kernel, &update.found.img) {
        return Err(Refusal::Unsafe(objection));
    }
    if let Some(known) = recall(context, update, store, &mut delivery)? {
        return Err(Refusal::Known(known));
    }
    if delivery.signature.is_none() && trust::required(context.abilities) {
        return Err(Refusal::Refused(format!(
            "it has no signature ({delivered}.minisig), which this initramfs requires"
        )));
    }
    make_writable(context.kernel, names::IMG_DIR)?;
    context.say(&format!("update: copying {delivered} ({})", Size(delivery.size)));
    let copy = img(&incoming(name));
    let digest = match bring(context, update, &mut delivery) {
        Ok(digest) => digest,
        Err(refusal) => {
            // What was copied is worth nothing; if it cannot be removed either, the next boot does.
            let _ = discard(context.kernel, &copy, &img(name));
            return Err(refusal);
        }
    };
    trial::begin(context, update.config.newimg_tries, store, &digest)?;
    exchange(context.kernel, current, name, &img(&names::old_image(name)))?;
    if current.is_some_and(|current| current != name) {
        drop_script_names(context.kernel, name)?;
    }
    Ok((Outcome::Installed, entry(context, digest)))
}

/// Returns why the filesystem of `img` cannot take an update, if it cannot.
fn objection_to(kernel: &mut dyn Machine, img: &Volume) -> Option<String> {
    let kind = img.kind.as_deref()?;
    let objection = filesystem::update_objection(kind).or_else(|| {
        let head = kernel.read(&img.path(), 0, ext4::HEAD).ok().filter(|_| kind == "ext4")?;
        (!ext4::has_journal(&head)).then_some("it has no journal")
    })?;
    Some(format!("img, {}, is {kind}, on which a power cut could leave no image at all: {objection}", img.path()))
}

/// Returns true for a name that stands for a file: an image may be a link to another name beside it.
fn is_image(kernel: &mut dyn Machine, path: &str) -> bool {
    matches!(media::resolve(kernel, path), Ok(Resolved::File(_)))
}

/// Checks that the delivered file is an image, whole by its own word, and reads what stands beside it.
fn look(kernel: &mut dyn Machine, delivered: &str) -> Result<Delivery, Refusal> {
    let path = match media::resolve(kernel, &newimg(delivered))? {
        Resolved::File(path) => path,
        Resolved::Refused(why) => return Err(Refusal::Bad(format!("it {why}"))),
    };
    let size = kernel.stat(&path).at("read", &path)?.size;
    let format = match image::inspect(kernel, &path) {
        Ok(superblock) => superblock.format,
        Err(Error::ImageUnknown { .. }) => return Err(Refusal::Bad("it is neither squashfs nor EROFS".into())),
        Err(Error::ImageTruncated { wanted, .. }) => {
            return Err(Refusal::Bad(format!("it has {size} bytes of the {wanted} that its superblock says")));
        }
        Err(Error::ImageUnpadded { hidden, .. }) => {
            return Err(Refusal::Bad(format!(
                "a loop device does not show its last {hidden} bytes (mksquashfs -nopad)"
            )));
        }
        Err(error) => return Err(error.into()),
    };
    let wanted = wanted_digest(kernel, delivered)?;
    let signature = delivered_sidecar(kernel, &signature_of(delivered))?;
    let image = Image { path: path.clone(), format, in_memory: false };
    Ok(Delivery { path, image, size, wanted, signature, digest: None })
}

/// Returns the digest of what was delivered, if `image` has the same content.
fn is_in(
    kernel: &mut dyn Machine,
    delivered: &str,
    delivery: &mut Delivery,
    image: &str,
) -> Result<Option<Digest>, Refusal> {
    let Resolved::File(path) = media::resolve(kernel, image)? else { return Ok(None) };
    if kernel.stat(&path).at("read", &path)?.size != delivery.size {
        return Ok(None);
    }
    let digest = delivery.digest(kernel, delivered)?;
    // One that cannot be read is not the same, and is about to be replaced.
    Ok(progress::digest(kernel, &path).is_ok_and(|other| other == digest).then_some(digest))
}

/// Returns what came of this very image before, where that decides.
fn recall(
    context: &mut Context<'_>,
    update: &Update<'_>,
    store: &mut Store<'_>,
    delivery: &mut Delivery,
) -> Result<Option<Entry>, Refusal> {
    let mut all = memory::read(context.kernel, names::IMG_DIR);
    if all.is_empty() && matches!(store.open(context), Ok(true)) {
        all = memory::read(context.kernel, names::OVERLAY_DIR);
    }
    // Most have another size, and need not be read for that.
    if all.iter().all(|entry| entry.size != delivery.size) {
        return Ok(None);
    }
    let digest = delivery.digest(context.kernel, update.delivered)?;
    let Some(known) = all.iter().find(|entry| entry.digest == digest) else { return Ok(None) };
    let decides = match known.verdict {
        Verdict::PutBack => true,
        Verdict::Unusable => known.release == release(context.kernel),
        // What stands beside it may be another by now. Its digest was compared above.
        Verdict::Bad | Verdict::Refused => {
            if let (true, Some(signature)) = (trust::required(context.abilities), &delivery.signature) {
                trust::verify_signature(context.kernel, &delivery.path, signature).map_err(of_signature)?;
            }
            false
        }
        Verdict::Installed => {
            let is_newest =
                all.iter().rfind(|entry| entry.verdict == Verdict::Installed).is_some_and(|newest| newest == known);
            let size = match media::resolve(context.kernel, &img(&update.config.image)) {
                Ok(Resolved::File(path)) => {
                    image::inspect(context.kernel, &path).is_ok().then(|| context.kernel.stat(&path))
                }
                _ => None,
            };
            // Where the current image is damaged, the delivery is the way out.
            let is_sound = size.and_then(std::io::Result::ok).is_some_and(|stat| !is_newest || stat.size != known.size);
            !update.consumes && is_sound
        }
    };
    Ok(decides.then(|| known.clone()))
}

/// Keeps the delivered signature of an image that is in already: it may have been put in when nobody asked for signatures.
fn keep_signature(context: &mut Context<'_>, delivery: &Delivery, image: &str) -> Result<(), Refusal> {
    let Some(signature) = &delivery.signature else { return Ok(()) };
    let path = signature_of(image);
    if trust::required(context.abilities) {
        if trust::check_on_img(context.kernel, image).is_ok() {
            return Ok(());
        }
        trust::verify_signature(context.kernel, image, signature).map_err(of_signature)?;
    } else if sidecar(context.kernel, &path)?.as_ref() == Some(signature) {
        return Ok(());
    }
    Ok(write_signature(context.kernel, &path, signature)?)
}

fn write_signature(kernel: &mut dyn Machine, path: &str, signature: &str) -> Result<()> {
    make_writable(kernel, names::IMG_DIR)?;
    media::clear(kernel, path)?;
    kernel.write(path, signature.as_bytes()).at("write", path)?;
    sync(kernel, path)?;
    sync_img(kernel)
}

/// Brings a delivered image beside the current one, and makes room for it if need be: what was put back before and the old image go if
/// that helps, the current one never. Returns its digest.
fn bring(context: &mut Context<'_>, update: &Update<'_>, delivery: &mut Delivery) -> Result<Digest, Refusal> {
    let name = &update.config.image;
    let (copy, current) = (img(&incoming(name)), img(name));
    let mut spare = vec![img(&names::old_image(name)), img(&names::rejected_image(name))];
    spare.retain(|image| exists(context.kernel, image));
    loop {
        discard(context.kernel, &copy, &current)?;
        match try_bring(context, update, delivery) {
            Err(Refusal::Failed(error)) if is_full(&error) => {}
            outcome => return outcome,
        }
        discard(context.kernel, &copy, &current)?;
        let free = context.kernel.space(names::IMG_DIR).at("read free space of", names::IMG_DIR)?.free;
        let most = spare
            .iter()
            .fold(free, |most, image| most.saturating_add(context.kernel.stat(image).map_or(0, |stat| stat.size)));
        let Some(image) = spare.pop().filter(|_| most >= delivery.size) else {
            return Err(Refusal::Refused(format!(
                "it needs {}, but img ({}) has {} free beside the current image",
                Size(delivery.size),
                update.found.img.path(),
                Size(free)
            )));
        };
        // Nothing is given up for an image that is bad; usually that shows while it is copied, and costs no reading twice.
        delivery.digest(context.kernel, update.delivered)?;
        if let (true, Some(signature)) = (trust::required(context.abilities), &delivery.signature) {
            trust::verify_signature(context.kernel, &delivery.path, signature).map_err(of_signature)?;
        }
        discard(context.kernel, &image, &current)?;
    }
}

/// Copies a delivered image beside the current one, checks it in every way there is, and flushes it to disk. Returns its digest.
fn try_bring(context: &mut Context<'_>, update: &Update<'_>, delivery: &Delivery) -> Result<Digest, Refusal> {
    let copy = img(&incoming(&update.config.image));
    let digest = progress::copy(context.kernel, &delivery.path, &copy).at("copy", &delivery.path)?;
    compare(update.delivered, &digest, delivery.wanted.as_ref())?;
    // Read back from the medium: by whoever checks the signature, or for the digest.
    let objection = match &delivery.signature {
        Some(signature) if trust::required(context.abilities) => {
            trust::verify_signature(context.kernel, &copy, signature).err()
        }
        _ => None,
    };
    let signed = delivery.signature.is_some() && trust::required(context.abilities) && objection.is_none();
    if !signed && progress::digest(context.kernel, &copy).at("read back", &copy)? != digest {
        let source = io::Error::other("what was read back differs from what was delivered");
        return Err(Refusal::Failed(Error::Io { action: "copy", path: copy, source }));
    }
    if let Some(reason) = objection {
        return Err(of_signature(reason));
    }
    sync_img(context.kernel)?;
    try_mount(context, update.found, &Image { path: copy.clone(), ..delivery.image.clone() })?;
    if let Some(signature) = &delivery.signature {
        write_signature(context.kernel, &signature_of(&copy), signature)?;
    }
    Ok(digest)
}

/// Refuses a signature that does not hold: bad if it is for another file, else another key may be the one.
fn of_signature(reason: String) -> Refusal {
    if reason == names::WRONG_SIGNATURE { Refusal::Bad(reason) } else { Refusal::Refused(reason) }
}

fn is_same(kernel: &mut dyn Machine, path: &str, size: u64, digest: &Digest) -> bool {
    kernel.stat(path).is_ok_and(|stat| stat.size == size)
        && progress::digest(kernel, path).is_ok_and(|other| other == *digest)
}

/// Mounts an image once before it is trusted, and looks for its init.
fn try_mount(context: &mut Context<'_>, found: &Found, image: &Image) -> Result<(), Refusal> {
    let mut outcome = image::mount(context, image, found);
    // What is remembered for good has to be seen twice.
    if matches!(&outcome, Err(Error::Mount { source, .. }) if is_of_image(source)) {
        outcome = image::mount(context, image, found);
    }
    match outcome {
        Err(Error::Mount { filesystem, source, .. }) if is_of_image(&source) => {
            let release = release(context.kernel);
            return Err(Refusal::Unusable(format!("kernel {release} cannot mount it as {filesystem}: {source}")));
        }
        Err(error @ Error::FilesystemUnsupported { .. }) => {
            return Err(Refusal::Unusable(error.with_cause()));
        }
        outcome => outcome?,
    }
    let outcome = switch_root::check_init(context.kernel, names::IMAGE_DIR, &context.config.init);
    context.kernel.unmount(names::IMAGE_DIR).at("unmount", names::IMAGE_DIR)?;
    match outcome {
        Err(error @ (Error::InitMissing { .. } | Error::InitUnusable { .. })) => {
            Err(Refusal::Unusable(error.with_cause()))
        }
        outcome => Ok(outcome.map(drop)?),
    }
}

/// Returns true for what the kernel says of an image that it cannot read. A failing medium, or a machine without memory, is nothing that an
/// image can be blamed for.
fn is_of_image(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EINVAL | EUCLEAN | EBADMSG | EOPNOTSUPP))
}

/// Removes the names that the script used, where what they stood for has its documented names. The image goes
/// last: as long as it is there, this is done again.
fn drop_script_names(kernel: &mut dyn Machine, name: &str) -> Result<()> {
    let image = img(names::SCRIPT_IMAGE);
    let old = img(&names::old_image(name));
    if name != names::IMAGE || !exists(kernel, &image) {
        return Ok(());
    }
    let Resolved::File(path) = media::resolve(kernel, &old)? else { return Ok(()) };
    let size = kernel.stat(&path).at("read", &path)?.size;
    let digest = progress::digest(kernel, &path).at("read", &path)?;
    if is_same(kernel, &image, size, &digest) {
        make_writable(kernel, names::IMG_DIR)?;
        discard(kernel, &format!("{image}-old"), &old)?;
        discard(kernel, &image, &old)?;
    }
    Ok(())
}
