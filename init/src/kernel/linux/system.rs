//! What a root that runs from memory asks of the machine: attributes of its files, its networks, and programs beside PID 1.

use std::{
    fs, io,
    os::{fd::AsRawFd, unix::fs::PermissionsExt},
    time::Duration,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::{Linux, consoles, hotplug, setting::string};
use crate::kernel::{
    Power,
    supervisor::{Event, Program, System},
};

impl System for Linux {
    fn set_attribute(&mut self, path: &str, name: &str, value: &[u8]) -> io::Result<()> {
        set_attribute(path, name, value)
    }

    fn set_mode(&mut self, path: &str, mode: u32) -> io::Result<()> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
    }

    fn link_up(&mut self, interface: &str) -> io::Result<()> {
        link_up(interface)
    }

    fn start(&mut self, program: &Program, terminal: &str) -> io::Result<u32> {
        consoles::start(program, terminal)
    }

    fn stop(&mut self, process: u32) {
        hotplug::stop(process);
    }

    fn watch(&mut self, links: bool) -> io::Result<()> {
        self.events = Some(hotplug::Events::open(links)?);
        Ok(())
    }

    fn next_events(&mut self, deadline: Option<Duration>) -> io::Result<Vec<Event>> {
        self.events.as_ref().ok_or(io::ErrorKind::NotConnected)?.next(deadline)
    }

    fn run_getty(&mut self, program: &Program) -> io::Result<Power> {
        self.leave();
        consoles::run_getty(program)
    }
}

/// Sets an extended attribute of the file itself.
fn set_attribute(path: &str, name: &str, value: &[u8]) -> io::Result<()> {
    let (path, name) = (string(path)?, string(name)?);
    // SAFETY: both strings end in a zero byte, and the kernel reads as many bytes of the value as it is told, during the call.
    let outcome = unsafe { libc::lsetxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    nix::errno::Errno::result(outcome)?;
    Ok(())
}

/// Brings a network interface up.
fn link_up(interface: &str) -> io::Result<()> {
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
