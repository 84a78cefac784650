//! The machines an image can be built for, one definition each in `targets/*.toml`: what Rust and Zig call them, which
//! BusyBox runs there, which kernel and which QEMU machine boot them. Only says what they are; builds nothing.

use std::sync::LazyLock;

use base::elf::Machine;
use contract::text::nearest;
use serde::Deserialize;

use crate::{Error, Result};

/// The definitions as they stood in `targets/` when the command was built: name and TOML.
static DEFINITIONS: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/targets.rs"));

/// A machine to build for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// What the user calls it and what file names carry: `armv6l`.
    pub name: String,
    /// What makes it up.
    pub definition: Definition,
}

impl std::ops::Deref for Target {
    type Target = Definition;

    fn deref(&self) -> &Definition {
        &self.definition
    }
}

/// What a file in `targets/` holds.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Definition {
    /// Rust's name.
    pub triple: String,
    /// Zig's name, for the parts in C: libblkid and musl.
    pub zig_target: String,
    /// Zig's name of the processor, as `-mcpu` takes it.
    pub zig_cpu: String,
    /// What an ELF file for it says, so that a program for another machine is never packed.
    pub elf: Machine,
    /// The BusyBox of its standard and debug images.
    pub busybox: BusyboxPackage,
    /// The kernel that boots it in QEMU.
    pub kernel: KernelPackage,
    /// The QEMU machine that boots it.
    pub qemu: Qemu,
}

/// A statically linked BusyBox from Debian.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct BusyboxPackage {
    /// Debian's name of the machine.
    pub debian_arch: String,
    /// The release that has the package: `bookworm`.
    pub suite: String,
    /// The binary package.
    pub package: String,
    /// Its pinned version.
    pub version: String,
    /// SHA-256 of the `.deb` of that version, in hexadecimal.
    pub sha256: String,
}

/// A kernel from Debian.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KernelPackage {
    /// Debian's name of the machine.
    pub debian_arch: String,
    /// The release that has the package.
    pub suite: String,
    /// The binary package, which may only depend on the one with the kernel's version in its name.
    pub package: String,
    /// The device tree's file name, for machines that need one.
    pub dtb: Option<String>,
}

/// A machine of QEMU's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Qemu {
    /// The program.
    pub program: String,
    /// Its arguments for the machine itself; kernel, initramfs and disk come on top.
    pub args: Vec<String>,
    /// What `console=` takes.
    pub console: String,
    /// How the disk is attached.
    pub disk: DiskInterface,
    /// What the kernel's command line needs on this machine.
    #[serde(default)]
    pub append: String,
    /// Whether the machine can power off or reboot. If not, whoever waits for it ends QEMU at a marker line.
    #[serde(default = "yes")]
    pub powers_off: bool,
}

/// How QEMU shows a disk to the guest: what `-drive if=` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskInterface {
    /// An SD card; its size must be a power of two.
    Sd,
    /// virtio over PCI.
    Virtio,
}

impl DiskInterface {
    /// As `-drive if=` takes it.
    pub fn qemu_name(self) -> &'static str {
        match self {
            Self::Sd => "sd",
            Self::Virtio => "virtio",
        }
    }
}

fn yes() -> bool {
    true
}

static TARGETS: LazyLock<Result<Vec<Target>, (&'static str, toml::de::Error)>> = LazyLock::new(|| {
    DEFINITIONS.iter().map(|(name, text)| parse(name, text).map_err(|error| (*name, error))).collect()
});

fn parse(name: &str, text: &str) -> Result<Target, toml::de::Error> {
    Ok(Target { name: name.to_owned(), definition: toml::from_str(text)? })
}

/// All targets, by name.
///
/// # Errors
/// [`Error::TargetDefinition`] where the command was built with a definition that is wrong.
pub fn all() -> Result<&'static [Target]> {
    match &*TARGETS {
        Ok(targets) => Ok(targets),
        Err((name, source)) => Err(Error::TargetDefinition { name, source: source.clone() }),
    }
}

/// The target called `name`.
///
/// # Errors
/// [`Error::Usage`] with the names there are, and the nearest.
pub fn named(name: &str) -> Result<&'static Target> {
    let targets = all()?;
    targets.iter().find(|target| target.name == name).ok_or_else(|| {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        let hint = alias(name).or_else(|| nearest(name, &names));
        let hint = hint.map_or_else(|| ".".to_owned(), |hint| format!("; did you mean `{hint}`?"));
        Error::Usage(format!("there is no target `{name}`{hint} There are: {}", names.join(", ")))
    })
}

/// What others call our targets.
fn alias(name: &str) -> Option<&'static str> {
    match name {
        "arm" | "armel" | "armhf" | "armv6" | "armv6hf" | "arm1176" | "rpi" => Some("armv6l"),
        "i386" | "i486" | "i586" | "x86" | "ia32" => Some("i686"),
        "amd64" | "x64" | "x86-64" => Some("x86_64"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_right() {
        let targets = all().unwrap();
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["armv6l", "i686", "x86_64"]);
        for target in targets {
            assert_eq!(target.busybox.sha256.len(), 64, "{}", target.name);
            assert!(target.busybox.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", target.name);
        }
    }

    #[test]
    fn a_wrong_name_says_which_there_are() {
        let text = |name| named(name).unwrap_err().to_string();
        assert_eq!(
            text("x86_46"),
            "there is no target `x86_46`; did you mean `x86_64`? There are: armv6l, i686, x86_64"
        );
        assert_eq!(text("amd64"), "there is no target `amd64`; did you mean `x86_64`? There are: armv6l, i686, x86_64");
        assert_eq!(text("sparc"), "there is no target `sparc`. There are: armv6l, i686, x86_64");
        assert_eq!(named("i686").unwrap().triple, "i586-unknown-linux-musl");
    }

    #[test]
    fn a_misspelt_field_is_an_error() {
        let (name, text) = DEFINITIONS[0];
        assert!(parse(name, text).is_ok());
        assert!(parse(name, &text.replace("zig-cpu", "zig-processor")).is_err());
    }
}
