//! The kernel modules that go into an image: from a directory of modules and the names asked for to their files in load order, with
//! all they need and nothing else. Reads only; what is written into an image, and when init loads it, is decided elsewhere.
//!
//! The modules: `tree` finds and reads the directory, `modinfo` what each module says of itself, `catalog` holds that and looks up
//! names, `undeclared` knows what no module says, `sets` what belongs together, `closure` decides what is loaded in which order, `selection` hands
//! out the result, `strip` and `signature` make modules smaller.
//!
//! ```
//! use initramfs_overlay_kmod::{Error, ModuleTree};
//!
//! # fn main() -> Result<(), Error> {
//! # let directory = std::env::temp_dir().join(format!("kmod-example-{}", std::process::id()));
//! # std::fs::create_dir_all(&directory).expect("a directory");
//! // A kernel's `/lib/modules/<version>`, or a directory of module files; this one has none.
//! let error = ModuleTree::open(&directory).unwrap_err();
//! assert!(matches!(error, Error::ModuleTree { .. }), "{error}");
//! # std::fs::remove_dir(directory).expect("an empty directory");
//!
//! if let Ok(tree) = ModuleTree::open("/lib/modules/6.1.0-50-amd64".as_ref()) {
//!     for module in tree.resolve(&["@overlay".to_owned()], &[])?.modules {
//!         println!("{}", module.entry.name);
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod catalog;
mod closure;
mod config;
mod error;
mod file;
mod modinfo;
mod names;
mod note;
mod selection;
mod sets;
mod signature;
mod strip;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod tree;
mod undeclared;

use std::path::Path;

pub use self::{
    error::{Error, Result},
    names::of_file as module_name,
    note::Note,
    selection::{Content, SelectedModule, Selection},
    sets::{SETS, Set},
    strip::Removed,
};

/// A directory of modules of one kernel, read.
#[derive(Debug)]
pub struct ModuleTree {
    catalog: catalog::Catalog,
    plain: bool,
}

impl ModuleTree {
    /// Opens a kernel's tree (`/lib/modules/<version>`), a directory that holds exactly one (`/lib/modules`, or a root with it), or a
    /// plain directory of module files. `modules.dep` is not needed: every module says itself what it depends on.
    ///
    /// # Errors
    /// There are no modules, or those of several kernels; in a plain directory, a file that is no module.
    pub fn open(path: &Path) -> Result<Self> {
        let place = tree::locate(path)?;
        Ok(Self { catalog: tree::scan(&place)?, plain: place.plain })
    }

    /// Returns the kernel's version, as `uname -r` says it.
    pub fn version(&self) -> &str {
        &self.catalog.version
    }

    /// Returns true for a plain directory of module files, where asking for nothing selects all of them.
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Returns the names of all modules, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.catalog.modules.keys().map(String::as_str)
    }

    /// Chooses the modules for an image: `wanted`, `always` (to be loaded at the start of every boot) and all these need, in load
    /// order. Each is the name of a module with `-` or `_`, an alias (`fs-ext4`, `pci:v00001AF4d00001001…`), a path below the
    /// tree (`kernel/fs/ext4/ext4.ko`) or a set (`@overlay`). Of a plain directory all modules are taken where `wanted` is empty.
    ///
    /// # Errors
    /// A name that the kernel does not have; a dependency that is not there; a module that cannot be read; a circle; modules of
    /// two kernels.
    pub fn resolve(&self, wanted: &[String], always: &[String]) -> Result<Selection> {
        let all: Vec<String>;
        let wanted = if self.plain && wanted.is_empty() {
            all = self.names().map(String::from).collect();
            &all
        } else {
            wanted
        };
        let plan = closure::resolve(&self.catalog, wanted, always)?;
        Ok(Selection::new(&self.catalog, plan))
    }

    /// Refuses to strip modules for a kernel that takes only signed ones, by the command line that is baked into the image or by
    /// the kernel's own configuration where that lies beside the modules.
    ///
    /// # Errors
    /// [`Error::SignaturesEnforced`] with what enforces them.
    pub fn check_strip(&self, cmdline: &str) -> Result<()> {
        let by_config = || self.catalog.config.as_ref().and_then(signature::enforced_by_config);
        match signature::enforced_by_cmdline(cmdline).or_else(by_config) {
            Some(enforced_by) => Err(Error::SignaturesEnforced { enforced_by }),
            None => Ok(()),
        }
    }
}
