//! `initramfs-overlay doctor`: reads the command line into devices, has them examined, and tells what was found.

use std::{
    fmt::Write as _,
    fs::File,
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use archive::listing;
use base::{
    IoContext,
    escape::{escape, shown},
};
use contract::{
    partitions,
    tag::{Tag, Volume},
};
use disk::size;
use doctor::{
    self, BootInput, Depth, Diagnosis, Verdict,
    block_reader::{self, Disk, Shared},
    volume::{self, Device},
};
use initramfs_overlay_init::{
    boot::overlay::config::Config,
    config::{Layers, OverlayStore},
};

use crate::{
    Error, Result,
    command::{choice, output},
    picture,
};

/// Show what a disk would boot, how far an update on it has come, and what is wrong with it.
///
/// Runs init's own code on the disk, with everything that it would change kept in memory: nothing is written, and no root is
/// needed. A disk is a file or a block device, as a whole or one partition of it; directories can stand for partitions.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status:
  0  it boots, and nothing needs attention
  1  it would not boot, or is not a readable disk
  2  the command line is wrong, or names a file that is not there
  3  it boots, but something needs attention
  4  the doctor cannot tell, and says why

Examples:
  initramfs-overlay doctor sd.img
  sudo initramfs-overlay doctor /dev/sdb --json
  initramfs-overlay doctor sd.img --check
  initramfs-overlay doctor sd.img --picture > sd.svg
  initramfs-overlay doctor disk.img stick.img \\
      --append rd.newimg=UUID=1234-ABCD
  initramfs-overlay doctor --img-dir /mnt/img \\
      --newimg-dir update/ --append rd.overlay=tmpfs")]
pub struct Args {
    /// Disk images or block devices, in the order in which the machine has them
    #[arg(required_unless_present = "img_dir")]
    pub disk: Vec<PathBuf>,

    /// A directory in the place of the partition `img`
    #[arg(long, value_name = "DIR", conflicts_with = "disk", alias = "img")]
    pub img_dir: Option<PathBuf>,

    /// A directory in the place of the partition `overlay`
    #[arg(long, value_name = "DIR", requires = "img_dir", alias = "overlay")]
    pub overlay_dir: Option<PathBuf>,

    /// A directory in the place of the partition `newimg`
    #[arg(long, value_name = "DIR", alias = "newimg")]
    pub newimg_dir: Option<PathBuf>,

    /// A directory in the place of the partition `boot`
    #[arg(long, value_name = "DIR", alias = "boot")]
    pub boot_dir: Option<PathBuf>,

    /// More for the kernel's command line, such as rd.overlay=tmpfs. Repeatable
    #[arg(long, value_name = "STR", allow_hyphen_values = true, alias = "cmdline")]
    pub append: Vec<String>,

    /// The initramfs that boots it: the command line baked into it counts as well
    #[arg(long, value_name = "FILE")]
    pub initramfs: Option<PathBuf>,

    /// Also compute the SHA-256 of the image that boots
    #[arg(long)]
    pub digest: bool,

    /// Read the whole content of the image that boots, and compare its digest with what is known of it
    #[arg(long)]
    pub check: bool,

    /// Bytes in a sector of the machine's disk [default: a block device's own, else those of the partition table]
    #[arg(long, value_name = "BYTES", value_parser = sector)]
    pub sector_size: Option<u64>,

    /// Bytes in a memory page of the kernel that boots it, such as 16K for a Raspberry Pi 5 [default: 4K]
    #[arg(long, value_name = "BYTES", value_parser = choice::page_size)]
    pub page_size: Option<u64>,

    /// Write a picture (SVG) of the disk to standard output: the partitions to scale, used and free. Nothing is examined
    #[arg(long, requires = "disk")]
    pub picture: bool,

    /// Write everything as JSON
    #[arg(long, conflicts_with = "picture")]
    pub json: bool,
}

fn sector(text: &str) -> Result<u64, String> {
    let sizes = || partitions::SECTORS.map(|size| size.to_string()).join(", ");
    let known = text.parse().ok().filter(|size| partitions::SECTORS.contains(size));
    known.ok_or_else(|| format!("expected one of {}", sizes()))
}

/// Examines what was asked for and prints the diagnosis.
///
/// # Errors
/// [`Error::Io`] where something cannot be opened, [`Error::Usage`] for an impossible command line. What is wrong on the disk is
/// no error of this command: it is told, and the exit status says it.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.picture {
        return draw_disks(args);
    }
    let boots = boots(args)?;
    let config = boots.config();
    let Some(overlay) = config.mode.overlay() else {
        return Err(Error::Usage("the command line asks for a root over virtiofs, which is not on a disk".to_owned()));
    };
    let depth = match (args.check, args.digest) {
        (true, _) => Depth::Content,
        (false, true) => Depth::Digest,
        (false, false) => Depth::Names,
    };
    let (devices, faults) = devices(args, &config.common.layers, overlay)?;
    let mut diagnosis = doctor::examine(devices, &boots, depth);
    diagnosis.findings.splice(0..0, faults);
    let text = match args.json {
        true => format!("{}\n", serde_json::to_string_pretty(&diagnosis).unwrap_or_default()),
        false => table(&diagnosis),
    };
    output::print(text)?;
    Ok(ExitCode::from(match diagnosis.verdict {
        Verdict::Boots if diagnosis.is_well() => 0,
        Verdict::Boots => 3,
        Verdict::Fails => 1,
        Verdict::CannotTell => 4,
    }))
}

