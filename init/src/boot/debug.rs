//! The shell of the debug variant: the screen before it, and what follows when it is left. `exit` goes on with the boot or tries it
//! again; `reboot`, `poweroff` and `halt` end it.

use std::{io, time::Duration};

use contract::{card::Card, names, report::Report, step::Step};

use super::{
    Failed, hand_over,
    hold::Console,
    recover::{self, Choice},
};
use crate::{
    context::Context,
    kernel::{Kind, Level, Power, exists},
    modules::Modules,
    switch_root,
};

/// The programs that repair or examine a disk, as far as the image has them.
const TOOLS: [&str; 11] =
    ["e2fsck", "e2label", "tune2fs", "mke2fs", "fsck.fat", "fatlabel", "blkid", "lsblk", "sfdisk", "lspci", "lsusb"];

/// The most mounts that the screen names.
const MOUNTS: usize = 3;

/// The shortest time that a person spends in a shell. One that ends sooner has no keyboard, but a console that is closed.
const HASTE: Duration = Duration::from_secs(1);

/// The number of shells that end in haste one after the other before the machine is powered off.
const HASTY: u8 = 3;

/// The tries of a boot so far.
#[derive(Debug, Default)]
pub struct Tries {
    made: u32,
    hasty: u8,
    words: String,
}

impl Tries {
    /// Returns true at the first try.
    pub fn is_first(&self) -> bool {
        self.made == 0
    }

    /// Returns the parameters that somebody chose for this try.
    pub fn words(&self) -> &str {
        &self.words
    }

    /// Prepares another try with these parameters: nothing is mounted, and nothing known.
    pub fn again(&mut self, context: &mut Context<'_>, words: String) {
        self.made = self.made.saturating_add(1);
        self.words = words;
        release_disks(context);
        context.report = Report::default();
        context.modules = Modules::default();
    }

    /// Counts a shell that was open for `time`. Returns true where another try makes sense.
    fn count(&mut self, time: Duration) -> bool {
        self.hasty = if time < HASTE { self.hasty.saturating_add(1) } else { 0 };
        self.hasty < HASTY
    }
}

/// Stops before a step with a shell.
pub fn stop_before(context: &mut Context<'_>, step: Step) {
    let head = ["Stopped before step ", step.name(), "."].concat();
    let screen = screen(context, head, None, "exit goes on with the boot");
    match shell(context, &screen) {
        Ok(None) => {}
        Ok(Some(power)) => end(context, power),
        Err(error) => context.notice(&format!("no shell before step {}: {error}", step.name())),
    }
}

/// Runs the shell after a failed boot, and boots the root that was put together there. Returns true where there is none and the boot
/// shall be tried again: from the parameters on, with nothing mounted, as devices, labels and files may be others by now.
pub(super) fn after_failure(
    context: &mut Context<'_>,
    card: &Card,
    failed: Failed<'_>,
    consoles: &[Console],
    tries: &mut Tries,
) -> bool {
    let head = ["The boot failed: ", card.code.name(), ", at step ", card.step.name(), "."].concat();
    let leave = "exit tries the boot again, or boots the root that you put together at /sysroot";
    let screen = screen(context, head, Some(&card.wanted), leave);
    let mut start = context.kernel.now();
    loop {
        match shell(context, &screen) {
            Ok(None) if is_asked_for(context) => {}
            Ok(None) => break,
            Ok(Some(power)) => {
                end(context, power);
                return false;
            }
            Err(error) => {
                context.notice(&format!("no shell: {error}"));
                return false;
            }
        }
        match recover::run(context, card, &failed.image, None, consoles) {
            Choice::Again(words) => {
                tries.again(context, words);
                return true;
            }
            Choice::End(power) => {
                end(context, power);
                return false;
            }
            Choice::Left => start = context.kernel.now(),
        }
    }
    if switch_root::check_init(context.kernel, names::SYSROOT, &context.config.init).is_ok() {
        context.notice("the root was put together by hand in the debug shell");
        context.report.degrade();
        if let Err(error) = hand_over(context, failed.root, failed.arguments) {
            context.kernel.log(Level::Announcement, &error.card(context.report.step()).to_string());
        }
        return false;
    }
    let time = context.kernel.now().saturating_sub(start);
    if !tries.count(time) {
        context.say("each shell ended at once: nobody is there, and the boot is not tried again");
        return false;
    }
    tries.again(context, String::new());
    context.notice("the boot is tried again from the debug shell");
    true
}

