//! An image on trial (`rd.newimg.tries=`): after so many boots without a word that it is well, the image before it is put back.
//! The count is a file on the overlay partition, lowered before each boot; the system says that it is well by removing it.

use crate::{
    boot::Boot,
    device::Found,
    error::{Error, IoContext, Result},
    image,
    kernel::{Digest, Kernel, exists},
    media::{self, Resolved},
    names::{self, img, store},
    rotate::{
        self, exchange, hex, incoming,
        memory::{self, Entry, Verdict},
        parse_digest, signature_of, sync, sync_img, with_cause,
    },
    store::{self, with_room},
    trust,
};

/// What the file says: a digest in hexadecimal, a blank, the boots that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Trial {
    digest: Digest,
    left: u32,
}

impl Trial {
    fn parse(text: &str) -> Option<Self> {
        let (digest, left) = text.trim().split_once(' ')?;
        Some(Self { digest: parse_digest(digest)?, left: left.parse().ok()? })
    }

    /// Puts the count down so that a power cut leaves this one or the one before.
    fn write(self, boot: &mut Boot<'_>) -> Result<()> {
        let text = format!("{} {}\n", hex(&self.digest), self.left);
        with_room(boot, &store::DISPOSABLE, &mut |kernel| {
            media::replace(kernel, names::OVERLAY_DIR, names::TRIAL, text.as_bytes())
        })
    }
}

/// Bytes that are read of the file: three times what is written.
const LIMIT: usize = 256;

/// Puts the image with that digest on trial, before it becomes the current one: an image that boots is never without its count.
///
/// # Errors
/// The count cannot be kept. The update waits until it can.
pub fn begin(boot: &mut Boot<'_>, found: &Found, digest: &Digest) -> Result<()> {
    let left = boot.config.newimg_tries;
    if left == 0 {
        return Ok(());
    }
    let Some(volume) = &found.overlay else {
        boot.notice(
            "rd.newimg.tries counts on the overlay partition, and there is none: the new image is not on trial",
        );
        return Ok(());
    };
    store::open(boot, volume)?;
    Trial { digest: *digest, left }.write(boot)
}

/// Counts this boot, or puts the old image back.
pub fn count(boot: &mut Boot<'_>, found: &Found) {
    let Some(volume) = &found.overlay else { return };
    // A partition that does not mount is spoken of, and mended, where the layers are made.
    if boot.config.newimg_tries == 0 || store::open(boot, volume).is_err() || !exists(boot.kernel, &store(names::TRIAL))
    {
        return;
    }
    if let Err(error) = take_one(boot, found) {
        boot.notice(&format!("the trial of the new image: {}", with_cause(&error)));
    }
}

fn take_one(boot: &mut Boot<'_>, found: &Found) -> Result<()> {
    let path = store(names::TRIAL);
    // What is no file says nothing.
    let text = media::read_text(boot.kernel, &path, LIMIT).ok().flatten().unwrap_or_default();
    match Trial::parse(&text) {
        Some(Trial { digest, left }) if left > 0 => {
            let left = left.saturating_sub(1);
            Trial { digest, left }.write(boot)?;
            boot.say(&format!("the image is on trial, boots left after this one: {left}"));
            boot.report.fact("trial", left.to_string());
            return Ok(());
        }
        Some(trial) => put_back(boot, found, &trial.digest)?,
        None => boot.notice(&format!("{} on overlay cannot be read: the trial is over", names::TRIAL)),
    }
    media::clear(boot.kernel, &path)?;
    sync(boot.kernel, names::OVERLAY_DIR)
}

/// The old image becomes the current one again, by the same exchange as in an update; the new one stays as rejected.
fn put_back(boot: &mut Boot<'_>, found: &Found, digest: &Digest) -> Result<()> {
    let name = boot.config.image.clone();
    let (image, old) = (img(&name), img(&names::old_image(&name)));
    let file = |kernel: &mut dyn Kernel, path: &str| match media::resolve(kernel, path)? {
        Resolved::File(path) => Ok(path),
        Resolved::Refused(why) => Err(Error::ImageNotFile { path: path.into(), why }),
    };
    let current = file(boot.kernel, &image)?;
    // Another image than the one on trial: it was put back already, or another update came.
    if boot.kernel.digest(&current).at("read", &current)? != *digest {
        return Ok(());
    }
    let size = boot.kernel.stat(&current).at("read", &current)?.size;
    let mut sound = file(boot.kernel, &old).and_then(|old| image::inspect(boot.kernel, &old).map(|_| old));
    if trust::required(boot) {
        sound = sound.and_then(|old| trust::check_on_img(boot.kernel, &old).map(|()| old));
    }
    if let Err(error) = sound {
        boot.notice(&format!(
            "the image never said that it was well, but there is none to put back: {}",
            with_cause(&error)
        ));
        boot.report.degrade();
        return Ok(());
    }
    let rejected = img(&names::rejected_image(&name));
    let reason =
        "it never said that it was well within its tries (rd.newimg.tries), and the image before it was put back";
    rotate::make_writable(boot.kernel, names::IMG_DIR)?;
    media::replace(
        boot.kernel,
        names::IMG_DIR,
        &format!("{}.txt", names::rejected_image(&name)),
        format!("{reason}\n").as_bytes(),
    )?;
    let entry = Entry {
        digest: *digest,
        size,
        verdict: Verdict::PutBack,
        release: boot.kernel.release(),
        reason: format!("{name}: {reason}"),
    };
    memory::remember(boot, found, &entry)?;
    let copy = img(&incoming(&name));
    let kernel = &mut *boot.kernel;
    rotate::discard(kernel, &copy, &image)?;
    kernel.link(&old, &copy).at("link", &old)?;
    sync_img(kernel)?;
    let signature = signature_of(&old);
    if rotate::is_file(kernel, &signature) {
        kernel.link(&signature, &signature_of(&copy)).at("link", &signature)?;
        sync_img(kernel)?;
    }
    exchange(kernel, Some(&name), &name, &rejected)?;
    rotate::discard(kernel, &old, &image)?;
    kernel.remount(names::IMG_DIR, true).at("make read-only", names::IMG_DIR)?;
    boot.notice(&format!("{name}: {reason}"));
    boot.report.fact("update", "put back");
    boot.report.degrade();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_read_as_it_is_written() {
        let digest = [0xab; 32];
        assert_eq!(Trial::parse(&format!("{} 3\n", hex(&digest))), Some(Trial { digest, left: 3 }));
        for bad in ["", "ab 3", &hex(&digest), &format!("{} -1", hex(&digest))] {
            assert_eq!(Trial::parse(bad), None, "{bad}");
        }
    }
}