/// Draws the disk.
///
/// # Errors
/// [`Error::Usage`] for several: a picture shows one.
fn draw_disks(args: &Args) -> Result<ExitCode> {
    let [path] = args.disk.as_slice() else {
        return Err(Error::Usage("--picture: a picture shows one disk".to_owned()));
    };
    let disk = open(path)?;
    let sector = args.sector_size.or(disk.sector());
    let disk: Shared = Arc::new(disk);
    let areas = picture::areas_of(&disk, sector);
    if areas.is_empty() {
        return Err(Error::Usage(format!("--picture: {} has no known partitions", path.display())));
    }
    output::print(picture::draw(&shown(path).to_string(), disk.size(), &areas))?;
    Ok(ExitCode::SUCCESS)
}

fn boots(args: &Args) -> Result<BootInput> {
    let mut boots = BootInput { cmdline: args.append.join(" "), page: args.page_size, ..BootInput::default() };
    if let Some(path) = &args.initramfs {
        let contents = listing::read(File::open(path).at("read", path)?, path)?;
        let variant = contents.release.as_ref().and_then(|release| release.get("VARIANT_ID"));
        boots.is_debug = variant == Some("debug");
        boots.inits = contents.inits;
        let paths = contents.files.iter().map(|file| file.record.path.text.as_str());
        boots.modules = Some(paths.filter_map(kmod::module_name).collect());
    }
    Ok(boots)
}

/// Opens a disk. Packed data that holds an initramfs is told from other packed data.
fn open(path: &Path) -> Result<Disk> {
    Disk::open(path).map_err(|error| match error {
        doctor::Error::Io(source) => base::Error::Io { action: "read", path: path.to_owned(), source }.into(),
        doctor::Error::NotDisk { path, seen: block_reader::PACKED, .. } if is_initramfs(&path) => {
            let remedy = "give the disk that it boots, and this with --initramfs; `initramfs-overlay inspect` shows what is in it";
            doctor::Error::NotDisk { path, seen: "an initramfs, not a disk", remedy }.into()
        }
        error => error.into(),
    })
}

fn is_initramfs(path: &Path) -> bool {
    let read = || listing::read(File::open(path).ok()?, path).ok();
    read().is_some_and(|contents| !contents.files.is_empty())
}

