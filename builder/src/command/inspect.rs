//! `inspect`: what is in an initramfs, ours or anybody's, as a table for people or as JSON for scripts. Reading is
//! [`archive::listing`]'s business, unpacking [`archive::extract`]'s; here it is only said.

use std::{
    ffi::OsString,
    fmt::Write as _,
    io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process::ExitCode,
};

use archive::{
    cat::{Found, cat},
    extract::extract,
    listing::{self, Listed, Listing, Problem, Segment, release::Release},
    manifest::{Name, Record, Type},
};
use base::{
    IoContext, bounded,
    escape::{escape, shown as shown_path},
    progress::tell,
};
use clap::Args as ClapArgs;
use indicatif::{BinaryBytes, HumanCount};
use serde::Serialize;
use serde_json::{Value, json};

use self::{diff::Diff, summary::Summary};
use crate::{Error, Result, command::output};

mod diff;
mod summary;
mod treemap;

/// Show what is in an initramfs: segments, compression, files, sizes and init's version.
///
/// Reads any initramfs, not only ours: archives one after the other, compressed or not. Where one is damaged, shows
/// what could be read, says at which offset what is wrong, and exits with 1.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:
  initramfs-overlay inspect initrd.img --files
  initramfs-overlay inspect initrd.img --cat etc/fstab
  initramfs-overlay inspect initrd.img --extract unpacked/
  initramfs-overlay inspect old.img --diff new.img
  initramfs-overlay inspect initrd.img --treemap > a.svg
  initramfs-overlay inspect initrd.img --json | jq \\
      '.summary'")]
pub struct Args {
    /// The initramfs to read
    file: PathBuf,
    /// List every file: mode, owner, size, path
    #[arg(long)]
    files: bool,
    /// Write the content of one file to standard output
    #[arg(long, value_name = "NAME", group = "action")]
    cat: Option<OsString>,
    /// Unpack it into a directory, created if it is missing. As root with owners and devices; nothing outside it is touched
    #[arg(long, value_name = "DIR", group = "action")]
    extract: Option<PathBuf>,
    /// Compare it with another, newer initramfs; the exit status is 1 where they differ
    #[arg(long, value_name = "FILE", group = "action")]
    diff: Option<PathBuf>,
    /// Write a picture (SVG) of what takes how much of it to standard output
    #[arg(long, group = "action")]
    treemap: bool,
    /// Write everything as JSON, with the files and a SHA-256 of each
    #[arg(long, conflicts_with_all = ["cat", "treemap"])]
    json: bool,
}

