//! Boots that fail: each with its card, on the console, in time, and never with a prompt on the standard image.

use std::{fs, time::Instant};

use disk::Source;
use vm::qemu::Guest;

use crate::lab::{Lab, PATIENCE, partition, scribble};

pub fn overlay_missing(lab: &Lab) {
    let mut disk = lab.disk();
    disk.overlay = None;
    let disk = lab.make(&disk);
    let initrd = lab.initrd("");
    let said = lab.fail(&lab.machine(&initrd, &[&disk], "rd.timeout=2s"), "overlay-missing");
    assert!(said.contains("LABEL=img") && said.contains("rd.overlay=tmpfs"), "{said}");
    assert!(said.contains("within 2000 ms"), "{said}");
    assert!(!said.contains("# "), "no prompt: {said}");
}

pub fn img_missing(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let started = Instant::now();
    let said = lab.fail(&lab.machine(&lab.initrd(""), &[&disk], "rd.img=LABEL=nowhere rd.timeout=1s"), "img-missing");
    for word in ["/dev/vda1: vfat", "LABEL=img", "LABEL=overlay", "LABEL=newimg", "step      devices"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(started.elapsed() < PATIENCE);
}

pub fn image_missing(lab: &Lab) {
    let mut disk = lab.disk();
    disk.image_name = "something-else.img".into();
    let said = lab.fail(&lab.machine(&lab.initrd(""), &[&lab.make(&disk)], ""), "image-missing");
    assert!(said.contains("something-else.img"), "{said}");
}

pub fn image_truncated(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let (start, size) = partition(&disk, "img");
    let part = lab.directory().join("img");
    let whole = fs::read(&disk).expect("the disk");
    let (from, length) = (usize::try_from(start).expect("an offset"), usize::try_from(size).expect("a size"));
    fs::write(&part, &whole[from..from + length]).expect("the partition");
    let debugfs = |command: &str| {
        let run =
            std::process::Command::new("debugfs").args(["-w", "-R", command]).arg(&part).output().expect("debugfs");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    };
    debugfs("set_inode_field root-squashfs.img size 100000");
    scribble(&disk, start, &fs::read(&part).expect("the partition"));
    let said = lab.fail(&lab.machine(&lab.initrd(""), &[&disk], ""), "image-truncated");
    assert!(said.contains("has 100000 bytes"), "{said}");
}

pub fn overlay_damaged(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let (start, _) = partition(&disk, "overlay");
    // The group descriptors: the superblock stays, so the label is found and the mount fails.
    scribble(&disk, start + 4096, &[0xff; 4096]);
    scribble(&disk, start + 2048, &[0xff; 2048]);
    let said = lab.fail(&lab.machine(&lab.initrd(""), &[&disk], ""), "overlay-mount");
    assert!(said.contains("e2fsck"), "{said}");
    let marks = lab.boot(&lab.initrd(""), &disk, "rd.overlay.fallback=tmpfs");
    assert_eq!(marks.report()["status"], "degraded");
}

pub fn other_kernel(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    // Every mention of the running kernel, in names and in the modules, becomes one of another kernel.
    let initrd = lab.initrd("");
    let bytes = fs::read(&initrd).expect("the initrd");
    let version = lab.kernel.version.as_bytes();
    let other: Vec<u8> = version.iter().map(|byte| if byte.is_ascii_digit() { b'9' } else { *byte }).collect();
    let mut changed = bytes.clone();
    let mut at = 0;
    while at + version.len() <= changed.len() {
        if &changed[at..at + version.len()] == version {
            changed[at..at + version.len()].copy_from_slice(&other);
            at += version.len();
        } else {
            at += 1;
        }
    }
    assert_ne!(bytes, changed);
    fs::write(&initrd, changed).expect("the initrd");
    let said = lab.fail(&lab.machine(&initrd, &[&disk], "rd.timeout=1s"), "img-missing");
    let other = String::from_utf8(other).expect("a version");
    assert!(said.contains(&format!("are for kernel {other}, but {} is running", lab.kernel.version)), "{said}");
}

pub fn init_missing(lab: &Lab) {
    let root = lab.root("A");
    fs::remove_file(root.join("sbin/init")).expect("remove");
    let mut disk = lab.disk();
    disk.source = Source::Root(root);
    let said = lab.fail(&lab.machine(&lab.initrd(""), &[&lab.make(&disk)], ""), "init-missing");
    assert!(said.contains("there is /bin/sh"), "{said}");
}

pub fn parameters(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let initrd = lab.initrd("");
    let said = lab.fail(&lab.machine(&initrd, &[&disk], "rd.img=vda2"), "parameter-value");
    assert!(said.contains("rd.img=vda2"), "{said}");
    let marks = lab.boot(&initrd, &disk, "rd.imge=x rd.luks=0 rd.timeout=never");
    let notices = marks.report()["notices"].to_string();
    for word in ["did you mean rd.img?", "rd.luks", "rd.timeout=never"] {
        assert!(notices.contains(word), "{notices}");
    }
}

pub fn debug_shell(lab: &Lab) {
    let mut disk = lab.disk();
    disk.overlay = None;
    let disk = lab.make(&disk);
    let machine = lab.machine(&lab.initrd("-debug"), &[&disk], "rd.timeout=1s");
    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for("cannot boot: overlay-missing", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.wait_for("# ", PATIENCE).expect("a prompt");
    guest.send("cat /run/initramfs/report.json\n").expect("typing");
    guest.wait_for("\"status\": \"failed\"", PATIENCE).expect("the report");
    guest.wait_for("# ", PATIENCE).expect("a prompt");
    guest.send("poweroff\n").expect("typing");
    let verdict = guest.finish(Some(PATIENCE)).expect("the end");
    assert!(guest.console().contains("Power down"), "{verdict:?}: {}", guest.last_lines());
}

pub fn reboot(lab: &Lab) {
    let mut disk = lab.disk();
    disk.overlay = None;
    let disk = lab.make(&disk);
    let machine = lab.machine(&lab.initrd(""), &[&disk], "rd.timeout=1s rd.onerror=reboot:1");
    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for("cannot boot: overlay-missing", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.finish(Some(PATIENCE)).expect("the end");
    assert!(guest.console().contains("Restarting system"), "{}", guest.last_lines());
}
