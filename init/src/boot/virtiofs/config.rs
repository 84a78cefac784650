//! The parameters of a boot from a directory of the host: the tag of the root, and what else is mounted. Pure. They are asked for at all
//! only once all are read: `root=` belongs to this boot mode only beside `rootfstype=virtiofs`.

use contract::virtiofs::{INIT, ROOT_TAG, is_tag};

use crate::config::values::Objections;

/// The form of a tag, for messages.
pub const WANTED: &str = "a tag of 1 to 36 bytes without a slash, neither . nor .., and each one once";

/// A directory of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The host's name for it.
    pub tag: String,
    /// Mount it read-only.
    pub read_only: bool,
}

/// The parameters of a boot from a directory of the host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
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

impl Config {
    /// Reads one parameter. Returns true if it is of this boot mode only.
    pub(crate) fn word(&mut self, name: &str, value: Option<&str>) -> bool {
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

    /// Returns true if the root is to come over virtiofs.
    pub fn is_asked(&self) -> bool {
        self.rootfs.is_some() || self.by_type
    }

    /// Returns the root's tag.
    pub fn tag(&self) -> &str {
        match (&self.rootfs, &self.root) {
            (Some(tag), _) => tag,
            (None, Some(tag)) if self.by_type => tag,
            _ => ROOT_TAG,
        }
    }

    /// Returns the init where the user named none.
    pub(crate) fn default_init(&self) -> Option<&'static str> {
        (!self.has_init).then_some(INIT)
    }

    /// Objects to the first tag that cannot be one, and to a root that nobody can sign where only `signed` images boot.
    pub(crate) fn check(&self, signed: bool, objections: &mut Objections) {
        if signed {
            objections.refuse("rootfs", Some(self.tag()), "nothing: this initramfs boots signed images only");
        }
        if !is_tag(self.tag()) {
            let name = if self.rootfs.is_some() { "rootfs" } else { "root" };
            return objections.refuse(name, Some(self.tag()), WANTED);
        }
        let mut seen = vec![self.tag()];
        for share in &self.shares {
            if !is_tag(&share.tag) || seen.contains(&share.tag.as_str()) {
                let name = if share.read_only { "mount-ro" } else { "mount" };
                return objections.refuse(name, Some(&share.tag), WANTED);
            }
            seen.push(&share.tag);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{self, Abilities, ModeConfig},
        error::{Error, Result},
    };

    fn parsed(line: &str) -> (config::Config, Result<()>) {
        config::Config::parse(["", line, ""], Abilities { shell: false, trust: false }, false)
    }

    fn asked(line: &str) -> Option<Config> {
        match parsed(line).0.mode {
            ModeConfig::Virtiofs(config) => Some(config),
            _ => None,
        }
    }

    #[test]
    fn the_mode_is_chosen_by_its_parameters() {
        for (line, tag) in [
            ("", None),
            ("root=/dev/sda1", None),
            ("rootfs=work", Some("work")),
            ("rootfstype=virtiofs", Some("rootfs")),
            ("rootfstype=virtiofs root=tree", Some("tree")),
            ("root=tree rootfstype=virtiofs", Some("tree")),
            ("root=tree rootfstype=ext4", None),
            ("root=tree rootfstype=virtiofs rootfs=other", Some("other")),
        ] {
            let result = parsed(line).1;
            assert!(result.is_ok(), "{line}: {result:?}");
            assert_eq!(asked(line).as_ref().map(Config::tag), tag, "{line}");
        }
    }

    #[test]
    fn a_known_caller_is_understood() {
        let line = "console=ttyS0 quiet selinux=1 enforcing=0 rootfstype=virtiofs root=rootfs ro mount=mnt0 \
                    init=/run/mnt/mnt0/osbuild/vm.py";
        let (config, result) = parsed(line);
        assert!(result.is_ok() && config.warnings.is_empty());
        let own = asked(line).unwrap();
        assert_eq!(own.shares, [Share { tag: "mnt0".into(), read_only: false }]);
        assert!(!own.read_write && !own.overlaid);
        assert_eq!(config.common.init, "/run/mnt/mnt0/osbuild/vm.py");
    }

    #[test]
    fn the_init_of_this_mode_is_a_shell() {
        assert_eq!(parsed("rootfs=a").0.common.init, "/bin/sh");
        assert_eq!(parsed("rootfs=a init=/sbin/init").0.common.init, "/sbin/init");
        assert_eq!(parsed("").0.common.init, "/sbin/init");
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
        assert!(parsed("mount=a/b").1.is_ok(), "another mode does not care");
    }
}
