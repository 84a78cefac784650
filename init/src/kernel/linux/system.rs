//! System calls for a root that runs from memory: attributes of its files, and programs beside PID 1.

use std::{fs, io, os::unix::fs::PermissionsExt};

use nix::{
    errno::Errno,
    unistd::{ForkResult, fork, setsid},
};

use super::{
    Linux, process,
    setting::{self, string},
};
use crate::kernel::supervisor::{Attribute, Program, System};

impl System for Linux {
    fn set_attribute(&mut self, path: &str, attribute: Attribute<'_>) -> io::Result<()> {
        match attribute {
            Attribute::Mode(mode) => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
            Attribute::Extended(name, value) => set_extended(path, name, value),
        }
    }

    fn start(&mut self, program: &Program, terminal: &str, controls: bool) -> io::Result<u32> {
        // SAFETY: the threads that loaded modules have ended, so the child is a whole copy of this process.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => Ok(child.as_raw().unsigned_abs()),
            ForkResult::Child => {
                let _ = setsid();
                if controls {
                    process::open_terminal(terminal);
                    // SAFETY: a plain number goes in. Where it fails the program has no controlling terminal, and runs.
                    let _ = unsafe { libc::ioctl(libc::STDIN_FILENO, libc::TIOCSCTTY as _, 0) };
                }
                if let Some(setting) = &program.setting {
                    let _ = setting::exec(program, setting, terminal);
                }
                // SAFETY: _exit runs no code of this program: the child must not live on as a second PID 1.
                unsafe { libc::_exit(127) }
            }
        }
    }

    fn signal(&mut self, process: i32, signal: i32) {
        // SAFETY: plain numbers go in.
        let _ = unsafe { libc::kill(process, signal) };
    }
}

/// Sets an extended attribute of the file itself.
fn set_extended(path: &str, name: &str, value: &[u8]) -> io::Result<()> {
    let (path, name) = (string(path)?, string(name)?);
    // SAFETY: both strings end in a zero byte, and the kernel reads as many bytes of the value as it is told, during the call.
    let outcome = unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    Errno::result(outcome)?;
    Ok(())
}
