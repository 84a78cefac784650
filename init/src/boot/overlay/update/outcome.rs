//! Outcomes of an update, and the words for them.

use contract::{failure::Role, names, tag::Volume};

use super::memory::Entry;
use crate::{
    boot::overlay::{config::Config, device::Found},
    error::Error,
};

/// An update that is under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Update<'a> {
    /// The parameters.
    pub config: &'a Config,
    /// The partitions.
    pub found: &'a Found,
    /// The name of the image on `newimg`.
    pub delivered: &'a str,
    /// The delivery may be moved and deleted.
    pub consumes: bool,
}

/// A reason why an update is not installed.
pub(super) enum Refusal {
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
pub(super) enum Outcome {
    /// It was put in.
    Installed,
    /// It was in already.
    Already,
}

impl Outcome {
    /// Returns its name in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Installed => "installed",
            Self::Already => "already installed",
        }
    }
}

/// Returns a text in which files are named by their partition and its device: who reads it later knows nothing of the initramfs' paths.
pub(super) fn readable(text: &str, found: &Found) -> String {
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

#[cfg(test)]
mod tests {
    use contract::tag::Tag;

    use super::*;

    #[test]
    fn paths_become_names_and_devices() {
        let volume = |name: &str| Volume { name: name.into(), ..Volume::default() };
        let found = Found {
            img: volume("vda2"),
            overlay: None,
            newimg: Some(volume("sda1")),
            boot: None,
            boot_tag: Tag::Label("boot".into()),
        };
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
