//! The directory that a kernel's modules lie in: finding it, its files and what the kernel has built in. Reads names and `.modinfo`;
//! what is needed of it is decided in `closure`.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    thread,
};

use base::{IoContext, rooted::find};
use walkdir::WalkDir;

use super::{
    catalog::{BuiltIn, Catalog, Entry},
    config::KernelConfig,
    file,
    modinfo::ModInfo,
    names,
    note::Note,
};
use crate::{Error, Result};

/// Files that the kernel's own installation puts at the root of its module tree (kernel, Documentation/kbuild/kbuild.rst).
const MARKS: [&str; 2] = ["modules.builtin", "modules.order"];

/// The directories of a root that hold the trees of its kernels; with a merged `/usr` they are one.
const HOMES: [&str; 2] = ["lib/modules", "usr/lib/modules"];

/// Directories by precedence: of two files with one module name, the one in the directory named first here is taken, as depmod does
/// (depmod.d(5), `search`).
const PRECEDENCE: [&str; 4] = ["updates", "extra", "weak-updates", "kernel"];

/// A directory of modules that has been found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory that the modules' paths begin in.
    pub root: PathBuf,
    /// A plain directory of module files, not a kernel's tree.
    pub plain: bool,
}

/// Finds the modules in or below a directory: a kernel's tree itself, a directory that holds exactly one (`/lib/modules`, or a root with
/// it), or a plain directory of module files.
///
/// # Errors
/// There are none, or those of several kernels.
pub fn locate(path: &Path) -> Result<Place> {
    let refuse = |reason: String| Error::ModuleTree { path: path.into(), reason };
    if !fs::metadata(path).at("read", path)?.is_dir() {
        return Err(refuse("it is not a directory. A kernel's modules are in /lib/modules/<version>".into()));
    }
    if is_tree(path) {
        return Ok(Place { root: path.into(), plain: false });
    }
    let mut homes: Vec<PathBuf> = HOMES.iter().filter_map(|home| find(path, Path::new(home))).collect();
    homes.retain(|home| home.is_dir());
    let is_root = !homes.is_empty();
    if !is_root {
        homes.push(path.to_owned());
    }
    let mut trees = Vec::new();
    for home in &homes {
        for entry in fs::read_dir(home).at("read", home)? {
            let child = entry.at("read", home)?.path();
            // A link in a root leads to where it does for a program that runs in that root.
            let child = match child.strip_prefix(path) {
                Ok(name) if is_root => find(path, name),
                _ => Some(child),
            };
            trees.extend(child.filter(|child| child.is_dir() && is_tree(child)));
        }
    }
    trees.sort();
    trees.dedup();
    match trees.as_slice() {
        [] if is_root => return Err(refuse(format!("there are no modules in its {}", HOMES.join(" and ")))),
        [] => {}
        [tree] => return Ok(Place { root: tree.clone(), plain: false }),
        several => {
            let versions = several.iter().filter_map(|tree| tree.file_name()).map(|name| name.to_string_lossy());
            let versions = versions.collect::<Vec<_>>().join(", ");
            return Err(refuse(format!("it holds the modules of several kernels ({versions}). Name one of them")));
        }
    }
    if module_files(path)?.is_empty() {
        let reason = "there is no module (.ko, .ko.gz, .ko.xz, .ko.zst) in it. Give a kernel's tree, /lib/modules/<version>, or a directory \
                      of module files";
        return Err(refuse(reason.into()));
    }
    Ok(Place { root: path.into(), plain: true })
}

/// Returns true for a kernel's module tree. A directory `kernel` alone is none: `/etc/kernel` and `/usr/lib/kernel` hold scripts. Nor is a
/// list of depmod's that a removed kernel has left.
fn is_tree(path: &Path) -> bool {
    MARKS.iter().any(|mark| path.join(mark).exists())
        || has_module(&path.join("kernel"))
        || path.join("modules.dep").exists() && has_module(path)
}

/// Returns true if there is a module file below `directory`.
fn has_module(directory: &Path) -> bool {
    let names = WalkDir::new(directory).into_iter().flatten();
    names.into_iter().any(|entry| entry.path().to_str().and_then(names::of_file).is_some())
}

/// Returns the module files below a directory, relative to it, sorted. A link to a file counts, a link to a directory is not followed: `build`
/// leads to the kernel's source.
fn module_files(root: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in WalkDir::new(root).sort_by_file_name() {
        let entry = entry.map_err(|error| {
            let path = error.path().unwrap_or(root).to_path_buf();
            base::Error::Io {
                action: "read",
                path,
                source: error.into_io_error().unwrap_or_else(|| io::ErrorKind::Other.into()),
            }
        })?;
        let Some(path) = entry.path().strip_prefix(root).ok().and_then(Path::to_str) else { continue };
        if names::of_file(path).is_some() && fs::metadata(entry.path()).is_ok_and(|file| file.is_file()) {
            files.push(path.to_string());
        }
    }
    Ok(files)
}

