//! `initramfs-overlay oci`: makes an initramfs of an OCI image, and tells what is in one.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use indicatif::{BinaryBytes, HumanCount};
use serde_json::json;

use crate::{
    Error, Result,
    archive::Properties,
    compress::Compression,
    error::IoContext,
    escape::escape,
    oci::{
        self,
        exclude::Exclude,
        image::Image,
        inject::Inject,
        merge::Merge,
        pack::{self, Written},
        platform::Platform,
    },
    progress::Progress,
    tree::{Clash, Content, Entry, Kind, Tree},
    write::OutputFile,
};

mod inspect;

/// Make an initramfs of an OCI image: its layers merged in memory, nothing unpacked on this machine.
///
/// IMAGE is oci:DIR[:TAG] (a folder in the OCI layout), oci-archive:FILE[:TAG], docker-archive:FILE[:NAME:TAG] (what `docker save`
/// writes), dir:DIR (a root folder) or tar:FILE (a root in a tar file).
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Examples:
  skopeo copy docker://alpine:3.22 oci:images:alpine
  initramfs-overlay oci oci:images:alpine --init my-init -o alpine.cpio.gz
  initramfs-overlay oci oci:images:alpine --inject agent:/usr/bin/agent:755 --exclude 'usr/share/doc' --init my-init -o a.cpio.gz
  initramfs-overlay oci inspect docker-archive:saved.tar")]
pub struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where the image is
    #[arg(required = true)]
    image: Option<String>,

    /// Where the initramfs goes
    #[arg(short, long, value_name = "FILE", required = true)]
    output: Option<PathBuf>,

    /// The machine that it is for: os/architecture[/variant], such as linux/arm/v6 [default: this one]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<String>,

    /// The program that the kernel runs, put at /init [default: the image's own /init]
    #[arg(long, value_name = "FILE")]
    init: Option<PathBuf>,

    /// A file or folder of this machine and where it goes in the image, SRC:DEST[:MODE]. Repeatable
    #[arg(long, value_name = "SRC:DEST")]
    inject: Vec<String>,

    /// Leave out what matches: a path (usr/share/doc, usr/lib/**/*.a) or a name anywhere (*.pyc). Repeatable
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,

    /// How it is compressed
    #[arg(long, value_name = "NAME", default_value = "gzip")]
    compress: Compression,

    /// Two archives in one file: the image, then what --init and --inject bring
    #[arg(long)]
    split: bool,

    /// The most that all layers together may unpack to, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 8192)]
    max_size: u64,

    /// Tell what was made as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Inspect(inspect::Args),
}

/// Makes it.
///
/// # Errors
/// [`Error::Usage`] for what cannot be, [`Error::OciImage`] and [`Error::OciLayer`] for an image that cannot be used. No file is left
/// then.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.command {
        Some(Command::Inspect(args)) => inspect::run(args),
        None => build(args),
    }
}

fn build(args: &Args) -> Result<ExitCode> {
    // Both are there: clap asks for them where there is no subcommand.
    let (name, output) = (args.image.as_deref().unwrap_or_default(), args.output.as_deref().unwrap_or(Path::new("")));
    let progress = Progress::on_stderr();
    let platform = chosen_platform(args.platform.as_deref())?;
    let exclude = Exclude::new(&args.exclude)?;
    let injects: Vec<Inject> = args.inject.iter().map(|text| Inject::parse(text)).collect::<Result<_>>()?;
    let mtime = super::build::archive_time()?;
    let image = Image::open(name, &platform)?;
    let file = OutputFile::create(output)?;

    let mut merge = oci::merge(&image, args.max_size << 20, progress)?;
    let left_out = exclude.apply(&mut merge);
    let base = if args.split { merge.tree.clone() } else { Tree::new() };
    for inject in &injects {
        inject.apply(&mut merge)?;
    }
    if let Some(init) = &args.init {
        let entry = Entry::file(0o755, Content::host(init)?);
        merge.insert(b"init", entry).map_err(|reason| Error::Usage(format!("--init {}: {reason}", init.display())))?;
    }
    check_init(&image, &merge)?;
    for note in notes(&merge, left_out, args) {
        progress.say(note);
    }

    let step = progress.step(format!("{name}: writing {}", output.display()));
    let properties = Properties { mtime, ..Properties::default() };
    let failed = |source| Error::WriteArchive { source };
    let segment = |tree: &Tree, mut file: OutputFile| -> Result<(Written, OutputFile)> {
        // The next archive in a file begins at a multiple of 4 (the kernel's buffer-format.rst).
        let length = file.file().metadata().at("read", output)?.len();
        file.write_all(&[0; 3][..(length.next_multiple_of(4) - length) as usize]).map_err(failed)?;
        let mut encoder = args.compress.encoder(file).map_err(failed)?;
        let written = pack::write(tree, &image, properties, &mut encoder)?;
        let mut file = encoder.finish().map_err(failed)?;
        file.flush().map_err(failed)?;
        Ok((written, file))
    };
    let (written, mut file) = if args.split {
        let (first, file) = segment(&base, file)?;
        let (second, file) = segment(&difference(&base, &merge.tree)?, file)?;
        (first.and(second), file)
    } else {
        segment(&merge.tree, file)?
    };
    let size = file.file().metadata().at("read", output)?.len();
    file.commit()?;
    step.finish("");
    print(&told(args, &image, &written, size))?;
    Ok(ExitCode::SUCCESS)
}

