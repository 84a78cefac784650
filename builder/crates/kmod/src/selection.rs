//! The modules that go into an image: where each comes from, where it goes, its bytes, and the list that init reads.

use std::{collections::BTreeSet, path::PathBuf};

use base::{IoContext, elf::Machine};
use contract::{
    module_index::{self, Index, Module},
    superblock::ext4,
};

use super::{
    catalog::Catalog,
    closure::Plan,
    file, names,
    note::Note,
    strip::{self, Removed},
};
use crate::{Error, Result};

/// The modules that go into an image, for one kernel.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// The kernel's version: the modules go to `/lib/modules/<version>/`.
    pub version: String,
    /// The machine that the modules are for. `None` where there are none, or it is not one that images are built for.
    pub machine: Option<Machine>,
    /// The modules in load order: every one stands behind all it needs.
    pub modules: Vec<SelectedModule>,
    /// Names that were asked for or are needed, and are built into the kernel. Sorted.
    pub built_in: Vec<String>,
    /// Notes for the user.
    pub notes: Vec<Note>,
    /// Modules that were asked for by themselves, not by a set.
    asked: BTreeSet<String>,
}

/// A module that goes into an image.
#[derive(Debug, Clone)]
pub struct SelectedModule {
    /// The file on this machine.
    pub file: PathBuf,
    /// Its entry in the index that init reads. The path is the one in the image, below `/lib/modules/<version>/`, always `.ko`: modules
    /// are stored there decompressed.
    pub entry: module_index::Module,
}

/// The bytes of a module as they go into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The ELF file and, unless it was taken off, its signature.
    pub bytes: Vec<u8>,
    /// The bytes that were removed, by kind.
    pub removed: Removed,
}

impl Selection {
    /// Joins a plan with the catalog that it was made from.
    pub(super) fn new(catalog: &Catalog, plan: Plan) -> Self {
        let asked = plan.asked;
        let info = |name: &str| catalog.modules.get(name)?.info.as_ref().ok();
        let machine = plan.modules.iter().find_map(|module| info(&module.name)?.machine);
        let modules: Vec<SelectedModule> = plan
            .modules
            .into_iter()
            .filter_map(|planned| {
                let entry = catalog.modules.get(&planned.name)?;
                let path = names::without_suffix(&entry.path).unwrap_or(&entry.path);
                Some(SelectedModule {
                    file: catalog.root.join(&entry.path),
                    entry: module_index::Module {
                        path: format!("{path}.ko"),
                        needs: planned.needs,
                        post: planned.post,
                        always: planned.always,
                        aliases: entry.aliases().iter().filter_map(|alias| index_alias(alias)).collect(),
                        name: planned.name,
                    },
                })
            })
            .collect();
        let (version, built_in) = (catalog.version.clone(), plan.built_in.into_iter().collect());
        Self { version, machine, modules, built_in, notes: plan.notes, asked }
    }

    /// Returns a note for each module that was asked for by itself and that no boot loads, where init goes by the [index](Self::index).
    pub fn never_loaded(&self) -> Vec<Note> {
        let idle = never_loaded(self.modules.iter().map(|module| &module.entry));
        idle.into_iter().filter(|name| self.asked.contains(name)).map(|module| Note::NeverLoaded { module }).collect()
    }

    /// Refuses modules of a kernel that does not run the image's programs.
    ///
    /// # Errors
    /// [`Error::ModulesOfOtherMachine`] with both.
    pub fn check_machine(&self, image: Machine) -> Result<()> {
        match self.machine {
            Some(modules) if !modules.runs(image) => {
                Err(Error::ModulesOfOtherMachine { version: self.version.clone(), modules, image })
            }
            _ => Ok(()),
        }
    }

    /// Returns the list that goes to `/lib/modules/<version>/initramfs.modules`.
    pub fn index(&self) -> Index {
        Index { modules: self.modules.iter().map(|module| module.entry.clone()).collect() }
    }
}

impl SelectedModule {
    /// Reads the module's bytes as they go into an image: decompressed; with `strip`, without signature and debug sections.
    ///
    /// # Errors
    /// The file cannot be read or unpacked, or its signature is damaged.
    pub fn content(&self, strip: bool) -> Result<Content> {
        let bytes = file::read(&self.file).at("read", &self.file)?;
        if !strip {
            return Ok(Content { bytes, removed: Removed::default() });
        }
        let (bytes, removed) =
            strip::strip(bytes).map_err(|reason| Error::ModuleFile { path: self.file.clone(), reason })?;
        Ok(Content { bytes, removed })
    }
}

/// Returns true for modules that init loads by their names: loop devices, and what a superblock asks for.
fn is_loaded_by_name(name: &str) -> bool {
    name == "loop" || name == "virtiofs" || ext4::ON_DEMAND.iter().any(|(_, module)| *module == name)
}

