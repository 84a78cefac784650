//! Event sources of the real machine: devices, network interfaces and signals, polled together.

use std::{
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
        socket::{
            AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, send, setsockopt,
            socket, sockopt,
        },
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
};

use crate::kernel::{
    Event, Sources, Uevent,
    rtnetlink::{self, Change},
};

/// True for a build whose initramfs is the system: the others have devices alone to wait for, and none of the code for the rest.
const IS_SYSTEM: bool = cfg!(feature = "ram");
/// The multicast group of network interfaces (kernel, include/uapi/linux/rtnetlink.h, RTMGRP_LINK).
const LINKS: u32 = 1;
/// The multicast group of the kernel's own events (kernel, lib/kobject_uevent.c).
const UEVENTS: u32 = 1;
/// The longest datagram of interfaces: as much as the kernel puts into one of a list (net/netlink/af_netlink.c, netlink_dump).
const DATAGRAM: usize = 32 << 10;
/// The longest event of a device (kernel, include/linux/kobject.h, UEVENT_BUFFER_SIZE), with room to spare.
const UEVENT: usize = 8192;

/// Event sources, as far as they are open.
#[derive(Debug, Default)]
pub(super) struct Events {
    devices: Option<OwnedFd>,
    links: Option<OwnedFd>,
    signals: Option<SignalFd>,
}

impl Events {
    /// Opens event sources; those that are open stay so.
    pub(super) fn open(&mut self, sources: Sources) -> io::Result<()> {
        if IS_SYSTEM && sources != Sources::Devices {
            self.signals = Some(open_signals(sources)?);
        }
        if sources != Sources::Requests && self.devices.is_none() {
            self.devices = Some(open_netlink(SockProtocol::NetlinkKObjectUEvent, UEVENTS, 4 << 20)?);
        }
        if IS_SYSTEM && sources == (Sources::Hotplug { links: true }) {
            let links = open_netlink(SockProtocol::NetlinkRoute, LINKS, 1 << 20)?;
            ask(&links)?;
            self.links = Some(links);
        }
        Ok(())
    }

    /// Returns the events since the last call, or the first ones until `deadline`.
    pub(super) fn next(&self, deadline: Option<Duration>) -> io::Result<Vec<Event>> {
        let mut all = Vec::new();
        loop {
            let mut polled = Vec::new();
            if IS_SYSTEM && let Some(signals) = &self.signals {
                read_signals(signals, &mut all);
                polled.push(PollFd::new(signals.as_fd(), PollFlags::POLLIN));
            }
            if IS_SYSTEM && let Some(links) = &self.links {
                read_links(links, &mut all)?;
                polled.push(PollFd::new(links.as_fd(), PollFlags::POLLIN));
            }
            if let Some(devices) = &self.devices {
                read_devices(devices, &mut all)?;
                polled.push(PollFd::new(devices.as_fd(), PollFlags::POLLIN));
            }
            if polled.is_empty() {
                return Err(io::ErrorKind::NotConnected.into());
            }
            let left = deadline.map(|deadline| deadline.saturating_sub(super::clock::uptime()));
            if !all.is_empty() || left == Some(Duration::ZERO) {
                return Ok(all);
            }
            // Rounded up, or the last millisecond would spin.
            let wait = left.map_or(PollTimeout::NONE, |left| {
                PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX)
            });
            match poll(&mut polled, wait) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Opens a socket on which the kernel tells what happens. A burst of events (hundreds of devices behind one driver) must not be lost: root
/// may exceed the usual limit of its buffer.
fn open_netlink(protocol: SockProtocol, group: u32, buffer: usize) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, Some(protocol))?;
    // Without the room events may be lost, which is noticed.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &buffer);
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, group))?;
    Ok(socket)
}

