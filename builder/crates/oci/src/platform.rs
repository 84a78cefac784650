//! For which machine an image is, `os/architecture[/variant]`, and which of several images runs on a given one. Pure.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A platform in the words of the OCI image specification, which are Go's (`GOOS`, `GOARCH`, `GOARM`).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`; empty where an image does not say.
    #[serde(default, deserialize_with = "super::config::or_default")]
    pub os: String,
    /// `amd64`, `386`, `arm`, …; empty where an image does not say.
    #[serde(default, deserialize_with = "super::config::or_default")]
    pub architecture: String,
    /// `v6` of `arm`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Names that are used for the same machines elsewhere, the targets of this project among them.
const ALIASES: [(&str, &str, Option<&str>); 10] = [
    ("x86_64", "amd64", None),
    ("x86-64", "amd64", None),
    ("i386", "386", None),
    ("i686", "386", None),
    ("aarch64", "arm64", None),
    ("armv5l", "arm", Some("v5")),
    ("armv6l", "arm", Some("v6")),
    ("armel", "arm", Some("v6")),
    ("armhf", "arm", Some("v7")),
    ("armv7l", "arm", Some("v7")),
];

/// The rank of an image that does not say which machine it is for.
const UNSAID: u32 = 1000;

impl Platform {
    /// Reads `os/architecture[/variant]`. The usual other names of architectures are understood.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (*os, *architecture, None),
            [os, architecture, variant] => (*os, *architecture, Some(*variant)),
            _ => ("", "", None),
        };
        let plain = |word: &str| {
            !word.is_empty()
                && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte))
        };
        if !plain(os) || !plain(architecture) || variant.is_some_and(|variant| !plain(variant)) {
            return Err(Error::Usage(format!(
                "`{text}` is not a platform; expected os/architecture or os/architecture/variant, such as linux/amd64 or linux/arm/v6"
            )));
        }
        Ok(Self { os: os.to_owned(), architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
            .normal())
    }

    /// Returns the platform of this machine.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86" => "386",
            other => other,
        };
        Self { os: "linux".to_owned(), architecture: architecture.to_owned(), variant: None }.normal()
    }

    /// Returns the canonical form: in small letters, aliases are resolved, an `arm` without a variant is `v7`, and `v8` of `arm64` and `v1` of `amd64` are
    /// dropped, as container tools do.
    #[must_use]
    pub fn normal(mut self) -> Self {
        self.os.make_ascii_lowercase();
        self.architecture.make_ascii_lowercase();
        if let Some((_, architecture, variant)) = ALIASES.iter().find(|(alias, ..)| *alias == self.architecture) {
            self.architecture = (*architecture).to_owned();
            self.variant = self.variant.or_else(|| variant.map(str::to_owned));
        }
        self.variant = self.variant.filter(|variant| !variant.is_empty());
        match (self.architecture.as_str(), self.variant.as_deref()) {
            ("arm", None) => self.variant = Some("v7".to_owned()),
            ("arm", Some(digit @ ("5" | "6" | "7"))) => self.variant = Some(format!("v{digit}")),
            ("arm64", Some("v8" | "8")) | ("amd64", Some("v1")) => self.variant = None,
            _ => {}
        }
        self
    }

    /// Takes from `other` what this one does not say.
    pub fn complete(&mut self, other: &Self) {
        if self.os.is_empty() {
            self.os.clone_from(&other.os);
        }
        if self.architecture.is_empty() {
            self.architecture.clone_from(&other.architecture);
            self.variant.clone_from(&other.variant);
        }
    }

    /// Ranks an image for `other` on this machine: 0 is best, `None` means that it cannot run. A later ARM runs images for an earlier
    /// one, and a higher x86-64 level those for a lower one, never the reverse. An operating system that is not named matches any; an image
    /// that does not name its architecture ranks last.
    #[must_use]
    pub fn rank(&self, other: &Self) -> Option<u32> {
        let (mine, theirs) = (self.clone().normal(), other.clone().normal());
        if mine.os != theirs.os && !theirs.os.is_empty() {
            return None;
        }
        if theirs.architecture.is_empty() {
            return Some(UNSAID);
        }
        if mine.architecture != theirs.architecture {
            return None;
        }
        let level = |platform: &Self| match (platform.architecture.as_str(), platform.variant.as_deref()) {
            ("arm", Some("v5")) => Some(5),
            ("arm", Some("v6")) => Some(6),
            ("arm", Some("v7")) => Some(7),
            ("amd64", None) => Some(1),
            ("amd64", Some("v2")) => Some(2),
            ("amd64", Some("v3")) => Some(3),
            ("amd64", Some("v4")) => Some(4),
            (_, None) => Some(0),
            _ => None,
        };
        match (level(&mine), level(&theirs)) {
            (Some(mine), Some(theirs)) => u32::checked_sub(mine, theirs),
            _ => (mine.variant == theirs.variant).then_some(0),
        }
    }
}

impl Display for Platform {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let said = |word: &str| if word.is_empty() { "unknown".to_owned() } else { word.escape_debug().to_string() };
        write!(f, "{}/{}", said(&self.os), said(&self.architecture))?;
        self.variant.iter().try_for_each(|variant| write!(f, "/{variant}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        Platform::parse(text).unwrap()
    }

    #[test]
    fn names_become_one_name() {
        for (text, shown) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/i686", "linux/386"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armv6l", "linux/arm/v6"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/arm64/v8", "linux/arm64"),
        ] {
            assert_eq!(platform(text).to_string(), shown);
        }
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/v6/x", "Linux/amd64", "linux/am d64", "linux/arm/"] {
            assert!(Platform::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_machine_runs_what_was_made_for_lesser_ones() {
        for (machine, image, rank) in [
            ("linux/arm/v6", "linux/arm/v6", Some(0)),
            ("linux/arm/v6", "linux/arm/v5", Some(1)),
            ("linux/arm/v6", "linux/arm/v7", None),
            ("linux/arm/v6", "linux/arm", None),
            ("linux/arm/v7", "linux/arm/v5", Some(2)),
            ("linux/arm64", "linux/arm/v7", None),
            ("linux/386", "linux/amd64", None),
            ("linux/amd64", "linux/386", None),
            ("linux/amd64", "linux/amd64/v1", Some(0)),
            ("linux/amd64", "linux/amd64/v3", None),
            ("linux/amd64/v3", "linux/amd64", Some(2)),
            ("linux/amd64", "windows/amd64", None),
            ("linux/riscv64", "linux/riscv64", Some(0)),
            ("linux/mips/softfloat", "linux/mips/softfloat", Some(0)),
            ("linux/mips/softfloat", "linux/mips/hardfloat", None),
        ] {
            assert_eq!(platform(machine).rank(&platform(image)), rank, "{image} on {machine}");
        }
        let said =
            |os: &str, architecture: &str| Platform { os: os.into(), architecture: architecture.into(), variant: None };
        assert_eq!(platform("linux/arm/v6").rank(&said("", "")), Some(UNSAID));
        assert_eq!(platform("linux/amd64").rank(&said("", "amd64")), Some(0));
        assert_eq!(platform("linux/amd64").rank(&said("windows", "")), None);
        assert_eq!(platform("linux/amd64").rank(&said("Linux", "X86_64")), Some(0));
        assert_eq!(platform("linux/arm/v6").rank(&said("linux", "armel")), Some(0));
        assert_eq!(said("", "amd64").to_string(), "unknown/amd64");
    }
}
