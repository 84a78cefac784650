//! The errors of kernel modules.

use std::path::PathBuf;

use base::{elf::Machine, escape::shown};

/// The result of the functions here.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error of kernel modules.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error of the host.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// There is no set of modules of this name.
    #[error("there is no set of modules named {asked}. There are {}", known.join(", "))]
    UnknownSet {
        /// The name that was asked for, with its `@`.
        asked: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// A kernel has no module of a set, and none of them built in.
    #[error("kernel {version} has no module of {asked} ({}){}", members.join(", "), not_even_built_in(*built_in_known))]
    EmptySet {
        /// The set, with its `@`.
        asked: String,
        /// Its modules.
        members: &'static [&'static str],
        /// The kernel's version.
        version: String,
        /// True where the tree lists what is built in.
        built_in_known: bool,
    },
    /// A directory does not hold the modules of one kernel.
    #[error("cannot use kernel modules from {}: {reason}", shown(path))]
    ModuleTree {
        /// The directory.
        path: PathBuf,
        /// The reason, and what to give instead.
        reason: String,
    },
    /// A file is not a module that can be used.
    #[error("cannot use the kernel module {}: {reason}", shown(path))]
    ModuleFile {
        /// The file.
        path: PathBuf,
        /// The reason that it cannot be used.
        reason: String,
    },
    /// A kernel has no module of this name, and nothing of this name built in.
    #[error("kernel {version} has no module {name}{}{}", not_even_built_in(*built_in_known), did_you_mean(nearest))]
    UnknownModule {
        /// The name or path that was asked for.
        name: String,
        /// The kernel's version.
        version: String,
        /// Names that come near to it.
        nearest: Vec<String>,
        /// True where the tree lists what is built in.
        built_in_known: bool,
    },
    /// Several names of a request are wrong.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    UnknownModules(Vec<Error>),
    /// A module depends on one that is not there.
    #[error(
        "module {module} depends on {need}, which is neither among the modules of kernel {version} nor built into it. Add the file of {need}, or give the kernel's whole tree"
    )]
    ModuleNeedsMissing {
        /// The module that depends.
        module: String,
        /// The module that it depends on.
        need: String,
        /// The kernel's version.
        version: String,
    },
    /// Modules depend on each other in a circle.
    #[error("modules of kernel {version} depend on each other in a circle, so none can be loaded first: {}", cycle.join(" -> "))]
    ModuleCycle {
        /// The names, the first one repeated at the end.
        cycle: Vec<String>,
        /// The kernel's version.
        version: String,
    },
    /// Modules of two kernels were to go into one image.
    #[error(
        "the modules are for two kernels: {} is for \"{first_vermagic}\", {} for \"{second_vermagic}\". A kernel loads only its own",
        shown(first),
        shown(second)
    )]
    ModulesOfTwoKernels {
        /// A module.
        first: PathBuf,
        /// The kernel that it was built for.
        first_vermagic: String,
        /// A module of another kernel.
        second: PathBuf,
        /// The kernel that this one was built for.
        second_vermagic: String,
    },
    /// Modules for another machine than the image's.
    #[error(
        "the modules of kernel {version} are for {modules}, and the image is for {image}. Name the image's target, or give the modules of its kernel"
    )]
    ModulesOfOtherMachine {
        /// The kernel's version.
        version: String,
        /// The machine that the modules are for.
        modules: Machine,
        /// The machine that the image is for.
        image: Machine,
    },
    /// Signatures cannot be taken off modules for a kernel that asks for them.
    #[error(
        "--strip-modules removes the signatures of the modules, but {enforced_by} makes the kernel refuse unsigned modules. Leave out one of the two"
    )]
    SignaturesEnforced {
        /// The parameter or the configuration that does.
        enforced_by: String,
    },
}

/// Returns the words for something that is no module, by whether the tree lists what is built in.
fn not_even_built_in(built_in_known: bool) -> &'static str {
    if built_in_known {
        ", not even built in"
    } else {
        ", and its directory has no modules.builtin, which would list what is built in: leave out what is"
    }
}

/// Returns ". Did you mean a, b or c?" or nothing.
fn did_you_mean(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [name] => format!(". Did you mean {name}?"),
        [names @ .., last] => format!(". Did you mean {} or {last}?", names.join(", ")),
    }
}
