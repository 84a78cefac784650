//! Boot counting (`rd.newimg.tries=`): after so many boots that were not marked good, the image before the new one is put back.

use contract::{
    Digest,
    names::{self, img, store},
    report::Fact,
};

use super::{
    config::Config,
    device::Found,
    image,
    img::{discard, exchange, incoming, is_file, sync_img},
    trial::Trial,
    update::memory::{self, Entry, Verdict},
};
use crate::{
    boot::layers::store::Store,
    context::Context,
    error::{Error, IoContext, Result},
    kernel::{Machine, exists, release},
    media::{self, Resolved, make_writable, sync},
    progress,
    sidecar::signature_of,
    trust,
};

/// Bytes that are read of the file: three times what is written.
const LIMIT: usize = 256;

/// Counts this boot, or puts the old image back.
pub fn count(context: &mut Context<'_>, config: &Config, found: &Found, partition: &mut Store<'_>) {
    // A partition that does not mount is reported, and repaired, where the layers are made.
    if config.newimg_tries == 0
        || !matches!(partition.open(context), Ok(true))
        || !exists(context.kernel, &store(names::TRIAL))
    {
        return;
    }
    if let Err(error) = take_one(context, config, found, partition) {
        context.notice(&format!("the trial of the new image: {}", error.with_cause()));
    }
}

fn take_one(context: &mut Context<'_>, config: &Config, found: &Found, partition: &mut Store<'_>) -> Result<()> {
    let path = store(names::TRIAL);
    // What is no file says nothing.
    let text = media::read_text(context.kernel, &path, LIMIT).ok().flatten().unwrap_or_default();
    match Trial::parse(&text) {
        Some(Trial { digest, left }) if left > 0 => {
            let left = left.saturating_sub(1);
            Trial { digest, left }.write(context)?;
            context.say(&format!("the image is on trial, boots left after this one: {left}"));
            context.report.fact(Fact::Trial, left.to_string());
            return Ok(());
        }
        Some(trial) => put_back(context, config, found, partition, &trial.digest)?,
        None => context.notice(&format!("{} on overlay cannot be read: the trial is over", names::TRIAL)),
    }
    media::clear(context.kernel, &path)?;
    sync(context.kernel, names::OVERLAY_DIR)
}

/// Makes the old image the current one again, by the same exchange as in an update; the new one stays as rejected.
fn put_back(
    context: &mut Context<'_>,
    config: &Config,
    found: &Found,
    partition: &mut Store<'_>,
    digest: &Digest,
) -> Result<()> {
    let name = &config.image;
    let (image, old) = (img(name), img(&names::old_image(name)));
    let file = |kernel: &mut dyn Machine, path: &str| match media::resolve(kernel, path)? {
        Resolved::File(path) => Ok(path),
        Resolved::Refused(why) => Err(Error::ImageNotFile { path: path.into(), why }),
    };
    let current = file(context.kernel, &image)?;
    // Another image than the one on trial: it was put back already, or another update came.
    if progress::digest(context.kernel, &current).at("read", &current)? != *digest {
        return Ok(());
    }
    let size = context.kernel.stat(&current).at("read", &current)?.size;
    let mut sound = file(context.kernel, &old).and_then(|old| image::inspect(context.kernel, &old).map(|_| old));
    if trust::required(context.abilities) {
        sound = sound.and_then(|old| trust::check_on_img(context.kernel, &old).map(|()| old));
    }
    if let Err(error) = sound {
        context
            .notice(&format!("the image was never marked good, but there is none to put back: {}", error.with_cause()));
        context.report.degrade();
        return Ok(());
    }
    let rejected = img(&names::rejected_image(name));
    let reason = "it was not marked good within its tries (rd.newimg.tries), and the image before it was put back";
    make_writable(context.kernel, names::IMG_DIR)?;
    media::replace(
        context.kernel,
        names::IMG_DIR,
        &format!("{}.txt", names::rejected_image(name)),
        format!("{reason}\n").as_bytes(),
    )?;
    let entry = Entry {
        digest: *digest,
        size,
        verdict: Verdict::PutBack,
        release: release(context.kernel),
        reason: format!("{name}: {reason}"),
    };
    memory::remember(context, found, partition, &entry)?;
    let copy = img(&incoming(name));
    let kernel = &mut *context.kernel;
    discard(kernel, &copy, &image)?;
    kernel.link(&old, &copy).at("link", &old)?;
    sync_img(kernel)?;
    let signature = signature_of(&old);
    if is_file(kernel, &signature) {
        kernel.link(&signature, &signature_of(&copy)).at("link", &signature)?;
        sync_img(kernel)?;
    }
    exchange(kernel, Some(name), name, &rejected)?;
    discard(kernel, &old, &image)?;
    media::make_read_only(kernel, names::IMG_DIR)?;
    context.notice(&format!("{name}: {reason}"));
    context.report.fact(Fact::Update, "put back");
    context.report.degrade();
    Ok(())
}
