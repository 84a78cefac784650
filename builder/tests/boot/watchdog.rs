//! A watchdog that somebody armed before: a copy or a repair that takes longer than its patience does not end in a reset, and the
//! system gets it still armed.

use std::{fs, path::Path};

use disk::{Disk, Source, layout::Role, size::MIB};
use initramfs_overlay::busybox_rootfs::{self, RootFile};
use vm::qemu::{Guest, Machine};

use crate::{
    image::Marks,
    lab::{Lab, PATIENCE, cut_out},
    repair::break_descriptors,
    support::noise,
};

/// Seconds that the watchdog waits; bytes that the medium gives in one; bytes that the image has at least, so that the copy takes
/// more than twice as long.
const LIMIT: u32 = 8;
const SPEED: usize = 400_000;
const SIZE: usize = 8_000_000;

/// Boots up to the shell before `step`, arms the watchdog there and goes on.
fn armed(machine: &Machine, step: &str) -> Guest {
    let mut guest = Guest::start(machine).expect("QEMU");
    guest.wait_for(&format!("Stopped before step {step}"), PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.wait_for("# ", PATIENCE).expect("a prompt");
    // Closed without the letter V, it stays armed.
    let arm = format!(
        "rmmod i6300esb; insmod $(find /lib/modules -name 'i6300esb.ko*') heartbeat={LIMIT} && \
         echo >/dev/watchdog0; cat /sys/class/watchdog/watchdog0/state; exit\n"
    );
    guest.send(&arm).expect("typing");
    guest
}

/// Returns the machine with the watchdog and these options, which is asked at the end whether it is still armed.
fn machine(lab: &Lab, disk: &Path, append: &str, extra: &[&str]) -> Machine {
    let modules = ["ext4", "loop", "squashfs", "overlay", "virtio_pci", "virtio_blk", "i6300esb"];
    let state = "-- \"run=/bin/busybox cat /sys/class/watchdog/watchdog0/state\"";
    let mut machine = lab.machine(&lab.initrd_with("-debug", &modules), &[disk], &format!("{append} {state}"));
    machine.extra =
        ["-device", "i6300esb", "-action", "watchdog=poweroff"].iter().chain(extra).map(Into::into).collect();
    machine
}

fn end(mut guest: Guest) -> Marks {
    guest.wait_for("MARK end", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let marks = Marks::parse(&guest.console()).expect("marks");
    assert_eq!(marks.group("run"), ["active"]);
    marks
}

pub fn fed(lab: &Lab) {
    let root = lab.root("B");
    fs::write(root.join("noise"), noise(SIZE)).expect("a large file");
    let delivery = lab.make(&Disk { newimg: Some(Some(root)), ..lab.disk() });
    let stick = cut_out(lab, &delivery, "newimg");
    let mut plain = Disk { newimg: None, ..lab.disk() };
    plain.sizes.insert(Role::Img, 64 * MIB);
    let plain = lab.make(&plain);
    let drive = format!("file={},format=raw,if=virtio,throttling.bps-read={SPEED}", stick.display());
    let mut guest = armed(&machine(lab, &plain, "rd.break=update", &["-drive", &drive]), "update");
    guest.wait_for("copying", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let marks = end(guest);
    assert_eq!((marks.get("image"), &marks.report()["update"]), ("B", &"installed".into()));
}

/// Armed by a parameter and handed over armed, with the time that was asked for.
pub fn armed_by_parameter(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let modules = ["ext4", "loop", "squashfs", "overlay", "virtio_pci", "virtio_blk", "i6300esb"];
    let state = "/sys/class/watchdog/watchdog0";
    let append = format!("rd.watchdog=60 -- \"run=/bin/busybox cat {state}/state {state}/timeout\"");
    let mut machine = lab.machine(&lab.initrd_with("", &modules), &[&disk], &append);
    machine.extra = ["-device", "i6300esb", "-action", "watchdog=poweroff"].iter().map(Into::into).collect();
    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for("MARK end", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let marks = Marks::parse(&guest.console()).expect("marks");
    assert_eq!(marks.group("run"), ["active", "60"]);
}

/// A repair may take much longer than the watchdog waits.
pub fn fed_while_mending(lab: &Lab) {
    let root = lab.root("A");
    let check = format!("#!/bin/busybox sh\n/bin/busybox sleep {}\nexit 8\n", 3 * LIMIT);
    busybox_rootfs::put(&root, &RootFile { path: "sbin/e2fsck", mode: 0o755, content: check.as_bytes() })
        .expect("a program");
    let disk = lab.make(&Disk { source: Source::Root(root), ..lab.disk() });
    break_descriptors(&disk);
    let append = "rd.break=layers rd.overlay.fallback=tmpfs";
    let marks = end(armed(&machine(lab, &disk, append, &[]), "layers"));
    let notices = marks.report()["notices"].to_string();
    assert!(notices.contains("e2fsck exited with status 8"), "{notices}");
}
