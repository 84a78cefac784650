//! Programs that repair a disk, for the debug variant: from the pinned tarballs of their makers with `zig cc` to static programs, each
//! package by a table of what is compiled. A package that was built is kept in the cache under a digest of its inputs.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use base::{
    IoContext,
    cache::{Cache, Check},
    digest::digest,
    elf,
    progress::Progress,
};

pub use self::package::{Package, Program};
use super::{c, tools::Tools};
use crate::{Error, Result, target::Target};

mod dosfstools;
mod e2fsprogs;
mod error_table;
mod lrzsz;
mod package;
mod util_linux;

/// A program that was compiled.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its name.
    pub name: &'static str,
    /// Other names that it answers to.
    pub links: &'static [&'static str],
    /// The package that it is from.
    pub package: &'static Package,
    /// Its file.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Changes when what is done here changes the bytes without changing any of the other inputs.
const RECIPE: &str = "1";

/// The directory of the cache that has an entry for each package.
pub const ROOM: &str = "repair";

/// All packages.
pub const PACKAGES: [&Package; 4] = [&e2fsprogs::PACKAGE, &dosfstools::PACKAGE, &util_linux::PACKAGE, &lrzsz::PACKAGE];

/// Returns the programs of all packages for `target`; those that are not in the cache are compiled.
///
/// # Errors
/// [`Error::Missing`] where a source cannot be had, a program's error where it does not compile, [`Error::WrongProgram`] where the
/// result is no static program for the target.
pub(super) fn build(
    target: &Target,
    tools: impl Fn() -> Result<Tools>,
    cache: &Cache,
    progress: &Progress,
) -> Result<Vec<Tool>> {
    let mut all = Vec::new();
    for package in PACKAGES {
        let directory = cache.entry(ROOM, &package.key(target), Check::Digests, |directory| {
            let tarball = package.source.get(cache, progress)?;
            let tools = tools()?;
            let step = progress.step(format!("{}: compiling {} {}", target.name, package.name, package.version));
            let source = tempfile::tempdir_in(directory).at("create a directory in", directory)?;
            package.unpack(&tarball, source.path())?;
            package.compile(source.path(), directory, target, &tools, cache)?;
            source.close().at("remove the source in", directory)?;
            step.finish("");
            Ok::<_, Error>(())
        })?;
        all.extend(package.tools(&directory)?);
    }
    Ok(all)
}

/// Returns the programs for `target` from a cache or a bundle, if all are there and whole. Compiles nothing.
///
/// # Errors
/// A program that cannot be read.
pub fn kept(target: &Target, cache: &Cache) -> Result<Option<Vec<Tool>>> {
    let mut all = Vec::new();
    for package in PACKAGES {
        let Some(directory) = cache.find(ROOM, &package.key(target), Check::Digests) else { return Ok(None) };
        all.extend(package.tools(&directory)?);
    }
    Ok(Some(all))
}

/// Returns the files of the cache in which the programs for `target` are, which were built: their paths in it, and where each is.
///
/// # Errors
/// A directory that cannot be read.
pub fn files(target: &Target, cache: &Cache) -> Result<Vec<(PathBuf, PathBuf)>> {
    let mut all = Vec::new();
    for package in PACKAGES {
        let key = package.key(target);
        let Some(directory) = cache.find(ROOM, &key, Check::Digests) else { continue };
        for entry in fs::read_dir(&directory).at("read", &directory)? {
            let entry = entry.at("read", &directory)?;
            all.push((Path::new(ROOM).join(&key).join(entry.file_name()), entry.path()));
        }
    }
    Ok(all)
}

