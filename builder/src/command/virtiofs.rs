//! `initramfs-overlay virtiofs`: makes the initramfs of a machine whose root is a directory of the host.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::ExitCode,
};

use archive::{
    compress::Compression,
    newc::{self, Properties},
};
use base::{IoContext, atomic_file::AtomicFile, progress::Progress};
use indicatif::BinaryBytes;
use initramfs_overlay_init::config::{Abilities, Config};
use kmod::ModuleTree;
use serde_json::json;
use sources::target::{self, Target};

use super::build::{Program, program};
use crate::{
    Error, Result,
    command::{choice::choice, output},
    virtiofs::{self, Chosen, Parts},
};

/// Cargo features of the init that knows this way.
pub(super) const FEATURES: &str = "virtiofs";

/// Make the initramfs of a virtual machine whose root is a directory of the host (virtiofs).
///
/// It holds init and the modules that virtiofs needs on the kernel, numbered in the order in which they are loaded. What the
/// kernel has built in is left out.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  For the kernel that this machine runs:
    initramfs-overlay virtiofs -o initrd.gz
  For another kernel, with the module of a network interface:
    initramfs-overlay virtiofs \\
        --module-tree root/usr/lib/modules/6.12.5 \\
        --modules virtio_net -o initrd.gz

Boot it with `rootfs=TAG` (or `rootfstype=virtiofs root=TAG`) on the kernel's command line; `vm` does all of it.")]
pub struct Args {
    /// The initramfs to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// Target to build for [default: this machine]
    #[arg(long, value_name = "NAME")]
    pub target: Option<String>,

    /// The kernel's module directory, /lib/modules/<version>, or a root that holds it [default: that of the running kernel]
    #[arg(long, value_name = "DIR")]
    pub module_tree: Option<PathBuf>,

    /// The kernel has all that is needed built in
    #[arg(long, conflicts_with_all = ["module_tree", "modules", "strip_modules"])]
    pub no_modules: bool,

    /// More kernel modules by name, alias, path or set (`@virtio`). Repeatable
    #[arg(long, value_name = "NAMES", value_delimiter = ',', alias = "module")]
    pub modules: Vec<String>,

    /// Strip signatures and debugging sections from the modules: much quicker to load, but it taints the kernel
    #[arg(long)]
    pub strip_modules: bool,

    /// Parameters baked into the initramfs, as on a kernel's command line, which comes after them and wins
    #[arg(long, value_name = "STRING")]
    pub cmdline: Option<String>,

    /// Compression of the initramfs
    #[arg(long, value_name = "NAME", default_value = "gzip", value_parser = choice::<Compression>())]
    pub compress: Compression,

    /// A finished init, instead of compiling it
    #[arg(long, value_name = "FILE", alias = "init")]
    pub init_program: Option<PathBuf>,

    /// The source tree that init is compiled from [default: the one that the current directory is in]
    #[arg(long, value_name = "DIR")]
    pub source: Option<PathBuf>,

    /// Print what was made as JSON
    #[arg(long)]
    pub json: bool,
}

/// Makes it.
///
/// # Errors
/// [`Error::Usage`] for what cannot be, and whatever fails on the way. Then no file is left.
pub fn run(args: &Args) -> Result<ExitCode> {
    let progress = crate::progress::on_stderr();
    let target = chosen_target(args.target.as_deref())?;
    check_cmdline(args.cmdline.as_deref(), &progress)?;
    let chosen = match args.no_modules {
        true => None,
        false => Some(chosen_modules(args, target)?),
    };
    for note in chosen.iter().flat_map(|chosen| &chosen.notes) {
        progress.say(format!("modules: {note}"));
    }
    let (given, source) = (args.init_program.as_deref(), args.source.as_deref());
    let (program, version) = program::one(target, FEATURES, given, source, progress)?;
    let tree = virtiofs::tree(&Parts {
        target,
        init: &program.path,
        version: &version,
        modules: chosen.as_ref().map(|chosen| &chosen.modules),
        cmdline: args.cmdline.as_deref(),
        arguments: &[],
    })?;
    let failed = |source| archive::Error::WriteArchive { source };
    let mut encoder = args.compress.encoder(AtomicFile::create(&args.output)?).map_err(failed)?;
    let mtime = super::build::archive_time()?;
    newc::write(&tree, Properties { mtime, ..Properties::default() }, &mut encoder)?;
    let mut file = encoder.finish().map_err(failed)?;
    file.flush().map_err(failed)?;
    let size = file.file().metadata().at("read", &args.output)?.len();
    file.commit()?;
    let text = told(args, target, &program, chosen.as_ref(), size);
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the target of that name, else this machine.
pub(super) fn chosen_target(name: Option<&str>) -> Result<&'static Target> {
    match name {
        Some(name) => Ok(target::named(name)?),
        None => Ok(target::of_this_machine()?),
    }
}

fn chosen_modules(args: &Args, target: &Target) -> Result<Chosen> {
    let directory = match &args.module_tree {
        Some(directory) => directory.clone(),
        None => {
            let release = rustix::system::uname().release().to_string_lossy().into_owned();
            let directory = Path::new("/lib/modules").join(&release);
            if !directory.is_dir() {
                return Err(Error::Usage(format!(
                    "{} is not there: say with --module-tree where the kernel's modules are, or with --no-modules that it needs none",
                    directory.display()
                )));
            }
            directory
        }
    };
    let tree = ModuleTree::open(&directory)?;
    if args.strip_modules {
        tree.check_strip(args.cmdline.as_deref().unwrap_or_default())?;
    }
    virtiofs::choose(&tree, target, &args.modules, args.strip_modules)
}

/// Parses the baked-in command line as init will, and prints the warnings that init would print at each boot.
///
/// # Errors
/// [`Error::Usage`] where init would refuse it, or it is not one line.
fn check_cmdline(cmdline: Option<&str>, progress: &Progress) -> Result<()> {
    let Some(cmdline) = cmdline else { return Ok(()) };
    if cmdline.contains(['\0', '\n']) {
        return Err(Error::Usage("--cmdline: expected one line of parameters separated by spaces".to_owned()));
    }
    let (config, result) = Config::parse([cmdline, "", ""], Abilities { shell: false, trust: false }, false);
    result.map_err(|error| Error::Usage(format!("--cmdline: {error}")))?;
    config.warnings.iter().for_each(|warning| progress.say(format!("warning: {warning}")));
    Ok(())
}

fn told(args: &Args, target: &Target, program: &Program, chosen: Option<&Chosen>, size: u64) -> String {
    let modules: Vec<&str> =
        chosen.iter().flat_map(|chosen| &chosen.modules.files).map(|module| module.name.as_str()).collect();
    if args.json {
        let value = json!({
            "file": args.output.to_string_lossy(),
            "target": target.name,
            "size": size,
            "init_size": program.size,
            "kernel": chosen.map(|chosen| &chosen.modules.version),
            "modules": modules,
            "built_in": chosen.map(|chosen| &chosen.modules.built_in),
            "pci": chosen.map(|chosen| chosen.has_pci),
        });
        return format!("{value:#}\n");
    }
    let kernel = match (chosen, modules.as_slice()) {
        (None, _) => "no modules".to_owned(),
        (Some(chosen), []) => format!("no modules: kernel {} has all built in", chosen.modules.version),
        (Some(chosen), modules) => format!("modules of kernel {}: {}", chosen.modules.version, modules.join(" ")),
    };
    format!("{}: {}, init {}, {kernel}\n", args.output.display(), BinaryBytes(size), BinaryBytes(program.size))
}