/// Returns the devices of the machine, and sentences about partition tables that its kernel does not take.
fn devices(args: &Args, layers: &Layers, config: &Config) -> Result<(Vec<Device>, Vec<String>)> {
    let (mut devices, mut faults) = (Vec::new(), Vec::new());
    let mut names = disk_names(layers, config);
    for path in &args.disk {
        // A block device keeps its name; an image gets the one that the command line asks for, or one that no one has.
        let own = path.metadata().ok().filter(|metadata| metadata.file_type().is_block_device());
        let own =
            own.and_then(|_| path.canonicalize().ok()?.file_name().map(|name| name.to_string_lossy().into_owned()));
        let name = own.unwrap_or_else(|| names.next().unwrap_or_default());
        let disk = open(path)?;
        let sector = args.sector_size.or(disk.sector());
        let (found, fault) = volume::devices(Arc::new(disk), &name, sector);
        devices.extend(found);
        faults.extend(fault);
    }
    let overlay = match &layers.overlay {
        OverlayStore::Partition(tag) => tag.clone(),
        OverlayStore::Tmpfs(_) if args.overlay_dir.is_some() => {
            return Err(Error::Usage(
                "--overlay-dir gives a directory for a partition, and --append says rd.overlay=tmpfs".into(),
            ));
        }
        OverlayStore::Tmpfs(_) => Tag::Label("overlay".into()),
    };
    for (name, directory, tag) in [
        ("img", &args.img_dir, &config.img),
        ("overlay", &args.overlay_dir, &overlay),
        ("newimg", &args.newimg_dir, &config.newimg),
        ("boot", &args.boot_dir, &config.boot),
    ] {
        if let Some(path) = directory {
            if !path.metadata().at("read", path)?.is_dir() {
                return Err(Error::Usage(format!(
                    "--{name}-dir {}: it is not a directory; give a disk without --{name}-dir",
                    path.display()
                )));
            }
            devices.push(directory_device(name, path, tag));
        }
    }
    Ok((devices, faults))
}

/// Makes a partition that answers to `tag` of a directory.
fn directory_device(name: &str, path: &Path, tag: &Tag) -> Device {
    let kind = if name == "boot" { "vfat" } else { "ext4" };
    let mut volume =
        Volume { name: name.to_owned(), disk: "folders".to_owned(), kind: Some(kind.to_owned()), ..Volume::default() };
    match tag {
        Tag::Label(label) => volume.label = Some(label.clone()),
        Tag::Uuid(uuid) => volume.uuid = Some(uuid.clone()),
        Tag::PartLabel(label) => volume.part_label = Some(label.clone()),
        Tag::PartUuid(uuid) => volume.part_uuid = Some(uuid.clone()),
        Tag::Path(path) => volume.name = path.trim_start_matches("/dev/").to_owned(),
    }
    Device::directory(volume, path.to_owned())
}

/// Returns the kernel's names for disk images: those disks first that the parameters name by a path.
fn disk_names(layers: &Layers, config: &Config) -> impl Iterator<Item = String> {
    let mut named: Vec<String> = Vec::new();
    let overlay = match &layers.overlay {
        OverlayStore::Partition(tag) => Some(tag),
        OverlayStore::Tmpfs(_) => None,
    };
    for tag in [Some(&config.img), overlay, Some(&config.newimg), Some(&config.boot)].into_iter().flatten() {
        if let Tag::Path(path) = tag {
            let name = disk_of(path.trim_start_matches("/dev/")).to_owned();
            if !named.contains(&name) {
                named.push(name);
            }
        }
    }
    let letters = ('a'..='z').map(|letter| format!("sd{letter}")).filter({
        let named = named.clone();
        move |name| !named.contains(name)
    });
    named.into_iter().chain(letters)
}

/// Returns the disk of a partition: `mmcblk0p2` is on `mmcblk0`, `sda2` on `sda`.
fn disk_of(partition: &str) -> &str {
    let disk = partition.trim_end_matches(|c: char| c.is_ascii_digit());
    match disk.strip_suffix('p') {
        Some(numbered) if numbered.ends_with(|c: char| c.is_ascii_digit()) => numbered,
        // A disk that ends in a digit itself, such as mmcblk0.
        _ if disk.ends_with("mmcblk") || disk.ends_with('n') => partition,
        _ => disk,
    }
}