/// Receives a datagram of the kernel's; an empty one is somebody else's.
///
/// # Errors
/// The kernel's error: `EAGAIN` where there is none, `ENOBUFS` where some were lost.
fn receive<'b>(socket: &OwnedFd, buffer: &'b mut [u8]) -> nix::Result<&'b [u8]> {
    let (length, sender) = loop {
        let mut parts = [IoSliceMut::new(buffer)];
        match recvmsg::<NetlinkAddr>(socket.as_raw_fd(), &mut parts, None, MsgFlags::empty()) {
            Err(Errno::EINTR) => {}
            outcome => {
                break outcome.map(|received| (received.bytes, received.address.map(|address| address.pid())))?;
            }
        }
    };
    // Only the kernel sends from port 0.
    Ok(if sender == Some(0) { buffer.get(..length).unwrap_or_default() } else { &[] })
}

fn read_devices(socket: &OwnedFd, all: &mut Vec<Event>) -> io::Result<()> {
    let mut message = [0; UEVENT];
    loop {
        match receive(socket, &mut message) {
            Ok([]) => {}
            Ok(message) => all.push(Event::Device(uevent(message))),
            // Events were lost for want of room: look at everything again.
            Err(Errno::ENOBUFS) => {
                let (action, subsystem) = ("change".into(), "block".into());
                all.push(Event::Device(Uevent { action, subsystem, modalias: None }));
            }
            Err(Errno::EAGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Returns the event in a message: fields that end in a zero byte.
fn uevent(message: &[u8]) -> Uevent {
    let mut uevent = Uevent::default();
    for field in message.split(|byte| *byte == 0) {
        let field = String::from_utf8_lossy(field);
        match field.split_once('=') {
            Some(("ACTION", value)) => uevent.action = value.into(),
            Some(("SUBSYSTEM", value)) => uevent.subsystem = value.into(),
            Some(("MODALIAS", value)) => uevent.modalias = Some(value.into()),
            _ => {}
        }
    }
    uevent
}

/// Asks for the network interfaces that there are.
fn ask(socket: &OwnedFd) -> io::Result<()> {
    send(socket.as_raw_fd(), &rtnetlink::list_request(), MsgFlags::empty())?;
    Ok(())
}

fn read_links(socket: &OwnedFd, all: &mut Vec<Event>) -> io::Result<()> {
    let mut datagram = vec![0; DATAGRAM];
    loop {
        match receive(socket, &mut datagram) {
            Ok(datagram) => all.extend(rtnetlink::parse(datagram).into_iter().map(Event::Link)),
            Err(Errno::ENOBUFS) => {
                all.push(Event::Link(Change::Lost));
                ask(socket)?;
            }
            Err(Errno::EAGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Opens the source of signals: of children that exit, or of all that this process is sent.
fn open_signals(sources: Sources) -> nix::Result<SignalFd> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    if sources == Sources::Requests {
        signals = SigSet::all();
        // Ctrl-Alt-Del is then no restart on the spot but a SIGINT for PID 1 (reboot(2)).
        let _ = nix::sys::reboot::set_cad_enabled(false);
    }
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn read_signals(signals: &SignalFd, all: &mut Vec<Event>) {
    let mut has_child = false;
    while let Ok(Some(signal)) = signals.read_signal() {
        match i32::try_from(signal.ssi_signo) {
            // One may stand for several exits.
            Ok(libc::SIGCHLD) => has_child = true,
            Ok(number) => all.push(Event::Signal(number)),
            Err(_) => {}
        }
    }
    if !has_child {
        return;
    }
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) => return,
            Ok(status) => {
                all.extend(status.pid().map(|process| Event::Exited(process.as_raw().unsigned_abs())));
            }
            Err(Errno::EINTR) => {}
            Err(_) => return all.push(Event::Childless),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_an_event_are_told_apart() {
        let message = b"add@/devices/x\0ACTION=add\0SUBSYSTEM=usb\0MODALIAS=usb:v1=2\0SEQNUM=7\0";
        let modalias = Some("usb:v1=2".into());
        assert_eq!(uevent(message), Uevent { action: "add".into(), subsystem: "usb".into(), modalias });
        assert_eq!(uevent(b"libudev\0\xfe\xed"), Uevent::default());
    }
}
