//! The shell of the debug variant: the screen before it, lists for `modprobe`, and the end of the machine that is asked for there.

use std::{io, time::Duration};

use contract::names;

use crate::{
    kernel::{Kind, Level, Machine, Power, exists, read_text},
    modules::{Modules, options::Options},
};

/// The programs that repair or examine a disk, as far as the image has them.
const TOOLS: [&str; 11] =
    ["e2fsck", "e2label", "tune2fs", "mke2fs", "fsck.fat", "fatlabel", "blkid", "lsblk", "sfdisk", "lspci", "lsusb"];

/// The most mounts that the screen names.
const MOUNTS: usize = 3;

/// The reason for a shell.
#[derive(Debug, Clone)]
pub struct Reason<'a> {
    /// The state of the boot, a sentence.
    pub head: String,
    /// The state that a failed boot wanted.
    pub wanted: Option<&'a str>,
    /// The effect of `exit`.
    pub leave: &'a str,
}

/// Runs a shell on every console. Returns the end of the machine that was asked for there, if one was.
///
/// # Errors
/// The kernel's reason; also where the build of init has no shell.
pub fn run(
    kernel: &mut dyn Machine,
    modules: &mut Modules,
    options: &Options,
    reason: Reason<'_>,
) -> io::Result<Option<Power>> {
    if !modules.is_open() {
        *modules = Modules::open(kernel, options);
    }
    if let Err(error) = modules.write_lists(kernel) {
        kernel.log(Level::Warning, &format!("modprobe does not work: cannot write its lists: {error}"));
    }
    let mounts = read_text(kernel, "/proc/self/mounts");
    let tools = TOOLS.into_iter().filter(|name| exists(kernel, &["/bin/", name].concat())).collect();
    let screen = Screen { reason, mounts: &mounts, tools, modules: modules.count() }.text();
    kernel.shell(&screen)
}

/// Returns true where the shell was left for the menu, once for each time.
pub fn is_for_menu(kernel: &mut dyn Machine) -> bool {
    kernel.remove(names::RECOVER_REQUEST, Kind::File).is_ok()
}

/// Ends the machine, with every disk unmounted that nothing uses.
pub fn end(kernel: &mut dyn Machine, power: Power) {
    release_disks(kernel);
    kernel.power(power, Duration::ZERO);
}

/// Unmounts everything but the file systems that programs expect, the last mount first. What is in use stays mounted.
pub fn release_disks(kernel: &mut dyn Machine) {
    let mounts = read_text(kernel, "/proc/self/mounts");
    for (_, target, ..) in disks(&mounts).into_iter().rev() {
        if let Err(error) = kernel.unmount(target) {
            kernel.log(Level::Info, &format!("cannot unmount {target}: {error}"));
        }
    }
}

/// A mount: source, target, type, options.
type Line<'a> = (&'a str, &'a str, &'a str, &'a str);

/// Returns the fields of a line of the kernel's list of mounts.
fn fields(line: &str) -> Option<Line<'_>> {
    let mut fields = line.split(' ');
    Some((fields.next()?, fields.next()?, fields.next()?, fields.next()?))
}

/// Returns the mounts beside those that programs expect, in the order in which they were made.
fn disks(mounts: &str) -> Vec<Line<'_>> {
    let is_api = |target: &str| {
        target == "/" || ["/dev", "/proc", "/sys", "/run"].into_iter().any(|dir| names::below(target, dir).is_some())
    };
    let is_boots = |target: &str| target.starts_with(names::STATE_DIR);
    mounts.lines().filter_map(fields).filter(|(_, target, ..)| is_boots(target) || !is_api(target)).collect()
}

/// The screen before a shell.
struct Screen<'a> {
    reason: Reason<'a>,
    /// The kernel's list of mounts.
    mounts: &'a str,
    /// Tools that the image has.
    tools: Vec<&'a str>,
    /// Number of modules that are baked in.
    modules: usize,
}

impl Screen<'_> {
    /// Returns its lines, ten at most.
    fn text(&self) -> String {
        let mut lines = Vec::new();
        let wanted = self.reason.wanted.unwrap_or_default().lines().next().unwrap_or_default();
        if !wanted.is_empty() {
            lines.push(("wanted", wanted.to_owned()));
        }
        let disks = disks(self.mounts);
        let mut name = "mounted";
        for (source, target, kind, options) in disks.iter().take(MOUNTS) {
            let access = options.split(',').next().unwrap_or_default();
            lines.push((name, [*target, ": ", *source, ", ", *kind, ", ", access].concat()));
            name = "";
        }
        match disks.len().checked_sub(MOUNTS) {
            Some(more) if more > 0 => {
                if let Some((_, line)) = lines.last_mut() {
                    line.push_str(&format!(" (and {more} more: mount)"));
                }
            }
            _ if disks.is_empty() => lines.push((name, "no disk".into())),
            _ => {}
        }
        lines.push(("look at", [names::REPORT, ", dmesg, /proc/partitions"].concat()));
        lines.push((
            "drivers",
            match self.modules {
                0 => "no modules are in this image".into(),
                count => format!("modprobe NAME loads one of {count} modules in this image; modprobe -l lists them"),
            },
        ));
        if !self.tools.is_empty() {
            lines.push(("tools", self.tools.join(" ")));
        }
        lines.push(("leave", [self.reason.leave, ";"].concat()));
        let menu = if self.reason.wanted.is_some() { "recover is a menu; " } else { "" };
        lines.push(("", [menu, "reboot, poweroff and halt unmount the disks first"].concat()));
        let mut text = self.reason.head.clone();
        for (name, line) in lines {
            text.push_str(&format!("\n  {name:<9} {line}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "rootfs / rootfs rw 0 0\ndev /dev devtmpfs rw 0 0\ntmpfs /run tmpfs rw,nosuid 0 0\n\
                        /dev/vda2 /run/initramfs/img ext4 ro,nosuid 0 0\n/dev/vda4 /mnt/device ext4 rw 0 0\n\
                        /dev/sda1 /a vfat rw 0 0\n/dev/sdb1 /b vfat rw 0 0\n/dev/sdc1 /running vfat rw 0 0\n";

    #[test]
    fn disks_are_told_from_what_programs_expect() {
        let targets: Vec<&str> = disks(LIST).into_iter().map(|(_, target, ..)| target).collect();
        assert_eq!(targets, ["/run/initramfs/img", "/mnt/device", "/a", "/b", "/running"]);
    }

    #[test]
    fn the_screen_has_ten_lines_at_most() {
        let screen = |mounts, wanted, tools: &[&'static str], modules| {
            Screen {
                reason: Reason { head: "Head.".into(), wanted, leave: "exit goes on" },
                mounts,
                tools: tools.to_vec(),
                modules,
            }
            .text()
        };
        let full = screen(LIST, Some("img\nmore"), &TOOLS, 31);
        assert_eq!(full.lines().count(), 10, "{full}");
        assert!(full.lines().all(|line| line.len() < 100), "{full}");
        assert!(full.contains("\n  mounted   /run/initramfs/img: /dev/vda2, ext4, ro\n"), "{full}");
        assert!(full.contains("/a: /dev/sda1, vfat, rw (and 2 more: mount)\n"), "{full}");
        let empty = screen("", None, &[], 0);
        assert!(empty.contains("mounted   no disk\n") && !empty.contains("tools"), "{empty}");
    }
}
