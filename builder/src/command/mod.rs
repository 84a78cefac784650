//! One file a subcommand. Each has an `Args` (clap) and a `run(Args) -> Result<ExitCode>`.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::Result;

pub mod disk;
pub mod inspect;

/// Build, inspect and boot initramfs images with an overlay root.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Disk(Box<disk::Args>),
    Inspect(inspect::Args),
}

impl Cli {
    /// Runs what was asked for.
    ///
    /// # Errors
    /// Whatever the subcommand could not do.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Disk(args) => disk::run(&args),
            Command::Inspect(args) => inspect::run(&args),
        }
    }
}
