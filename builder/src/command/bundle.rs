//! `initramfs-overlay bundle`: packs the command with every init that it needs, for machines without a compiler.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use archive::compress::Compression;
use base::{
    IoContext,
    atomic_file::AtomicFile,
    digest::{Hashing, digest},
};
use indicatif::BinaryBytes;
use serde_json::json;
use sources::{
    bundle::{DIRECTORY, Listed, MANIFEST, Manifest},
    busybox,
    target::{self, Target},
    toolchain::{Toolchain, repair},
};

use super::{
    build::{
        archive_time, checksums, chosen_targets,
        program::{BootMode, Demands, bare_modes, features},
        source, target_help,
    },
    diskless,
    oci::ram,
    output, virtiofs,
};
use crate::{Result, variant::Variant};

/// The name of the command in the archive.
const COMMAND: &str = "initramfs-overlay";
/// Files of the source tree that go with it.
const TEXTS: [&str; 3] = ["LICENSE-APACHE", "LICENSE-MIT", "docs/licences.md"];

/// Pack this command with the inits that it compiles elsewhere, for machines without Rust, a compiler or a network.
///
/// The archive holds the command as a static program for this machine's processor and a directory `inits/` with a finished init
/// for each target and purpose, and the pinned BusyBox. Unpacked anywhere, the command finds them beside itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  For images of all targets, into target/:
    initramfs-overlay bundle
  For a machine that makes images for PCs only:
    initramfs-overlay bundle --target x86_64 \\
        --output-dir out/

BusyBox and the crate rust-lzo are under the GPL: docs/licences.md says what you have to offer if you pass the archive on.")]
pub struct Args {
    /// The targets to build for
    #[arg(long, value_name = "NAME", value_delimiter = ',', default_value = "all", help = target_help())]
    target: Vec<String>,

    /// Output directory, for initramfs-overlay-<version>-<target>.tar.gz [default: `target/` of the source tree, else of the current
    /// directory]
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,

    /// The source tree that init is compiled from [default: the one that the current directory is in]
    #[arg(long, value_name = "DIR")]
    source: Option<PathBuf>,

    /// Print what was made as JSON
    #[arg(long)]
    json: bool,
}

/// A file of the archive.
struct Item {
    /// Its path below the archive's one directory.
    name: String,
    mode: u32,
    content: Content,
}

/// The content of a file.
enum Content {
    Bytes(Vec<u8>),
    /// That of a file of this machine.
    File(PathBuf),
}

/// Makes the archive.
///
/// # Errors
/// Whatever compiling, fetching and writing say. Then no file is left.
pub fn run(args: &Args) -> Result<ExitCode> {
    let progress = crate::progress::on_stderr();
    let targets = chosen_targets(&args.target, &progress)?;
    let machine = target::of_this_machine()?;
    let mtime = archive_time()?;
    let place = source::locate_tree(args.source.as_deref())?;
    let tree = place.source()?;
    let cache = crate::cache::open()?;
    let toolchain = Toolchain::new(tree, &cache, progress)?;

    let file = |name: String, mode, path| Item { name, mode, content: Content::File(path) };
    let mut items = vec![file(COMMAND.to_owned(), 0o755, toolchain.command(machine)?)];
    let mut manifest = Manifest::new(&tree.version, toolchain.rust());
    for target in &targets {
        for (path, from) in busybox::files(target, &cache, &progress)? {
            items.push(file(format!("{DIRECTORY}/{}", path.display()), 0o644, from));
        }
        toolchain.repair_tools(target)?;
        for (path, from) in repair::files(target, &cache)? {
            items.push(file(format!("{DIRECTORY}/{}", path.display()), 0o644, from));
        }
        for features in feature_sets() {
            let (listed, bytes) = init(&toolchain, target, features)?;
            let name = format!("{DIRECTORY}/{}", listed.file());
            items.push(Item { name, mode: 0o755, content: Content::Bytes(bytes) });
            manifest.inits.push(listed);
        }
    }
    let name = format!("{DIRECTORY}/{MANIFEST}");
    items.push(Item { name, mode: 0o644, content: Content::Bytes(manifest.to_json()?) });
    for path in TEXTS.map(|name| tree.root.join(name)) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        items.push(file(name, 0o644, path));
    }

    let output = args.output_dir.clone().unwrap_or_else(|| place.default_output());
    fs::create_dir_all(&output).at("create", &output)?;
    let top = format!("{COMMAND}-{}-{}", tree.version, machine.name);
    let path = output.join(format!("{top}.tar.gz"));
    let step = progress.step(format!("writing {}", path.display()));
    let (archive, size, sha256) = pack(&top, items, mtime, &path)?;
    step.finish("");
    let name = format!("{top}.tar.gz");
    let sums = checksums::update(&output, &tree.version, vec![(name, sha256.clone())])?;
    archive.commit()?;
    sums.map(AtomicFile::commit).transpose()?;
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    let text = if args.json {
        let value = json!({
            "file": path.to_string_lossy(),
            "size": size,
            "sha256": sha256,
            "machine": machine.name,
            "targets": names,
            "inits": manifest.inits.len(),
        });
        format!("{value:#}\n")
    } else {
        let inits = manifest.inits.len();
        format!("{}: {}, {inits} inits for {}\n", path.display(), BinaryBytes(size), names.join(", "))
    };
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the features of every init that a command asks for by itself.
fn feature_sets() -> Vec<String> {
    const VARIANTS: [Variant; 3] = [Variant::Standard, Variant::Debug, Variant::Slim];
    let mut sets = Vec::new();
    for (trust, menu) in [(false, false), (false, true), (true, false), (true, true)] {
        sets.extend(VARIANTS.map(|variant| features(&[BootMode::Overlay], variant, Demands { trust, menu })));
    }
    sets.extend(VARIANTS[..2].iter().map(|variant| features(&bare_modes(false), *variant, Demands::default())));
    sets.extend([diskless::FEATURES, ram::FEATURES, ram::ALL_FEATURES, virtiofs::FEATURES].map(str::to_owned));
    let mut unique = Vec::new();
    sets.into_iter().for_each(|set| {
        if !unique.contains(&set) {
            unique.push(set);
        }
    });
    unique
}

