//! The screen of a failed boot, for somebody who has nothing else, and keys: the display's text is read from the memory of the graphics card, the
//! QR code by zbarimg from a picture of the screen.

use std::{path::Path, thread, time::Duration};

use serde_json::json;
use vm::qemu::Guest;

use crate::{
    lab::{
        Lab, PATIENCE,
        monitor::{Monitor, card_digest},
    },
    support,
};

const URL: &str = "https://help.test/b";
const MODULES: &str = "ext4,loop,squashfs,overlay,virtio_pci,virtio_blk,i8042,atkbd";

/// Starts a machine with a screen whose boot fails, and waits for its card on the serial line.
fn fail(lab: &Lab, initrd: &Path, append: &str, extra: &[&str]) -> (Guest, Monitor) {
    let mut disk = lab.disk();
    disk.overlay = None;
    let disk = lab.make(&disk);
    let mut machine = lab.machine(initrd, &[&disk], &format!("rd.timeout=1s console=tty0 {append}"));
    let directory = lab.directory();
    Monitor::prepare(&mut machine, &directory);
    machine.extra.extend(extra.iter().map(Into::into));
    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for("cannot boot: overlay-missing", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.wait_for("in 60 s", PATIENCE).expect("a minute to read it");
    let monitor = Monitor::open(&directory);
    (guest, monitor)
}

/// Stays on the screen, is counted down and held by a key; its QR code takes turns with it and is read.
pub fn card(lab: &Lab) {
    let initrd = lab.build(&["--support-url", URL, "--modules", MODULES]);
    let (mut guest, mut monitor) = fail(lab, &initrd, "", &[]);
    let is_card = |text: &str| text.contains("cannot boot: overlay-missing") && text.contains("try next");
    monitor.wait("the card", is_card);
    thread::sleep(Duration::from_secs(5));
    let text = monitor.wait("the offer of a key", |text| is_card(text) && text.contains("any key holds this"));
    assert!(text.contains("then      the machine powers off in 60 s"), "{text}");
    monitor.keep_picture("card.png");
    monitor.press("spc");
    monitor.wait("the held card", |text| text.contains("held: ") && text.contains("powers off in 9 min"));
    if support::installed("zbarimg") {
        check(&monitor.wait_for_code(), &guest);
        monitor.keep_picture("code.png");
        monitor.wait("the card again", is_card);
    }
    // Nobody gets at the machine that is held.
    assert!(!guest.console().contains("Power down"), "{}", guest.last_lines());
    monitor.ask("quit", &json!({}));
    guest.finish(Some(PATIENCE)).expect("the end");
}

/// Shows card and QR code side by side on a display of 160 columns, driven by DRM.
pub fn wide(lab: &Lab) {
    if !support::installed("zbarimg") {
        return;
    }
    let initrd = lab.build(&["--support-url", URL, "--modules", &format!("{MODULES},bochs")]);
    let (mut guest, mut monitor) = fail(lab, &initrd, "", &[]);
    monitor.keep_picture("wide.png");
    // Neither goes when the other's turn would come.
    for _ in 0..3 {
        check(&monitor.wait_for_code(), &guest);
        thread::sleep(Duration::from_secs(4));
    }
    monitor.ask("quit", &json!({}));
    guest.finish(Some(PATIENCE)).expect("the end");
}

/// Compares what a QR code says with the card on the serial line.
fn check(code: &str, guest: &Guest) {
    let start = format!("{URL}?c=overlay-missing&s=devices&v={}&h=", env!("CARGO_PKG_VERSION"));
    let digest = code.strip_prefix(&start).unwrap_or_else(|| panic!("{code}"));
    assert_eq!(digest, card_digest(&guest.console()), "{code}");
}

/// Holds a card on a serial line: noise does not, Enter does; a card that nobody holds ends after five seconds.
pub fn line(lab: &Lab) {
    let mut disk = lab.disk();
    disk.overlay = None;
    let disk = lab.make(&disk);
    let machine = lab.machine(&lab.initrd(""), &[&disk], "rd.timeout=1s");
    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for("powers off in 5 s; Enter holds this", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.send("noise").expect("typing");
    guest.finish(Some(PATIENCE)).expect("the end");
    let console = guest.console();
    assert!(console.contains("powers off in 1 s") && console.contains("Power down"), "{console}");
    assert!(!console.contains("held: "), "{console}");

    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for("powers off in 5 s; Enter holds this", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.send("\r").expect("typing");
    guest.wait_for("held: the machine powers off in 10 min", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    drop(guest);
}
