//! Devices of the real machine: uevents and what sysfs lists.

use std::{
    fs,
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout},
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, setsockopt, socket,
        sockopt,
    },
};

use super::files::{BLOCK, names, read_number, stat, text};
use crate::kernel::Uevent;
use contract::tag::Volume;

/// What came out of the uevent socket.
#[derive(Debug)]
pub(super) enum Heard {
    Event(Uevent),
    Nothing,
    /// Somebody else's message.
    Noise,
}

/// Opens the socket on which the kernel says what happens to devices (its multicast group 1; kernel, lib/kobject_uevent.c).
pub(super) fn listen() -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Datagram, flags, Some(SockProtocol::NetlinkKObjectUEvent))?;
    // A burst of events (hundreds of devices behind one driver) must not be lost; root may exceed the usual limit.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &(4 << 20));
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 1))?;
    Ok(socket)
}

pub(super) fn next_uevent(socket: &OwnedFd, wait: Duration) -> io::Result<Heard> {
    let mut message = [0_u8; 8192];
    let (length, sender) = loop {
        let mut parts = [IoSliceMut::new(&mut message)];
        match recvmsg::<NetlinkAddr>(socket.as_raw_fd(), &mut parts, None, MsgFlags::empty()) {
            Ok(received) => break (received.bytes, received.address.map(|address| address.pid())),
            Err(Errno::EINTR) => {}
            // Events were lost for want of room: look at everything again.
            Err(Errno::ENOBUFS) => {
                return Ok(Heard::Event(Uevent { action: "change".into(), subsystem: "block".into(), modalias: None }));
            }
            Err(Errno::EAGAIN) if wait.is_zero() => return Ok(Heard::Nothing),
            Err(Errno::EAGAIN) => {
                let mut polled = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                // Rounded up, or the last millisecond would spin.
                let wait = wait.as_millis().saturating_add(1);
                let wait = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
                if nix::poll::poll(&mut polled, wait)? == 0 {
                    return Ok(Heard::Nothing);
                }
            }
            Err(error) => return Err(error.into()),
        }
    };
    // Only the kernel sends from port 0.
    if sender != Some(0) {
        return Ok(Heard::Noise);
    }
    let mut uevent = Uevent::default();
    for field in message.get(..length).unwrap_or_default().split(|byte| *byte == 0) {
        let field = String::from_utf8_lossy(field);
        match field.split_once('=') {
            Some(("ACTION", value)) => uevent.action = value.into(),
            Some(("SUBSYSTEM", value)) => uevent.subsystem = value.into(),
            Some(("MODALIAS", value)) => uevent.modalias = Some(value.into()),
            _ => {}
        }
    }
    Ok(Heard::Event(uevent))
}

/// Lists the block devices and probes those that were not probed before.
pub(super) fn volumes(known: &mut Vec<(Volume, bool)>, details: bool) -> Vec<Volume> {
    let listed = list(details);
    // A device that went, or came back as another, is forgotten; one whose superblock was not known is looked at again.
    known.retain(|(volume, probed_details)| {
        volume.kind.is_some()
            && *probed_details == details
            && listed.iter().any(|other| other.name == volume.name && other.size == volume.size)
    });
    let mut all = Vec::new();
    #[cfg(feature = "disks")]
    let mut prober = super::disks::probe::Prober::new(details).ok();
    for volume in &listed {
        if let Some((known, _)) = known.iter().find(|(known, _)| known.name == volume.name) {
            all.push(known.clone());
            continue;
        }
        // A disk with partitions holds no filesystem of its own.
        if listed.iter().any(|other| other.disk == volume.name && other.name != volume.name) {
            continue;
        }
        #[allow(unused_mut, reason = "without the overlay way nothing is probed")]
        let mut volume = volume.clone();
        #[cfg(feature = "disks")]
        if let Some(prober) = &mut prober {
            prober.probe(&mut volume, details);
        }
        known.push((volume.clone(), details));
        all.push(volume);
    }
    all
}

/// What sysfs says about block devices, by name. Loop devices, RAM disks, floppy drives and devices without a medium are left
/// out. `details`: with the names that the partition table gives, as far as the kernel tells.
fn list(details: bool) -> Vec<Volume> {
    let mut volumes: Vec<Volume> = Vec::new();
    for name in names(BLOCK).unwrap_or_default() {
        // A floppy drive turns for seconds before it says that it is empty.
        let is_numbered =
            |prefix| name.strip_prefix(prefix).is_some_and(|rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit()));
        if ["ram", "zram", "fd"].into_iter().any(is_numbered) || name.starts_with("loop") {
            continue;
        }
        let sectors = read_number(&format!("{BLOCK}/{name}/size")).unwrap_or(0);
        // The link leads to `…/<disk>` for a disk, to `…/<disk>/<partition>` for a part of one.
        let Ok(link) = fs::read_link(format!("{BLOCK}/{name}")) else { continue };
        let link = link.to_string_lossy();
        // Only a partition is a part of its disk: an eMMC has boot partitions that are disks of their own below it.
        let is_partition = stat(&format!("{BLOCK}/{name}/partition")).is_ok();
        let disk = if is_partition { link.rsplit('/').nth(1).unwrap_or_default().into() } else { name.clone() };
        if sectors == 0 {
            continue;
        }
        // sysfs counts in sectors of 512 bytes whatever the device's own size (kernel, Documentation/ABI/stable/sysfs-block).
        let mut volume = Volume { disk, name, size: sectors.saturating_mul(512), ..Volume::default() };
        if details {
            let uevent = text(&format!("{BLOCK}/{}/uevent", volume.name));
            volume.part_label = uevent.lines().find_map(|line| line.strip_prefix("PARTNAME=")).map(String::from);
        }
        let place = volumes.iter().position(|other| other.name > volume.name).unwrap_or(volumes.len());
        volumes.insert(place, volume);
    }
    let names: Vec<String> = volumes.iter().map(|volume| volume.name.clone()).collect();
    for volume in &mut volumes {
        // What a disk itself hangs on is no block device.
        if !names.contains(&volume.disk) {
            volume.disk.clone_from(&volume.name);
        }
    }
    volumes
}
