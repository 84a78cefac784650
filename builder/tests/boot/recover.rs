//! The menu of a failed boot, used over a serial line as a technician would.

use std::fs;

use vm::qemu::Guest;

use crate::{
    image,
    lab::{Lab, PATIENCE},
};

const MODULES: &str = "ext4,loop,squashfs,overlay,virtio_pci,virtio_blk";

/// Waits for words and types a line.
fn answer(guest: &mut Guest, words: &str, line: &str) {
    guest.wait_for(words, PATIENCE).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    guest.send(&format!("{line}\r")).expect("typing");
}

/// Reads what the booted root says.
pub fn marks(guest: &mut Guest) -> image::Marks {
    let said = guest.wait_for("MARK end", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    image::Marks::parse(&format!("{said}MARK end")).expect("everything was said")
}

/// Boots a standard image with the writable layer in memory, chosen by somebody who has the password; the next boot is as before.
pub fn password(lab: &Lab) {
    let hash = lab.directory().join("hash");
    // Of the word `secret`.
    fs::write(&hash, "$5$salt$kpa26zwgX83BPSR8d7w93OIXbFt/d3UOTZaAu5vsTM6\n").expect("a file");
    let hash = hash.to_str().expect("UTF-8");
    let initrd =
        lab.build(&["--recover-password", hash, "--cmdline", "rd.recover rd.timeout=2s", "--modules", MODULES]);
    let mut disk = lab.disk();
    disk.overlay = None;
    let disk = lab.make(&disk);
    let machine = lab.machine(&initrd, &[&disk], "rd.onerror=poweroff:60");
    let mut guest = Guest::start(&machine).expect("QEMU");
    answer(&mut guest, "Enter opens a menu", "");
    answer(&mut guest, "password:", "wrong");
    answer(&mut guest, "tries left: 2", "secret");
    answer(&mut guest, "4  show the devices", "4");
    answer(&mut guest, "LABEL=img", "");
    answer(&mut guest, "2  boot once with the writable layer in memory", "2");
    let marks = marks(&mut guest);
    assert_eq!(marks.get("image"), "A");
    let report = marks.report();
    assert_eq!(report["status"], "degraded", "{report}");
    assert!(report["notices"].to_string().contains("chosen by hand for this boot: rd.overlay=tmpfs"), "{report}");
    guest.finish(Some(PATIENCE)).expect("the end");
    let said = lab.fail(&machine, "overlay-missing");
    assert!(said.contains("overlay-missing"), "{said}");
}

/// Boots the old image from the debug variant's shell, by its menu.
pub fn old_image(lab: &Lab) {
    let mut disk = lab.disk();
    disk.newimg = Some(Some(lab.root("B")));
    let disk = lab.make(&disk);
    let marks_of = |marks: image::Marks| marks.get("image").to_owned();
    assert_eq!(marks_of(lab.boot(&lab.initrd(""), &disk, "")), "B", "the update is put in");
    let machine = lab.machine(&lab.initrd("-debug"), &[&disk], "rd.break=none init=/no/such rd.timeout=2s");
    let mut guest = Guest::start(&machine).expect("QEMU");
    answer(&mut guest, "cannot boot: init-missing", "");
    answer(&mut guest, "# ", "recover");
    answer(&mut guest, "2  boot the old image (root-squashfs-old.img) once", "2");
    // The parameter is wrong for it too; what was chosen is on the card.
    guest.wait_for("cannot boot: init-missing", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.wait_for("chosen by hand for this boot: rd.image=root-squashfs-old.img", PATIENCE).expect("the notice");
    answer(&mut guest, "# ", "poweroff");
    guest.finish(Some(PATIENCE)).expect("the end");
}
