//! `initramfs-overlay disk`: reads the command line into a [`Disk`], has it made, and tells what came out.

use std::{collections::BTreeMap, env, fmt::Write as _, path::PathBuf, process::ExitCode};

use base::{escape::shown, progress::tell};
use clap::{ArgAction, ArgGroup};
use contract::names;
use disk::{
    self, Boot, Disk, Owner, Report, Source,
    image::{Compression, Format},
    layout::{Extent, LARGE_SECTOR, Role, SECTOR, Table},
    size,
};

use crate::{
    Error, Result,
    command::{
        choice::{self, choice},
        output,
    },
    picture::{Area, draw},
};

/// Make an appliance disk: a partition table and the partitions that the initramfs looks for, in one file.
///
/// Needs neither root nor loop devices. The same inputs give the same bytes.
#[derive(Debug, clap::Args)]
#[command(group = ArgGroup::new("content").required(true))]
#[command(after_help = "Examples:
  A disk for a PC or a virtual machine, from a root directory:
    initramfs-overlay disk pc.img --root rootfs/
  An SD card for a Raspberry Pi, with its firmware, kernel and initramfs in boot/:
    initramfs-overlay disk sd.img --table mbr \\
        --image root-squashfs.img --boot boot/
  A USB stick that brings an update holds one partition, `newimg`: see docs/disk.md.

The file is copied to a card with `dd if=sd.img of=/dev/mmcblk0 bs=4M conv=fsync`.")]
pub struct Args {
    /// The disk's file. A block device is never written
    pub output: PathBuf,

    /// A root directory, packed as the OS image
    #[arg(long, value_name = "DIR", group = "content")]
    pub root: Option<PathBuf>,

    /// An OS image that is there already, squashfs or EROFS; its .minisig beside it comes along
    #[arg(long, value_name = "FILE", group = "content")]
    pub image: Option<PathBuf>,

    /// Format that root directories are packed in
    #[arg(long, value_name = "FORMAT", default_value = "squashfs", value_parser = choice::<Format>())]
    pub image_format: Format,

    /// Compression of the packed image [default: gzip for squashfs, lz4 for EROFS]
    #[arg(long, value_name = "NAME", value_parser = choice::<Compression>())]
    pub image_compress: Option<Compression>,

    /// The image's file name, as `rd.image=` has it
    #[arg(long, value_name = "NAME", default_value = names::IMAGE)]
    pub image_name: String,

    /// Root owns every file, even where this command runs as root and could keep owners
    #[arg(long)]
    pub root_owned: bool,

    /// An update to put into `newimg`: an image (its .sha256 and .minisig beside it come along), a directory with one, or a root directory
    #[arg(long, value_name = "FILE_OR_DIR", conflicts_with = "no_newimg")]
    pub newimg: Option<PathBuf>,

    /// No partition `newimg`: updates come on another medium, or never
    #[arg(long)]
    pub no_newimg: bool,

    /// `img` need not hold two images: this disk is never updated
    #[arg(long)]
    pub no_update_room: bool,

    /// A directory whose files go into `boot`
    #[arg(long, value_name = "DIR", conflicts_with = "no_boot")]
    pub boot: Option<PathBuf>,

    /// A file that goes into `boot`, and its path there. Repeatable
    #[arg(long, value_name = "SRC[:DEST]", conflicts_with = "no_boot")]
    pub boot_file: Vec<String>,

    /// A kernel's module directory, /lib/modules/VERSION: its squashfs.ko goes into `boot`. Repeatable
    #[arg(long, value_name = "DIR", conflicts_with = "no_boot")]
    pub boot_modules: Vec<PathBuf>,

    /// No partition `boot`: squashfs is built in or in the initramfs
    #[arg(long)]
    pub no_boot: bool,

    /// A directory whose files lie over the image from the first boot on: `persistent` in `overlay`
    #[arg(long, value_name = "DIR", conflicts_with = "no_overlay")]
    pub persistent: Option<PathBuf>,

    /// No partition `overlay`: the kernel's command line says `rd.overlay=tmpfs`
    #[arg(long)]
    pub no_overlay: bool,

    /// A partition's size, such as `img=1.5G` or `boot=64M,overlay=2G`. Repeatable
    #[arg(long, value_name = "LABEL=SIZE", value_delimiter = ',', value_parser = partition_size)]
    pub size: Vec<(Role, u64)>,

    /// The disk's size; what is left over goes to `overlay`
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    pub disk_size: Option<u64>,

    /// The partition table: `mbr` for a Raspberry Pi and old BIOSes
    #[arg(long, default_value = "gpt", value_parser = choice::<Table>())]
    pub table: Table,

