//! The tags of virtiofs devices, for the message that one is missing. The kernel tells them since Linux 6.9; before, they are read from the
//! device itself, through the window that virtio has in PCI's configuration space. Only reads the device.

use crate::{
    kernel::{Machine, read_text},
    switch_root,
};

/// The device's number, as the bus shows it (virtio 1.2, 5.11.1).
const VIRTIOFS: &str = "0x001a";

/// Returns the tags, sorted; one that cannot be read is a `?`.
pub(super) fn tags(kernel: &mut dyn Machine) -> Vec<String> {
    // kernel, Documentation/ABI/testing/sysfs-fs-virtiofs.
    const TAGS: &str = "/sys/fs/virtiofs/";
    const DEVICES: &str = "/sys/bus/virtio/devices/";
    let mut tags: Vec<String> = Vec::new();
    for name in kernel.list(TAGS).unwrap_or_default() {
        tags.push(read_text(kernel, &[TAGS, &name, "/tag"].concat()).trim_end().into());
    }
    tags.retain(|tag| !tag.is_empty());
    if tags.is_empty() {
        for name in kernel.list(DEVICES).unwrap_or_default() {
            let device = [DEVICES, &name].concat();
            if read_text(kernel, &[&device, "/device"].concat()).trim_end() == VIRTIOFS {
                tags.push(tag(kernel, &device).unwrap_or_else(|| "?".into()));
            }
        }
    }
    tags.sort_unstable();
    tags
}

/// Reads the tag: the first 36 bytes of the device's own configuration (virtio 1.2, 5.11.4), four bytes at a time through the
/// capability `VIRTIO_PCI_CAP_PCI_CFG` (virtio 1.2, 4.1.4.9).
fn tag(kernel: &mut dyn Machine, device: &str) -> Option<String> {
    const DEVICE_CONFIG: u8 = 4;
    const WINDOW: u8 = 5;
    // The device hangs on one of PCI, whose configuration space it is.
    let place = switch_root::resolve(kernel, "", device).ok()?;
    let config = [place.rsplit_once('/')?.0, "/config"].concat();
    let window = capability(kernel, &config, WINDOW)?;
    let device = capability(kernel, &config, DEVICE_CONFIG)?;
    // Fields of the capability, in bytes from its beginning: bar 4, offset 8, length 12, the window's data 16.
    let field = |base: u64, at: u64| base.saturating_add(at);
    let [bar] = read(kernel, &config, field(device, 4))?;
    let offset = u32::from_le_bytes(read(kernel, &config, field(device, 8))?);
    let mut bytes = Vec::new();
    for place in (0..36_u32).step_by(4) {
        let from = offset.checked_add(place)?;
        kernel.write_at(&config, field(window, 4), &[bar]).ok()?;
        kernel.write_at(&config, field(window, 8), &from.to_le_bytes()).ok()?;
        kernel.write_at(&config, field(window, 12), &4_u32.to_le_bytes()).ok()?;
        bytes.extend_from_slice(&read::<4>(kernel, &config, field(window, 16))?);
    }
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8(bytes.get(..end)?.to_vec()).ok()
}

/// Returns the place of virtio's capability of that type in PCI's configuration space (PCI 3.0, 6.7; virtio 1.2, 4.1.4).
fn capability(kernel: &mut dyn Machine, config: &str, kind: u8) -> Option<u64> {
    const LIST: u64 = 0x34;
    const VENDOR: u8 = 0x09;
    // Each has at least four bytes, and there are 256.
    const MOST: usize = 64;
    let [mut at] = read(kernel, config, LIST)?;
    for _ in 0..MOST {
        if at == 0 {
            return None;
        }
        let [id, next, _, found] = read(kernel, config, at.into())?;
        if id == VENDOR && found == kind {
            return Some(at.into());
        }
        at = next;
    }
    None
}

fn read<const LENGTH: usize>(kernel: &mut dyn Machine, path: &str, offset: u64) -> Option<[u8; LENGTH]> {
    kernel.read(path, offset, LENGTH).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::recorder::{Node, Recorder};

    /// Returns a described device of PCI whose window shows `shown`, whatever it is pointed at.
    fn machine(device: &str, shown: &[u8; 4]) -> Recorder {
        let mut config = vec![0; 256];
        config[0x34] = 0x40;
        config[0x40..0x44].copy_from_slice(&[0x09, 0x50, 20, 4]);
        config[0x50..0x54].copy_from_slice(&[0x01, 0x60, 0, 5]);
        config[0x60..0x64].copy_from_slice(&[0x09, 0, 20, 5]);
        config[0x70..0x74].copy_from_slice(shown);
        let mut kernel = Recorder::default();
        let bus = "sys/devices/pci0/0000:00:05.0";
        for (path, node) in [
            (
                "sys/bus/virtio/devices/virtio3".into(),
                Node::Symlink("../../../devices/pci0/0000:00:05.0/virtio3".into()),
            ),
            ("sys/bus/virtio/devices/virtio3/device".into(), Node::file(device, 0o444)),
            (format!("{bus}/virtio3/device"), Node::file(device, 0o444)),
            (format!("{bus}/config"), Node::file(config, 0o644)),
        ] {
            kernel.files.insert(path, node);
        }
        kernel
    }

    #[test]
    fn a_tag_is_read_through_the_window() {
        let mut kernel = machine("0x001a\n", b"ab\0\0");
        assert_eq!(tags(&mut kernel), ["ab"]);
        let config = "/sys/devices/pci0/0000:00:05.0/config";
        let expected: Vec<String> = (0..9_u32)
            .flat_map(|word| [(0x64, vec![0]), (0x68, (word * 4).to_le_bytes().to_vec()), (0x6c, vec![4, 0, 0, 0])])
            .map(|(offset, bytes)| {
                format!("tell {config} {offset:#x} {}", bytes.iter().map(u8::to_string).collect::<Vec<_>>().join(" "))
            })
            .collect();
        assert_eq!(kernel.record, expected);
        assert_eq!(tags(&mut machine("0x0002\n", b"ab\0\0")), Vec::<String>::new());
        assert_eq!(tags(&mut machine("0x001a\n", b"\xff\0\0\0")), ["?"]);
    }

    #[test]
    fn the_kernel_tells_tags_itself() {
        let mut kernel = machine("0x001a\n", b"ab\0\0");
        for (name, tag) in [("1", "tools\n"), ("2", "root\n")] {
            kernel.files.insert(format!("sys/fs/virtiofs/{name}/tag"), Node::file(tag, 0o444));
        }
        assert_eq!(tags(&mut kernel), ["root", "tools"]);
        assert_eq!(kernel.record, Vec::<String>::new());
    }
}
