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
    /// The name that the user gives and that file names carry: `armv6l`.
    pub name: String,
    /// Its definition, from `targets/`.
    pub definition: Definition,
}

impl Target {
    /// Returns true for its name and each of its aliases.
    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.iter().any(|alias| alias == name)
    }
}

impl std::ops::Deref for Target {
    type Target = Definition;

    fn deref(&self) -> &Definition {
        &self.definition
    }
}

/// The content of a file in `targets/`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Definition {
    /// The machines it is for, as help and documents show them.
    pub about: String,
    /// Its names in other tools: `uname -m`, Debian, Docker, Go.
    pub aliases: Vec<String>,
    /// OCI platforms whose programs run on it, its own first. One without a variant stands for all variants.
    pub oci: Vec<String>,
    /// Rust's name.
    pub triple: String,
    /// Further flags of rustc.
    #[serde(default)]
    pub rust_flags: Vec<String>,
    /// Further flags of rustc for init itself, and not for the libraries in it.
    #[serde(default)]
    pub init_rust_flags: Vec<String>,
    /// Zig's name, for the parts in C: libblkid and musl.
    pub zig_target: String,
    /// Zig's name of the processor, as `-mcpu` takes it.
    pub zig_cpu: String,
    /// The machine in the header of its ELF files, so that a program for another machine is never packed.
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
    /// Digest of the files that are kept of it, as [`base::cache::tree_digest`] computes it.
    pub files_sha256: String,
}

/// A kernel from Debian.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct KernelPackage {
    /// Debian's name of the machine.
    pub debian_arch: String,
    /// The release that has the package.
    pub suite: String,
    /// The binary package that depends on the newest kernel's: `linux-image-amd64`.
    pub package: String,
    /// The pinned kernel's release, as `uname -r` prints it and the name of its package ends.
    pub release: String,
    /// The version of that package.
    pub version: String,
    /// SHA-256 of its `.deb`, in hexadecimal.
    pub sha256: String,
    /// Digest of the files that are kept of it, as [`base::cache::tree_digest`] computes it.
    pub files_sha256: String,
    /// The device tree's file name, for machines that need one.
    pub dtb: Option<String>,
}

/// A machine of QEMU's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Qemu {
    /// The machine that QEMU emulates, as help shows it: `a Pentium II`.
    pub model: String,
    /// The program.
    pub program: String,
    /// The Debian package of the program.
    pub debian_package: String,
    /// Its arguments for the machine itself; kernel, initramfs and disk come on top.
    pub args: Vec<String>,
    /// The device of its console, as `console=` takes it.
    pub console: String,
    /// The interface that the disk is attached to.
    pub disk: DiskInterface,
    /// The channel on which the guest reports its program's status.
    pub exit: ExitChannel,
    /// Further parameters that the kernel's command line needs on this machine.
    #[serde(default)]
    pub append: String,
    /// True if the machine can power off or reboot. If not, whoever waits for it kills QEMU at a marker line.
    #[serde(default = "yes")]
    pub powers_off: bool,
}

/// The interface through which QEMU shows a disk to the guest, as `-drive if=` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DiskInterface {
    /// An SD card; its size must be a power of two.
    Sd,
    /// virtio over PCI.
    Virtio,
}

/// The channel on which a guest reports the status of its program to QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExitChannel {
    /// A byte to an I/O port, QEMU's `isa-debugcon`.
    IsaPort,
    /// A line on the console.
    Console,
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

/// Returns the target of that name or alias.
///
/// # Errors
/// [`Error::Usage`] with all names, and the one that was probably meant.
pub fn named(name: &str) -> Result<&'static Target> {
    let targets = all()?;
    targets.iter().find(|target| target.is_called(name)).ok_or_else(|| {
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        let hint = nearest(name, &names).or_else(|| {
            let aliases: Vec<&str> = targets.iter().flat_map(|target| &target.aliases).map(String::as_str).collect();
            let near = nearest(name, &aliases)?;
            targets.iter().find(|target| target.is_called(near)).map(|target| target.name.as_str())
        });
        let hint = hint.map_or_else(|| ".".to_owned(), |hint| format!("; did you mean `{hint}`?"));
        Error::Usage(format!("there is no target `{name}`{hint} There are: {}", names.join(", ")))
    })
}

/// Lists the targets that `is_shown` keeps, each with what `detail` says about it, for a line of help: `i686 (a Pentium II), …`.
/// Empty where a definition is wrong, which [`all`] reports.
pub fn list(is_shown: impl Fn(&Target) -> bool, detail: impl Fn(&Target) -> String) -> String {
    let shown = all().unwrap_or_default().iter().filter(|target| is_shown(target));
    shown.map(|target| format!("{} ({})", target.name, detail(target))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_right() {
        let targets = all().unwrap();
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["aarch64", "armv6l", "i686", "x86_64"]);
        for target in targets {
            let called = |name: &str| targets.iter().filter(|target| target.is_called(name)).count();
            for name in target.aliases.iter().chain([&target.name]) {
                assert_eq!(called(name), 1, "{name}");
            }
            assert!(!target.oci.is_empty(), "{}", target.name);
            assert_eq!(target.busybox.sha256.len(), 64, "{}", target.name);
            assert!(target.busybox.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()), "{}", target.name);
        }
    }

    #[test]
    fn a_wrong_name_says_which_there_are() {
        let text = |name| named(name).unwrap_err().to_string();
        assert_eq!(
            text("x86_46"),
            "there is no target `x86_46`; did you mean `x86_64`? There are: aarch64, armv6l, i686, x86_64"
        );
        assert!(text("amd46").contains("did you mean `x86_64`?"), "{}", text("amd46"));
        assert_eq!(text("sparc"), "there is no target `sparc`. There are: aarch64, armv6l, i686, x86_64");
        assert_eq!(named("i686").unwrap().triple, "i586-unknown-linux-musl");
    }

    #[test]
    fn the_names_of_other_tools_work() {
        for (name, target) in [
            ("arm64", "aarch64"),
            ("armel", "armv6l"),
            ("i386", "i686"),
            ("386", "i686"),
            ("amd64", "x86_64"),
            ("x86-64", "x86_64"),
        ] {
            assert_eq!(named(name).unwrap().name, target, "{name}");
        }
    }

    #[test]
    fn documents_list_every_target_as_its_definition_describes_it() {
        let tree = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
        for document in ["README.md", "docs/build.md"] {
            let text = std::fs::read_to_string(tree.join(document)).unwrap();
            for target in all().unwrap() {
                let row = format!("| `{}` | {} |", target.name, target.about);
                assert!(text.contains(&row), "{document} lacks {row}");
            }
        }
    }

    #[test]
    fn a_misspelt_field_is_an_error() {
        let (name, text) = DEFINITIONS[0];
        assert!(parse(name, text).is_ok());
        assert!(parse(name, &text.replace("zig-cpu", "zig-processor")).is_err());
    }
}
