//! FAT filesystems in files, without root and without mounting: `mkfs.vfat` makes an empty one, `mtools` fill it in a
//! fixed order with fixed times. Refuses what FAT cannot hold before anything is made.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{Path, PathBuf},
    process::Command,
};

use base::{
    IoContext,
    program::{self, Program},
};

use crate::{Error, Result};

use super::{
    content::{Entry, Kind},
    size::{GIB, KIB, MIB},
};

/// The program that makes FAT filesystems.
pub const MKFS_VFAT: Program = Program { name: "mkfs.vfat", package: "dosfstools" };
/// The program that makes directories in FAT filesystems.
pub const MMD: Program = Program { name: "mmd", package: "mtools" };
/// Copies files into FAT filesystems.
pub const MCOPY: Program = Program { name: "mcopy", package: "mtools" };

/// The first second that FAT can write: 1980-01-01 00:00:00 UTC.
const FIRST_TIME: u64 = 315_532_800;
/// A FAT file's size is 32 bits.
const LARGEST_FILE: u64 = u32::MAX as u64;
/// The smallest partition made, and that with large sectors: FAT16 needs 4085 clusters.
const SMALLEST: u64 = 8 * MIB;
const SMALLEST_LARGE: u64 = 17 * MIB;

/// The fixed properties of a filesystem.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Label, at most 11 bytes.
    pub label: String,
    /// Serial number.
    pub volume: u32,
    /// Bytes of the filesystem.
    pub size: u64,
    /// Bytes of a sector. The kernel mounts none whose sectors are smaller than the disk's (fs/fat/inode.c, fat_fill_super).
    pub sector: u64,
    /// Start of the partition in sectors: the boot sector tells it.
    pub first_sector: u64,
    /// Every time stamp, seconds since 1970; FAT knows none before 1980.
    pub time: u64,
}

/// Returns 32 or 16 for the kind of FAT, and bytes of a cluster, for a partition of `size` bytes in sectors of `sector` bytes. FAT32 has
/// at least 65525 clusters, FAT16 fewer, and a cluster is no smaller than a sector.
fn geometry(size: u64, sector: u64) -> (u8, u64) {
    match size {
        s if sector > 512 && s < 128 * MIB => (16, sector),
        s if sector > 512 && s <= 256 * MIB => (16, 2 * sector),
        s if s < 16 * MIB => (16, 512),
        s if s < 32 * MIB => (16, KIB),
        s if s < 64 * MIB => (16, 2 * KIB),
        s if s <= 256 * MIB => (32, 512),
        s if s <= 8 * GIB => (32, 4 * KIB),
        s if s <= 16 * GIB => (32, 8 * KIB),
        _ => (32, 32 * KIB),
    }
}

/// Returns true for a partition that is FAT32, as its type in the partition table tells.
pub fn is_fat32(size: u64, sector: u64) -> bool {
    geometry(size, sector).0 == 32
}

/// Returns the bytes that clusters can surely take in a filesystem of `size` bytes: without two tables (4 bytes a cluster in each
/// at most) and 128 sectors for boot sectors and FAT16's root directory.
pub fn room(size: u64, sector: u64) -> u64 {
    let (_, cluster) = geometry(size, sector);
    size.saturating_sub(size / cluster * 8 + 128 * sector)
}

/// Returns the bytes that `entries` take in a filesystem of `size` bytes, in clusters, with long names in their directories.
pub fn content_size(entries: &[Entry], size: u64, sector: u64) -> u64 {
    let (_, cluster) = geometry(size, sector);
    entries
        .iter()
        .map(|entry| {
            // 32 bytes for the short name and 32 for each 13 characters of the long one (Microsoft's FAT specification 1.03).
            let name = 32 + (entry.path.len() as u64).div_ceil(13) * 32;
            let data = match entry.kind {
                Kind::File { size, .. } => size.next_multiple_of(cluster),
                _ => cluster,
            };
            data + name
        })
        .sum()
}

