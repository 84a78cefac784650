//! The command line: parse, run, end with a status.

use std::process::ExitCode;

fn main() -> ExitCode {
    initramfs_overlay::command::main()
}
