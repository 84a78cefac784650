//! `initramfs-overlay completions`: what a shell needs to complete the command line.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::CommandFactory;
use clap_complete::Shell;

use super::Cli;
use crate::{Result, error::IoContext};

/// Write completions for a shell to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bash:  initramfs-overlay completions bash > ~/.local/share/bash-completion/completions/initramfs-overlay
  zsh:   initramfs-overlay completions zsh > ~/.zfunc/_initramfs-overlay
  fish:  initramfs-overlay completions fish > ~/.config/fish/completions/initramfs-overlay.fish")]
pub struct Args {
    /// The shell
    pub shell: Shell,
}

/// Writes them.
///
/// # Errors
/// [`crate::Error::Io`] where standard output cannot be written.
pub fn run(args: &Args) -> Result<ExitCode> {
    let mut text = Vec::new();
    let mut command = Cli::command();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    match io::stdout().lock().write_all(&text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).at("write", "standard output"),
        _ => Ok(ExitCode::SUCCESS),
    }
}
