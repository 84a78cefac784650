//! The progress of an update, from the contents of `img`, `newimg` and `overlay`. Reads and decides nothing: init's own code
//! decides on the next step.

use std::{fmt, io};

use contract::{Digest, inventory::Kind, names};
use initramfs_overlay_init::boot::overlay::img;
use serde::Serialize;

use super::copy_on_write::{Layer, Source};

/// The progress of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// There is none.
    None,
    /// It lies on `newimg`, and nothing was done yet.
    Delivered,
    /// A part of it is on `img`, under its working name.
    Copying,
    /// It is on `img` under its working name, and the current image has its second name.
    Linked,
    /// It is the current image, and still on `newimg`.
    Installed,
    /// A part of an update that is not on `newimg` any more.
    Orphan,
    /// It is the current image, on trial.
    Trial,
    /// It was refused, and is about to be removed from `newimg`.
    Rejected,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Delivered => "delivered, not begun",
            Self::Copying => "being copied to img",
            Self::Linked => "copied; the current image is linked to its old name, the new one not yet in its place",
            Self::Installed => "installed, not yet removed from newimg",
            Self::Orphan => "none, but a part of an earlier one is left on img",
            Self::Trial => "installed, on trial",
            Self::Rejected => "rejected, not yet removed from newimg",
        })
    }
}

/// The filesystems that the state is read from.
pub struct Places<'a> {
    /// The partition with the images.
    pub img: &'a Layer,
    /// The partition with the update.
    pub newimg: Option<&'a Layer>,
    /// The writable partition.
    pub overlay: Option<&'a Layer>,
    /// The image's name.
    pub name: &'a str,
}

impl Places<'_> {
    /// Returns the progress of the update. `sum` gives a file's digest.
    ///
    /// # Errors
    /// The filesystems'.
    pub fn state(&self, sum: &mut dyn FnMut(&Source) -> io::Result<Digest>) -> io::Result<State> {
        let file = |layer: &Layer, name: &str| layer.source(name).ok();
        let current = file(self.img, self.name);
        let incoming = file(self.img, &img::incoming(self.name)).is_some();
        let old = file(self.img, &names::old_image(self.name));
        let mut delivered_names = vec![self.name];
        delivered_names.extend((self.name == names::IMAGE).then_some(names::SCRIPT_IMAGE));
        let delivered = self.newimg.and_then(|layer| delivered_names.iter().find_map(|name| file(layer, name)));
        let is_linked = match (&current, &old) {
            (Some(current), Some(old)) => current.identity().is_some() && current.identity() == old.identity(),
            _ => false,
        };
        if let Some(delivered) = delivered {
            if let Some(current) = &current
                && current.size()? == delivered.size()?
                && sum(current)? == sum(&delivered)?
            {
                return Ok(State::Installed);
            }
            return Ok(match (incoming, is_linked) {
                (true, true) => State::Linked,
                (true, false) => State::Copying,
                (false, _) => State::Delivered,
            });
        }
        if incoming {
            return Ok(State::Orphan);
        }
        if self.overlay.is_some_and(|layer| layer.stat(names::TRIAL).is_ok_and(|stat| stat.kind == Kind::File)) {
            return Ok(State::Trial);
        }
        let is_rejected = |layer: &Layer| layer.stat(&names::rejected_image(self.name)).is_ok();
        Ok(if self.newimg.is_some_and(is_rejected) { State::Rejected } else { State::None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filesystem::Memory;
    use std::rc::Rc;

    fn layer(files: &[(&str, &str)]) -> Layer {
        let mut layer = Layer::new(Rc::new(Memory));
        for (name, content) in files {
            match content.strip_prefix("= ") {
                Some(first) => layer.link(first, name).unwrap(),
                None => layer.put(name, Source::Bytes(Rc::from(content.as_bytes()))).unwrap(),
            }
        }
        layer
    }

    #[test]
    fn every_state_is_told_apart() {
        const X: &str = "root-squashfs.img";
        const NEW: &str = "root-squashfs.img.new";
        const OLD: &str = "root-squashfs-old.img";
        type Files<'a> = &'a [(&'a str, &'a str)];
        let cases: [(Files<'_>, Files<'_>, Files<'_>, State); 11] = [
            (&[(X, "a")], &[], &[], State::None),
            (&[(X, "a"), (OLD, "b")], &[], &[], State::None),
            (&[(X, "a")], &[(X, "b")], &[], State::Delivered),
            (&[(X, "a")], &[("root-squash.img", "b")], &[], State::Delivered),
            (&[], &[(X, "b")], &[], State::Delivered),
            (&[(X, "a"), (NEW, "")], &[(X, "b")], &[], State::Copying),
            (&[(X, "a"), (OLD, "= root-squashfs.img"), (NEW, "b")], &[(X, "b")], &[], State::Linked),
            (&[(X, "b"), (OLD, "a")], &[(X, "b")], &[("trial", "")], State::Installed),
            (&[(X, "a"), (NEW, "b")], &[], &[], State::Orphan),
            (&[(X, "b"), (OLD, "a")], &[], &[("trial", "1")], State::Trial),
            (&[(X, "a")], &[("root-squashfs-rejected.img", "b")], &[], State::Rejected),
        ];
        for (img, newimg, overlay, state) in cases {
            let (img, newimg, overlay) = (layer(img), layer(newimg), layer(overlay));
            let places = Places { img: &img, newimg: Some(&newimg), overlay: Some(&overlay), name: X };
            let mut sum = |source: &Source| {
                let mut bytes = Vec::new();
                source.open()?.read_to_end(&mut bytes)?;
                let mut digest = Digest::default();
                digest[..bytes.len()].copy_from_slice(&bytes);
                Ok(digest)
            };
            assert_eq!(places.state(&mut sum).unwrap(), state);
        }
    }
}
