//! A program that runs with an environment, a user and limits of its own.

use std::{
    ffi::{CStr, CString},
    io,
};

use nix::{
    sys::signal::{SigSet, SigmaskHow, sigprocmask},
    unistd::{Gid, Uid, chdir, fchown, setgid, setgroups, setuid},
};

use super::process;
use crate::kernel::supervisor::{Program, Setting};

/// Files that a program may have open: what Docker gives, and what `fs.nr_open` allows without being asked.
const FILES_MAX: libc::rlim_t = 1 << 20;

pub(super) fn string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(io::Error::other)
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
    // So that it can open /dev/stdout again, as many do. The console may be on a filesystem that has no owners.
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
