//! Going back, on a real kernel: an image on trial that nobody marks good, one that is marked, and a current image that is
//! damaged while the old one is not.

use std::path::PathBuf;

use disk::Disk;

use crate::{
    image::Marks,
    lab::{Lab, cut_out, put_back, scribble},
    update::debugfs,
};

const X: &str = "root-squashfs.img";

/// Returns image A, with B on `newimg`.
fn disk(lab: &Lab) -> PathBuf {
    lab.make(&Disk { newimg: Some(Some(lab.root("B"))), ..lab.disk() })
}

/// Returns the image that booted, and from the report the update, the boots left on trial and the status.
fn outcome(marks: &Marks) -> [String; 4] {
    let report = marks.report();
    let fact = |name: &str| report[name].as_str().unwrap_or("-").to_owned();
    [marks.get("image").into(), fact("update"), fact("trial"), fact("status")]
}

/// B boots as often as it was given tries, then A is back, and B is kept with the reason. Said to be well, B stays.
pub fn tries(lab: &Lab) {
    let initrd = lab.initrd("");
    let given = "rd.newimg.tries=2";
    let disk = self::disk(lab);
    assert_eq!(outcome(&lab.boot(&initrd, &disk, given)), ["B", "installed", "1", "ok"]);
    assert_eq!(outcome(&lab.boot(&initrd, &disk, given)), ["B", "none", "0", "ok"]);
    let reason = "-- \"run=/bin/busybox cat /run/initramfs/img/root-squashfs-rejected.img.txt\"";
    let marks = lab.boot(&initrd, &disk, &format!("{given} {reason}"));
    assert_eq!(outcome(&marks), ["A", "put back", "-", "degraded"]);
    assert!(marks.group("run").iter().any(|line| line.contains("was not marked good")), "{:?}", marks.group("run"));
    let files = marks.group("layer-img");
    assert!(files.contains(&"root-squashfs-rejected.img") && !files.contains(&"root-squashfs-old.img"), "{files:?}");
    assert_eq!(outcome(&lab.boot(&initrd, &disk, given)), ["A", "none", "-", "ok"]);

    let disk = self::disk(lab);
    let well = "-- \"run=/bin/busybox rm /run/initramfs/overlay/trial && /bin/busybox sync\"";
    assert_eq!(outcome(&lab.boot(&initrd, &disk, &format!("{given} {well}"))), ["B", "installed", "1", "ok"]);
    for _ in 0..2 {
        assert_eq!(outcome(&lab.boot(&initrd, &disk, given)), ["B", "none", "-", "ok"]);
    }
}

/// The current image's superblock is gone, or names a table that is not there: the old image boots, degraded.
pub fn fallback(lab: &Lab) {
    let initrd = lab.initrd("");
    let disk = self::disk(lab);
    assert_eq!(lab.boot(&initrd, &disk, "").get("image"), "B");
    // squashfs: magic at 0, the inode table's place at 64 (fs/squashfs/squashfs_fs.h).
    for (at, wanted) in [(64, "cannot mount"), (0, "neither")] {
        let alone = cut_out(lab, &disk, "img");
        let blocks = debugfs(&alone, &format!("blocks {X}"));
        let block: u64 = blocks.split_ascii_whitespace().next().expect("a block").parse().expect("a number");
        let stats = debugfs(&alone, "stats");
        let size = stats.lines().find_map(|line| line.strip_prefix("Block size:")).expect("a block size").trim();
        scribble(&alone, block * size.parse::<u64>().expect("a number") + at, &[0xfe; 8]);
        put_back(&disk, "img", &alone);
        let marks = lab.boot(&initrd, &disk, "");
        assert_eq!(outcome(&marks), ["A", "none", "-", "degraded"]);
        assert_eq!(marks.report()["image"], "root-squashfs-old.img");
        let notices = marks.report()["notices"].to_string();
        assert!(notices.contains("booting root-squashfs-old.img") && notices.contains(wanted), "{notices}");
    }
}
