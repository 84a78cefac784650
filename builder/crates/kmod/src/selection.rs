//! The modules that go into an image: where each comes from, where it goes, its bytes, and the list that init reads.

use std::path::PathBuf;

use base::{IoContext, elf::Machine};
use contract::module_index::{self, Index};

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
    /// What was asked for, or is needed, and is built into the kernel. Sorted.
    pub built_in: Vec<String>,
    /// What is worth a line to the user.
    pub notes: Vec<Note>,
}

/// One module that goes into an image.
#[derive(Debug, Clone)]
pub struct SelectedModule {
    /// The file on this machine.
    pub file: PathBuf,
    /// What init is told of it. Its path is the one in the image, below `/lib/modules/<version>/`, always `.ko`: modules lie there
    /// decompressed.
    pub entry: module_index::Module,
}

/// The bytes of a module as they go into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// The ELF file and, unless it was taken off, its signature.
    pub bytes: Vec<u8>,
    /// What was taken off.
    pub removed: Removed,
}

impl Selection {
    /// Joins a plan with the catalog that it was made from.
    pub(super) fn new(catalog: &Catalog, plan: Plan) -> Self {
        let info = |name: &str| catalog.modules.get(name)?.info.as_ref().ok();
        let machine = plan.modules.iter().find_map(|module| info(&module.name)?.machine);
        let modules = plan
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
        Self {
            version: catalog.version.clone(),
            machine,
            modules,
            built_in: plan.built_in.into_iter().collect(),
            notes: plan.notes,
        }
    }

    /// Refuses modules for another machine than the image's. A 64-bit kernel with its 32-bit init is no other machine.
    ///
    /// # Errors
    /// [`Error::ModulesOfOtherMachine`] with both.
    pub fn check_machine(&self, image: Machine) -> Result<()> {
        match (image, self.machine) {
            (_, None) | (Machine::I386, Some(Machine::X86_64)) | (Machine::Arm, Some(Machine::Aarch64)) => Ok(()),
            (image, Some(modules)) if image == modules => Ok(()),
            (image, Some(modules)) => {
                Err(Error::ModulesOfOtherMachine { version: self.version.clone(), modules, image })
            }
        }
    }

    /// The list that goes to `/lib/modules/<version>/initramfs.modules`.
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

/// An alias as the image's index has it: without blanks, which part its fields; a pattern's `?` fits them too. `None` for those
/// that init never looks for: it asks for filesystems (`fs-…`) and for devices by their modalias (`bus:…`).
fn index_alias(alias: &str) -> Option<String> {
    let wanted = alias.starts_with("fs-") || (alias.contains(':') && !alias.starts_with("devname:"));
    wanted.then(|| alias.replace(|c: char| c.is_whitespace() || c.is_control(), "?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_another_machine_are_refused() {
        use Machine::{Aarch64, Arm, I386, X86_64};
        for (image, modules, fits) in [
            (Arm, Some(Arm), true),
            (Arm, Some(X86_64), false),
            (X86_64, Some(I386), false),
            (I386, Some(X86_64), true),
            (Arm, Some(Aarch64), true),
            (Arm, None, true),
        ] {
            let selection = Selection { machine: modules, version: "6.1".into(), ..Selection::default() };
            assert_eq!(selection.check_machine(image).is_ok(), fits, "{image} {modules:?}");
        }
        let selection = Selection { machine: Some(X86_64), version: "6.1".into(), ..Selection::default() };
        let error = selection.check_machine(Arm).unwrap_err().to_string();
        assert!(
            error.starts_with("the modules of kernel 6.1 are for 64-bit x86, and the image is for 32-bit ARM"),
            "{error}"
        );
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
