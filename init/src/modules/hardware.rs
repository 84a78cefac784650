//! The hardware that modules are for, as sysfs lists it: devices without a driver, processors.

use crate::kernel::{Machine, exists, read_text};

/// Returns the modaliases of all devices on these buses that have no driver yet; of no bus in particular: on all.
pub fn modaliases(kernel: &mut dyn Machine, buses: &[&str]) -> Vec<String> {
    const BUSES: &str = "/sys/bus";
    let mut all = Vec::new();
    for bus in kernel.list(BUSES).unwrap_or_default() {
        if !buses.is_empty() && !buses.contains(&bus.as_str()) {
            continue;
        }
        let devices = [BUSES, "/", &bus, "/devices/"].concat();
        for device in kernel.list(&devices).unwrap_or_default() {
            let device = [&devices, device.as_str()].concat();
            let alias = read_text(kernel, &[&device, "/modalias"].concat()).trim_end().to_string();
            if !alias.is_empty() && !exists(kernel, &[&device, "/driver"].concat()) {
                all.push(alias);
            }
        }
    }
    all
}

/// Returns the number of processors that are online (kernel, Documentation/ABI/testing/sysfs-devices-system-cpu); at least one.
pub(super) fn processors(kernel: &mut dyn Machine) -> usize {
    count(&read_text(kernel, "/sys/devices/system/cpu/online")).max(1)
}

/// Returns how many numbers a list like `0-2,4` has.
fn count(list: &str) -> usize {
    let length = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)?.saturating_add(1))
    };
    list.trim_end().split(',').filter_map(length).fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::recorder::{Node, Recorder};

    #[test]
    fn processors_are_counted() {
        for (list, wanted) in [("0\n", 1), ("0-3\n", 4), ("0,2-3,8-11", 7), ("", 0), ("3-1", 0), ("x", 0)] {
            assert_eq!(count(list), wanted, "{list}");
        }
    }

    #[test]
    fn devices_with_a_driver_need_none() {
        let mut kernel = Recorder::default();
        for (path, content) in
            [("pci/devices/a", "pci:a\n"), ("pci/devices/b", "pci:b\n"), ("usb/devices/c", "usb:c\n")]
        {
            kernel.files.insert(format!("sys/bus/{path}/modalias"), Node::file(content, 0o444));
        }
        kernel.files.insert("sys/bus/pci/devices/b/driver".into(), Node::Symlink("../driver".into()));
        kernel.files.insert("sys/bus/platform/devices/d/uevent".into(), Node::file("", 0o444));
        assert_eq!(modaliases(&mut kernel, &[]), ["pci:a", "usb:c"]);
        assert_eq!(modaliases(&mut kernel, &["usb"]), ["usb:c"]);
    }
}