/// Returns the diagnosis for people.
fn table(diagnosis: &Diagnosis) -> String {
    let mut text = String::new();
    let mut line = |lead: &str, content: &str| {
        let _ = writeln!(text, "{lead:<10}{content}");
    };
    for (number, partition) in diagnosis.partitions.iter().enumerate() {
        let lead = if number == 0 { "disk" } else { "" };
        let label = partition.label.as_deref().map(|label| format!(" LABEL={}", escape(label.as_bytes())));
        let size = if partition.size > 0 { format!(", {}", size::show(partition.size)) } else { String::new() };
        let role = partition.role.map(|role| format!("  → {role}")).unwrap_or_default();
        let filesystem = partition.filesystem.as_deref().unwrap_or("no known filesystem");
        line(lead, &format!("{}: {filesystem}{}{size}{role}", partition.device, label.unwrap_or_default()));
    }
    line("update", &diagnosis.update.to_string());
    let mut lead = "would do";
    for change in &diagnosis.changes {
        line(lead, &escape(change.as_bytes()).to_string());
        lead = "";
    }
    if !matches!(diagnosis.outcome.as_str(), "" | "none") {
        line("", &format!("the update is then: {}", diagnosis.outcome));
    }
    if let Some(image) = &diagnosis.image {
        let name = escape(image.name.as_bytes()).to_string();
        line("boots", &format!("{name} ({}, {}) from {}", image.format, size::show(image.size), image.partition));
        if let Some(sha256) = &image.sha256 {
            line("", &format!("SHA-256 {sha256}"));
        }
    }
    if let Some(failure) = &diagnosis.failure {
        line("fails", &format!("{} in step {}", failure.code, failure.step));
        line("  wanted", &failure.wanted);
        let mut lead = "  seen";
        for seen in &failure.seen {
            line(lead, &escape(seen.as_bytes()).to_string());
            lead = "";
        }
        line("  try", &failure.next);
    }
    let mut lead = "look at";
    for finding in &diagnosis.findings {
        line(lead, &escape(finding.as_bytes()).to_string());
        lead = "";
    }
    let mut lead = "last";
    for boot in &diagnosis.boots {
        line(lead, &format!("boot {}", end(boot)));
        lead = "";
    }
    line("pages", &format!("of {}, by --page-size", size::show(diagnosis.page_size)));
    line("verdict", &verdict(diagnosis));
    text
}

/// Returns the number and the end of a boot.
fn end(boot: &doctor::blackbox::Boot) -> String {
    match boot.end {
        "good" => format!("{} went well", boot.number),
        "failed" => format!("{} failed: {} in step {}", boot.number, boot.code, boot.step),
        _ => format!("{} or the system after it crashed", boot.number),
    }
}

/// Returns the verdict for people, with all that it rests on.
fn verdict(diagnosis: &Diagnosis) -> String {
    match diagnosis.verdict {
        Verdict::Fails => "it would not boot".to_owned(),
        Verdict::CannotTell => format!("cannot tell: {}", escape(diagnosis.unknown.join("; ").as_bytes())),
        Verdict::Boots if !diagnosis.is_well() => "it boots, and needs attention".to_owned(),
        Verdict::Boots => match diagnosis.image.as_ref().and_then(|image| image.checked) {
            Some(checked) if checked.is_complete() => {
                "healthy: it boots, and the whole content of the image was read".to_owned()
            }
            Some(checked) => match (checked.blocks, checked.without_checksum) {
                (Some(blocks), Some(bare)) => format!(
                    "it boots; all {blocks} blocks of the image were read, but {bare} have no checksum: compare --digest with what was built"
                ),
                _ => "it boots; the content of the image was read, but not all of it has checksums: compare --digest with what was built"
                    .to_owned(),
            },
            None => "it boots; the content of the image was not read (--check reads it)".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disks_are_named_as_the_parameters_do() {
        for (partition, disk) in [
            ("sda2", "sda"),
            ("vdb", "vdb"),
            ("mmcblk0p2", "mmcblk0"),
            ("mmcblk0", "mmcblk0"),
            ("nvme0n1p3", "nvme0n1"),
            ("nvme0n1", "nvme0n1"),
        ] {
            assert_eq!(disk_of(partition), disk);
        }
        let names = |line: &str| {
            let boots = BootInput { cmdline: line.to_owned(), ..BootInput::default() };
            let config = boots.config();
            disk_names(&config.common.layers, config.mode.overlay().unwrap()).take(2).collect::<Vec<_>>()
        };
        assert_eq!(names(""), ["sda", "sdb"]);
        assert_eq!(names("rd.img=/dev/mmcblk0p2 rd.overlay=/dev/mmcblk0p3"), ["mmcblk0", "sda"]);
        assert_eq!(names("rd.overlay=tmpfs rd.newimg=/dev/sda1"), ["sda", "sdb"]);
    }
}
