//! A statically linked BusyBox for a target: Debian's, pinned by version and SHA-256 and kept in the cache, or one that
//! the user gives, as a file or in an OCI image. What it can do is read from the program itself, as a program for another machine cannot be asked.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base::{
    IoContext, bounded,
    cache::{Cache, Check, Pin},
    digest::digest,
    elf,
    progress::Progress,
};
use serde::{Deserialize, Serialize};

use crate::{
    Error, Result, Substitute,
    apt::{Apt, Package},
    deb,
    substitute::HINT,
    target::{BusyboxPackage, Target},
};

/// A directory with `busybox-<target>` for each target, or an OCI image that has it, instead of Debian's.
pub const VARIABLE: &str = "INITRAMFS_OVERLAY_BUSYBOX";

/// A BusyBox to put into an image.
#[derive(Debug, Clone)]
pub struct Busybox {
    /// The program.
    pub bytes: Vec<u8>,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
    /// The names it answers to, sorted: `[`, `ash`, `awk` …
    pub applets: Vec<String>,
    /// The package or image that it comes from; `None` for a file of the user's own.
    pub origin: Option<Origin>,
}

/// The source of a BusyBox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A package.
    Debian(DebianPackage),
    /// An OCI image.
    Image(SourceImage),
}

/// The OCI image that a BusyBox comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SourceImage {
    /// Its name in a registry, without tag and digest; `None` for one in a file of this machine.
    pub name: Option<String>,
    /// The digest of its manifest, for the target's platform; `None` where the form that it came in has none.
    pub digest: Option<String>,
}

/// The Debian package a BusyBox comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DebianPackage {
    /// Debian's name of the machine.
    pub architecture: String,
    /// The binary package.
    pub package: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of the `.deb`, in hexadecimal.
    pub sha256: String,
    /// The source package.
    pub source: String,
    /// Its version.
    pub source_version: String,
    /// Other source packages that are compiled in, with their versions (`Built-Using`), such as glibc.
    pub built_using: Vec<(String, String)>,
}

impl Origin {
    /// Returns the package, where it is one.
    #[must_use]
    pub fn package(&self) -> Option<&DebianPackage> {
        match self {
            Self::Debian(package) => Some(package),
            Self::Image(_) => None,
        }
    }

    /// Returns the image, where it is one.
    #[must_use]
    pub fn image(&self) -> Option<&SourceImage> {
        match self {
            Self::Image(image) => Some(image),
            Self::Debian(_) => None,
        }
    }
}

const ROOM: &str = "busybox";
const PROGRAM: &str = "busybox";
const ORIGIN: &str = "package.json";

/// Gets BusyBox for `target`: from the directory `given`, else Debian's.
///
/// # Errors
/// [`Error::WrongProgram`] where the given one is not a whole static program for the target; [`Error::Missing`] where
/// none can be had, with what to do.
pub fn get(
    target: &Target,
    given: Option<&Path>,
    cache: &Cache,
    substitute: Substitute,
    progress: &Progress,
) -> Result<Busybox> {
    if let Some(directory) = given {
        let path = directory.join(format!("busybox-{}", target.name));
        return read(&path, target, None);
    }
    let package = &target.busybox;
    let [pinned, other] = keys(target);
    let other = (substitute == Substitute::Allow).then_some(other);
    let find = |(key, check): (&String, _)| {
        let found = cache.find(ROOM, key, check);
        let entry = cache.root().join(ROOM).join(key);
        if found.is_none() && entry.exists() {
            progress.say(format!("warning: {} is damaged; it is fetched again", entry.display()));
        }
        found
    };
    let others = other.iter().map(|key| (key, Check::Digests));
    let entry = match [(&pinned, pin(target))].into_iter().chain(others).find_map(find) {
        Some(entry) => entry,
        None => fetch(target, &pinned, other.as_deref(), cache, progress)?,
    };
    let origin = origin_of(&entry)?;
    if origin.sha256 != package.sha256 {
        progress.say(format!(
            "warning: {}: BusyBox {} is used, SHA-256 of its package {}, because the mirror did not have the pinned {}; the image \
             differs from one with the pinned version",
            target.name, origin.version, origin.sha256, package.version
        ));
    }
    read(&entry.join(PROGRAM), target, Some(Origin::Debian(origin)))
}

/// Returns the keys in the cache: for the pinned version, and for another one that was all the mirror had.
fn keys(target: &Target) -> [String; 2] {
    let package = &target.busybox;
    let pinned = format!("{}-{}-{}", target.name, package.version, package.sha256.get(..16).unwrap_or_default());
    let substitute = format!("{pinned}-substitute");
    [pinned, substitute]
}

/// Returns the check of the entry with the pinned version.
fn pin(target: &Target) -> Check<'_> {
    Check::Pinned(Pin { sha256: &target.busybox.files_sha256, parts: &[] })
}

