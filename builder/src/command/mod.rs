//! The subcommands, one file each, with an `Args` (clap) and a `run(Args) -> Result<ExitCode>`.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use base::{cleanup, program, progress::tell};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use sources::target;

use crate::{Error, Result};

mod arguments;
pub mod build;
pub mod bundle;
pub mod choice;
pub mod completions;
pub mod disk;
pub mod diskless;
pub mod doctor;
pub mod explain;
pub mod inspect;
pub mod machine;
pub mod man;
pub mod oci;
pub mod output;
pub mod report;
pub mod run;
mod substitute;
pub mod targets;
pub mod tether;
pub mod virtiofs;
pub mod vm;

/// Build, inspect and boot initramfs images with an overlay root.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,

    /// The definitions of the targets [default: $INITRAMFS_OVERLAY_TARGETS, else `targets/` of the
    /// source tree, else those that are compiled in]
    #[arg(long, value_name = "DIR", global = true)]
    targets_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Build(Box<build::Args>),
    Bundle(bundle::Args),
    Completions(completions::Args),
    Disk(Box<disk::Args>),
    Diskless(Box<diskless::Args>),
    Doctor(doctor::Args),
    Explain(explain::Args),
    Inspect(inspect::Args),
    Man(man::Args),
    Oci(Box<oci::Args>),
    Report(report::Args),
    Run(Box<run::Args>),
    Targets(targets::Args),
    #[command(hide = true)]
    Tether(tether::Args),
    Virtiofs(Box<virtiofs::Args>),
    Vm(Box<vm::Args>),
}

/// Columns that examples fit: help is never broken narrower, as what is copied from it must run.
const HELP_COLUMNS: usize = 60;

/// Returns the directories that a command line names and that targets are read from. They are needed before it is parsed: help and errors
/// list the targets.
fn choice(arguments: impl Iterator<Item = OsString>) -> target::Choice {
    let mut choice = target::Choice::default();
    let mut words = arguments.skip(1).take_while(|word| word != "--").peekable();
    while let Some(word) = words.next() {
        let Some(word) = word.to_str() else { continue };
        let (option, value) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value.into())),
            None => (word, words.peek().map(PathBuf::from)),
        };
        match option {
            "--targets-dir" => choice.targets = value,
            "--source" => choice.source = value,
            _ => {}
        }
    }
    choice
}

/// Exit status for a command line that is wrong, or names a file that is not there.
const USAGE: u8 = 2;

/// Parses the command line, runs what was asked for and says why it failed. Returns the exit status.
#[must_use]
pub fn main() -> ExitCode {
    target::read_from(choice(std::env::args_os()));
    let command = Cli::command().term_width(output::columns().max(HELP_COLUMNS));
    let matches = command.clone().get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let failed = cli.command.failed();
    let given = arguments::Arguments::of(&command, &matches);
    let outcome = given.clash().map_or_else(|| cli.run(), |reason| Err(Error::Usage(reason)));
    cleanup::wait_if_interrupted();
    outcome.unwrap_or_else(|error| {
        tell(format_args!("initramfs-overlay: {}", given.explain(&error.message())));
        let is_usage = error.is_usage() || error.absent().is_some_and(|path| given.name(path));
        ExitCode::from(if is_usage { USAGE } else { failed })
    })
}

impl Command {
    /// Returns the exit status of its failure: a command that ends as a program in a machine does keeps 1 for that.
    fn failed(&self) -> u8 {
        match self {
            Self::Vm(_) => machine::FAILED,
            Self::Oci(args) if args.is_run() => machine::FAILED,
            _ => 1,
        }
    }
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
            Command::Bundle(args) => bundle::run(&args),
            Command::Completions(args) => completions::run(&args, Self::command()),
            Command::Disk(args) => disk::run(&args),
            Command::Diskless(args) => diskless::run(&args),
            Command::Doctor(args) => doctor::run(&args),
            Command::Explain(args) => explain::run(&args),
            Command::Inspect(args) => inspect::run(&args),
            Command::Man(args) => man::run(&args, Self::command()),
            Command::Oci(args) => oci::run(&args),
            Command::Report(args) => report::run(&args),
            Command::Run(args) => run::run(&args),
            Command::Targets(args) => targets::run(&args),
            Command::Tether(args) => tether::run(&args),
            Command::Virtiofs(args) => virtiofs::run(&args),
            Command::Vm(args) => vm::run(&args),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_found_before_the_command_line_is_parsed() {
        let choice = |words: &[&str]| {
            let found = choice(["initramfs-overlay"].iter().chain(words).map(OsString::from));
            (found.targets, found.source)
        };
        assert_eq!(choice(&["build", "--targets-dir", "a"]), (Some("a".into()), None));
        assert_eq!(choice(&["--targets-dir=a=b", "build", "--source=c"]), (Some("a=b".into()), Some("c".into())));
        assert_eq!(choice(&["vm", "/", "--", "--targets-dir", "a"]), (None, None));
        assert_eq!(choice(&["build", "--targets-dir"]), (None, None));
    }
}