/// Reads the file and prints what is in it.
///
/// # Errors
/// [`crate::Error::Io`] where the file cannot be read, [`archive::Error::NotInitramfs`] where it is something else.
/// Damage inside it is told and gives exit status 1.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(name) = &args.cat {
        return print_content(&args.file, name.as_bytes());
    }
    if let Some(directory) = &args.extract {
        return unpack(args, directory);
    }
    let contents = read(&args.file)?;
    let name = Name::new(args.file.as_os_str().as_encoded_bytes());
    if let Some(other) = &args.diff {
        let other = read(other)?;
        let diff = Diff::of(&contents.files, &other.files);
        output::print(if args.json { format!("{:#}\n", diff.to_json()) } else { diff.to_string() })?;
        return Ok(if diff.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if args.treemap {
        output::print(treemap::draw(&escape(&name.bytes()).to_string(), &contents.files))?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = if args.json { json_text(&name, &contents) } else { table(&name, &contents, args.files) };
    output::print(text)?;
    for Problem { offset, unpacked_offset, problem } in &contents.problems {
        let unpacked = unpacked_offset.map_or_else(String::new, |at| format!(" (unpacked: {at})"));
        tell(format_args!(
            "initramfs-overlay: {}: at offset {offset}{unpacked}: {problem}",
            escape(name.text.as_bytes())
        ));
    }
    Ok(if contents.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn read(path: &Path) -> Result<Listing> {
    Ok(listing::read(bounded::open(path).at("read", path)?, path)?)
}

/// Writes the content of a file to standard output.
fn print_content(path: &Path, name: &[u8]) -> Result<ExitCode> {
    let refuse = |reason: &str| Err(Error::Usage(format!("--cat {}: {reason}", escape(name))));
    match cat(path, name, &mut io::stdout().lock()) {
        Ok(Found::File) => Ok(ExitCode::SUCCESS),
        Ok(Found::Link(target)) => refuse(&format!("it is a symbolic link to {}", escape(&target))),
        Ok(Found::Other) => refuse("it is not a file"),
        Ok(Found::Nothing) => refuse("there is no such file in it; --files lists them"),
        // A reader that has seen enough.
        Err(archive::Error::Output { source }) if source.kind() == io::ErrorKind::BrokenPipe => Ok(ExitCode::SUCCESS),
        Err(error) => Err(error.into()),
    }
}

/// Unpacks it, and tells what came out.
fn unpack(args: &Args, directory: &Path) -> Result<ExitCode> {
    let file = bounded::open(&args.file).at("read", &args.file)?;
    let told = extract(file, &args.file, directory)?;
    for reason in &told.refused {
        // The number says nothing that the words do not.
        let words = reason.rsplit_once(" (os error ").map_or(reason.as_str(), |(words, _)| words);
        tell(format_args!("initramfs-overlay: left out: {words}"));
    }
    let text = if args.json {
        let value = json!({
            "folder": directory.to_string_lossy(),
            "entries": told.entries,
            "bytes": told.bytes,
            "devices_left_out": told.devices,
            "left_out": told.refusals,
        });
        format!("{value:#}\n")
    } else {
        let devices = match told.devices {
            0 => String::new(),
            count => format!("; {count} devices are left out, as only root can make them"),
        };
        let entries = HumanCount(told.entries);
        format!("{}: {entries} entries, {} of content{devices}\n", shown_path(directory), BinaryBytes(told.bytes))
    };
    output::print(text)?;
    Ok(if told.refusals == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn json_text(file: &Name, contents: &Listing) -> String {
    // Not as a `Value`, which takes several times what it shows.
    let mut text = serde_json::to_string_pretty(&Json {
        file: &file.text,
        size: contents.size,
        release: contents.release.as_ref(),
        segments: &contents.segments,
        totals: Totals::of(&contents.files),
        summary: Summary::of(&contents.files).to_json(),
        files: &contents.files,
        notes: &contents.notes,
        problems: &contents.problems,
    })
    .unwrap_or_default();
    text.push('\n');
    text
}

/// The object that `--json` writes.
#[derive(Serialize)]
struct Json<'a> {
    file: &'a str,
    size: u64,
    release: Option<&'a Release>,
    segments: &'a [Segment],
    totals: Totals,
    summary: Value,
    files: &'a [Listed],
    notes: &'a [String],
    problems: &'a [Problem],
}

fn table(file: &Name, contents: &Listing, with_files: bool) -> String {
    let mut text = String::new();
    let size = BinaryBytes(contents.size);
    let _ = writeln!(text, "{}: an initramfs of {size}", escape(file.text.as_bytes()));
    let _ = writeln!(text, "{}\n", about(contents.release.as_ref(), contents.problems.is_empty()));
    let _ = writeln!(text, "segment      offset  compression        size    unpacked  entries");
    for (number, segment) in (1..).zip(&contents.segments) {
        let Segment { offset, compression, size, unpacked, padding, entries } = segment;
        let (size, unpacked) = (BinaryBytes(*size).to_string(), BinaryBytes(*unpacked).to_string());
        let _ = write!(
            text,
            "{number:>7}  {offset:>10}  {:<11}  {size:>10}  {unpacked:>10}  {entries:>7}",
            compression.name()
        );
        let _ = match padding {
            0 => writeln!(text),
            _ => writeln!(text, "  and {padding} zero bytes"),
        };
    }
    let summary = Summary::of(&contents.files).to_string();
    if !summary.is_empty() {
        let _ = write!(text, "\n{summary}");
    }
    if with_files {
        let _ = writeln!(text);
        text.push_str(&files(&contents.files));
    }
    let _ = writeln!(text, "\n{}", Totals::of(&contents.files));
    for note in &contents.notes {
        let _ = writeln!(text, "Note: {note}.");
    }
    text
}

fn about(release: Option<&Release>, is_whole: bool) -> String {
    let Some(release) = release else {
        return match is_whole {
            true => "It does not say what it is: there is no etc/initrd-release or etc/os-release in it.".to_owned(),
            false => "What could be read of it does not say what it is.".to_owned(),
        };
    };
    let field = |key: &str| release.get(key).filter(|value| !value.is_empty());
    // PRETTY_NAME has the version in it.
    let mut text = match field("PRETTY_NAME") {
        Some(pretty) => pretty.to_owned(),
        None => [field("NAME").or(field("ID")), field("VERSION").or(field("VERSION_ID"))]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(" "),
    };
    let more: Vec<_> = [field("VARIANT").or(field("VARIANT_ID")), field("ARCH").or(field("ARCHITECTURE"))]
        .into_iter()
        .flatten()
        .collect();
    if !more.is_empty() {
        let _ = write!(text, " ({})", more.join(", "));
    }
    format!("{} (from {})", escape(text.trim().as_bytes()), release.path)
}

/// Lists files as `ls -l` would, so nobody has to learn a new table.
fn files(files: &[Listed]) -> String {
    let owner = |record: &Record| format!("{}:{}", record.uid, record.gid);
    let width = |shown: &dyn Fn(&Record) -> String| files.iter().map(|file| shown(&file.record).len()).max();
    let (owners, sizes) = (width(&owner).unwrap_or(0), width(&size).unwrap_or(0));
    files.iter().fold(String::new(), |mut text, Listed { record, .. }| {
        let (mode, owner, size, path) = (mode(record), owner(record), size(record), path(record));
        let _ = writeln!(text, "{mode}  {owner:<owners$}  {size:>sizes$}  {path}");
        text
    })
}

fn mode(record: &Record) -> String {
    let kind = match record.kind {
        Type::Directory => 'd',
        Type::File => '-',
        Type::Symlink => 'l',
        Type::CharDevice => 'c',
        Type::BlockDevice => 'b',
        Type::Fifo => 'p',
        Type::Socket => 's',
        Type::Unknown => '?',
    };
    let bits = [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')];
    bits.iter().fold(kind.to_string(), |mut text, (shift, special, letter)| {
        let (bits, special) = (record.mode >> shift, record.mode & special != 0);
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, special) {
            (true, true) => *letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
        text
    })
}

fn size(record: &Record) -> String {
    match (record.size, record.device) {
        (Some(size), _) => BinaryBytes(size).to_string(),
        (None, Some(device)) => format!("{}:{}", device.major, device.minor),
        (None, None) => String::new(),
    }
}

fn path(record: &Record) -> String {
    let mut text = shown(&record.path);
    if let Some(target) = &record.target {
        let _ = write!(text, " -> {}", shown(target));
    }
    if let Some(first) = &record.hard_link {
        let _ = write!(text, " (the same file as {})", shown(first));
    }
    text
}

/// Returns a name on a terminal: from its bytes, so that nothing is lost where they are no UTF-8.
fn shown(name: &Name) -> String {
    escape(&name.bytes()).to_string()
}

/// Numbers of names by type, and the bytes of all files.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Totals {
    directories: u64,
    files: u64,
    hard_links: u64,
    symlinks: u64,
    devices: u64,
    others: u64,
    bytes: u64,
}

impl Totals {
    fn of(files: &[Listed]) -> Self {
        files.iter().fold(Self::default(), |mut totals, Listed { record, .. }| {
            let count = match (record.kind, &record.hard_link) {
                (_, Some(_)) => &mut totals.hard_links,
                (Type::Directory, None) => &mut totals.directories,
                (Type::File, None) => &mut totals.files,
                (Type::Symlink, None) => &mut totals.symlinks,
                (Type::CharDevice | Type::BlockDevice, None) => &mut totals.devices,
                (Type::Fifo | Type::Socket | Type::Unknown, None) => &mut totals.others,
            };
            *count += 1;
            totals.bytes = totals.bytes.saturating_add(record.size.unwrap_or(0));
            totals
        })
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let counts = [
            (self.directories, "directory", "directories"),
            (self.files, "file", "files"),
            (self.hard_links, "hard link", "hard links"),
            (self.symlinks, "symbolic link", "symbolic links"),
            (self.devices, "device", "devices"),
            (self.others, "other", "others"),
        ];
        let parts: Vec<_> = counts
            .iter()
            .filter(|(count, ..)| *count > 0)
            .map(|(count, one, many)| format!("{count} {}", if *count == 1 { one } else { many }))
            .collect();
        if parts.is_empty() {
            return write!(f, "No entries.");
        }
        write!(f, "{}; {} of content.", parts.join(", "), BinaryBytes(self.bytes))
    }
}

#[cfg(test)]
mod tests;
