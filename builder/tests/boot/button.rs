//! A key of the keyboard that is held while init looks at it: for the menu, and longer for a factory reset. With `BOOT_REPAIRS=all`.

use std::path::Path;

use serde_json::json;
use vm::qemu::Guest;

use crate::{
    debug::PROMPT,
    lab::{Lab, PATIENCE, monitor::Monitor},
    recover::marks,
};

/// Boots the debug variant, stops it before it looks, and goes on with the key held for so many seconds.
fn held(lab: &Lab, disk: &Path, seconds: u32) -> Guest {
    let modules = ["ext4", "loop", "squashfs", "overlay", "virtio_pci", "virtio_blk", "i8042", "atkbd", "evdev"];
    let append = "rd.button=KEY_F1 rd.break=devices";
    let mut machine = lab.machine(&lab.initrd_with("-debug", &modules), &[disk], append);
    let directory = lab.directory();
    Monitor::prepare(&mut machine, &directory);
    let mut guest = Guest::start(&machine).expect("QEMU");
    stop(&mut guest);
    let mut monitor = Monitor::open(&directory);
    let key = json!([{ "type": "qcode", "data": "f1" }]);
    monitor.ask("send-key", &json!({ "keys": key, "hold-time": 1000 * seconds }));
    guest.send("exit\n").expect("typing");
    guest.wait_for("KEY_F1 is held: let go now for the menu", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest
}

/// Waits for the shell before the step.
fn stop(guest: &mut Guest) {
    guest.wait_for("Stopped before step devices", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.wait_for(PROMPT, PATIENCE).expect("a prompt");
}

pub fn menu(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let mut guest = held(lab, &disk, 4);
    guest.wait_for("1  boot as usual", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.wait_for(":", PATIENCE).expect("the question");
    guest.send("1\r").expect("typing");
    let said = marks(&mut guest);
    assert_eq!((said.get("image"), said.get("persistent")), ("A", "kept"), "{}", said.report());
    let notices = said.report()["notices"].to_string();
    assert!(notices.contains("rd.button was held: the menu"), "{notices}");
}

pub fn reset(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let mut guest = held(lab, &disk, 15);
    guest.wait_for("let go now for a factory reset", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    // The boot starts over.
    stop(&mut guest);
    guest.send("exit\n").expect("typing");
    let said = marks(&mut guest);
    assert_eq!((said.get("image"), said.get("persistent")), ("A", ""), "{}", said.report());
    let notices = said.report()["notices"].to_string();
    assert!(notices.contains("rd.button=KEY_F1 was held for a factory reset"), "{notices}");
}
