//! Network interfaces that are up, by their flags in sysfs (kernel, Documentation/ABI/testing/sysfs-class-net).

use std::io;

use crate::kernel::{Machine, exists, read_text};

/// The directory of sysfs that lists network interfaces.
const INTERFACES: &str = "/sys/class/net/";

/// Brings a network interface up.
///
/// # Errors
/// The kernel's reason; there is none of that name.
pub(super) fn bring_up(kernel: &mut dyn Machine, name: &str) -> io::Result<()> {
    // netdevice(7), IFF_UP.
    const UP: u32 = 1;
    let path = [INTERFACES, name, "/flags"].concat();
    let text = read_text(kernel, &path);
    let flags = text.trim_end().strip_prefix("0x").and_then(|digits| u32::from_str_radix(digits, 16).ok());
    let flags = flags.ok_or(io::ErrorKind::NotFound)? | UP;
    kernel.write(&path, format!("{flags:#x}").as_bytes())
}

/// Switches the network cards on that are not among the `seen` yet. What runs beside the program tries again, and says why it cannot.
pub(super) fn switch_on(kernel: &mut dyn Machine, seen: &mut Vec<String>) {
    for name in kernel.list(INTERFACES).unwrap_or_default() {
        if seen.contains(&name) {
            continue;
        }
        // Those that the kernel makes by itself have no device (kernel, Documentation/ABI/testing/sysfs-class-net).
        if exists(kernel, &[INTERFACES, &name, "/device"].concat()) {
            let _ = bring_up(kernel, &name);
        }
        seen.push(name);
    }
}