    /// Bytes in a sector of the disk that it is for: 4096 for 4Kn disks, such as some NVMe and UFS
    #[arg(long, value_name = "BYTES", default_value_t = SECTOR, value_parser = sector_size)]
    pub sector_size: u64,

    /// Bytes in a memory page of the kernel that boots it, such as 16K: images that it cannot mount are refused [default: 4K, and a warning]
    #[arg(long, value_name = "BYTES", value_parser = choice::page_size)]
    pub page_size: Option<u64>,

    /// Round the disk's size up to a power of two, as QEMU requires for an SD card [default: true with `--table mbr`]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub power_of_two: Option<bool>,

    /// Replace OUTPUT if it exists
    #[arg(long)]
    pub force: bool,

    /// Write a picture (SVG) of the disk to standard output: the partitions to scale, used and free
    #[arg(long)]
    pub picture: bool,

    /// Print what was made as JSON
    #[arg(long, action = ArgAction::SetTrue, conflicts_with = "picture")]
    pub json: bool,
}

fn partition_size(text: &str) -> Result<(Role, u64), String> {
    let labels = Role::ALL.map(Role::label).join(", ");
    let (label, bytes) = text.split_once('=').ok_or_else(|| format!("expected LABEL=SIZE, LABEL one of {labels}"))?;
    let role = Role::ALL.into_iter().find(|role| role.label() == label);
    let role = role.ok_or_else(|| format!("`{label}` is none of {labels}"))?;
    Ok((role, size::parse(bytes)?))
}

fn sector_size(text: &str) -> Result<u64, String> {
    let known = text.parse().ok().filter(|size| [SECTOR, LARGE_SECTOR].contains(size));
    known.ok_or_else(|| format!("expected {SECTOR} or {LARGE_SECTOR}"))
}

/// Reads `SRC` or `SRC:DEST`; without DEST the file's own name.
fn boot_file(text: &str) -> Result<(PathBuf, String)> {
    let (source, path) = match text.rsplit_once(':') {
        Some((source, path)) => (PathBuf::from(source), path.to_owned()),
        None => {
            let source = PathBuf::from(text);
            let name = source.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (source, name)
        }
    };
    if path.is_empty() || source.as_os_str().is_empty() {
        return Err(Error::Usage(format!("--boot-file {text}: expected SRC or SRC:DEST, both with a name")));
    }
    Ok((source, path))
}

/// Returns the time stamp of everything: <https://reproducible-builds.org/specs/source-date-epoch/>, else 1970.
pub(super) fn source_date_epoch() -> Result<u64> {
    match env::var("SOURCE_DATE_EPOCH") {
        // squashfs and EROFS packers take 32 bits.
        Ok(text) => text.parse::<u32>().map(u64::from).map_err(|_| {
            Error::Usage(format!("SOURCE_DATE_EPOCH is `{text}`: expected seconds since 1970, below 2^32, or nothing"))
        }),
        Err(_) => Ok(0),
    }
}

impl Args {
    fn disk(&self, owner: Owner, time: u64) -> Result<Disk> {
        let mut sizes = BTreeMap::new();
        for (role, bytes) in &self.size {
            if sizes.insert(*role, *bytes).is_some() {
                return Err(Error::Usage(format!("--size: `{}` has two sizes", role.label())));
            }
        }
        let boot = Boot {
            directory: self.boot.clone(),
            files: self.boot_file.iter().map(|text| boot_file(text)).collect::<Result<_>>()?,
            modules: self.boot_modules.clone(),
        };
        let source = match (&self.root, &self.image) {
            (Some(root), _) => Source::Root(root.clone()),
            (None, Some(image)) => Source::Image(image.clone()),
            (None, None) => return Err(Error::Usage("a disk needs --root DIR or --image FILE".to_owned())),
        };
        Ok(Disk {
            source,
            image_name: self.image_name.clone(),
            format: self.image_format,
            compression: self.image_compress,
            owner,
            boot: (!self.no_boot).then_some(boot),
            newimg: (!self.no_newimg).then(|| self.newimg.clone()),
            overlay: (!self.no_overlay).then(|| self.persistent.clone()),
            update_room: !self.no_update_room,
            table: self.table,
            sizes,
            extent: Extent {
                disk: self.disk_size,
                power_of_two: self.power_of_two.unwrap_or(self.table == Table::Mbr && self.disk_size.is_none()),
                sector: self.sector_size,
            },
            time,
            page: self.page_size,
        })
    }
}

