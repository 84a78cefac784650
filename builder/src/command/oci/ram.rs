//! Options of an image that runs by itself: what is run, and the init that runs it.

use std::path::{Path, PathBuf};

use archive::tree::{Content, Entry, Kind};
use base::{escape::shown, progress::Progress};
use contract::workload::{Process, Workload};
use oci::{
    config::Run,
    image::Image,
    merge::Merge,
    network::Busybox,
    platform::Platform,
    ram::{self, RunOverrides},
};
use sources::{
    busybox,
    target::{self, Target},
};

use crate::{
    Error, Result, busybox_image,
    command::build::{
        modules::{Wanted, choose as choose_modules},
        program,
    },
    command::substitute::SubstituteArgs,
    image,
};

/// Cargo features of the init that runs a root in memory.
pub const FEATURES: &str = "ram";
/// Cargo features of the init that also takes its root from a disk, and directories from the host.
pub const ALL_FEATURES: &str = "ram,lower,virtiofs";

/// Options for running the image, which override its own configuration.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Program to run")]
pub struct RunArgs {
    /// The program, instead of the image's; the image's arguments go with it. Repeated, its first arguments. '' is none
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    entrypoint: Vec<String>,

    /// An argument, instead of the image's. Repeatable
    #[arg(long, value_name = "WORD", allow_hyphen_values = true)]
    cmd: Vec<String>,

    /// A variable of its environment. Repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<String>,

    /// The directory that it starts in, created if missing
    #[arg(long, value_name = "PATH")]
    workdir: Option<String>,

    /// The user it runs as: user, uid, user:group or uid:gid
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// The machine's name
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    /// The process it becomes: process 1 of a namespace, the machine's own process 1, or a child of init [default: by its name]
    #[arg(long, value_name = "namespace|real|no", value_parser = process)]
    pid1: Option<Process>,

    /// Configure every network interface by DHCP, with a BusyBox beside the image that its programs do not see
    #[arg(long)]
    pub network: bool,

    /// The permission for packages other than the pinned ones
    #[command(flatten)]
    pub substitute: SubstituteArgs,

    /// Kernel modules by name, alias, path or set (`@virtio`), with --module-tree; or one directory of .ko files. Repeatable
    #[arg(long, value_name = "NAMES|DIR", value_delimiter = ',')]
    modules: Vec<String>,

    /// The kernel's module directory, /lib/modules/<version>, or a root that holds it
    #[arg(long, value_name = "DIR")]
    module_tree: Option<PathBuf>,

    /// A finished init that runs from memory, instead of compiling it
    #[arg(long, value_name = "FILE")]
    init_program: Option<PathBuf>,

    /// The source tree that init is compiled from [default: the one that the current directory is in]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
}

impl RunArgs {
    /// Returns the overrides of the image's configuration. `arguments`, if there are any, replace those of `--cmd` and of the image.
    pub fn wishes(&self, arguments: &[String]) -> RunOverrides {
        RunOverrides {
            entrypoint: self.entrypoint.clone(),
            cmd: if arguments.is_empty() { self.cmd.clone() } else { arguments.to_vec() },
            env: self.env.clone(),
            directory: self.workdir.clone(),
            user: self.user.clone(),
            hostname: self.hostname.clone(),
            process: self.pid1,
        }
    }

    /// Returns true if the image's own `/init` runs: it is an executable or a link, and neither the image nor an option names a program.
    pub fn leave_init(&self, image: &Image, merge: &Merge) -> bool {
        let says = image
            .config
            .as_ref()
            .is_some_and(|config| !config.config.entrypoint.is_empty() || !config.config.cmd.is_empty());
        let is_program = merge.tree.get("init").is_some_and(|entry| match entry.kind {
            Kind::File(_) => entry.mode & 0o111 != 0,
            Kind::Symlink(_) => true,
            _ => false,
        });
        is_program && !says && !self.wishes(&[]).name_program()
    }

    /// Returns what the image runs; `arguments` take the place of its own. `merge` has the names of its root.
    ///
    /// # Errors
    /// As [`ram::workload`]; [`oci::Error::Image`] for an image that says nothing.
    pub fn workload(&self, image: &Image, merge: &Merge, arguments: &[String]) -> Result<Workload> {
        let wishes = self.wishes(arguments);
        let mut workload = ram::workload(&image.name, config_of(image), &wishes)?;
        workload.process = wishes.process.unwrap_or_else(|| ram::detect_process(merge, &workload));
        if workload.words(None, &[]).is_empty() {
            return Err(ram::nothing_to_run(&image.name).into());
        }
        Ok(workload)
    }

    /// Makes the merged root run by itself.
    ///
    /// # Errors
    /// As [`Self::workload`] and [`Self::put`]; [`Error::Usage`] for a machine that there is no init for.
    pub fn apply(&self, image: &Image, platform: &Platform, merge: &mut Merge, progress: Progress) -> Result<()> {
        let workload = self.workload(image, merge, &[])?;
        make_volumes(image, merge)?;
        let target = target_of(platform)?;
        let busybox = self.busybox(target, &progress)?;
        self.put(
            &image.name,
            target,
            merge,
            &workload,
            &Beside { busybox: busybox.as_ref(), ..Beside::default() },
            progress,
        )
    }

