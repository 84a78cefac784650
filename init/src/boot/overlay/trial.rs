//! The file that counts the boots of an image on trial (`rd.newimg.tries=`). It is on the overlay partition, lowered before each boot; the
//! system marks the boot good by removing it.

use contract::{Digest, hex, names};

use crate::{
    boot::layers::store::{DISPOSABLE, Store, with_room},
    context::Context,
    error::Result,
    media,
};

/// The content of the file: a digest in hexadecimal, a space, the boots that are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Trial {
    /// The image on trial.
    pub digest: Digest,
    /// Boots that are left to it.
    pub left: u32,
}

impl Trial {
    /// Reads the file.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (digest, left) = text.trim().split_once(' ')?;
        Some(Self { digest: hex::digest(digest)?, left: left.parse().ok()? })
    }

    /// Puts the count down so that a power cut leaves this one or the one before.
    pub(super) fn write(self, context: &mut Context<'_>) -> Result<()> {
        let text = format!("{} {}\n", hex::encode(&self.digest), self.left);
        with_room(context, &DISPOSABLE, &mut |kernel| {
            media::replace(kernel, names::OVERLAY_DIR, names::TRIAL, text.as_bytes())
        })
    }
}

/// Puts the image with that digest on trial, before it becomes the current one: an image that boots is never without its count.
///
/// # Errors
/// The count cannot be kept. The update waits until it can.
pub fn begin(context: &mut Context<'_>, tries: u32, store: &mut Store<'_>, digest: &Digest) -> Result<()> {
    if tries == 0 {
        return Ok(());
    }
    if !store.open(context)? {
        context.notice(
            "rd.newimg.tries counts on the overlay partition, and there is none: the new image is not on trial",
        );
        return Ok(());
    }
    Trial { digest: *digest, left: tries }.write(context)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_is_read_as_it_is_written() {
        let digest = [0xab; 32];
        assert_eq!(Trial::parse(&format!("{} 3\n", hex::encode(&digest))), Some(Trial { digest, left: 3 }));
        for bad in ["", "ab 3", &hex::encode(&digest), &format!("{} -1", hex::encode(&digest))] {
            assert_eq!(Trial::parse(bad), None, "{bad}");
        }
    }
}
