//! What a root that runs from memory asks of the machine: attributes of its files, its loopback network, and a program that runs as
//! the image wants it.

use std::{
    ffi::{CStr, CString},
    io,
};

use nix::{
    sys::{
        signal::{SigSet, SigmaskHow, sigprocmask},
        socket::{AddressFamily, SockFlag, SockType, socket},
    },
    unistd::{Gid, Uid, chdir, fchown, setgid, setgroups, setuid},
};
use std::os::fd::AsRawFd;

use super::process;
use crate::kernel::{Program, Setting};

/// Files that a program may have open: what Docker gives, and what `fs.nr_open` allows without being asked.
const FILES_MAX: libc::rlim_t = 1 << 20;

fn string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(io::Error::other)
}

/// Sets an extended attribute of the file itself.
pub(super) fn set_attribute(path: &str, name: &str, value: &[u8]) -> io::Result<()> {
    let (path, name) = (string(path)?, string(name)?);
    // SAFETY: both strings end in a zero byte, and the kernel reads as many bytes of the value as it is told, during the call.
    let outcome = unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    nix::errno::Errno::result(outcome)?;
    Ok(())
}

/// Brings a network interface up.
pub(super) fn link_up(interface: &str) -> io::Result<()> {
    let any = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: numbers and a union of plain bytes, for all of which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (cell, byte) in request.ifr_name.iter_mut().zip(interface.bytes().take(libc::IFNAMSIZ.saturating_sub(1))) {
        *cell = libc::c_char::from_ne_bytes([byte]);
    }
    // SAFETY: the descriptor is open, and the request is the struct that both calls take (netdevice(7)); flags are the part of the
    // union that the first one fills and the second one reads.
    unsafe {
        nix::errno::Errno::result(libc::ioctl(any.as_raw_fd(), libc::SIOCGIFFLAGS as _, &raw mut request))?;
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        nix::errno::Errno::result(libc::ioctl(any.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request))?;
    }
    Ok(())
}

/// Becomes the program, on a terminal. Comes back only with an error.
pub(super) fn exec(program: &Program, setting: &Setting, terminal: &str) -> io::Error {
    match become_program(program, setting, terminal) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn become_program(program: &Program, setting: &Setting, terminal: &str) -> io::Result<std::convert::Infallible> {
    let path = string(&program.path)?;
    let mut arguments = vec![string(&setting.name)?];
    for argument in &program.arguments {
        arguments.push(string(argument)?);
    }
    let environment: Vec<CString> = setting.environment.iter().map(|entry| string(entry)).collect::<io::Result<_>>()?;
    process::open_terminal(terminal);
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    // As in containers; a kernel that allows less keeps what it has.
    let limit = libc::rlimit { rlim_cur: FILES_MAX, rlim_max: FILES_MAX };
    // SAFETY: the kernel reads the struct during the call.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    let identity = &setting.identity;
    let (user, group) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    // So that it can open /dev/stdout anew, as many do. The console may be on a filesystem that has no owners.
    let _ = fchown(io::stdin(), Some(user), None);
    chdir(setting.directory.as_str())?;
    let groups: Vec<Gid> = identity.groups.iter().copied().map(Gid::from_raw).collect();
    // A kernel without groups of users (CONFIG_MULTIUSER) has root alone.
    if !(groups.is_empty() && user.is_root() && group.as_raw() == 0) {
        setgroups(&groups)?;
        setgid(group)?;
        setuid(user)?;
    }
    let arguments: Vec<&CStr> = arguments.iter().map(CString::as_c_str).collect();
    Ok(nix::unistd::execve(&path, &arguments, &environment)?)
}
