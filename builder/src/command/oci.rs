//! `initramfs-overlay oci`: makes an initramfs of an OCI image, and tells what is in one.

use std::{borrow::Cow, fmt::Write as _, path::PathBuf, process::ExitCode};

use archive::{
    compress::Compression,
    newc::Properties,
    tree::{Entry, Kind},
};
use base::{IoContext, atomic_file::AtomicFile, escape::shown};
use indicatif::{BinaryBytes, HumanCount};
use oci::{
    erofs::{self, Draft},
    image::Image,
    inventory::Inventory,
    lost::Output,
    lower,
    merge::Merge,
    pack::Written,
    squashfs,
};
use serde_json::json;

use crate::{
    Result,
    command::{choice::choice, output},
};

mod access;
mod archives;
mod disk;
mod inspect;
mod mount;
mod prune;
pub(super) mod ram;
mod root;

use archives::{difference, write};
use root::{RootArgs, warn_of_attributes, warn_of_orders};
mod run;

/// Make an initramfs from an OCI image: its layers merged in memory, nothing unpacked on this machine.
///
/// IMAGE is NAME[:TAG] or HOST:PORT/NAME[:TAG][@DIGEST] in a registry, oci:DIR[:TAG] (a directory in the OCI layout),
/// oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG|:@N] (what `docker save` writes), dir:DIR (a root directory) or tar:FILE (a root in a tar file).
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  initramfs-overlay oci alpine:3.22 --lock images.lock \\
      -o alpine.cpio.gz
  initramfs-overlay oci oci:images:alpine \\
      --inject agent:/usr/bin/agent:755 \\
      --entrypoint /usr/bin/agent --user nobody \\
      -o a.cpio.gz
  initramfs-overlay oci run alpine:3.22 -- cat \\
      /etc/os-release
  initramfs-overlay oci oci:images:debian \\
      --squashfs root-squashfs.img
  initramfs-overlay oci inspect docker-archive:saved.tar")]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    root: RootArgs,

    /// The initramfs to write
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["squashfs", "erofs"])]
    output: Option<PathBuf>,

    /// The same root as an OS image to write for the overlay boot mode, root-squashfs.img; with it --output can be left out
    #[arg(long, value_name = "FILE")]
    squashfs: Option<PathBuf>,

    /// The same as EROFS, not compressed: larger, and read without unpacking
    #[arg(long, value_name = "FILE")]
    erofs: Option<PathBuf>,

    /// With --erofs: pack the tail of each file, behind its last whole block, with its inode; smaller, but a change spreads further
    #[arg(long, requires = "erofs")]
    erofs_tails: bool,

    #[command(flatten)]
    ram: ram::RunArgs,

    /// A program of your own that the kernel runs, at /init: nothing of the image runs unless it starts it
    #[arg(long, value_name = "FILE", requires = "output", conflicts_with_all = OF_RAM, alias = "init")]
    own_init: Option<PathBuf>,

    /// The image's own /init is what the kernel runs
    #[arg(long, requires = "output", conflicts_with_all = OF_RAM, conflicts_with = "own_init")]
    image_init: bool,

    /// Compression of the initramfs
    #[arg(long, value_name = "NAME", default_value = "gzip", value_parser = choice::<Compression>())]
    compress: Compression,

    /// Two archives in one file: the image, then what --own-init and --inject bring
    #[arg(long, requires = "output")]
    split: bool,

    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Returns true where a machine is asked for.
    pub(super) fn is_run(&self) -> bool {
        matches!(self.command, Some(Command::Run(_)))
    }
}

/// Options that only an image that runs by itself has.
const OF_RAM: [&str; 12] = [
    "entrypoint", "cmd", "env", "workdir", "user", "hostname", "pid1", "network", "modules", "module_tree",
    "init_program", "source",
];

