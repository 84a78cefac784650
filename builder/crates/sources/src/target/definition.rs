//! The definition of a target, as a file in `targets/` holds it.

use std::collections::BTreeMap;

use base::elf::Machine;
use serde::Deserialize;

/// The name that stands for the target of this machine.
pub const AUTO: &str = "auto";

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

    /// Returns the same target on another of its [machines](Definition::machines); none where it has none of that name.
    pub fn on(&self, machine: &str) -> Option<Self> {
        let other = self.machines.get(machine)?;
        let mut target = self.clone();
        target.definition.kernel.dtb.clone_from(&other.dtb);
        target.definition.qemu = other.qemu.clone();
        Some(target)
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
    /// The processors it is for: `any ARMv8`.
    pub processor: String,
    /// The boards and machines it is for, each a row of the documents' table: `Raspberry Pi 2`.
    pub boards: Vec<String>,
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
    /// The sizes of memory pages that its kernels have, in KiB. Its programs are aligned for each.
    pub page_sizes: Vec<u64>,
    /// The BusyBox of its standard and debug images.
    pub busybox: BusyboxPackage,
    /// The kernel that boots it in QEMU.
    pub kernel: KernelPackage,
    /// The QEMU machine that boots it.
    pub qemu: Qemu,
    /// Further machines of QEMU's, by name, that its kernel boots on: `bench/kernels` tries each.
    #[serde(default)]
    pub machines: BTreeMap<String, FurtherMachine>,
}

/// A machine of QEMU's beside the usual one.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FurtherMachine {
    /// The device tree's file name in the kernel's package, for machines that need one.
    pub dtb: Option<String>,
    /// The modules that its disk needs.
    #[serde(default)]
    pub modules: Vec<String>,
    /// The machine.
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
    /// Packages of Debian's kernels for it, by release: `bench/kernels` boots each.
    #[serde(default)]
    pub flavours: BTreeMap<String, Vec<String>>,
}

/// A machine of QEMU's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Qemu {
    /// The machine that QEMU emulates, as help shows it: `a Pentium II`.
    pub model: String,
    /// The program.
    pub program: String,
    /// The Debian packages of the program and of the firmware that it starts, separated by spaces.
    pub debian_packages: String,
    /// Its arguments for the machine itself; kernel, initramfs and disk come on top.
    pub args: Vec<String>,
    /// The processor for kernels with pages of more than 4 KiB, as `-cpu` takes it, where the one in the arguments has none.
    pub large_page_cpu: Option<String>,
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
    /// Returns the name that `-drive if=` takes.
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

impl Definition {
    /// Returns the first key whose value cannot be right although it is of the right type, with what is expected of it.
    pub(super) fn objection(&self) -> Option<(&'static str, String)> {
        let is_platform = |name: &String| name.starts_with("linux/") && name.split('/').skip(1).all(is_plain);
        let digest = &self.busybox.sha256;
        let checks = [
            ("processor", !self.processor.is_empty(), "expected the processors it is for"),
            ("boards", !self.boards.is_empty(), "expected at least one board"),
            (
                "aliases",
                self.aliases.iter().all(|alias| is_plain(alias) && !["all", AUTO].contains(&alias.as_str())),
                "expected names of lower case letters, digits, `_`, `-` and `.`, neither `all` nor `auto`",
            ),
            (
                "oci",
                !self.oci.is_empty() && self.oci.iter().all(is_platform),
                "expected at least one platform, linux/ARCHITECTURE or linux/ARCHITECTURE/VARIANT",
            ),
            (
                "page-sizes",
                !self.page_sizes.is_empty() && self.page_sizes.iter().all(|kib| *kib >= 4 && kib.is_power_of_two()),
                "expected sizes in KiB, such as [4, 16, 64]",
            ),
            (
                "busybox.sha256",
                digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "expected 64 hexadecimal digits",
            ),
            ("qemu.program", self.qemu.program.starts_with("qemu-system-"), "expected qemu-system-…"),
        ];
        checks.into_iter().find(|(_, is_right, _)| !is_right).map(|(key, _, expected)| (key, expected.to_owned()))
    }

    /// Returns the size of the largest pages that its kernels have, in bytes.
    pub fn page_max(&self) -> u64 {
        self.page_sizes.iter().max().map_or(4 << 10, |kib| kib << 10)
    }
}

/// Returns true for a name that can be part of a file's name and of an option.
pub(super) fn is_plain(name: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
    name.bytes().all(is_letter) && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}
