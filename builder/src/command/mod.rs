//! The subcommands, one file each, with an `Args` (clap) and a `run(Args) -> Result<ExitCode>`.

use std::process::ExitCode;

use base::{cleanup, program};
use clap::{CommandFactory, Parser, Subcommand};

use crate::Result;

pub mod build;
pub mod choice;
pub mod completions;
pub mod disk;
pub mod diskless;
pub mod doctor;
pub mod inspect;
pub mod machine;
pub mod man;
pub mod oci;
pub mod output;
pub mod run;
mod substitute;
pub mod tether;
pub mod virtiofs;
pub mod vm;

/// Build, inspect and boot initramfs images with an overlay root.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(Box<build::Args>),
    Completions(completions::Args),
    Disk(Box<disk::Args>),
    Diskless(Box<diskless::Args>),
    Doctor(doctor::Args),
    Inspect(inspect::Args),
    Man(man::Args),
    Oci(Box<oci::Args>),
    Run(Box<run::Args>),
    #[command(hide = true)]
    Tether(tether::Args),
    Virtiofs(Box<virtiofs::Args>),
    Vm(Box<vm::Args>),
}

impl Cli {
    /// Runs what was asked for.
    ///
    /// # Errors
    /// Whatever the subcommand could not do.
    pub fn run(self) -> Result<ExitCode> {
        // The tether sees to the end of others.
        if !matches!(self.command, Command::Tether(_)) {
            cleanup::clean_when_interrupted()?;
            program::tether_all();
        }
        match self.command {
            Command::Build(args) => build::run(&args),
            Command::Completions(args) => completions::run(&args, Self::command()),
            Command::Disk(args) => disk::run(&args),
            Command::Diskless(args) => diskless::run(&args),
            Command::Doctor(args) => doctor::run(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Man(args) => man::run(&args, Self::command()),
            Command::Oci(args) => oci::run(&args),
            Command::Run(args) => run::run(&args),
            Command::Tether(args) => tether::run(&args),
            Command::Virtiofs(args) => virtiofs::run(&args),
            Command::Vm(args) => vm::run(&args),
        }
    }
}
