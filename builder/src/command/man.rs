//! `initramfs-overlay man`: the manual, a page a subcommand, made from what `--help` says.

use std::{fs, path::PathBuf, process::ExitCode};

use base::{IoContext, atomic_file::write_file};

use crate::Result;

/// Write the manual pages into a folder, one for each subcommand.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  initramfs-overlay man ~/.local/share/man/man1 && man initramfs-overlay-build")]
pub struct Args {
    /// The folder; made where it is not there
    pub folder: PathBuf,
}

/// Writes those of `command`.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn run(args: &Args, command: clap::Command) -> Result<ExitCode> {
    fs::create_dir_all(&args.folder).at("create", &args.folder)?;
    let scratch = tempfile::tempdir().at("create a folder in", std::env::temp_dir())?;
    clap_mangen::generate_to(command, scratch.path()).at("write", scratch.path())?;
    for entry in fs::read_dir(scratch.path()).at("read", scratch.path())? {
        let entry = entry.at("read", scratch.path())?;
        let page = fs::read(entry.path()).at("read", entry.path())?;
        write_file(args.folder.join(entry.file_name()), &page)?;
    }
    Ok(ExitCode::SUCCESS)
}