/// Returns the smallest size, in whole MiB, with [`room`] for `entries`.
pub fn size_for(entries: &[Entry], sector: u64) -> u64 {
    let mut size = if sector > 512 { SMALLEST_LARGE } else { SMALLEST };
    while room(size, sector) < content_size(entries, size, sector) {
        size += (content_size(entries, size, sector) - room(size, sector)).next_multiple_of(MIB);
    }
    size
}

/// Returns `entries` as FAT can hold them: directories and files, links replaced by the file they name.
///
/// # Errors
/// [`Error::Usage`] for a name, a size or a kind of file that FAT does not have, and for two names that differ only in case.
pub fn accept(entries: Vec<Entry>, directory: &Path) -> Result<Vec<Entry>> {
    let mut accepted: Vec<Entry> = Vec::with_capacity(entries.len());
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    for mut entry in entries {
        let shown = entry.shown();
        let refuse =
            |why: &str| Err(Error::Usage(format!("`{shown}` cannot be put into the boot partition (FAT): {why}")));
        let Ok(text) = std::str::from_utf8(&entry.path) else { return refuse("its name is not UTF-8") };
        let name = text.rsplit('/').next().unwrap_or(text);
        if name.chars().any(|c| c.is_control() || "\"*:<>?\\|".contains(c)) {
            return refuse(
                "its name has a character that FAT does not allow (one of \" * : < > ? \\ | or a control character)",
            );
        }
        if name.ends_with(['.', ' ']) || name.chars().count() > 255 {
            return refuse("its name ends in a dot or a space, or is longer than 255 characters");
        }
        if let Some(other) = names.insert(text.to_lowercase(), text.to_owned()) {
            return refuse(&format!("`{other}` is the same name there, as case does not count"));
        }
        if matches!(entry.kind, Kind::Link { .. } | Kind::SameAs { .. }) {
            let source = directory.join(std::ffi::OsStr::from_bytes(&entry.path));
            let metadata = source.metadata().at("read", &source)?;
            if !metadata.is_file() {
                return refuse("it is a link to something that is not a file, and FAT has no links");
            }
            entry.kind = Kind::File { source, size: metadata.len() };
        }
        match entry.kind {
            Kind::Directory => {}
            Kind::File { size, .. } if size <= LARGEST_FILE => {}
            Kind::File { .. } => return refuse("it is larger than 4 GiB - 1"),
            _ => return refuse("it is a device or a pipe"),
        }
        // FAT has neither owners nor modes nor attributes: what it does not hold must not change its identity.
        accepted.push(Entry { mode: 0, uid: 0, gid: 0, attributes: Vec::new(), ..entry });
    }
    Ok(accepted)
}

/// Makes the filesystem in the new file `name` in the directory `work`, with the [`accept`]ed `entries`, whose sources are
/// absolute paths.
///
/// # Errors
/// [`Error::Program`] where the tools fail.
pub fn make(work: &Path, name: &str, settings: &Settings, entries: &[Entry]) -> Result<()> {
    let image = work.join(name);
    let file = File::create_new(&image).at("create", &image)?;
    file.set_len(settings.size).at("grow", &image)?;
    let (bits, cluster) = geometry(settings.size, settings.sector);
    let mut command = MKFS_VFAT.command()?;
    let (sector, sectors) = (settings.sector.to_string(), (cluster / settings.sector).to_string());
    command.current_dir(work).args(["--invariant", "-F", &bits.to_string(), "-S", &sector, "-s", &sectors]);
    command.args(["-h", &settings.first_sector.to_string(), "-i", &format!("{:08x}", settings.volume)]);
    program::run(command.args(["-n", &settings.label, name]))?;

    for directories in groups(entries.iter().filter(|entry| entry.kind == Kind::Directory)) {
        program::run(mtool(MMD, work, name, settings.time)?.args(directories.iter().map(|entry| inside(&entry.path))))?;
    }
    for (entry, source) in entries.iter().filter_map(|entry| match &entry.kind {
        Kind::File { source, .. } => Some((entry, source)),
        _ => None,
    }) {
        program::run(mtool(MCOPY, work, name, settings.time)?.arg(without_option(source)).arg(inside(&entry.path)))?;
    }
    Ok(())
}