    /// Returns the BusyBox that sees to the network, where there is to be one.
    ///
    /// # Errors
    /// As [`busybox_image::get`].
    pub fn busybox(&self, target: &'static Target, progress: &Progress) -> Result<Option<busybox::Busybox>> {
        let get = || busybox_image::get(target, None, &crate::cache::open()?, self.substitute.permission(), progress);
        self.network.then(get).transpose()
    }

    /// Puts into `merge` what runs `workload`: init, the kernel's modules and what is beside it.
    ///
    /// # Errors
    /// As [`ram::put`]; what compiling init says.
    pub fn put(
        &self,
        image: &str,
        target: &'static Target,
        merge: &mut Merge,
        workload: &Workload,
        beside: &Beside<'_>,
        progress: Progress,
    ) -> Result<()> {
        let names: Vec<String> =
            beside.modules.iter().map(|name| (*name).to_owned()).chain(self.modules.iter().cloned()).collect();
        // A directory of modules says all.
        let known = beside.tree.filter(|_| self.modules.is_empty() && !beside.modules.is_empty());
        let tree = self.module_tree.as_deref().or(known);
        let modules = if tree.is_some() { &names } else { &self.modules };
        let wanted = Wanted { modules, always: &[], tree, strip: false };
        if let Some(modules) = choose_modules(&wanted, &[target], "", false, &progress)?.usual {
            image::put_modules(&mut merge.tree, &modules)?;
        }
        let features = if workload.disk.is_empty() && workload.shares.is_empty() { FEATURES } else { ALL_FEATURES };
        let (given, source) = (self.init_program.as_deref(), self.source.as_deref());
        let (program, _) = program::one(target, features, given, source, progress)?;
        let network = beside.busybox.map(|busybox| Busybox { program: &busybox.bytes, applets: &busybox.applets });
        Ok(ram::put(image, merge, workload, Content::host(program.path)?, network)?)
    }
}

/// Everything that a boot brings beside the image and what was said about it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside<'a> {
    /// Modules that the machine needs.
    pub modules: &'a [&'a str],
    /// The modules of the kernel that boots, where that is known.
    pub tree: Option<&'a Path>,
    /// The BusyBox that sees to the network.
    pub busybox: Option<&'a busybox::Busybox>,
}

/// Makes the directories of the image's volumes.
///
/// # Errors
/// As [`ram::make_volumes`].
pub fn make_volumes(image: &Image, merge: &mut Merge) -> Result<()> {
    Ok(ram::make_volumes(&image.name, config_of(image), merge)?)
}

/// Returns how the image wants to be run.
fn config_of(image: &Image) -> &Run {
    static NONE: std::sync::LazyLock<Run> = std::sync::LazyLock::new(Run::default);
    image.config.as_ref().map_or(&NONE, |config| &config.config)
}

fn process(word: &str) -> Result<Process, String> {
    Process::parse(word).ok_or_else(|| format!("`{word}` is none of namespace, real and no"))
}

/// Returns the target whose init runs on a platform.
///
/// # Errors
/// [`Error::Usage`] where there is none.
pub fn target_of(platform: &Platform) -> Result<&'static Target> {
    let mut known = Vec::new();
    for target in target::all()? {
        for name in &target.oci {
            let runs = Platform::parse(name)?;
            if runs.architecture == platform.architecture
                && (runs.variant.is_none() || runs.variant == platform.variant)
            {
                return Ok(target);
            }
            known.push(name.as_str());
        }
    }
    Err(Error::Usage(format!(
        "there is no init for {platform}, only for {}; choose one of these with --platform, or give an init of your own with --own-init",
        known.join(", ")
    )))
}

/// Puts the user's own program at `/init`.
///
/// # Errors
/// [`Error::Usage`].
pub fn put_own(merge: &mut Merge, init: &std::path::Path) -> Result<()> {
    let entry = Entry::file(0o755, Content::host(init)?);
    merge.insert(b"init", entry).map_err(|reason| Error::Usage(format!("--own-init {}: {reason}", shown(init))))?;
    merge.xattrs.remove(&b"init"[..]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn platforms_have_their_init() {
        let name = |text: &str| target_of(&Platform::parse(text).unwrap()).map(|target| target.name.clone());
        for (platform, target) in [
            ("linux/amd64", "x86_64"),
            ("linux/amd64/v3", "x86_64"),
            ("linux/arm64/v8", "aarch64"),
            ("linux/aarch64", "aarch64"),
            ("linux/386", "i686"),
            ("linux/arm/v6", "armv6l"),
            ("linux/arm", "armv7l"),
            ("linux/arm/v7", "armv7l"),
            ("linux/riscv64", "riscv64"),
        ] {
            assert_eq!(name(platform).unwrap(), target, "{platform}");
        }
        for platform in ["linux/arm/v5", "linux/s390x"] {
            assert!(name(platform).unwrap_err().to_string().contains(platform), "{platform}");
        }
    }
}
