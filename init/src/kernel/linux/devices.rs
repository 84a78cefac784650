//! Devices of the real machine: uevents, what sysfs lists, what libblkid reads from a superblock, loop devices.

use std::{
    fs::{self, File},
    io::{self, IoSliceMut},
    os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd},
    path::Path,
    time::Duration,
};

use libblkid_rs::{BlkidPartlist, BlkidProbe, BlkidSafeprobeRet, BlkidSublks, BlkidSublksFlags};
use loopdev::{LoopControl, LoopDevice};
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
    for mut volume in listed {
        if let Some((known, _)) = known.iter().find(|(known, _)| known.name == volume.name) {
            all.push(known.clone());
            continue;
        }
        // A disk with partitions holds no filesystem of its own.
        if partitioned.contains(&volume.name) {
            continue;
        }
        probe(&mut volume);
        if table && volume.disk != volume.name {
            probe_table(&mut volume);
        }
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

fn read_number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim_end().parse().ok()
}

/// Reads type, label and UUID from the superblock. A device that cannot be read has none.
fn probe(volume: &mut Volume) {
    let read = || -> libblkid_rs::Result<Option<[Option<String>; 3]>> {
        let mut probe = BlkidProbe::new_from_filename(Path::new(&volume.path()))?;
        probe.enable_superblocks(true)?;
        probe.set_superblock_flags(BlkidSublksFlags::new(vec![
            BlkidSublks::Label,
            BlkidSublks::Uuid,
            BlkidSublks::Type,
        ]))?;
        probe.enable_partitions(false)?;
        if probe.do_safeprobe()? != BlkidSafeprobeRet::Success {
            return Ok(None);
        }
        Ok(Some(["TYPE", "LABEL", "UUID"].map(|name| probe.lookup_value(name).ok())))
    };
    if let Ok(Some([kind, label, uuid])) = read() {
        volume.kind = kind;
        volume.label = label;
        volume.uuid = uuid.map(|uuid| uuid.to_ascii_lowercase());
    }
}

/// Reads the partition's name and UUID from the table of its disk.
fn probe_table(volume: &mut Volume) {
    let number = read_number(&Path::new("/sys/class/block").join(&volume.name).join("partition"));
    let disk = Volume { name: volume.disk.clone(), ..Volume::default() };
    let read = || -> libblkid_rs::Result<(Option<String>, Option<String>)> {
        let mut probe = BlkidProbe::new_from_filename(Path::new(&disk.path()))?;
        probe.enable_superblocks(false)?;
        probe.enable_partitions(true)?;
        let mut table = probe.get_partitions()?;
        let number = number.and_then(|number| libc::c_int::try_from(number).ok()).unwrap_or(0);
        let name = table.get_partition_by_partno(number)?.get_name().ok().flatten();
        Ok((name, part_uuid(&mut table, number)))
    };
    if let Ok((name, uuid)) = read() {
        volume.part_label = name.or(volume.part_label.take());
        volume.part_uuid = uuid;
    }
}

/// PARTUUID: from a GPT the partition's own, from an MBR the disk's signature and the number (libblkid does the same).
fn part_uuid(table: &mut BlkidPartlist<'_>, number: libc::c_int) -> Option<String> {
    if let Ok(Some(uuid)) = table.get_partition_by_partno(number).and_then(|partition| partition.get_uuid()) {
        return Some(uuid.to_string());
    }
    let signature = table.get_table().and_then(|table| table.get_id()).ok()?;
    Some(format!("{}-{number:02x}", signature.to_ascii_lowercase()))
}

/// kernel, include/uapi/linux/loop.h, since Linux 5.8.
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

nix::ioctl_write_ptr_bad!(
    /// Attaches and sets up a loop device in one go.
    loop_configure,
    LOOP_CONFIGURE,
    LoopConfig
);

/// Attaches `path` read-only to a free loop device that clears itself. Returns the device, which has to be held open until its
/// mount is done, and its name.
pub(super) fn attach_loop(path: &str) -> io::Result<(OwnedFd, String)> {
    // Somebody else may be quicker to take the free device; more often than that nobody is.
    const TRIES: usize = 16;
    let image = File::open(path)?;
    let control = LoopControl::open()?;
    let mut outcome = Err(io::ErrorKind::ResourceBusy.into());
    for _ in 0..TRIES {
        let device = control.next_free()?;
        let name = format!("/dev/loop{}", device.minor()?);
        match configure(&device, &image, path) {
            Ok(()) => {
                // SAFETY: `into_raw_fd` gives up the only owner of the descriptor, and nobody else knows its number.
                return Ok((unsafe { OwnedFd::from_raw_fd(device.into_raw_fd()) }, name));
            }
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => outcome = Err(error),
            Err(error) => return Err(error),
        }
    }
    outcome
}

fn configure(device: &LoopDevice, image: &File, path: &str) -> io::Result<()> {
    let mut file_name = [0; 64];
    // What losetup shows; the last byte stays zero.
    for (cell, byte) in file_name.iter_mut().zip(path.bytes().take(63)) {
        *cell = byte;
    }
    let config = LoopConfig {
        fd: u32::try_from(image.as_raw_fd()).map_err(io::Error::other)?,
        block_size: 0,
        info: LoopInfo {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
            file_name,
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: both descriptors are open for the length of the call, and `config` is laid out as the kernel's struct loop_config,
    // which the kernel only reads.
    match unsafe { loop_configure(device.as_raw_fd(), &raw const config) } {
        Ok(_) => Ok(()),
        // Kernels before 5.8 do not know it: attach, then set up, in two calls.
        Err(Errno::EINVAL | Errno::ENOTTY) => device.with().read_only(true).autoclear(true).attach(path),
        Err(error) => Err(error.into()),
    }
}