/// Splits entries into groups of at most 64, for the length of a command line.
fn groups<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Vec<&'a Entry>> {
    let all: Vec<&Entry> = entries.collect();
    all.chunks(64).map(<[&Entry]>::to_vec).collect()
}

fn mtool(program: Program, work: &Path, name: &str, time: u64) -> Result<Command> {
    let mut command = program.command()?;
    command.current_dir(work).env("SOURCE_DATE_EPOCH", time.max(FIRST_TIME).to_string());
    // Neither the user's settings nor a check of floppy geometry.
    command.env("MTOOLSRC", "/dev/null").env("MTOOLS_SKIP_CHECK", "1").args(["-i", name]);
    Ok(command)
}

/// Returns `path` as mtools name it inside the image.
fn inside(path: &[u8]) -> OsString {
    OsString::from_vec([b"::/", path].concat())
}

/// Returns an absolute path: it begins with `/`, so that it cannot be an option or a drive.
fn without_option(source: &Path) -> PathBuf {
    std::path::absolute(source).unwrap_or_else(|_| source.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, size: u64) -> Entry {
        let kind = Kind::File { source: PathBuf::from("/f"), size };
        Entry { kind, ..Entry::directory(path) }
    }

    #[test]
    fn cluster_counts_fit_their_kind() {
        // FAT16 has 4085..65525 clusters, FAT32 at least 65525 and fewer than 2^28.
        let sizes = [8, 15, 16, 31, 32, 63, 64, 256, 257, 8192, 8193, 100_000].map(|mib| (mib, 512));
        let large = [17, 63, 64, 127, 128, 255, 256, 257, 8192, 8193, 100_000].map(|mib| (mib, 4096));
        for (mib, sector) in sizes.into_iter().chain(large) {
            let size = mib * MIB;
            let (bits, cluster) = geometry(size, sector);
            assert!(cluster >= sector);
            let clusters = (room(size, sector) / cluster, size / cluster);
            let allowed = if bits == 16 { 4085..65525 } else { 65525..1 << 28 };
            assert!(
                allowed.contains(&clusters.0) && allowed.contains(&clusters.1),
                "{mib} MiB in {sector}: FAT{bits}, {clusters:?}"
            );
        }
    }

    #[test]
    fn a_size_has_room() {
        for bytes in [0, 7 * MIB, 8 * MIB, 61 * MIB, 62 * MIB, 70 * MIB, 3 * GIB] {
            let entries = [file("kernel", bytes)];
            for sector in [512, 4096] {
                let size = size_for(&entries, sector);
                assert!(
                    room(size, sector) >= content_size(&entries, size, sector) && size <= bytes + bytes / 20 + 18 * MIB,
                    "{bytes} in {size}"
                );
            }
        }
    }

    #[test]
    fn what_fat_cannot_hold_is_refused_by_name() {
        let directory = Path::new("/nowhere");
        for (entries, word) in [
            (vec![file("a:b", 1)], "character"),
            (vec![file("a.", 1)], "dot"),
            (vec![file("Kernel", 1), file("KERNEL", 1)], "case"),
            (vec![file("big", LARGEST_FILE + 1)], "4 GiB"),
            (vec![Entry { kind: Kind::Pipe, ..file("p", 0) }], "pipe"),
            (vec![Entry { path: vec![0xff], ..file("p", 0) }], "UTF-8"),
        ] {
            let text = accept(entries, directory).unwrap_err().to_string();
            assert!(text.contains(word), "{text}");
        }
        assert_eq!(accept(vec![file("ok", LARGEST_FILE)], directory).unwrap().len(), 1);
    }
}
