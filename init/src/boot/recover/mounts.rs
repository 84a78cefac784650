//! Devices that are mounted: no repair touches one.

use crate::{context::Context, kernel::read_text, shell};

/// Returns true for a device that stays mounted though everything is unmounted that can be.
pub(super) fn is_in_use(context: &mut Context<'_>, device: &str) -> bool {
    if !is_mounted(context, device) {
        return false;
    }
    shell::release_disks(context.kernel);
    is_mounted(context, device)
}

/// Returns true for a device that is mounted.
pub(super) fn is_mounted(context: &mut Context<'_>, device: &str) -> bool {
    read_text(context.kernel, "/proc/self/mounts").lines().any(|line| line.split(' ').next() == Some(device))
}

/// Returns the sentence about a device that is in use.
pub(super) fn in_use(device: &str) -> String {
    [device, " is in use: leave its directories and close its files"].concat()
}
