//! Everything that can go wrong in the builder: one enum. `Display` says its own level only; `main` prints the chain.

use std::{path::PathBuf, process::ExitCode};

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
    /// A program that cannot be part of the image.
    #[error("{} cannot be used as {what}: {reason}", path.display())]
    WrongProgram {
        /// The file.
        path: PathBuf,
        /// The program it was to be used as.
        what: String,
        /// The reason why it cannot be.
        reason: String,
    },
    /// The user asked for something that cannot be: exit status 2. The text says what, where, what was expected and what to do.
    #[error("{0}")]
    Usage(String),
}

impl Error {
    /// Says it with its causes, once, to whoever called.
    pub fn print(&self) {
        base::cleanup::wait_if_interrupted();
        eprintln!("initramfs-overlay: {self}");
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            eprintln!("  because: {error}");
            cause = error.source();
        }
    }

    /// 2 for usage, 1 for failure.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_)
            | Self::Sources(sources::Error::Usage(_) | sources::Error::TargetDefinition(_))
            | Self::Oci(oci::Error::Usage(_))
            | Self::Disk(disk::Error::Usage(_))
            | Self::Vm(vm::Error::Usage(_))
            | Self::Kmod(
                kmod::Error::ModuleTree { .. }
                | kmod::Error::UnknownSet { .. }
                | kmod::Error::UnknownModule { .. }
                | kmod::Error::EmptySet { .. }
                | kmod::Error::ModulesOfOtherMachine { .. }
                | kmod::Error::SignaturesEnforced { .. },
            ) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}
