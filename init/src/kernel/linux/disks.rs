//! Images on disks: loop devices, and the programs that repair a filesystem.

mod loops;
mod probe;

use std::{ffi::CString, io, os::fd::AsFd};

use contract::tag::Volume;
use nix::{
    errno::Errno,
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::wait::{WaitStatus, waitpid},
    unistd::{ForkResult, pipe2},
};

use super::{
    Linux,
    watchdog::{self, Watchdog},
};
use crate::kernel::disks::Disks;

impl Disks for Linux {
    fn probe(&mut self, volume: &mut Volume, details: bool) {
        if let Ok(mut prober) = probe::Prober::new() {
            prober.probe(volume, details);
        }
    }

    fn attach_loop(&mut self, path: &str) -> io::Result<String> {
        let (device, name) = loops::attach(path)?;
        self.loops.push(device);
        Ok(name)
    }

    fn run(&mut self, root: &str, program: &str, arguments: &[&str]) -> io::Result<i32> {
        run(root, program, arguments, &mut self.watchdog)
    }
}

/// Runs a program in another root, its words going where init's go, and waits for it. A watchdog is fed meanwhile: what e2fsck does
/// to a large filesystem takes longer than any has patience.
fn run(root: &str, program: &str, arguments: &[&str], watchdog: &mut Watchdog) -> io::Result<i32> {
    let string = |text: &str| CString::new(text).map_err(io::Error::other);
    let mut all = vec![string(program)?];
    for argument in arguments {
        all.push(string(argument)?);
    }
    let (root, path) = (string(root)?, string(program)?);
    // Made before the fork: between it and exec nothing may ask for memory.
    let mut pointers: Vec<*const libc::c_char> = all.iter().map(|argument| argument.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // The program and what it starts inherit the writing end; the reading end says when the last of them has closed it.
    let (reader, writer) = pipe2(OFlag::empty())?;
    // SAFETY: this process has no other threads now, and all the child does before exec are system calls on what is made above.
    match unsafe { nix::unistd::fork() }? {
        ForkResult::Parent { child } => {
            drop(writer);
            let mut polled = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
            while matches!(
                poll(&mut polled, PollTimeout::try_from(watchdog::INTERVAL).unwrap_or(PollTimeout::MAX)),
                Ok(0) | Err(Errno::EINTR)
            ) {
                watchdog.feed();
            }
            loop {
                match waitpid(child, None) {
                    Ok(WaitStatus::Exited(_, status)) => return Ok(status),
                    Ok(_) => return Ok(-1),
                    Err(Errno::EINTR) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        // SAFETY: the strings and the list of pointers to them, which ends in a null, live on in the child's copy of the memory.
        ForkResult::Child => unsafe {
            let environment = [std::ptr::null()];
            if libc::chroot(root.as_ptr()) == 0 && libc::chdir(c"/".as_ptr()) == 0 {
                libc::execve(path.as_ptr(), pointers.as_ptr(), environment.as_ptr());
            }
            libc::_exit(127)
        },
    }
}