#[derive(Debug, clap::Subcommand)]
enum Command {
    Inspect(inspect::Args),
    Prune(prune::Args),
    Run(Box<run::Args>),
}

/// Makes it.
///
/// # Errors
/// [`Error::Usage`] for what cannot be, [`oci::Error::Image`] and [`oci::Error::Layer`] for an image that cannot be used. No file is left
/// then.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Some(Command::Inspect(args)) => inspect::run(args),
        Some(Command::Prune(args)) => prune::run(args),
        Some(Command::Run(args)) => run::run(args),
        None => build(args),
    }
}

fn build(args: &Args) -> Result<ExitCode> {
    let name = args.root.name();
    let progress = crate::progress::on_stderr();
    let mtime = super::build::archive_time()?;
    let (image, platform) = args.root.open()?;
    // What cannot be written is said before anything is read.
    let outputs =
        [&args.output, &args.squashfs, &args.erofs].map(|path| path.as_ref().map(AtomicFile::create).transpose());
    let [output, squashfs, erofs] = outputs;
    let (output, squashfs) = (output?, squashfs?);
    let mut erofs = erofs?.map(Draft::new).transpose()?;
    let (mut merge, base) = args.root.merge(&image, args.split, erofs.as_mut(), progress)?;
    if let Some(init) = &args.own_init {
        ram::put_own(&mut merge, init)?;
    }
    let by_itself = args.own_init.is_none() && !args.image_init && !args.ram.leave_init(&image, &merge);
    if output.is_some() && !by_itself {
        check_init(&image, &merge)?;
    }

    if output.is_some() {
        merge.tree.check_archive()?;
    }
    let (lower, taken) =
        if squashfs.is_some() || erofs.is_some() { lower::tame(&merge) } else { (Cow::Borrowed(&merge), Vec::new()) };
    warn_of_orders(name, &taken, progress);
    let mut made = Made { written: Written::default(), initramfs: None, squashfs: None, erofs: None };
    if let Some(file) = squashfs {
        let step = progress.step(format!("{name}: writing {}", shown(file.path())));
        let mut file = file;
        warn_of_attributes(name, &lower, Output::Squashfs, progress);
        made.written = squashfs::write(&lower, &image, mtime, &mut file)?;
        made.squashfs = Some((file.path().to_path_buf(), made.written.archive));
        file.commit()?;
        step.finish("");
    }
    if let Some(mut draft) = erofs {
        let ends = if args.erofs_tails { erofs::Ends::Tails } else { erofs::Ends::Blocks };
        let step = progress.step(format!("{name}: writing {}", shown(draft.path())));
        warn_of_attributes(name, &lower, Output::Erofs, progress);
        made.written = erofs::write(&lower, &image, mtime, ends, &mut draft)?;
        made.erofs = Some((draft.path().to_path_buf(), made.written.archive));
        draft.commit()?;
        step.finish("");
    }
    drop(lower);
    if let Some(file) = output {
        let mut inventory = Inventory::default();
        let inventory = match by_itself {
            true => {
                warn_of_attributes(name, &merge, Output::Initramfs, progress);
                args.ram.apply(&image, &platform, &mut merge, progress)?;
                Some(&mut inventory)
            }
            false => {
                warn_of_attributes(name, &merge, Output::Archive, progress);
                None
            }
        };
        let step = progress.step(format!("{name}: writing {}", shown(file.path())));
        let properties = Properties { mtime, ..Properties::default() };
        let root = merge.root.as_ref().map(|root| &root.entry);
        let (written, mut file) = match args.split {
            true => {
                let parts = [&base, &difference(&base, &merge.tree)?];
                write(&parts, root, &image, properties, args.compress, inventory, file)?
            }
            false => write(&[&merge.tree], root, &image, properties, args.compress, inventory, file)?,
        };
        made.written = written;
        let size = file.file().metadata().at("read", file.path())?.len();
        made.initramfs = Some((file.path().to_path_buf(), size));
        file.commit()?;
        step.finish("");
    }
    output::print(told(args.json, &image, &made))?;
    Ok(ExitCode::SUCCESS)
}