/// Reads everything about the modules in a directory that was found: all their `.modinfo`, what is built in, the configuration.
///
/// # Errors
/// The directory cannot be read; in a plain directory, a file that is no module, two files of one name, or modules of two kernels.
/// In a kernel's tree a bad file is an error only once it is needed; a tree without any module that does not say what is built in
/// is one at once.
pub fn scan(place: &Place) -> Result<Catalog> {
    let files = module_files(&place.root)?;
    let infos = read_all(&place.root, &files);
    let mut catalog = Catalog { root: place.root.clone(), built_in: built_in(&place.root)?, ..Catalog::default() };
    for (path, info) in files.into_iter().zip(infos) {
        let name = match &info {
            Ok(info) => info.name.clone().filter(|name| names::is_plain(name)),
            Err(_) => None,
        };
        let Some(name) = name.or_else(|| names::of_file(&path)) else { continue };
        let mut entry = Entry { path, info };
        if let Some(reason) = unusable(&name, &entry.path) {
            entry.info = Err(reason.into());
        }
        if place.plain {
            check_plain(place, &catalog, &name, &entry)?;
        }
        match catalog.modules.remove(&name) {
            Some(other) => {
                let (kept, passed_over) =
                    if rank(&entry.path) < rank(&other.path) { (entry, other) } else { (other, entry) };
                catalog.notes.push(Note::Shadowed {
                    name: name.clone(),
                    kept: kept.path.clone(),
                    passed_over: passed_over.path,
                });
                catalog.modules.insert(name, kept);
            }
            None => {
                catalog.modules.insert(name, entry);
            }
        }
    }
    if catalog.modules.is_empty() && !catalog.built_in.known {
        let reason = "there is no module in it, and no list of what its kernel has built in (modules.builtin)";
        return Err(Error::ModuleTree { path: place.root.clone(), reason: reason.into() });
    }
    catalog.version = version(place, &catalog.modules)?;
    catalog.config = KernelConfig::find(&place.root, &catalog.version);
    Ok(catalog)
}

fn rank(path: &str) -> usize {
    let directory = path.split('/').next().unwrap_or_default();
    PRECEDENCE.iter().position(|name| *name == directory).unwrap_or(PRECEDENCE.len())
}

/// Returns why a module cannot be listed in an image's index, where spaces and commas separate the fields.
fn unusable(name: &str, path: &str) -> Option<&'static str> {
    if path.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Some("there is a space in its path, which the list of modules in an image cannot hold");
    }
    (!names::is_plain(name)).then_some("its name has other characters than letters, digits, - and _")
}

fn check_plain(place: &Place, catalog: &Catalog, name: &str, entry: &Entry) -> Result<()> {
    let path = place.root.join(&entry.path);
    let info = match &entry.info {
        Ok(info) => info,
        Err(reason) => return Err(Error::ModuleFile { path, reason: reason.clone() }),
    };
    if let Some(other) = catalog.modules.get(name) {
        let reason = format!("{} is module {name} too. Keep one of them", place.root.join(&other.path).display());
        return Err(Error::ModuleFile { path, reason });
    }
    // Every entry is compared with one and the same, so one is enough.
    if let Some((other, first)) =
        catalog.modules.values().next().and_then(|other| Some((other, other.info.as_ref().ok()?)))
        && first.vermagic != info.vermagic
    {
        return Err(Error::ModulesOfTwoKernels {
            first: place.root.join(&other.path),
            first_vermagic: first.vermagic.clone(),
            second: path,
            second_vermagic: info.vermagic.clone(),
        });
    }
    Ok(())
}

/// Returns the kernel's version: the name of the directory where a module in it confirms that, else what the modules say, else the name.
fn version(place: &Place, modules: &BTreeMap<String, Entry>) -> Result<String> {
    let root = place.root.canonicalize().at("read", &place.root)?;
    let name = root.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut said = modules.values().filter_map(|entry| entry.info.as_ref().ok()).map(ModInfo::kernel);
    let first = said.next();
    if first.is_none_or(|first| first == name) || said.any(|kernel| kernel == name) {
        return Ok(name);
    }
    Ok(first.unwrap_or_default().to_string())
}

/// Reads the names of the parts built into the kernel from `modules.builtin` (paths) and `modules.builtin.modinfo` (aliases; kernel
/// 5.2 and later). A tree may lack either.
fn built_in(root: &Path) -> Result<BuiltIn> {
    let read = |name: &str| match fs::read(root.join(name)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.at("read", root.join(name)).map(Some),
    };
    let mut built_in = BuiltIn::default();
    if let Some(list) = read("modules.builtin")? {
        built_in.known = true;
        built_in.names.extend(String::from_utf8_lossy(&list).lines().filter_map(names::of_file));
    }
    if let Some(entries) = read("modules.builtin.modinfo")? {
        built_in.known = true;
        built_in.add_modinfo(&entries);
    }
    Ok(built_in)
}

/// Reads every `.modinfo`, on all processors: a tree has some thousand files, and compressed ones must be unpacked for it.
fn read_all(root: &Path, files: &[String]) -> Vec<Result<ModInfo, String>> {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let share = files.len().div_ceil(workers).max(1);
    thread::scope(|scope| {
        let running: Vec<_> = files
            .chunks(share)
            .map(|files| scope.spawn(|| files.iter().map(|path| file::modinfo(&root.join(path))).collect::<Vec<_>>()))
            .collect();
        running
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests;
