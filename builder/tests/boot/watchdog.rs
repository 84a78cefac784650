//! A watchdog that somebody armed before: a copy that takes longer than its patience does not end in a reset, and the system gets
//! it still armed.

use std::fs;

use initramfs_overlay::{
    disk::{Disk, layout::Role, size::MIB},
    qemu::Guest,
};

use crate::{
    image::Marks,
    lab::{Lab, PATIENCE, cut_out},
};

/// Seconds that the watchdog waits; bytes that the medium gives in one; bytes that the image has at least, so that the copy takes
/// more than twice as long.
const LIMIT: u32 = 8;
const SPEED: usize = 400_000;
const SIZE: usize = 8_000_000;

/// Bytes that no compressor makes smaller (Marsaglia's xorshift).
fn noise() -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..SIZE / 8).flat_map(|_| next()).collect()
}

pub fn fed(lab: &Lab) {
    let modules = ["ext4", "loop", "squashfs", "overlay", "virtio_pci", "virtio_blk", "i6300esb"];
    let initrd = lab.initrd_with("-debug", &modules);
    let root = lab.root("B");
    fs::write(root.join("noise"), noise()).expect("a large file");
    let delivery = lab.make(&Disk { newimg: Some(Some(root)), ..lab.disk() });
    let stick = cut_out(lab, &delivery, "newimg");
    let mut plain = Disk { newimg: None, ..lab.disk() };
    plain.sizes.insert(Role::Img, 64 * MIB);
    let plain = lab.make(&plain);
    let state = "-- \"run=/bin/busybox cat /sys/class/watchdog/watchdog0/state\"";
    let mut machine = lab.machine(&initrd, &[&plain], &format!("rd.break=update {state}"));
    let drive = format!("file={},format=raw,if=virtio,throttling.bps-read={SPEED}", stick.display());
    machine.extra = ["-device", "i6300esb", "-action", "watchdog=poweroff", "-drive", &drive].map(Into::into).to_vec();
    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for("Stopped before step update", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.wait_for("# ", PATIENCE).expect("a prompt");
    // Closed without the letter V, it stays armed.
    let arm = format!(
        "rmmod i6300esb; insmod $(find /lib/modules -name 'i6300esb.ko*') heartbeat={LIMIT} && \
         echo >/dev/watchdog0; cat /sys/class/watchdog/watchdog0/state; exit\n"
    );
    guest.send(&arm).expect("typing");
    guest.wait_for("copying", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.wait_for("MARK end", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let marks = Marks::parse(&guest.console()).expect("marks");
    assert_eq!((marks.get("image"), &marks.report()["update"]), ("B", &"installed".into()));
    assert_eq!(marks.group("run"), ["active"]);
}
