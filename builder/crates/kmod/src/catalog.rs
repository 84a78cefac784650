//! All that is known of a kernel's modules, as plain values: what `tree` has read and `closure` decides on. Looking up names and
//! aliases; no files.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use super::{config::KernelConfig, modinfo::ModInfo, names, note::Note};

/// The modules of one kernel.
#[derive(Debug, Clone, Default)]
pub struct Catalog {
    /// The kernel's version, as `uname -r` says it.
    pub version: String,
    /// The directory that the paths of the modules begin in.
    pub root: PathBuf,
    /// The modules by their names.
    pub modules: BTreeMap<String, Entry>,
    /// The parts that the kernel has built in.
    pub built_in: BuiltIn,
    /// The kernel's configuration, where it was found.
    pub config: Option<KernelConfig>,
    /// Notes made while the tree was read.
    pub notes: Vec<Note>,
}

/// A module file.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its path below the tree's root, with the suffix of its compression.
    pub path: String,
    /// Its parsed `.modinfo`, or the reason that it cannot be read.
    pub info: Result<ModInfo, String>,
}

/// The parts of a kernel that could have been modules, but are in the kernel's own file.
#[derive(Debug, Clone, Default)]
pub struct BuiltIn {
    /// True where the tree has a list of them: `modules.builtin` or `modules.builtin.modinfo`.
    pub known: bool,
    /// Their names.
    pub names: BTreeSet<String>,
    /// Pattern of what is served, and by which of them.
    pub aliases: Vec<(String, String)>,
}

/// The result of looking up a name or an alias.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// These modules, by name.
    Modules(Vec<String>),
    /// These, which need no loading.
    BuiltIn(Vec<String>),
    /// Nothing that this kernel has.
    Nothing,
}

impl BuiltIn {
    /// Reads `modules.builtin.modinfo`: `name.key=value` entries with a NUL after each.
    pub fn add_modinfo(&mut self, entries: &[u8]) {
        for entry in entries.split(|byte| *byte == 0) {
            let entry = String::from_utf8_lossy(entry);
            let Some((key, value)) = entry.split_once('=') else { continue };
            let Some((name, key)) = key.split_once('.') else { continue };
            // Every name in this file is one of something built in, but not all have a line in modules.builtin: `printk`, `workqueue`.
            match key {
                "alias" => self.aliases.push((value.to_string(), names::normalize(name))),
                "file" => drop(self.names.insert(names::normalize(name))),
                _ => {}
            }
        }
    }

    fn serve(&self, alias: &str) -> Vec<String> {
        let serving: BTreeSet<&String> = self
            .aliases
            .iter()
            .filter(|(pattern, _)| names::alias_serves(pattern, alias))
            .map(|(_, name)| name)
            .collect();
        serving.into_iter().cloned().collect()
    }
}

impl Catalog {
    /// Looks up the name of a module, with `-` or `_`.
    pub fn by_name(&self, name: &str) -> Found {
        let name = names::normalize(name);
        if self.modules.contains_key(&name) {
            Found::Modules(vec![name])
        } else if self.built_in.names.contains(&name) {
            Found::BuiltIn(vec![name])
        } else {
            Found::Nothing
        }
    }

    /// Looks up a name, then an alias such as `fs-ext4`, `pci:v00001AF4d00001001…` or `crypto-crc32c`, as modprobe does.
    ///
    /// Of several modules that serve one alias: what is built in is enough for `crypto-…` and the like, which name an algorithm
    /// rather than a device. Else the `…_generic` one alone, if there is one: it runs on every processor, and one is enough to
    /// make the algorithm available. A device's alias gives all that serve it.
    pub fn by_alias(&self, asked: &str) -> Found {
        let named = self.by_name(asked);
        if named != Found::Nothing {
            return named;
        }
        let built_in = self.built_in.serve(asked);
        let is_device = asked.contains(':');
        if !built_in.is_empty() && !is_device {
            return Found::BuiltIn(built_in);
        }
        let serving: Vec<&str> = self
            .modules
            .iter()
            .filter(|(_, entry)| entry.aliases().iter().any(|pattern| names::alias_serves(pattern, asked)))
            .map(|(name, _)| name.as_str())
            .collect();
        let kept: Vec<&str> = if is_device {
            serving
        } else {
            let generic: Vec<&str> = serving.iter().copied().filter(|name| name.ends_with("_generic")).collect();
            let anywhere: Vec<&str> = serving.iter().copied().filter(|name| !self.is_bound_to_hardware(name)).collect();
            [generic, anywhere, serving].into_iter().find(|names| !names.is_empty()).unwrap_or_default()
        };
        match (kept.as_slice(), built_in.is_empty()) {
            ([], true) => Found::Nothing,
            ([], false) => Found::BuiltIn(built_in),
            (names, _) => Found::Modules(names.iter().map(ToString::to_string).collect()),
        }
    }

    /// Looks up a path below the tree's root, with any of the suffixes or the last part of the path alone.
    pub fn by_path(&self, path: &str) -> Found {
        let wanted = names::without_suffix(path).unwrap_or(path);
        let wanted = wanted.trim_start_matches("./").trim_start_matches('/');
        let modules: Vec<String> = self
            .modules
            .iter()
            .filter(|(_, entry)| {
                let stem = names::without_suffix(&entry.path).unwrap_or(&entry.path);
                stem == wanted || stem.strip_suffix(wanted).is_some_and(|before| before.ends_with('/'))
            })
            .map(|(name, _)| name.clone())
            .collect();
        if !modules.is_empty() {
            return Found::Modules(modules);
        }
        let name = names::normalize(wanted.rsplit('/').next().unwrap_or(wanted));
        if self.built_in.names.contains(&name) { Found::BuiltIn(vec![name]) } else { Found::Nothing }
    }

    /// Returns the names of all modules and of all that is built in.
    pub fn all_names(&self) -> BTreeSet<&str> {
        self.modules.keys().map(String::as_str).chain(self.built_in.names.iter().map(String::as_str)).collect()
    }

    /// Returns true for a module with an alias of a device, which binds it to hardware: loading it elsewhere fails with "no such device".
    fn is_bound_to_hardware(&self, name: &str) -> bool {
        self.modules.get(name).is_some_and(|entry| entry.aliases().iter().any(|alias| alias.contains(':')))
    }
}

impl Entry {
    /// Returns the patterns it serves, none where it cannot be read.
    pub fn aliases(&self) -> &[String] {
        self.info.as_ref().map(|info| info.aliases.as_slice()).unwrap_or_default()
    }
}
