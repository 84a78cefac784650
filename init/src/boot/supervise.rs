//! PID 1 that stays: runs the root's program, passes signals on to it, reaps what nobody waits for, reports its status to the host and powers
//! the machine off. For machines that exist for one command.

use std::time::Duration;

use contract::names;

use crate::{
    config::exit::{self, Exit},
    error::{Error, Result},
    kernel::{Level, Machine, Power, supervisor::Program},
};

/// The byte that says that this process runs.
pub const ALIVE: u8 = 1;

/// Grace period for the host to stop the VM once it has the status; usually faster than a power-off.
const GRACE: Duration = Duration::from_secs(1);

/// Runs `program` to its end, tells its status (as shells count it: 128 + N where signal N ended it) and ends the machine. Comes
/// back only on a recorder, or where the machine cannot be powered off.
///
/// # Errors
/// [`Error::Exec`]: the program would not start. Nothing has been told then.
pub fn run(kernel: &mut dyn Machine, exit: &Exit, program: &Program) -> Result<()> {
    let status = kernel.supervise(program).map_err(|source| failed(program, source))?;
    if exit.path == exit::CONSOLE {
        kernel.log(Level::Announcement, &format!("{}{status}", names::EXIT_STATUS));
    } else if let Err(error) = kernel.write_at(&exit.path, exit.offset, &[status]) {
        kernel.log(
            Level::Announcement,
            &format!("initramfs-overlay: {} exited with {status}; cannot write {}: {error}", program.path, exit.path),
        );
    }
    kernel.power(Power::Off, GRACE);
    Ok(())
}

/// Returns the failure of a program that would not start.
pub fn failed(program: &Program, source: std::io::Error) -> Error {
    let path = program.path.clone();
    #[cfg(feature = "ram")]
    if program.setting.is_some() {
        return super::ram::fault::Fault::Exec { path, source }.into();
    }
    Error::Exec { path, source }
}
