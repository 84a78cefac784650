//! The image in memory on a real kernel: the medium is free, and may be gone; where memory or the medium does not allow it the boot
//! goes on from the medium.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use disk::{Disk, Source};
use initramfs_overlay::busybox_rootfs::{self, RootFile};
use vm::qemu::Guest;

use crate::{
    image,
    lab::{Lab, PATIENCE},
    support::noise,
};

/// Size of the noise that makes an image large, in bytes.
const BALLAST: usize = 40 << 20;

/// On each target: all layers are there but `img`, and it is read from the copy.
pub fn free_medium(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    for (append, overlay) in [("rd.toram rd.overlay=tmpfs", "tmpfs"), ("rd.toram", "ext4")] {
        let marks = lab.boot(&lab.initrd(""), &disk, append);
        assert_eq!(marks.get("image"), "A");
        assert_eq!(marks.get("writable"), "yes");
        assert_eq!(marks.mount("/run/initramfs/img"), None, "img is free");
        assert_eq!(marks.mount("/run/initramfs/ram").expect("the copy's place")[1], "tmpfs");
        assert_eq!(marks.mount("/run/initramfs/overlay").expect("the writable layer")[1], overlay);
        let report = marks.report();
        assert_eq!((&report["toram"], &report["status"]), (&"yes".into(), &"ok".into()), "{report}");
    }
}

/// Returns a disk whose image has ballast, and `/sbin/init` as given.
fn large_disk(lab: &Lab, init: Option<&str>) -> PathBuf {
    let root = lab.root("A");
    fs::write(root.join("ballast"), noise(BALLAST)).expect("the ballast");
    if let Some(init) = init {
        let init = RootFile { path: "sbin/init", mode: 0o755, content: init.as_bytes() };
        busybox_rootfs::put(&root, &init).expect("an init");
    }
    lab.make(&Disk { source: Source::Root(root), newimg: None, update_room: false, ..lab.disk() })
}

/// Says when it may be disturbed; then reads all of the image from where it really is, and tries the disk.
const READER: &str = r#"#!/bin/busybox sh
export PATH=/bin
busybox echo "READY"
read -r line
echo 3 > /proc/sys/vm/drop_caches
busybox cat /dev/vda > /dev/null 2>&1 && busybox echo "the disk can be read"
echo 3 > /proc/sys/vm/drop_caches
busybox echo "BALLAST $(busybox sha256sum /ballast)"
busybox echo x > /written && busybox echo "WRITTEN $(busybox cat /written)"
busybox poweroff -f
"#;

/// The disk is taken away from under the running system, which does not notice.
pub fn pulled(lab: &Lab) {
    let disk = large_disk(lab, Some(READER));
    let socket = lab.directory().join("qmp");
    let mut machine = lab.machine(&lab.initrd(""), &[&disk], "rd.toram rd.overlay=tmpfs");
    machine.extra = ["-qmp".into(), format!("unix:{},server=on,wait=off", socket.display()).into()].to_vec();
    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for("READY", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    pull(&socket, "virtio0");
    guest.send("go\n").expect("the console");
    let seen = guest.wait_for("WRITTEN x", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    assert!(!seen.contains("the disk can be read"), "{seen}");
    assert!(seen.contains(&format!("BALLAST {}", digest(&noise(BALLAST)))), "{seen}");
    guest.finish(Some(PATIENCE)).expect("the machine's end");
}

fn digest(bytes: &[u8]) -> String {
    use sha2::{Digest, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes a drive away from a running QEMU (its monitor's `drive_del`).
fn pull(socket: &Path, drive: &str) {
    let mut monitor = UnixStream::connect(socket).expect("the monitor");
    let mut answers = BufReader::new(monitor.try_clone().expect("the monitor")).lines();
    let mut ask = |command: &str| {
        writeln!(monitor, "{command}").expect("the monitor");
        let answer = answers.by_ref().map(|line| line.expect("an answer")).find(|line| line.contains("\"return\""));
        answer.expect("an answer")
    };
    ask(r#"{"execute": "qmp_capabilities"}"#);
    let answer = ask(&format!(
        r#"{{"execute": "human-monitor-command", "arguments": {{"command-line": "drive_del {drive}"}}}}"#
    ));
    assert!(answer.contains(r#""return": """#), "{answer}");
}

/// Too little memory: the numbers are in the report, and the boot goes on from the disk.
pub fn short(lab: &Lab) {
    let disk = large_disk(lab, None);
    let mut machine = lab.machine(&lab.initrd(""), &[&disk], "rd.toram");
    machine.memory = Some(128);
    let (marks, _) = image::boot(&machine, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    refused(&marks, "in memory it takes 40.");
}

/// The medium fails while it is copied.
pub fn failing(lab: &Lab) {
    let disk = large_disk(lab, None);
    let bytes = fs::read(&disk).expect("the disk");
    let sample = noise(BALLAST)[BALLAST / 2..][..64].to_vec();
    let at = bytes.windows(64).position(|window| window == sample).expect("the ballast is on the disk");
    let rules = lab.directory().join("rules");
    let rule = format!("[inject-error]\nevent = \"read_aio\"\nerrno = \"5\"\nsector = \"{}\"\n", at / 512);
    fs::write(&rules, rule).expect("the rules");
    let mut machine = lab.machine(&lab.initrd(""), &[], "rd.toram");
    let drive = format!("file=blkdebug:{}:{},format=raw,if=virtio", rules.display(), disk.display());
    machine.extra = ["-drive".to_owned(), drive].map(Into::into).to_vec();
    let (marks, _) = image::boot(&machine, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    // As the C library of the static programs says it.
    refused(&marks, "I/O error");
}

fn refused(marks: &image::Marks, reason: &str) {
    let report = marks.report();
    assert_eq!(marks.get("image"), "A");
    assert_eq!((&report["toram"], &report["status"]), (&"no".into(), &"degraded".into()), "{report}");
    assert!(report["notices"].to_string().contains(reason), "{report}");
    assert_eq!(marks.mount("/run/initramfs/img").expect("img")[1], "ext4");
    assert_eq!(marks.mount("/run/initramfs/ram"), None, "nothing is left of the copy");
}
