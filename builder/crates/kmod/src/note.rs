//! Notes about the choice of modules: worth a line to the user, but no errors.

use std::fmt;

/// Something noticed while modules were chosen. `Display` is a whole sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// Members of a set that the kernel does not have.
    SetMembersAbsent {
        /// The set, without its `@`.
        set: &'static str,
        /// The modules.
        names: Vec<&'static str>,
    },
    /// A `softdep` that names nothing this kernel has: as with modprobe no error.
    SoftAbsent {
        /// The module that says so.
        module: String,
        /// The name or alias.
        need: String,
    },
    /// A `softdep` that cannot be kept, because what it names needs the module itself.
    SoftCycle {
        /// The module that says so.
        module: String,
        /// The name of what cannot be loaded before it.
        need: String,
    },
    /// A need that no `.modinfo` tells was added.
    HiddenAdded {
        /// The module that has it.
        module: String,
        /// The module that was added for it.
        need: String,
        /// The place in the kernel's source that causes the need.
        source: &'static str,
    },
    /// A need that no `.modinfo` tells is neither there nor known to be built in.
    HiddenAbsent {
        /// The module that has it.
        module: String,
        /// The name or alias that this kernel does not have.
        need: String,
        /// The place in the kernel's source that causes the need.
        source: &'static str,
    },
    /// Nothing loads a module that was asked for.
    NeverLoaded {
        /// The module.
        module: String,
    },
    /// Two files are the same module.
    Shadowed {
        /// Its name.
        name: String,
        /// The file that is used.
        kept: String,
        /// The file that is not.
        passed_over: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetMembersAbsent { set, names } => write!(f, "@{set}: this kernel has no {}.", names.join(", ")),
            Self::SoftAbsent { module, need } => {
                write!(f, "{module} would like {need} beside it, which this kernel does not have.")
            }
            Self::SoftCycle { module, need } => {
                write!(f, "{module} would like {need} before it, but {need} itself needs {module}; it comes after it.")
            }
            Self::HiddenAdded { module, need, source } => {
                write!(f, "{need} is added because {module} needs it without declaring it ({source}).")
            }
            Self::HiddenAbsent { module, need, source } => {
                write!(
                    f,
                    "{module} needs {need} ({source}), which is not among these modules. Is it built into the kernel?"
                )
            }
            Self::NeverLoaded { module } => {
                write!(
                    f,
                    "nothing would ever load {module}, as it serves no device and no filesystem and no other module needs it: to have it \
                     loaded at the start of every boot, name it with --load-modules {module}."
                )
            }
            Self::Shadowed { name, kept, passed_over } => {
                write!(f, "{name} exists twice: {kept} is used, {passed_over} is not.")
            }
        }
    }
}
