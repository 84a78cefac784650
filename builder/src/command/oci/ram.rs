//! Options of an image that runs by itself: what is run, and the init that runs it.

use std::path::PathBuf;

use archive::tree::{Content, Entry, Kind};
use base::progress::Progress;
use contract::workload::Process;
use oci::{
    config::Run,
    image::Image,
    merge::Merge,
    network::Busybox,
    platform::Platform,
    ram::{self, RunOverrides},
};
use sources::{
    target::{self, Target},
    toolchain::Toolchain,
};

use crate::{
    Error, Result, busybox_image,
    command::build::{
        Program,
        modules::{Wanted, choose as choose_modules},
        source,
    },
    image,
};

/// Cargo features of the init that knows this way.
const FEATURES: &str = "ram";

/// How the image runs.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What is run")]
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

    /// The folder that it starts in; made where it is missing
    #[arg(long, value_name = "PATH")]
    workdir: Option<String>,

    /// Who it runs as: user, uid, user:group or uid:gid
    #[arg(long, value_name = "USER")]
    user: Option<String>,

    /// The machine's name
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,

    /// The process it becomes: process 1 of a namespace, the machine's own process 1, or a child of init [default: by its name]
    #[arg(long, value_name = "namespace|real|no", value_parser = process)]
    pid1: Option<Process>,

    /// Ask every network interface for an address (DHCP), with a BusyBox beside the image that its programs do not see
    #[arg(long)]
    pub network: bool,

    /// Kernel modules by name, alias, path or set (`@virtio`), with --module-tree; or one folder of .ko files. Repeatable
    #[arg(long, value_name = "NAMES|DIR", value_delimiter = ',')]
    modules: Vec<String>,

    /// The kernel's module folder, /lib/modules/<version>, or a root that holds it
    #[arg(long, value_name = "DIR")]
    module_tree: Option<PathBuf>,

    /// A finished init that runs from memory, instead of compiling it
    #[arg(long, value_name = "FILE")]
    init_program: Option<PathBuf>,

    /// The source tree that init is compiled from [default: the one that the current folder is in]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,
}

impl RunArgs {
    /// What the user wants of it. `arguments` take the place of the image's.
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

    /// Whether an image with an init of its own and nothing else to run is meant to run that.
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

    /// Makes the merged root run by itself. Returns which process its program becomes. `modules` are those of a kernel that is known, where the user named none.
    ///
    /// # Errors
    /// As [`ram::workload`] and [`ram::put`]; [`Error::Usage`] for a machine that there is no init for; what compiling init says.
    pub fn apply(
        &self,
        image: &Image,
        platform: &Platform,
        merge: &mut Merge,
        arguments: &[String],
        modules: Option<Wanted<'_>>,
        progress: Progress,
    ) -> Result<Process> {
        let none = Run::default();
        let run = image.config.as_ref().map_or(&none, |config| &config.config);
        let wishes = self.wishes(arguments);
        let mut workload = ram::workload(&image.name, run, &wishes)?;
        workload.process = wishes.process.unwrap_or_else(|| ram::detect_process(merge, &workload));
        if workload.words(None, &[]).is_empty() {
            return Err(ram::nothing_to_run(&image.name).into());
        }
        ram::make_volumes(&image.name, run, merge)?;
        let target = target_of(platform)?;
        let wanted = Wanted { modules: &self.modules, always: &[], tree: self.module_tree.as_deref(), strip: false };
        let wanted =
            if wanted.tree.is_none() && wanted.modules.is_empty() { modules.unwrap_or(wanted) } else { wanted };
        if let Some(modules) = choose_modules(&wanted, &[target], "", &progress)? {
            image::put_modules(&mut merge.tree, &modules)?;
        }
        let busybox = match self.network {
            true => Some(busybox_image::get(target, None, &crate::cache::open()?, &progress)?),
            false => None,
        };
        let init = match &self.init_program {
            Some(path) => Program::read(path.clone(), target, None)?.path,
            None => {
                let place = source::locate(self.source.as_deref())?;
                Toolchain::new(place.source()?, &crate::cache::open()?, progress)?.init(target, FEATURES)?.path
            }
        };
        let network = busybox.as_ref().map(|busybox| Busybox { program: &busybox.bytes, applets: &busybox.applets });
        ram::put(&image.name, merge, &workload, Content::host(init)?, network)?;
        Ok(workload.process)
    }
}

fn process(word: &str) -> Result<Process, String> {
    Process::parse(word).ok_or_else(|| format!("`{word}` is none of namespace, real and no"))
}

/// The target whose init runs on a platform.
///
/// # Errors
/// [`Error::Usage`] where there is none.
pub fn target_of(platform: &Platform) -> Result<&'static Target> {
    let name = match (platform.architecture.as_str(), platform.variant.as_deref()) {
        ("amd64", _) => "x86_64",
        ("386", _) => "i686",
        ("arm", Some("v6" | "v7")) => "armv6l",
        _ => {
            return Err(Error::Usage(format!(
                "there is no init for {platform}, only for linux/amd64, linux/386, linux/arm/v6 and v7; choose one of these with \
                 --platform, or give an init of your own with --init"
            )));
        }
    };
    Ok(target::named(name)?)
}

/// Puts the user's own program at `/init`.
///
/// # Errors
/// [`Error::Usage`].
pub fn put_own(merge: &mut Merge, init: &std::path::Path) -> Result<()> {
    let entry = Entry::file(0o755, Content::host(init)?);
    merge.insert(b"init", entry).map_err(|reason| Error::Usage(format!("--init {}: {reason}", init.display())))?;
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
            ("linux/386", "i686"),
            ("linux/arm/v6", "armv6l"),
            ("linux/arm", "armv6l"),
        ] {
            assert_eq!(name(platform).unwrap(), target, "{platform}");
        }
        for platform in ["linux/arm64", "linux/arm/v5", "linux/riscv64"] {
            assert!(name(platform).unwrap_err().to_string().contains(platform), "{platform}");
        }
    }
}