/// Returns the directory in the cache with the pinned BusyBox for `target`, if it is there and whole.
pub fn kept(target: &Target, cache: &Cache) -> Option<PathBuf> {
    cache.find(ROOM, &keys(target)[0], pin(target))
}

/// Returns the pinned BusyBox for `target` from a cache or a bundle, if it is there and whole. Fetches nothing.
///
/// # Errors
/// As [`get`].
pub fn pinned(target: &Target, cache: &Cache) -> Result<Option<Busybox>> {
    let read_entry = |entry: PathBuf| read(&entry.join(PROGRAM), target, Some(Origin::Debian(origin_of(&entry)?)));
    kept(target, cache).map(read_entry).transpose()
}

/// Returns the files of the pinned BusyBox for `target`, which is fetched where it is not in the cache: their paths in it, and where each is.
///
/// # Errors
/// As [`get`].
pub fn files(target: &Target, cache: &Cache, progress: &Progress) -> Result<Vec<(PathBuf, PathBuf)>> {
    let [key, _] = keys(target);
    let entry = match kept(target, cache) {
        Some(entry) => entry,
        None => fetch(target, &key, None, cache, progress)?,
    };
    let names = [PROGRAM, ORIGIN].map(|name| Path::new(ROOM).join(&key).join(name));
    Ok(names.into_iter().zip([PROGRAM, ORIGIN].map(|name| entry.join(name))).collect())
}

/// Reads the package of an entry of the cache.
fn origin_of(entry: &Path) -> Result<DebianPackage> {
    let path = entry.join(ORIGIN);
    let text = fs::read(&path).at("read", &path)?;
    Ok(serde_json::from_slice(&text).map_err(std::io::Error::from).at("read", &path)?)
}

/// Fetches the pinned version, or, where the mirror has only another one and there is a key for that, that; each to its own entry.
fn fetch(target: &Target, pinned: &str, other: Option<&str>, cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    let BusyboxPackage { debian_arch, suite, package, version, .. } = &target.busybox;
    let missing = |tried: Vec<String>| Error::Missing {
        what: format!("BusyBox for {} (Debian's {package} {version} for {debian_arch}, from {suite})", target.name),
        tried,
        remedy: format!(
            "give a static BusyBox as the file busybox-{} in a directory named by --busybox or {VARIABLE}; or copy the directory \
             `{ROOM}` of another machine's cache to {}; or build with --variant slim, which has none{}",
            target.name,
            cache.root().join(ROOM).display(),
            if other.is_none() { HINT } else { "" }
        ),
    };
    let apt = Apt::new(cache, suite, Some(debian_arch))?.map_err(|refusal| missing(vec![refusal]))?;
    let (found, key) = match (apt.find(package, Some(version), progress)?, other) {
        (Ok(found), _) => (found, pinned),
        (Err(refusal), None) => return Err(missing(vec![refusal])),
        (Err(refusal), Some(other)) => match apt.find(package, None, progress)? {
            Ok(found) => (found, other),
            Err(_) => return Err(missing(vec![refusal])),
        },
    };
    if key == pinned && found.sha256 != target.busybox.sha256 {
        return Err(missing(vec![format!(
            "the mirror's index has another SHA-256 for that version: {}, not {}",
            found.sha256, target.busybox.sha256
        )]));
    }
    let check = if key == pinned { pin(target) } else { Check::Digests };
    cache.entry(ROOM, key, check, |directory| {
        let step = progress.step(format!("{}: fetching BusyBox {}", target.name, found.version));
        let download = tempfile::tempdir_in(directory).at("create a directory in", directory)?;
        let file = apt.download(&found, download.path(), progress)?.map_err(|refusal| missing(vec![refusal]))?;
        let sha256 = base::digest::file_digest(&file)?;
        if sha256 != found.sha256 {
            return Err(Error::WrongDigest { path: file, expected: found.sha256.clone(), found: sha256 });
        }
        let unpacked = download.path().join("unpacked");
        fs::create_dir(&unpacked).at("create", &unpacked)?;
        deb::unpack(&file, &unpacked, |path| path.file_name().is_some_and(|name| name == PROGRAM))?;
        let program =
            ["bin/busybox", "usr/bin/busybox"].into_iter().map(|path| unpacked.join(path)).find(|path| path.is_file());
        let program =
            program.ok_or_else(|| Error::DebianPackage { path: file, reason: "it has no bin/busybox".to_owned() })?;
        fs::rename(&program, directory.join(PROGRAM)).at("move", program)?;
        let text =
            serde_json::to_vec(&origin(debian_arch, &found)).map_err(std::io::Error::from).at("write", directory)?;
        fs::write(directory.join(ORIGIN), text).at("write", directory.join(ORIGIN))?;
        download.close().at("remove the download in", directory)?;
        read(&directory.join(PROGRAM), target, None)?;
        step.finish("");
        Ok(())
    })
}

