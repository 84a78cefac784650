//! `initramfs-overlay tether`: not for people. Becomes a program that ends when the one that started it ends.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use vm::die_with_parent;

use crate::Result;

/// Become a program that ends with its parent. For this command's own use.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The process that it ends with
    parent: u32,
    /// End all that the program starts as well
    #[arg(long, conflicts_with = "read_only")]
    tree: bool,
    /// A directory that the program is not to write to
    #[arg(long)]
    read_only: Option<PathBuf>,
    /// The program
    program: OsString,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Becomes the program.
///
/// # Errors
/// It would not start.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.tree {
        return Ok(ExitCode::from(die_with_parent::run_tree(args.parent, &args.program, &args.arguments)?));
    }
    let never =
        die_with_parent::become_program(args.parent, args.read_only.as_deref(), &args.program, &args.arguments)?;
    match never {}
}
