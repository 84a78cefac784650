//! The test images themselves: that they can be made and that what they say is read right. Boots nothing.

#[path = "../../test-images/image.rs"]
mod image;
mod support;

use base::progress::Progress;
use disk::{self, Source};
use image::Marks;
use sources::target::{self, DiskInterface};

const CONSOLE: &str = "\
SeaBIOS\r
MARK begin\r
MARK image=old\r
MARK begin\r
MARK image=A\r
MARK arg=one=two\r
[    7.1] something of the kernel's\r
MARK arg=three\r
MARK mount: devtmpfs /dev devtmpfs rw 0 0\r
MARK mount: rootfs / rootfs rw 0 0\r
MARK mount: overlay / overlay rw,relatime 0 0\r
MARK mountinfo: 20 30 0:5 / /dev rw - devtmpfs dev rw\r
MARK mountinfo: 30 1 0:21 / / rw - overlay overlay rw\r
MARK report: {\r
MARK report:   \"status\": \"ok\"\r
MARK report: }\r
MARK end\r
MARK image=late\r
";

#[test]
fn the_marks_of_the_last_boot_are_read() {
    let marks = Marks::parse(CONSOLE).unwrap();
    assert_eq!(marks.get("image"), "A");
    assert_eq!(marks.get("nothing"), "");
    assert_eq!(marks.values("arg"), ["one=two", "three"]);
    assert_eq!(marks.mount("/"), Some(["overlay", "overlay", "rw,relatime"]));
    assert_eq!(marks.mount("/proc"), None);
    assert!(marks.mount_number("/dev") < marks.mount_number("/"));
    assert_eq!(marks.report()["status"], "ok");
    assert_eq!(marks.group("report")[1], "  \"status\": \"ok\"");
    assert!(Marks::parse("MARK begin\r\nMARK image=A\r\n").is_none());
}

#[test]
fn a_disk_of_two_images_is_made_for_every_target() {
    if !support::all_installed(&["mke2fs", "debugfs", "mkfs.vfat", "mmd", "mcopy", "mksquashfs"]) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let work = directory.path();
    let busybox = b"a program";
    let kept = work.join("kept");
    image::persistent(&kept, "kept").unwrap();
    let (a, b) = (image::root_in(work, "A", busybox).unwrap(), image::root_in(work, "B", busybox).unwrap());
    for target in target::all().unwrap() {
        let plan = disk::Disk {
            overlay: Some(Some(kept.clone())),
            newimg: Some(Some(b.clone())),
            ..image::disk(Source::Root(a.clone()), target)
        };
        let path = work.join(format!("{}.img", target.name));
        let report = disk::make(&plan, &path, false, &Progress::none()).unwrap();
        assert_eq!(report.warnings, Vec::<String>::new());
        assert_eq!(report.partitions.len(), 4);
        assert_eq!(report.size.is_power_of_two(), target.qemu.disk == DiskInterface::Sd);
    }
}