/// Returns true where the shell was left for the menu, once for each time.
fn is_asked_for(context: &mut Context<'_>) -> bool {
    context.kernel.remove(names::RECOVER_REQUEST, Kind::File).is_ok()
}

/// Runs the shell, with lists of modules for `modprobe`.
fn shell(context: &mut Context<'_>, screen: &str) -> io::Result<Option<Power>> {
    if let Err(error) = context.modules.write_lists(context.kernel) {
        context.notice(&format!("modprobe does not work: cannot write its lists: {error}"));
    }
    context.kernel.shell(screen)
}

/// Ends the machine, with every disk unmounted that nothing uses.
fn end(context: &mut Context<'_>, power: Power) {
    release_disks(context);
    context.kernel.power(power, Duration::ZERO);
}

/// Unmounts everything but the file systems that programs expect, the last mount first. What is in use stays mounted.
fn release_disks(context: &mut Context<'_>) {
    let mounts = context.text("/proc/self/mounts");
    for (_, target, ..) in disks(&mounts).into_iter().rev() {
        if let Err(error) = context.kernel.unmount(target) {
            context.say(&format!("cannot unmount {target}: {error}"));
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
        let is_below =
            |dir: &str| target.strip_prefix(dir).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        target == "/" || ["/dev", "/proc", "/sys", "/run"].into_iter().any(is_below)
    };
    let is_boots = |target: &str| target.starts_with(names::STATE_DIR);
    mounts.lines().filter_map(fields).filter(|(_, target, ..)| is_boots(target) || !is_api(target)).collect()
}

/// Returns the screen before a shell for this machine.
fn screen(context: &mut Context<'_>, head: String, wanted: Option<&str>, leave: &str) -> String {
    if !context.modules.is_open() {
        context.modules = Modules::open(context.kernel, &context.config.modules);
    }
    let mounts = context.text("/proc/self/mounts");
    let tools = TOOLS.into_iter().filter(|name| exists(context.kernel, &["/bin/", name].concat())).collect();
    Screen { head, wanted, mounts: &mounts, tools, modules: context.modules.count(), leave }.text()
}

/// The screen before a shell.
struct Screen<'a> {
    head: String,
    /// The state that the failed boot wanted.
    wanted: Option<&'a str>,
    /// The kernel's list of mounts.
    mounts: &'a str,
    /// Tools that the image has.
    tools: Vec<&'a str>,
    /// Number of modules that are baked in.
    modules: usize,
    /// The effect of `exit`.
    leave: &'a str,
}

impl Screen<'_> {
    /// Returns its lines, ten at most.
    fn text(&self) -> String {
        let mut lines = Vec::new();
        let wanted = self.wanted.unwrap_or_default().lines().next().unwrap_or_default();
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
        lines.push(("leave", [self.leave, ";"].concat()));
        lines.push(("", "reboot, poweroff and halt unmount the disks and end it".into()));
        let mut text = self.head.clone();
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
            Screen { head: "Head.".into(), wanted, mounts, tools: tools.to_vec(), modules, leave: "exit goes on" }
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

    #[test]
    fn a_console_that_is_closed_does_not_try_for_ever() {
        let mut tries = Tries::default();
        let quick = Duration::from_millis(10);
        assert!(tries.is_first() && tries.count(quick) && tries.count(quick));
        assert!(tries.count(HASTE), "somebody was there");
        assert_eq!([quick; 3].map(|time| tries.count(time)), [true, true, false]);
    }
}
