//! The command line: parse, run, print the error's chain once.

use std::process::ExitCode;

use initramfs_overlay::command::Cli;

fn main() -> ExitCode {
    let outcome = Cli::read().run();
    base::cleanup::wait_if_interrupted();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            error.print();
            error.exit_code()
        }
    }
}
