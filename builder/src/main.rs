//! The command line: parse, run, print the error's chain once.

use std::process::ExitCode;

use clap::Parser;
use initramfs_overlay::command::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("initramfs-overlay: {error}");
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                eprintln!("  because: {error}");
                cause = error.source();
            }
            error.exit_code()
        }
    }
}