/// Makes the disk.
///
/// # Errors
/// [`Error::Usage`] for what cannot be, and whatever fails on the way.
pub fn run(args: &Args) -> Result<ExitCode> {
    let privileged = rustix::process::geteuid().is_root();
    let owner = if privileged && !args.root_owned { Owner::AsIs } else { Owner::Root };
    let disk = args.disk(owner, source_date_epoch()?)?;
    let report = disk::make(&disk, &args.output, args.force, &crate::progress::on_stderr())?;
    for warning in &report.warnings {
        tell(format_args!("warning: {warning}"));
    }
    output::print(match (args.json, args.picture) {
        (true, _) => format!("{}\n", serde_json::to_string_pretty(&report).unwrap_or_default()),
        (_, true) => picture(&report),
        _ => table(&report, owner, privileged),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Draws the disk.
fn picture(report: &Report) -> String {
    let areas = report.partitions.iter().map(|partition| Area {
        name: format!("{} {}", partition.number, partition.label),
        offset: partition.offset,
        size: partition.size,
        used: Some(partition.used),
    });
    draw(&shown(&report.path).to_string(), report.size, &areas.collect::<Vec<_>>())
}

/// Returns the report for people.
fn table(report: &Report, owner: Owner, privileged: bool) -> String {
    let mut rows: Vec<[String; 7]> =
        vec![["", "label", "filesystem", "type", "offset", "size", "used"].map(str::to_owned)];
    for partition in &report.partitions {
        rows.push([
            partition.number.to_string(),
            partition.label.to_owned(),
            partition.filesystem.to_owned(),
            partition.kind.to_owned(),
            size::show(partition.offset),
            size::show(partition.size),
            size::show(partition.used),
        ]);
    }
    let mut widths = [0; 7];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &rows {
        for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
            // Numbers to the right.
            let _ = if column > 3 { write!(text, "{cell:>width$}  ") } else { write!(text, "{cell:width$}  ") };
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "{}: {} ({}{}), {} is {} ({})",
        report.path.display(),
        size::show(report.size),
        report.table.to_uppercase(),
        if report.sector_size == SECTOR { String::new() } else { format!(", sectors of {} bytes", report.sector_size) },
        report.image_name,
        report.image_format,
        size::show(report.image_size)
    );
    let owners = match (owner, privileged) {
        (Owner::AsIs, _) => "Owners are those of the directories (--root-owned: all root).",
        (Owner::Root, true) => "Root owns every file.",
        (Owner::Root, false) => "Root owns every file, as this command does not run as root.",
    };
    let _ = writeln!(text, "{owners}");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn disk(line: &str) -> Result<Disk, String> {
        let words = ["disk"].into_iter().chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        line.args.disk(Owner::Root, 0).map_err(|error| error.to_string())
    }

    #[test]
    fn the_command_line_becomes_a_disk() {
        let plain = disk("out --root r").unwrap();
        assert!(plain.boot.is_some() && plain.newimg == Some(None) && plain.overlay == Some(None));
        assert!(!plain.extent.power_of_two && plain.update_room);
        let sd =
            disk("out --image i --table mbr --no-newimg --size img=1G,boot=32M --boot-file a/k:kernel.img").unwrap();
        assert!(sd.extent.power_of_two && sd.newimg.is_none());
        assert_eq!(sd.sizes, BTreeMap::from([(Role::Img, size::GIB), (Role::Boot, 32 * size::MIB)]));
        assert_eq!(sd.boot.unwrap().files, [(PathBuf::from("a/k"), "kernel.img".to_owned())]);
        assert!(!disk("out --image i --table mbr --power-of-two=false").unwrap().extent.power_of_two);
        assert!(disk("out --image i --power-of-two").unwrap().extent.power_of_two);
        assert_eq!(disk("out --image i --sector-size 4096").unwrap().extent.sector, 4096);
    }

    #[test]
    fn bad_lines_are_refused() {
        for (line, word) in [
            ("out", "--root"),
            ("out --root r --image i", "cannot be used with"),
            ("out --root r --size im=1G", "none of boot, img, newimg, overlay"),
            ("out --root r --size img", "LABEL=SIZE"),
            ("out --root r --size img=1X", "not a size"),
            ("out --root r --size img=1M,img=2M", "two sizes"),
            ("out --root r --boot-file k:", "SRC:DEST"),
            ("out --root r --no-boot --boot b", "cannot be used with"),
            ("out --root r --no-overlay --persistent p", "cannot be used with"),
            ("out --root r --image-format ext2", "possible values"),
            ("out --root r --sector-size 1024", "expected 512 or 4096"),
        ] {
            let text = disk(line).unwrap_err();
            assert!(text.contains(word), "{line}: {text}");
        }
    }
}
