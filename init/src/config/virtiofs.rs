//! The parameters of the virtiofs way: which tag holds the root and what else is mounted. Pure. Whether they are asked for at all
//! is decided once all are read: `root=` belongs to this way only beside `rootfstype=virtiofs`.

use crate::error::Error;

/// Bytes of the longest tag (virtio 1.2, 5.11.4: the field has 36, and no NUL where the tag fills them).
pub const TAG_MAX: usize = 36;
/// The tag of the root where none is named.
pub const ROOT_TAG: &str = "rootfs";
/// The program that runs where `init=` does not say otherwise.
pub const INIT: &str = "/bin/sh";
/// Parameters of this way that the kernel does not know. It puts them into the environment, where nobody needs them.
pub const ENVIRONMENT: [&[u8]; 3] = [b"rootfs", b"mount", b"mount-ro"];

/// What a tag has to be, for messages.
pub const WANTED: &str = "a tag of 1 to 36 bytes without a slash, neither . nor .., and each one once";

/// A folder of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// What the host calls it.
    pub tag: String,
    /// Mount it read-only.
    pub read_only: bool,
}

/// What the virtiofs way is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Virtiofs {
    /// The tag of `rootfs=`.
    rootfs: Option<String>,
    /// The value of `root=`.
    root: Option<String>,
    /// `rootfstype=virtiofs`.
    by_type: bool,
    /// `init=` was given.
    has_init: bool,
    /// `rd.overlay=` was given: a writable layer over the root.
    pub overlaid: bool,
    /// `rw` was the last word: mount the root so. Else it is read-only.
    pub read_write: bool,
    /// `mount=` and `mount-ro=`, in order.
    pub shares: Vec<Share>,
}

/// Whether `tag` can be one, and can be the name of a folder.
pub fn is_tag(tag: &str) -> bool {
    !tag.is_empty() && tag.len() <= TAG_MAX && !tag.contains(['/', '\0']) && tag != "." && tag != ".."
}

impl Virtiofs {
    /// Looks at one parameter. True where it is of this way only, so that nobody else need look.
    pub(super) fn word(&mut self, name: &str, value: Option<&str>) -> bool {
        let text = || value.unwrap_or_default().to_string();
        match name {
            "rootfs" => self.rootfs = Some(text()),
            "root" => self.root = Some(text()),
            "rootfstype" => self.by_type = value == Some("virtiofs"),
            "mount" | "mount-ro" => self.shares.push(Share { tag: text(), read_only: name == "mount-ro" }),
            _ => {
                match name {
                    "init" => self.has_init = true,
                    "rd.overlay" => self.overlaid = true,
                    "ro" => self.read_write = false,
                    "rw" => self.read_write = true,
                    _ => {}
                }
                return false;
            }
        }
        true
    }

    /// Whether the root is to come over virtiofs.
    pub fn is_asked(&self) -> bool {
        self.rootfs.is_some() || self.by_type
    }

    /// The root's tag.
    pub fn tag(&self) -> &str {
        match (&self.rootfs, &self.root) {
            (Some(tag), _) => tag,
            (None, Some(tag)) if self.by_type => tag,
            _ => ROOT_TAG,
        }
    }

    /// The init where the user named none.
    pub(super) fn default_init(&self) -> Option<&'static str> {
        (!self.has_init).then_some(INIT)
    }

    /// The first tag that cannot be.
    pub(super) fn check(&self) -> Result<(), Error> {
        let refuse =
            |name: &str, value: &str| Err(Error::Parameter { name: name.into(), value: value.into(), wanted: WANTED });
        if !is_tag(self.tag()) {
            return refuse(if self.rootfs.is_some() { "rootfs" } else { "root" }, self.tag());
        }
        let mut seen = vec![self.tag()];
        for share in &self.shares {
            if !is_tag(&share.tag) || seen.contains(&share.tag.as_str()) {
                return refuse(if share.read_only { "mount-ro" } else { "mount" }, &share.tag);
            }
            seen.push(&share.tag);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Abilities, Config};

    fn parsed(line: &str) -> (Config, Result<(), Error>) {
        Config::parse("", line, Abilities { shell: false, trust: false })
    }

    #[test]
    fn the_way_is_chosen_by_its_parameters() {
        for (line, asked, tag) in [
            ("", false, "rootfs"),
            ("root=/dev/sda1", false, "rootfs"),
            ("rootfs=work", true, "work"),
            ("rootfstype=virtiofs", true, "rootfs"),
            ("rootfstype=virtiofs root=tree", true, "tree"),
            ("root=tree rootfstype=virtiofs", true, "tree"),
            ("root=tree rootfstype=ext4", false, "rootfs"),
            ("root=tree rootfstype=virtiofs rootfs=other", true, "other"),
        ] {
            let (config, result) = parsed(line);
            assert!(result.is_ok(), "{line}: {result:?}");
            assert_eq!((config.virtiofs.is_asked(), config.virtiofs.tag()), (asked, tag), "{line}");
        }
    }

    #[test]
    fn a_known_caller_is_understood() {
        let line = "console=ttyS0 quiet selinux=1 enforcing=0 rootfstype=virtiofs root=rootfs ro mount=mnt0 \
                    init=/run/mnt/mnt0/osbuild/vm.py";
        let (config, result) = parsed(line);
        assert!(result.is_ok() && config.warnings.is_empty());
        assert_eq!(config.virtiofs.shares, [Share { tag: "mnt0".into(), read_only: false }]);
        assert!(!config.virtiofs.read_write && !config.virtiofs.overlaid);
        assert_eq!(config.init, "/run/mnt/mnt0/osbuild/vm.py");
    }

    #[test]
    fn the_init_of_this_way_is_a_shell() {
        assert_eq!(parsed("rootfs=a").0.init, "/bin/sh");
        assert_eq!(parsed("rootfs=a init=/sbin/init").0.init, "/sbin/init");
        assert_eq!(parsed("").0.init, "/sbin/init");
    }

    #[test]
    fn bad_tags_are_refused() {
        let long = "x".repeat(37);
        let fits = "x".repeat(36);
        for (line, name) in [
            ("rootfs=", "rootfs"),
            ("rootfs=a/b", "rootfs"),
            ("rootfstype=virtiofs root=/dev/sda1", "root"),
            ("rootfs=a mount=..", "mount"),
            ("rootfs=a mount-ro=.", "mount-ro"),
            ("rootfs=a mount", "mount"),
            ("rootfs=a mount=b mount-ro=b", "mount-ro"),
            ("rootfs=a mount=a", "mount"),
            (&format!("rootfs=a mount={long}"), "mount"),
        ] {
            let (_, result) = parsed(line);
            assert!(matches!(&result, Err(Error::Parameter { name: seen, .. }) if seen == name), "{line}: {result:?}");
        }
        assert!(parsed(&format!("rootfs={fits} mount=a mount-ro=b rw")).1.is_ok());
        assert!(parsed("mount=a/b").1.is_ok(), "another way does not care");
    }
}