/// Compiles an init; returns its entry of the manifest and its bytes.
fn init(toolchain: &Toolchain<'_>, target: &Target, features: String) -> Result<(Listed, Vec<u8>)> {
    let init = toolchain.init(target, &features)?;
    let bytes = fs::read(&init.path).at("read", &init.path)?;
    let listed = Listed {
        target: target.name.clone(),
        features,
        size: bytes.len() as u64,
        sha256: digest(&bytes),
        crates: init.crates,
    };
    Ok((listed, bytes))
}

/// Writes the archive at `path`, with everything in the directory `top`. Returns the file, its size and its SHA-256.
fn pack(top: &str, mut items: Vec<Item>, mtime: u32, path: &Path) -> Result<(AtomicFile, u64, String)> {
    let failed = |source| archive::Error::WriteArchive { source };
    items.sort_by(|a, b| a.name.cmp(&b.name));
    let encoder = Compression::Gzip.encoder(Hashing::new(AtomicFile::create(path)?)).map_err(failed)?;
    let mut tar = tar::Builder::new(encoder);
    let mut directories = Vec::new();
    for item in items {
        let name = Path::new(top).join(&item.name);
        let mut above: Vec<&Path> = name.ancestors().skip(1).filter(|path| !path.as_os_str().is_empty()).collect();
        above.reverse();
        for directory in above {
            if !directories.iter().any(|made| made == directory) {
                append(&mut tar, directory, tar::EntryType::Directory, (0o755, mtime, 0), std::io::empty())?;
                directories.push(directory.to_owned());
            }
        }
        match item.content {
            Content::Bytes(bytes) => {
                append(&mut tar, &name, tar::EntryType::Regular, (item.mode, mtime, bytes.len() as u64), &*bytes)?;
            }
            Content::File(from) => {
                let file = File::open(&from).at("open", &from)?;
                let size = file.metadata().at("read", &from)?.len();
                append(&mut tar, &name, tar::EntryType::Regular, (item.mode, mtime, size), file.take(size))?;
            }
        }
    }
    let encoder = tar.into_inner().map_err(failed)?;
    let (mut file, size, sha256) = encoder.finish().map_err(failed)?.finish();
    file.flush().map_err(failed)?;
    Ok((file, size, sha256))
}

/// Appends an entry that belongs to root, with this mode, time and size.
fn append(
    tar: &mut tar::Builder<impl Write>,
    path: &Path,
    kind: tar::EntryType,
    (mode, mtime, size): (u32, u32, u64),
    content: impl Read,
) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(u64::from(mtime));
    header.set_size(size);
    header.set_uid(0);
    header.set_gid(0);
    let appended = tar.append_data(&mut header, path, content);
    Ok(appended.map_err(|source| archive::Error::WriteArchive { source })?)
}

#[cfg(test)]
mod tests {
    use super::feature_sets;

    #[test]
    fn every_init_is_there_once() {
        let sets = [
            "overlay,blackbox,button,parameters,qr",
            "overlay,blackbox,button,parameters,qr,recover,shell",
            "overlay",
            "overlay,blackbox,button,parameters,qr,recover",
            "overlay,blackbox,button,parameters,qr,trust",
            "overlay,blackbox,button,parameters,qr,recover,shell,trust",
            "overlay,trust",
            "overlay,blackbox,button,parameters,qr,recover,trust",
            "overlay,virtiofs,blackbox",
            "overlay,virtiofs,blackbox,shell",
            "ram",
            "ram,lower,virtiofs",
            "virtiofs",
        ];
        assert_eq!(feature_sets(), sets);
    }
}
