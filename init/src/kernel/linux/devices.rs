//! Devices of the real machine: uevents and what sysfs lists.

use std::{
    fs,
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::Path,
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

use crate::{kernel::Uevent, tag::Volume};

/// What came out of the uevent socket.
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

/// The modaliases of all devices without a driver, from `/sys/bus/*/devices/*/modalias`.
pub(super) fn modaliases() -> Vec<String> {
    let mut all = Vec::new();
    for bus in fs::read_dir("/sys/bus").into_iter().flatten().flatten() {
        for device in fs::read_dir(bus.path().join("devices")).into_iter().flatten().flatten() {
            let path = device.path();
            let Ok(alias) = fs::read_to_string(path.join("modalias")) else { continue };
            let alias = alias.trim_end().to_string();
            if !alias.is_empty() && fs::symlink_metadata(path.join("driver")).is_err() {
                all.push(alias);
            }
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

/// Lists the block devices and probes those that were not probed before.
pub(super) fn volumes(known: &mut Vec<(Volume, bool)>, table: bool) -> Vec<Volume> {
    let listed = list();
    // A device that went, or came back as another, is forgotten; one whose superblock was not known is looked at again.
    known.retain(|(volume, probed_table)| {
        volume.kind.is_some()
            && *probed_table == table
            && listed.iter().any(|other| other.name == volume.name && other.size == volume.size)
    });
    let partitioned: Vec<String> =
        listed.iter().filter(|volume| volume.disk != volume.name).map(|volume| volume.disk.clone()).collect();
    let mut all = Vec::new();
    for volume in listed {
        if let Some((known, _)) = known.iter().find(|(known, _)| known.name == volume.name) {
            all.push(known.clone());
            continue;
        }
        // A disk with partitions holds no filesystem of its own.
        if partitioned.contains(&volume.name) {
            continue;
        }
        #[cfg(feature = "overlay")]
        let volume = super::probe::probed(volume, table);
        known.push((volume.clone(), table));
        all.push(volume);
    }
    all
}

/// What sysfs says about block devices. Loop devices, RAM disks, floppy drives and devices without a medium are left out.
fn list() -> Vec<Volume> {
    let mut volumes = Vec::new();
    for entry in fs::read_dir("/sys/class/block").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // A floppy drive turns for seconds before it says that it is empty.
        let is_numbered =
            |prefix| name.strip_prefix(prefix).is_some_and(|rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit()));
        if ["loop", "ram", "zram", "fd"].into_iter().any(is_numbered) || name.starts_with("loop") {
            continue;
        }
        let path = entry.path();
        let sectors: u64 = read_number(&path.join("size")).unwrap_or(0);
        if sectors == 0 {
            continue;
        }
        // sysfs counts in sectors of 512 bytes whatever the device's own size (kernel, Documentation/ABI/stable/sysfs-block).
        let mut volume = Volume { disk: name.clone(), name, size: sectors.saturating_mul(512), ..Volume::default() };
        if path.join("partition").exists()
            && let Ok(real) = fs::canonicalize(&path)
            && let Some(parent) = real.parent().and_then(Path::file_name)
        {
            volume.disk = parent.to_string_lossy().into_owned();
            let uevent = fs::read_to_string(path.join("uevent")).unwrap_or_default();
            volume.part_label = uevent.lines().find_map(|line| line.strip_prefix("PARTNAME=")).map(String::from);
        }
        volumes.push(volume);
    }
    volumes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    volumes
}

pub(super) fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim_end().parse().ok()
}
