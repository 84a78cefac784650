//! Device nodes, and the tags of virtiofs devices, for the message that one is missing. The kernel tells them since Linux 6.9; before, they are read
//! from the device itself, through the window that virtio has in PCI's configuration space. Only reads the device.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::{FileExt, PermissionsExt},
    path::Path,
};

use nix::sys::stat::{Mode, SFlag, makedev, mknod};

use super::Linux;
use crate::kernel::supervisor::{Node, Shares};

impl Shares for Linux {
    fn make_node(&mut self, node: &Node<'_>) -> io::Result<()> {
        make_node(node)
    }

    fn virtiofs_tags(&mut self) -> Vec<String> {
        tags()
    }
}

/// Makes a character device with exactly that mode.
fn make_node(node: &Node<'_>) -> io::Result<()> {
    let device = makedev(node.major.into(), node.minor.into());
    mknod(node.path, SFlag::S_IFCHR, Mode::from_bits_truncate(0o600), device)?;
    // The umask takes bits from what mknod is asked for; chmod it does not touch.
    fs::set_permissions(node.path, fs::Permissions::from_mode(node.mode))
}

/// virtio 1.2, 5.11.1: the device's number, as the bus shows it.
const VIRTIOFS: &str = "0x001a";

fn tags() -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    // kernel, Documentation/ABI/testing/sysfs-fs-virtiofs.
    for entry in fs::read_dir("/sys/fs/virtiofs").into_iter().flatten().flatten() {
        tags.extend(fs::read_to_string(entry.path().join("tag")).map(|tag| tag.trim_end().to_string()));
    }
    if tags.is_empty() {
        for entry in fs::read_dir("/sys/bus/virtio/devices").into_iter().flatten().flatten() {
            let device = entry.path();
            if fs::read_to_string(device.join("device")).is_ok_and(|number| number.trim_end() == VIRTIOFS) {
                let parent = fs::canonicalize(&device).ok().and_then(|real| tag(&real.parent()?.join("config")));
                tags.push(parent.unwrap_or_else(|| "?".into()));
            }
        }
    }
    tags.sort_unstable();
    tags
}

/// Reads the tag: the first 36 bytes of the device's own configuration (virtio 1.2, 5.11.4), four bytes at a time through the
/// capability `VIRTIO_PCI_CAP_PCI_CFG` (virtio 1.2, 4.1.4.9).
fn tag(config: &Path) -> Option<String> {
    const DEVICE_CONFIG: u8 = 4;
    const WINDOW: u8 = 5;
    let file = File::options().read(true).write(true).open(config).ok()?;
    let (device, window) = (capability(&file, DEVICE_CONFIG)?, capability(&file, WINDOW)?);
    let field = |base: u64, at: u64| base.saturating_add(at);
    // Fields of the capability, in bytes from its beginning: bar 4, offset 8, length 12, the window's data 16.
    let mut bar = [0];
    let mut offset = [0; 4];
    file.read_exact_at(&mut bar, field(device, 4)).ok()?;
    file.read_exact_at(&mut offset, field(device, 8)).ok()?;
    let mut bytes = Vec::new();
    for place in (0..36_u32).step_by(4) {
        let from = u32::from_le_bytes(offset).checked_add(place)?;
        file.write_all_at(&bar, field(window, 4)).ok()?;
        file.write_all_at(&from.to_le_bytes(), field(window, 8)).ok()?;
        file.write_all_at(&4_u32.to_le_bytes(), field(window, 12)).ok()?;
        let mut part = [0; 4];
        file.read_exact_at(&mut part, field(window, 16)).ok()?;
        bytes.extend_from_slice(&part);
    }
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8(bytes.get(..end)?.to_vec()).ok()
}

/// Where in PCI's configuration space virtio's capability of that type is (PCI 3.0, 6.7; virtio 1.2, 4.1.4).
fn capability(file: &File, kind: u8) -> Option<u64> {
    const LIST: u64 = 0x34;
    const VENDOR: u8 = 0x09;
    // Each has at least four bytes, and there are 256.
    const MOST: usize = 64;
    let mut place = [0];
    file.read_exact_at(&mut place, LIST).ok()?;
    for _ in 0..MOST {
        let [at] = place;
        let mut head = [0; 4];
        file.read_exact_at(&mut head, u64::from(at)).ok()?;
        let [id, next, _, found] = head;
        if at == 0 {
            return None;
        }
        if id == VENDOR && found == kind {
            return Some(at.into());
        }
        place = [next];
    }
    None
}
