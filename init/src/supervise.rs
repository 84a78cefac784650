//! PID 1 that stays: runs the root's program, forwards signals to it, reaps what nobody waits for, tells the host how it ended
//! and switches the machine off. For machines that exist for one command; the work itself is the kernel room's.

use std::time::Duration;

use crate::{
    config::exit::{self, Exit},
    error::{Error, Result},
    kernel::{Kernel, Power, Program},
    names,
};

/// How long the host may take to end the machine by itself once it knows the status. That is sooner than powering off.
const HEARD: Duration = Duration::from_secs(1);

/// Runs `program` to its end, tells its status (as shells count it: 128 + N where signal N ended it) and ends the machine. Comes
/// back only on a recorder, or where the machine cannot be switched off.
///
/// # Errors
/// [`Error::Exec`]: the program would not start. Nothing has been told then.
pub fn run(kernel: &mut dyn Kernel, exit: &Exit, program: &Program) -> Result<()> {
    let status = kernel.supervise(program).map_err(|source| failed(program, source))?;
    if exit.path == exit::CONSOLE {
        kernel.announce(&format!("{}{status}", names::EXIT_STATUS));
    } else if let Err(error) = kernel.tell(&exit.path, exit.offset, status) {
        kernel.announce(&format!(
            "initramfs-overlay: {} ended with {status}; {} cannot be told: {error}",
            program.path, exit.path
        ));
    }
    kernel.power(Power::Off, HEARD);
    Ok(())
}

/// The failure of a program that would not start.
pub fn failed(program: &Program, source: std::io::Error) -> Error {
    let path = program.path.clone();
    #[cfg(any(feature = "ram", not(feature = "linux")))]
    if program.setting.is_some() {
        return crate::workload::Fault::Exec { path, source }.into();
    }
    Error::Exec { path, source }
}