/// Returns the modules that no boot loads: not at its start, not for a device, a filesystem or another module.
fn never_loaded<'m>(modules: impl Iterator<Item = &'m Module> + Clone) -> Vec<String> {
    let is_root = |module: &&Module| {
        let is_filesystem = module.aliases.iter().any(|alias| alias.starts_with("fs-"));
        module.always || module.is_driver() || is_filesystem || is_loaded_by_name(&module.name)
    };
    let mut pending: Vec<&Module> = modules.clone().filter(is_root).collect();
    let mut loaded: BTreeSet<&str> = pending.iter().map(|module| module.name.as_str()).collect();
    while let Some(module) = pending.pop() {
        for name in module.needs.iter().chain(&module.post) {
            if loaded.insert(name) {
                pending.extend(modules.clone().find(|module| module.name == *name));
            }
        }
    }
    modules.filter(|module| !loaded.contains(module.name.as_str())).map(|module| module.name.clone()).collect()
}

/// Returns an alias as the image's index has it: without spaces, which separate its fields; a pattern's `?` fits them too. `None` for those
/// that init never looks for: it asks for filesystems (`fs-…`) and for devices by their modalias (`bus:…`).
fn index_alias(alias: &str) -> Option<String> {
    let wanted = alias.starts_with("fs-") || (alias.contains(':') && !alias.starts_with("devname:"));
    wanted.then(|| alias.replace(|c: char| c.is_whitespace() || c.is_control(), "?"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::write_module;

    #[test]
    fn modules_of_another_machine_are_refused() {
        const ARM: Machine = Machine::ARM;
        const X86_64: Machine = Machine::X86_64;
        for (image, modules, fits) in [
            (ARM, Some(ARM), true),
            (ARM, Some(X86_64), false),
            (X86_64, Some(Machine::I386), false),
            (Machine::I386, Some(X86_64), true),
            (ARM, Some(Machine::AARCH64), true),
            (ARM, None, true),
        ] {
            let selection = Selection { machine: modules, version: "6.1".into(), ..Selection::default() };
            assert_eq!(selection.check_machine(image).is_ok(), fits, "{image} {modules:?}");
        }
        let selection = Selection { machine: Some(X86_64), version: "6.1".into(), ..Selection::default() };
        let error = selection.check_machine(ARM).unwrap_err().to_string();
        assert!(
            error.starts_with("the modules of kernel 6.1 are for 64-bit x86, and the image is for 32-bit ARM"),
            "{error}"
        );
    }

    #[test]
    fn modules_that_nothing_loads_are_found() {
        let module = |name: &str, needs: &[&str], aliases: &[&str]| Module {
            name: name.into(),
            needs: needs.iter().map(ToString::to_string).collect(),
            aliases: aliases.iter().map(ToString::to_string).collect(),
            ..Module::default()
        };
        let modules = [
            module("crc16", &[], &[]),
            module("jbd2", &["crc16"], &[]),
            module("ext4", &["jbd2"], &["fs-ext4"]),
            module("loop", &[], &[]),
            module("quota_tree", &[], &[]),
            module("quota_v2", &["quota_tree"], &[]),
            module("virtio_blk", &[], &["virtio:d00000002v*"]),
            Module { always: true, ..module("i2c_dev", &[], &[]) },
            module("dax", &[], &[]),
            module("dm_mod", &["dax"], &[]),
            Module { post: vec!["later".into()], ..module("first", &[], &["pci:v*"]) },
            module("later", &[], &[]),
        ];
        assert_eq!(never_loaded(modules.iter()), ["dax", "dm_mod"]);
    }

    #[test]
    fn modules_that_nothing_loads_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        for (path, fields) in [
            ("kernel/fs/ext4/ext4.ko", "alias=fs-ext4 depends=jbd2"),
            ("kernel/fs/jbd2/jbd2.ko", ""),
            ("kernel/drivers/md/dm-mod.ko", "depends=dax alias=devname:mapper/control"),
            ("kernel/drivers/dax/dax.ko", ""),
            ("kernel/drivers/block/loop.ko", ""),
        ] {
            write_module(root, path, fields);
        }
        let tree = crate::ModuleTree::open(root).unwrap();
        let told = |wanted: &[&str], always: &[&str]| -> Vec<String> {
            let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
            let selection = tree.resolve(&names(wanted), &names(always)).unwrap();
            selection.never_loaded().iter().map(ToString::to_string).collect()
        };
        let lines = told(&["ext4", "jbd2", "loop", "dm-mod"], &[]);
        assert!(lines.len() == 1 && lines[0].ends_with("name it with --load-modules dm_mod."), "{lines:?}");
        assert_eq!(told(&["ext4", "dm-mod"], &["dm-mod"]), [""; 0]);
        assert_eq!(told(&["@overlay"], &[]), [""; 0], "sets are the builder's own");
    }

    #[test]
    fn the_index_has_the_aliases_that_init_looks_for() {
        for (alias, kept) in [
            ("fs-ext4", Some("fs-ext4")),
            ("virtio:d00000002v*", Some("virtio:d00000002v*")),
            ("dmi*:pnPC Engines*:", Some("dmi*:pnPC?Engines*:")),
            ("of:N*T*Cbrcm,bcm2835-sdhostC*", Some("of:N*T*Cbrcm,bcm2835-sdhostC*")),
            ("crypto-crc32c", None),
            ("ext3", None),
            ("block-major-8-*", None),
            ("devname:loop-control", None),
        ] {
            assert_eq!(index_alias(alias).as_deref(), kept, "{alias}");
        }
    }
}