/// The platform that was asked for, else this machine.
fn chosen_platform(text: Option<&str>) -> Result<Platform> {
    text.map_or_else(|| Ok(Platform::of_this_machine()), Platform::parse)
}

/// The kernel runs `/init`; without one it looks for a root on a disk, which is not what anybody wants here.
fn check_init(image: &Image, merge: &Merge) -> Result<()> {
    let reason = match merge.tree.get("init") {
        None => "it has no /init, which is what the kernel runs; give one with --init FILE".to_owned(),
        Some(Entry { kind: Kind::Symlink(_), .. }) => return Ok(()),
        Some(Entry { kind: Kind::File(_), mode, .. }) if mode & 0o111 != 0 => return Ok(()),
        Some(entry) => {
            format!(
                "its /init is a {} with mode {:04o}, and no program; give one with --init FILE",
                entry.kind.word(),
                entry.mode
            )
        }
    };
    Err(Error::OciImage { image: image.name.clone(), reason })
}

/// What is worth a line to the user.
fn notes(merge: &Merge, left_out: usize, args: &Args) -> Vec<String> {
    let mut notes = Vec::new();
    if !args.exclude.is_empty() {
        notes.push(format!("left out: {left_out} names"));
    }
    if let Some((path, attributes)) = merge.xattrs.iter().next() {
        let name = attributes.keys().next().map(|name| escape(name).to_string()).unwrap_or_default();
        notes.push(format!(
            "warning: {} names have extended attributes, which an initramfs cannot carry (`{}`: {name}); they are left out",
            merge.xattrs.len(),
            escape(path)
        ));
    }
    notes
}

/// What `whole` has that `base` has not, with the folders on the way.
fn difference(base: &Tree, whole: &Tree) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut firsts = std::collections::HashMap::new();
    for node in whole.iter().filter(|node| base.get(node.path) != Some(node.entry)) {
        for (at, _) in node.path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
            let parent = node.path.get(..at).unwrap_or_default();
            if let Some(entry) = whole.get(parent) {
                tree.insert(parent, entry.clone(), Clash::Keep)?;
            }
        }
        match firsts.get(&node.inode) {
            Some(first) => tree.link(first, node.path, Clash::Keep)?,
            None => {
                tree.insert(node.path, node.entry.clone(), Clash::Replace)?;
                firsts.insert(node.inode, node.path);
            }
        }
    }
    Ok(tree)
}

fn told(args: &Args, image: &Image, written: &Written, size: u64) -> String {
    let output = args.output.as_deref().unwrap_or(Path::new(""));
    let memory = written.minimum_memory(size);
    let layers = image.layers().iter().enumerate().map(|(index, layer)| {
        let (files, bytes) = written.layers.get(&u32::try_from(index).unwrap_or(u32::MAX)).copied().unwrap_or_default();
        (layer.label(), layer.blob.place.size, files, bytes)
    });
    if args.json {
        let layers: Vec<_> = layers
            .map(|(label, packed, files, bytes)| json!({ "layer": label, "size": packed, "files": files, "bytes": bytes }))
            .collect();
        let value = json!({
            "file": output.to_string_lossy(),
            "image": image.name,
            "digest": image.digest.as_ref().map(ToString::to_string),
            "size": size,
            "archive": written.archive,
            "names": written.names,
            "files": written.files,
            "bytes": written.bytes,
            "minimum_memory": memory,
            "layers": layers,
        });
        return format!("{value:#}\n");
    }
    let mut text = format!(
        "{}: {} ({} names, {} files with {}), boots with {} of memory\n",
        output.display(),
        BinaryBytes(size),
        HumanCount(written.names),
        HumanCount(written.files),
        BinaryBytes(written.bytes),
        BinaryBytes(memory)
    );
    if image.layers().len() > 1 {
        text.push_str(&format!(
            "{:>5}  {:<19}  {:>12}  {:>8}  {:>12}\n",
            "layer", "digest", "size", "files", "in the root"
        ));
        for (index, (label, packed, files, bytes)) in layers.enumerate() {
            let short: String = label.chars().take(19).collect();
            text.push_str(&format!(
                "{:>5}  {short:<19}  {:>12}  {files:>8}  {:>12}\n",
                index + 1,
                BinaryBytes(packed).to_string(),
                BinaryBytes(bytes).to_string()
            ));
        }
    }
    text
}

/// Prints, to whoever still listens.
fn print(text: &str) -> Result<()> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.at("write", "standard output"),
    }
}
