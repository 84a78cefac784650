//! `initramfs-overlay diskless`: makes an initramfs that is the whole system.

use std::{
    fs,
    io::{Seek, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use archive::{compress::Compression, listing, newc::Properties, tree::Tree};
use base::{IoContext, atomic_file::AtomicFile, digest::Hashing};
use indicatif::BinaryBytes;
use oci::{image::Image, inventory::Inventory, pack};
use serde_json::json;

use super::build::{
    Wanted, checksums, chosen_targets,
    description::{self, Description},
    modules,
    program::Programs,
    source,
};
use crate::{
    Result, busybox_image,
    command::{choice::choice, output, substitute::SubstituteArgs},
    diskless::{self, Parts},
    image,
};

/// Cargo features of the init that knows this way.
pub(super) const FEATURES: &str = "ram";

/// Make an initramfs that is the whole system: BusyBox with all its tools, a shell on every console, the network by DHCP.
///
/// It runs from memory alone: for rescue sticks, network boot, and machines whose disk is dead.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  For all targets, into target/:
    initramfs-overlay diskless
  A rescue system for a PC, with the drivers of its network interface and disk, and files of your own:
    initramfs-overlay diskless --target x86_64 \\
        --module-tree /lib/modules/$(uname -r) \\
        --modules e1000e,@storage,ext4 --include rescue/")]
pub struct Args {
    /// The targets to build for
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "all", help = super::build::target_help())]
    target: Vec<String>,

    /// A directory whose files go into it, over ours. Repeatable
    #[arg(long, value_name = "DIR")]
    include: Vec<PathBuf>,

    /// The machine's name
    #[arg(long, value_name = "NAME", default_value = "diskless")]
    hostname: String,

    /// Instead of Debian's BusyBox: a directory with `busybox-<target>`, or an OCI image that has it (NAME@sha256:…, oci:DIR)
    #[arg(long, value_name = "DIR|IMAGE")]
    busybox: Option<PathBuf>,

    /// The permission for packages other than the pinned ones
    #[command(flatten)]
    substitute: SubstituteArgs,

    /// Kernel modules by name, alias, path or set (`@storage`), with --module-tree; or one directory of .ko files. Repeatable
    #[arg(long, value_name = "NAMES|DIR", value_delimiter = ',')]
    modules: Vec<String>,

    /// Modules that init loads at the start of every boot, whatever it finds. Repeatable
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    load_modules: Vec<String>,

    /// The kernel's module directory, /lib/modules/<version>, or a root that holds it
    #[arg(long, value_name = "DIR")]
    module_tree: Option<PathBuf>,

    /// Strip signatures and debugging sections from the modules: much quicker to load, but it taints the kernel
    #[arg(long)]
    strip_modules: bool,

    /// Compression of the initramfs
    #[arg(long, value_name = "NAME", default_value = "gzip", value_parser = choice::<Compression>())]
    compress: Compression,

    /// Output directory, for diskless-<version>-<target>.gz [default: `target/` of the source tree, else of the current directory]
    #[arg(long, value_name = "DIR", alias = "output")]
    output_dir: Option<PathBuf>,

    /// A finished init for the one target, instead of compiling it
    #[arg(long, value_name = "FILE", alias = "init")]
    init_program: Option<PathBuf>,

    /// The source tree that init is compiled from [default: the one that the current directory is in]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,

    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

/// Makes them.
///
/// # Errors
/// [`Error::Usage`] for what cannot be, and whatever fails on the way. Then no file is left.
pub fn run(args: &Args) -> Result<ExitCode> {
    let progress = crate::progress::on_stderr();
    let targets = chosen_targets(&args.target, &progress)?;
    diskless::check_hostname(&args.hostname)?;
    super::build::check_included(&args.include)?;
    let wanted = Wanted {
        modules: &args.modules,
        always: &args.load_modules,
        tree: args.module_tree.as_deref(),
        strip: args.strip_modules,
    };
    let modules = modules::choose(&wanted, &targets, "", false, &progress)?.usual;
    let place = source::locate(args.source.as_deref())?;
    let cache = crate::cache::open()?;
    let programs = Programs::new(args.init_program.as_deref(), &place, &targets, &cache, progress)?;
    let mtime = super::build::archive_time()?;
    let output = args.output_dir.clone().unwrap_or_else(|| place.default_output());
    fs::create_dir_all(&output).at("create", &output)?;
    let (mut lines, mut values) = (Vec::new(), Vec::new());
    let (mut files, mut digests) = (Vec::new(), Vec::new());
    for target in targets {
        let busybox =
            busybox_image::get(target, args.busybox.as_deref(), &cache, args.substitute.permission(), &progress)?;
        let program = programs.with(target, FEATURES)?;
        let merge = diskless::root(&Parts {
            init: &program.path,
            busybox: &busybox,
            modules: modules.as_ref(),
            hostname: &args.hostname,
            include: &args.include,
        })?;
        let name = format!("diskless-{}-{}.{}", place.version(), target.name, args.compress.suffix());
        let path = output.join(&name);
        let step = progress.step(format!("{}: writing {}", target.name, path.display()));
        let (mut image, written) = pack(&merge.tree, mtime, args.compress, &path)?;
        let Packed { size, sha256, memory } = written;
        // Read back, because the list by which init checks the root is put together only as it is written.
        image.file().rewind().at("read", &path)?;
        let packed = listing::read(&mut *image.file(), &path)?;
        if let Some(problem) = packed.problems.into_iter().next() {
            return Err(archive::Error::NotInitramfs { path, what: problem.problem }.into());
        }
        let parts = image::Parts {
            busybox: Some(&busybox),
            modules: modules.as_ref(),
            include: &args.include,
            ..image::Parts::bare(target, place.version())
        };
        let description = Description { parts, kind: "diskless", program, compression: args.compress, mtime };
        let records = packed.files.into_iter().map(|listed| listed.record).collect();
        let texts = description.texts(&name, size, &sha256, records);
        digests.extend(description::digests(&name, sha256.clone(), &texts));
        files.push(image);
        files.extend(description::write(&path, &texts)?);
        step.finish("");
        lines.push(format!(
            "{}: {}, boots with {} of memory\n",
            path.display(),
            BinaryBytes(size),
            BinaryBytes(memory)
        ));
        values.push(json!({
            "target": target.name,
            "file": path.to_string_lossy(),
            "size": size,
            "sha256": sha256,
            "minimum_memory": memory,
        }));
    }
    files.extend(checksums::update(&output, place.version(), digests)?);
    // From here on only names change: a full disk or a bad input has been met before.
    files.into_iter().try_for_each(AtomicFile::commit)?;
    let text = if args.json { format!("{:#}\n", json!(values)) } else { lines.concat() };
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// An image that was written.
struct Packed {
    /// In bytes.
    size: u64,
    sha256: String,
    /// The least memory that it boots with, in bytes.
    memory: u64,
}

/// Writes the root as an initramfs.
fn pack(tree: &Tree, mtime: u32, compression: Compression, path: &Path) -> Result<(AtomicFile, Packed)> {
    let failed = |source| archive::Error::WriteArchive { source };
    let mut encoder = compression.encoder(Hashing::new(AtomicFile::create(path)?)).map_err(failed)?;
    let mut inventory = Inventory::default();
    inventory.is_last = true;
    let properties = Properties { mtime, ..Properties::default() };
    let image = Image::without_layers("diskless");
    let written = pack::write(tree, None, &image, properties, &mut encoder, Some(&mut inventory))?;
    let (mut file, size, sha256) = encoder.finish().map_err(failed)?.finish();
    file.flush().map_err(failed)?;
    Ok((file, Packed { size, sha256, memory: written.minimum_memory(size) }))
}