fn origin(architecture: &str, found: &Package) -> DebianPackage {
    DebianPackage {
        architecture: architecture.to_owned(),
        package: found.name.clone(),
        version: found.version.clone(),
        sha256: found.sha256.clone(),
        source: found.source.clone(),
        source_version: found.source_version.clone(),
        built_using: found.built_using.clone(),
    }
}

/// Reads the program at `path`, if it is one that can be used.
fn read(path: &Path, target: &Target, origin: Option<Origin>) -> Result<Busybox> {
    let bytes = match bounded::read(path, bounded::PROGRAM_MAX) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Missing {
                what: format!("BusyBox for {}", target.name),
                tried: vec![format!("{} is not there", path.display())],
                remedy: format!("put a statically linked BusyBox there, or leave --busybox and {VARIABLE} out"),
            });
        }
        read => read.at("read", path)?,
    };
    examine(bytes, path, target, origin)
}

/// Returns the program `bytes`, which come from `path`, with its applets.
///
/// # Errors
/// [`Error::WrongProgram`] where it is not a whole static BusyBox for the target.
pub fn examine(bytes: Vec<u8>, path: &Path, target: &Target, origin: Option<Origin>) -> Result<Busybox> {
    let wrong = |reason: String| Error::WrongProgram {
        path: path.to_owned(),
        what: format!("BusyBox for {}", target.name),
        reason,
    };
    if let Some(reason) = elf::objection(&bytes, target.elf) {
        return Err(wrong(reason));
    }
    let applets = applets_in(&bytes);
    if !applets.iter().any(|name| name == "sh") {
        return Err(wrong("it has no list of applets with `sh` in it".to_owned()));
    }
    Ok(Busybox { sha256: digest(&bytes), bytes, applets, origin })
}

/// A shorter run of words is by chance.
const APPLETS_MIN: usize = 8;

/// Returns the names of the applets. BusyBox keeps them in one table, each ended by NUL, strictly sorted (it searches it by
/// halves; `libbb/appletlib.c`, `applet_names`). It is the longest such run of words in the program.
fn applets_in(program: &[u8]) -> Vec<String> {
    let (mut run, mut best): (Vec<&[u8]>, Vec<&[u8]>) = (Vec::new(), Vec::new());
    for word in program.split(|byte| *byte == 0) {
        let name = name_at_end(word);
        if name.len() < word.len() || run.last().is_some_and(|last| *last >= name) {
            run.clear();
        }
        if !name.is_empty() && name.len() < 32 {
            run.push(name);
            if run.len() > best.len() {
                best.clone_from(&run);
            }
        }
    }
    if best.len() < APPLETS_MIN {
        return Vec::new();
    }
    best.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect()
}

/// Returns the name that `word` ends in: nothing need stand between the table and what is before it. A bracket is the beginning of a name.
fn name_at_end(word: &[u8]) -> &[u8] {
    let is_letter = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(byte);
    let is_bracket = |byte: &u8| *byte == b'[';
    let is_part: &dyn Fn(&u8) -> bool = if word.ends_with(b"[") { &is_bracket } else { &is_letter };
    let start = word.iter().rposition(|byte| !is_part(byte)).map_or(0, |place| place + 1);
    word.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target;

    #[test]
    fn the_table_of_applets_is_found() {
        let names = ["[", "[[", "ash", "awk", "cat", "chpasswd", "ls", "mkfs.vfat", "sh", "zcat"];
        let table = names.join("\0");
        let program = format!("\x7fELF\0\0error\0a\0b\0c\0Usage: ls\0{table}\0\0a\0b\0\u{1}code");
        assert_eq!(applets_in(program.as_bytes()), names);
        // In Debian's for riscv64 the table of usages ends without a NUL.
        for before in ["\u{1} ", "\u{1}a", "0"] {
            assert_eq!(applets_in(format!("{before}{table}\0\0").as_bytes()), names, "{before:?}");
        }
        assert_eq!(applets_in(b"a\0b\0c"), Vec::<String>::new());
    }

    #[test]
    fn a_given_one_must_be_there_and_fit() {
        let directory = tempfile::tempdir().unwrap();
        let target = target::named("armv6l").unwrap();
        let cache = Cache::at(directory.path().join("cache"));
        let text = |given: &Path| {
            get(target, Some(given), &cache, Substitute::Refuse, &Progress::none()).unwrap_err().to_string()
        };
        assert!(text(directory.path()).contains("busybox-armv6l is not there"), "{}", text(directory.path()));
        fs::write(directory.path().join("busybox-armv6l"), "#!/bin/sh\n").unwrap();
        assert!(text(directory.path()).ends_with("cannot be used as BusyBox for armv6l: it is not an ELF program"));
    }
}