/// The files that were written, with their sizes in bytes.
struct Made {
    written: Written,
    initramfs: Option<(PathBuf, u64)>,
    squashfs: Option<(PathBuf, u64)>,
    erofs: Option<(PathBuf, u64)>,
}

/// Checks that there is an `/init`, which the kernel runs; without one it looks for a root on a disk, which is not what anybody wants here.
fn check_init(image: &Image, merge: &Merge) -> Result<()> {
    let reason = match merge.tree.get("init") {
        None => {
            "it has no /init, which is what the kernel runs; leave --image-init out, or give one with --own-init FILE"
                .to_owned()
        }
        Some(Entry { kind: Kind::Symlink(_), .. }) => return Ok(()),
        Some(Entry { kind: Kind::File(_), mode, .. }) if mode & 0o111 != 0 => return Ok(()),
        Some(entry) => {
            format!(
                "its /init is a {} with mode {:04o}, not an executable; give one with --own-init FILE",
                entry.kind.word(),
                entry.mode
            )
        }
    };
    Err(oci::Error::Image { image: image.name.clone(), reason }.into())
}

fn told(as_json: bool, image: &Image, made: &Made) -> String {
    let written = &made.written;
    let layers = image.layers().iter().enumerate().map(|(index, layer)| {
        let (files, bytes) = written.layers.get(&u32::try_from(index).unwrap_or(u32::MAX)).copied().unwrap_or_default();
        (layer.label(), layer.blob.place.size, files, bytes)
    });
    if as_json {
        let layers: Vec<_> = layers
            .map(|(label, packed, files, bytes)| json!({ "layer": label, "size": packed, "files": files, "bytes": bytes }))
            .collect();
        let file = |(path, size): &(PathBuf, u64)| json!({ "file": path.to_string_lossy(), "size": size });
        let mut value = json!({
            "image": image.name,
            "digest": image.digest.as_ref().map(ToString::to_string),
            "names": written.names,
            "files": written.files,
            "bytes": written.bytes,
            "layers": layers,
        });
        if let Some(made) = &made.initramfs {
            value["initramfs"] = file(made);
            value["initramfs"]["archive"] = json!(written.archive);
            value["initramfs"]["minimum_memory"] = json!(written.minimum_memory(made.1));
        }
        if let Some(made) = &made.squashfs {
            value["squashfs"] = file(made);
        }
        if let Some(made) = &made.erofs {
            value["erofs"] = file(made);
        }
        return format!("{value:#}\n");
    }
    let mut text = String::new();
    let contents = format!(
        "{} names, {} files with {}",
        HumanCount(written.names),
        HumanCount(written.files),
        BinaryBytes(written.bytes)
    );
    for (path, size) in made.squashfs.iter().chain(&made.erofs) {
        let _ = writeln!(text, "{}: {} ({contents})", shown(path), BinaryBytes(*size));
    }
    if let Some((path, size)) = &made.initramfs {
        let memory = BinaryBytes(written.minimum_memory(*size));
        let _ = writeln!(text, "{}: {} ({contents}), boots with {memory} of memory", shown(path), BinaryBytes(*size));
    }
    if image.layers().len() > 1 {
        let _ =
            writeln!(text, "{:>5}  {:<19}  {:>12}  {:>8}  {:>12}", "layer", "digest", "size", "files", "in the root");
        for (index, (label, packed, files, bytes)) in layers.enumerate() {
            let short: String = label.chars().take(19).collect();
            let (packed, bytes) = (BinaryBytes(packed).to_string(), BinaryBytes(bytes).to_string());
            let _ = writeln!(text, "{:>5}  {short:<19}  {packed:>12}  {files:>8}  {bytes:>12}", index + 1);
        }
    }
    text
}
