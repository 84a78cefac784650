//! Everything that can go wrong in the builder: one enum. `Display` says its own level only; [`Error::message`] the chain.

use std::path::{Path, PathBuf};

use base::{
    escape::{one_line, shown},
    in_one_line,
};

/// The result type of the builder's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in the builder.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An error of the host.
    #[error(transparent)]
    Base(#[from] base::Error),
    /// An error of virtual machines.
    #[error(transparent)]
    Vm(#[from] vm::Error),
    /// An error of disks.
    #[error(transparent)]
    Disk(#[from] disk::Error),
    /// An error of what the doctor was given.
    #[error(transparent)]
    Doctor(#[from] doctor::Error),
    /// An error of OCI images.
    #[error(transparent)]
    Oci(#[from] oci::Error),
    /// An error of an archive.
    #[error(transparent)]
    Archive(#[from] archive::Error),
    /// An error of what images are made of.
    #[error(transparent)]
    Sources(#[from] sources::Error),
    /// An error of kernel modules.
    #[error(transparent)]
    Kmod(#[from] kmod::Error),
    /// A file that is no report of a boot.
    #[error("{} is not a report: {reason}", shown(path))]
    NoReport {
        /// The file.
        path: PathBuf,
        /// The reason.
        reason: String,
    },
    /// The user asked for something that cannot be: exit status 2. The text says what, where, what was expected and what to do.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// Returns it with its causes, each once: a line, but for what a machine or a program wrote.
    #[must_use]
    pub fn message(&self) -> String {
        let text = in_one_line(self);
        // The number says nothing that the words do not.
        let text = match text.rsplit_once(" (os error ") {
            Some((words, number)) if number.ends_with(')') && !number.contains(' ') => words.to_owned(),
            _ => text,
        };
        let has_lines = matches!(self.of_host(), Some(base::Error::Program { .. }))
            || matches!(
                self,
                Self::Vm(vm::Error::Guest { .. } | vm::Error::Missing { .. })
                    | Self::Sources(sources::Error::Missing { .. })
            );
        if has_lines { text.lines().map(one_line).collect::<Vec<_>>().join("\n") } else { one_line(&text) }
    }

    /// Returns the path that is not there, or is no file where one must be or no directory, if that is the error.
    #[must_use]
    pub fn absent(&self) -> Option<&Path> {
        use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound};
        match self.of_host()? {
            base::Error::Io { path, source, .. } => {
                matches!(source.kind(), NotFound | NotADirectory | IsADirectory).then_some(path)
            }
            _ => None,
        }
    }

    fn of_host(&self) -> Option<&base::Error> {
        match self {
            Self::Base(error)
            | Self::Vm(vm::Error::Base(error) | vm::Error::Archive(archive::Error::Base(error)))
            | Self::Disk(disk::Error::Base(error))
            | Self::Oci(oci::Error::Base(error) | oci::Error::Archive(archive::Error::Base(error)))
            | Self::Archive(archive::Error::Base(error))
            | Self::Sources(sources::Error::Base(error))
            | Self::Kmod(kmod::Error::Base(error)) => Some(error),
            _ => None,
        }
    }

    /// Returns true where the command line is wrong.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Self::Usage(_)
                | Self::Sources(sources::Error::Usage(_) | sources::Error::TargetDefinition(_))
                | Self::Oci(oci::Error::Usage(_) | oci::Error::NameOfFile { .. })
                | Self::Disk(disk::Error::Usage(_))
                | Self::Vm(vm::Error::Usage(_))
                | Self::Kmod(
                    kmod::Error::ModuleTree { .. }
                        | kmod::Error::UnknownSet { .. }
                        | kmod::Error::UnknownModule { .. }
                        | kmod::Error::UnknownModules(_)
                        | kmod::Error::EmptySet { .. }
                        | kmod::Error::ModulesOfOtherMachine { .. }
                        | kmod::Error::SignaturesEnforced { .. },
                )
        )
    }
}
