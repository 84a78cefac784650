//! `initramfs-overlay completions`: what a shell needs to complete the command line.

use std::process::ExitCode;

use clap_complete::Shell;

use super::output::print;
use crate::Result;

/// Write completions for a shell to standard output.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  For bash, a line of ~/.bashrc:
    source <(initramfs-overlay completions bash)
  For zsh, where ~/.zfunc is in fpath:
    initramfs-overlay completions zsh > \\
        ~/.zfunc/_initramfs-overlay
  For fish:
    cd ~/.config/fish/completions
    initramfs-overlay completions fish > \\
        initramfs-overlay.fish")]
pub struct Args {
    /// The shell
    pub shell: Shell,
}

/// Writes those of `command`.
///
/// # Errors
/// [`crate::Error::Io`] where standard output cannot be written.
pub fn run(args: &Args, mut command: clap::Command) -> Result<ExitCode> {
    let mut text = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(args.shell, &mut command, name, &mut text);
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
