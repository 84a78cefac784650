//! Event sources of the hotplug process beside PID 1: devices, network interfaces and child processes that exit, polled together.

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, send, setsockopt,
            socket, sockopt,
        },
    },
    unistd::Pid,
};

use super::{
    consoles,
    devices::{self, Heard},
};
use crate::kernel::{
    rtnetlink::{self, Change},
    supervisor::Event,
};

/// The multicast group of network interfaces (kernel, include/uapi/linux/rtnetlink.h, RTMGRP_LINK).
const LINKS: u32 = 1;
/// The longest datagram: as much as the kernel puts into one of a list (net/netlink/af_netlink.c, netlink_dump).
const DATAGRAM: usize = 32 << 10;

/// Event sources of the hotplug process.
#[derive(Debug)]
pub(super) struct Events {
    ended: SignalFd,
    devices: OwnedFd,
    links: Option<OwnedFd>,
}

impl Events {
    /// Opens the event sources.
    pub(super) fn open(with_links: bool) -> io::Result<Self> {
        let mut ended = SigSet::empty();
        ended.add(Signal::SIGCHLD);
        ended.thread_block()?;
        let ended = SignalFd::with_flags(&ended, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let devices = devices::listen()?;
        let links = if with_links { Some(listen_to_links()?) } else { None };
        Ok(Self { ended, devices, links })
    }

    /// Returns the events since the last call, or the first ones until `deadline`.
    pub(super) fn next(&self, deadline: Option<Duration>) -> io::Result<Vec<Event>> {
        let mut polled = vec![PollFd::new(self.ended.as_fd(), PollFlags::POLLIN)];
        polled.push(PollFd::new(self.devices.as_fd(), PollFlags::POLLIN));
        polled.extend(self.links.iter().map(|links| PollFd::new(links.as_fd(), PollFlags::POLLIN)));
        let wait = deadline.map_or(PollTimeout::NONE, |deadline| {
            let left = deadline.saturating_sub(super::uptime());
            // Rounded up, or the last millisecond would spin.
            let milliseconds = if left.is_zero() { 0 } else { left.as_millis().saturating_add(1) };
            PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut polled, wait) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut all = Vec::new();
        // One signal may stand for several ends.
        while let Ok(Some(_)) = self.ended.read_signal() {}
        while let Some(process) = consoles::reap() {
            all.push(Event::Exited(process.as_raw().unsigned_abs()));
        }
        if let Some(links) = &self.links {
            hear_links(links, &mut all)?;
        }
        let mut has_device = false;
        loop {
            match devices::next_uevent(&self.devices, Duration::ZERO)? {
                // A change of a block device may stand for words that were lost.
                Heard::Event(event) => {
                    has_device |= match event.action.as_str() {
                        "add" => event.modalias.is_some(),
                        "change" => event.subsystem == "block",
                        _ => false,
                    };
                }
                Heard::Noise => {}
                Heard::Nothing => break,
            }
        }
        if has_device {
            all.push(Event::Device);
        }
        Ok(all)
    }
}

/// Opens the socket on which the kernel tells of network interfaces, and asks for those that there are.
fn listen_to_links() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, Some(SockProtocol::NetlinkRoute))?;
    // Without the room words may be lost, which is noticed.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &(1 << 20));
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, LINKS))?;
    ask(&socket)?;
    Ok(socket)
}

fn ask(socket: &OwnedFd) -> io::Result<()> {
    send(socket.as_raw_fd(), &rtnetlink::list_request(), MsgFlags::empty())?;
    Ok(())
}

fn hear_links(socket: &OwnedFd, all: &mut Vec<Event>) -> io::Result<()> {
    let mut datagram = vec![0; DATAGRAM];
    loop {
        let mut parts = [IoSliceMut::new(&mut datagram)];
        match recvmsg::<NetlinkAddr>(socket.as_raw_fd(), &mut parts, None, MsgFlags::empty()) {
            Ok(received) => {
                let (length, sender) = (received.bytes, received.address.map(|address| address.pid()));
                // Only the kernel sends from port 0.
                if sender == Some(0) {
                    let changes = rtnetlink::parse(datagram.get(..length).unwrap_or_default());
                    all.extend(changes.into_iter().map(Event::Link));
                }
            }
            Err(Errno::EINTR) => {}
            Err(Errno::ENOBUFS) => {
                all.push(Event::Link(Change::Lost));
                ask(socket)?;
            }
            Err(Errno::EAGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Asks a process to end; one that is stopped has to go on for that.
pub(super) fn stop(process: u32) {
    if let Ok(process) = i32::try_from(process) {
        for signal in [Signal::SIGTERM, Signal::SIGCONT] {
            // It may have ended.
            let _ = kill(Pid::from_raw(process), signal);
        }
    }
}
