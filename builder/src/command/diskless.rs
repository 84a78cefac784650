//! `initramfs-overlay diskless`: makes an initramfs that is the whole system.

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use indicatif::BinaryBytes;
use serde_json::json;

use super::build::{Program, Wanted, chosen_targets, modules, source};
use crate::{
    Error, Result,
    archive::Properties,
    busybox,
    cache::Cache,
    compress::Compression,
    diskless::{self, Parts},
    error::IoContext,
    oci::{image::Image, pack, ram::Inventory},
    progress::Progress,
    toolchain::Toolchain,
    write::OutputFile,
};

/// Cargo features of the init that knows this way.
const FEATURES: &str = "ram";

/// Make an initramfs that is the whole system: BusyBox with all its tools, a shell on every console, the network by DHCP.
///
/// It runs from memory alone: for rescue sticks, network boot, and machines whose disk is dead.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  For all targets, into target/:
    initramfs-overlay diskless
  A rescue system for a PC, with the modules of its network card and disk, and files of your own:
    initramfs-overlay diskless --target x86_64 --module-tree /lib/modules/$(uname -r) --modules e1000e,@storage,ext4 --include rescue/")]
pub struct Args {
    /// Whom to build for: names from `targets/`, or `all`. Repeatable
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "all")]
    target: Vec<String>,

    /// A folder whose files go into it, over ours. Repeatable
    #[arg(long, value_name = "DIR")]
    include: Vec<PathBuf>,

    /// The machine's name
    #[arg(long, value_name = "NAME", default_value = "diskless")]
    hostname: String,

    /// Instead of Debian's BusyBox: a folder with `busybox-<target>`, or an OCI image that has it (NAME@sha256:…, oci:DIR)
    #[arg(long, value_name = "DIR|IMAGE")]
    busybox: Option<PathBuf>,

    /// Kernel modules by name, alias, path or set (`@storage`), with --module-tree; or one folder of .ko files. Repeatable
    #[arg(long, value_name = "NAMES|DIR", value_delimiter = ',')]
    modules: Vec<String>,

    /// Modules that init loads at the start of every boot, whatever it finds. Repeatable
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    load_modules: Vec<String>,

    /// The kernel's module folder, /lib/modules/<version>, or a root that holds it
    #[arg(long, value_name = "DIR")]
    module_tree: Option<PathBuf>,

    /// Take signatures and debugging sections off the modules: much quicker to load, but it taints the kernel
    #[arg(long)]
    strip_modules: bool,

    /// How it is compressed
    #[arg(long, value_name = "NAME", default_value = "gzip")]
    compress: Compression,

    /// Where the files go, diskless-<version>-<target>.gz [default: `target/` of the source tree, else of the current folder]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,

    /// A finished init for the one target, instead of compiling it
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,

    /// The source tree that init is compiled from [default: the one that the current folder is in]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,

    /// Tell what was made as JSON
    #[arg(long)]
    json: bool,
}

/// Makes them.
///
/// # Errors
/// [`Error::Usage`] for what cannot be, and whatever fails on the way. Then no file is left.
pub fn run(args: &Args) -> Result<ExitCode> {
    let progress = Progress::on_stderr();
    let targets = chosen_targets(&args.target)?;
    diskless::check_hostname(&args.hostname)?;
    if args.init.is_some() && targets.len() > 1 {
        return Err(Error::Usage(
            "--init gives one program, which runs on one target; name it with --target".to_owned(),
        ));
    }
    let wanted = Wanted {
        modules: &args.modules,
        always: &args.load_modules,
        tree: args.module_tree.as_deref(),
        strip: args.strip_modules,
    };
    let modules = modules::choose(&wanted, &targets, "", &progress)?;
    let place = source::locate(args.source.as_deref())?;
    let cache = Cache::open()?;
    let mtime = super::build::archive_time()?;
    let output = args.output.clone().unwrap_or_else(|| place.default_output());
    fs::create_dir_all(&output).at("create", &output)?;
    let mut made = Vec::new();
    for target in targets {
        let busybox = busybox::get(target, args.busybox.as_deref(), &cache, &progress)?;
        let init = match &args.init {
            Some(path) => Program::read(path.clone(), target, None)?.path,
            None => Toolchain::new(place.source()?, &cache, progress)?.init(target, FEATURES)?.path,
        };
        let merge = diskless::root(&Parts {
            init: &init,
            busybox: &busybox,
            modules: modules.as_ref(),
            hostname: &args.hostname,
            include: &args.include,
        })?;
        let name = format!("diskless-{}-{}.{}", place.version(), target.name, args.compress.suffix());
        let mut file = OutputFile::create(output.join(name))?;
        let step = progress.step(format!("{}: writing {}", target.name, file.path().display()));
        let failed = |source| Error::WriteArchive { source };
        let mut encoder = args.compress.encoder(&mut file).map_err(failed)?;
        let mut inventory = Inventory::default();
        inventory.is_last = true;
        let properties = Properties { mtime, ..Properties::default() };
        let image = Image::without_layers("diskless");
        let written = pack::write(&merge.tree, &image, properties, &mut encoder, Some(&mut inventory))?;
        encoder.finish().and_then(|file| file.flush()).map_err(failed)?;
        let size = file.file().metadata().at("read", file.path())?.len();
        step.finish("");
        made.push((target.name.as_str(), file, size, written.minimum_memory(size)));
    }
    let mut lines = Vec::new();
    let mut values = Vec::new();
    for (target, file, size, memory) in made {
        let path = file.path().to_path_buf();
        file.commit()?;
        lines.push(format!(
            "{}: {}, boots with {} of memory\n",
            path.display(),
            BinaryBytes(size),
            BinaryBytes(memory)
        ));
        values
            .push(json!({ "target": target, "file": path.to_string_lossy(), "size": size, "minimum_memory": memory }));
    }
    let text = if args.json { format!("{:#}\n", json!(values)) } else { lines.concat() };
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.at("write", "standard output")?,
    }
    Ok(ExitCode::SUCCESS)
}