impl Package {
    /// Returns its programs in an entry of the cache.
    fn tools(&'static self, directory: &Path) -> Result<Vec<Tool>> {
        let tool = |program: &'static Program| {
            let path = directory.join(program.name);
            let bytes = fs::read(&path).at("read", &path)?;
            let (size, sha256) = (bytes.len() as u64, digest(&bytes));
            Ok(Tool { name: program.name, links: program.links, package: self, path, size, sha256 })
        };
        self.programs.iter().map(tool).collect()
    }

    /// Returns its programs.
    #[must_use]
    pub fn programs(&self) -> &'static [Program] {
        self.programs
    }

    /// Returns the cache key for `target`, with a digest of all inputs: the same key, the same bytes.
    pub fn key(&self, target: &Target) -> String {
        let parts = [
            RECIPE.to_owned(),
            self.source.sha256.to_owned(),
            super::tools::ZIG_VERSION.to_owned(),
            target.zig_target.clone(),
            target.zig_cpu.clone(),
            target.page_max().to_string(),
            c::FLAGS.join(" "),
            format!("{:?}{:?}{:?}{:?}{:?}", self.unpacked, self.written, self.flags, self.library, self.programs),
        ];
        format!("{}-{}-{}-{}", target.name, self.name, self.version, &digest(parts.join("\n").as_bytes())[..16])
    }

    fn unpack(&self, tarball: &Path, source: &Path) -> Result<()> {
        c::unpack(tarball, source, self.unpacked)?;
        for (name, text) in self.written {
            let path = source.join(name);
            fs::create_dir_all(path.parent().unwrap_or(source)).at("create the directory of", &path)?;
            fs::write(&path, text).at("write", path)?;
        }
        (self.prepare)(source)
    }

    /// Returns the files to compile, with their flags, each once.
    fn units(&self) -> Vec<&'static str> {
        let own = self.programs.iter().flat_map(|program| program.files);
        let all: BTreeSet<&str> = self.library.iter().chain(own).copied().collect();
        all.into_iter().collect()
    }

    fn compile(&self, source: &Path, directory: &Path, target: &Target, tools: &Tools, cache: &Cache) -> Result<()> {
        let action = |what: &str, name: &str| format!("{what} {} of {} for {}", name, self.name, target.name);
        c::in_parallel(&self.units(), |unit| {
            let mut words = unit.split(' ');
            let file = words.next().unwrap_or_default();
            let mut command = c::zig(tools, cache, source)?;
            command.arg("cc").args(c::target_flags(target)).args(c::FLAGS).args(self.flags).args(words);
            c::run(command.args(["-c", file, "-o", &object(unit)]), &action("compiling", file))
        })?;
        let mut archive = c::zig(tools, cache, source)?;
        archive.args(["ar", "rcsD", LIBRARY]).args(self.library.iter().map(|unit| object(unit)));
        c::run(&mut archive, &action("archiving", "the library"))?;
        c::in_parallel(&self.programs.iter().collect::<Vec<_>>(), |program| {
            let path = directory.join(program.name);
            let mut command = c::zig(tools, cache, source)?;
            command.arg("cc").args(c::link_flags(target)).args(["-static", "-s", "-Wl,--gc-sections"]);
            command.arg(format!("-Wl,-z,max-page-size={}", target.page_max()));
            command.args(program.files.iter().map(|unit| object(unit))).arg(LIBRARY).arg("-o").arg(&path);
            c::run(&mut command, &action("linking", program.name))?;
            let bytes = fs::read(&path).at("read", &path)?;
            match elf::objection(&bytes, target.elf) {
                None => Ok(()),
                Some(reason) => {
                    Err(Error::WrongProgram { path, what: format!("{} for {}", program.name, target.name), reason })
                }
            }
        })
    }
}

/// The archive of a package's library.
const LIBRARY: &str = "library.a";

/// Returns the name of a file's object; one that is compiled in two ways has two.
fn object(unit: &str) -> String {
    format!("{}.o", unit.replace(['/', ' '], "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_belongs_to_one_program() {
        let mut names = BTreeSet::new();
        for program in PACKAGES.iter().flat_map(|package| package.programs) {
            for name in program.links.iter().chain([&program.name]) {
                assert!(names.insert(*name), "{name} is there twice");
            }
        }
        for wanted in ["e2fsck", "fsck.ext4", "tune2fs", "e2label", "mke2fs", "mkfs.ext4", "fsck.fat", "fatlabel"] {
            assert!(names.contains(wanted), "{wanted} is missing");
        }
    }

    #[test]
    fn objects_and_keys_tell_inputs_apart() {
        for package in PACKAGES {
            let units = package.units();
            let objects: BTreeSet<String> = units.iter().map(|unit| object(unit)).collect();
            assert_eq!(objects.len(), units.len(), "{}: two units have one object", package.name);
            assert!(package.source.name.starts_with(&format!("{}_{}.orig.tar.", package.name, package.version)));
        }
        let targets = crate::target::all().unwrap();
        let mut other = targets[0].clone();
        other.definition.zig_cpu.push_str("+later");
        let package = PACKAGES[0];
        assert_ne!(package.key(&targets[0]), package.key(&other));
        assert_ne!(package.key(&targets[0]), PACKAGES[1].key(&targets[0]));
        assert_eq!(package.key(&targets[0]), package.key(&targets[0].clone()));
    }
}
