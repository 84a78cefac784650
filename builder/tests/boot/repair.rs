//! An overlay partition whose ext4 is damaged, on a real kernel: the image's own e2fsck repairs it, `remake` recreates it and brings
//! `persistent` back, and what is not allowed or not there is said.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use disk::{Disk, Source};

use crate::{
    image::Marks,
    lab::{Lab, cut_out, partition, put_back, scribble},
    support::run,
    update::debugfs,
};

/// Returns image A with the programs a repair needs.
fn root(lab: &Lab) -> PathBuf {
    let root = lab.root("A");
    for program in ["cp", "rm"] {
        symlink("busybox", root.join("bin").join(program)).expect("an applet");
    }
    for program in ["/usr/sbin/e2fsck", "/usr/sbin/mke2fs"] {
        put_program(&root, Path::new(program));
    }
    root
}

/// Puts a program of this machine into a root, with the libraries it is linked to.
fn put_program(root: &Path, program: &Path) {
    let output = Command::new("ldd").arg(program).output().expect("ldd");
    let text = String::from_utf8_lossy(&output.stdout);
    // `name => /path (address)`, or the path alone for the loader.
    let libraries = text.split_ascii_whitespace().filter(|word| word.starts_with('/')).map(Path::new);
    for path in libraries.chain([program]) {
        let inside = root.join(path.strip_prefix("/").expect("an absolute path"));
        fs::create_dir_all(inside.parent().expect("a directory")).expect("a directory");
        fs::copy(path, &inside).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// Returns the usual disk, with `persistent` kept on an overlay partition. Its blocks are small, so that it has copies of superblock and
/// group descriptors, as a larger one has with any blocks.
pub fn disk(lab: &Lab, root: PathBuf) -> PathBuf {
    let disk = lab.make(&Disk { source: Source::Root(root), ..lab.disk() });
    let content = lab.directory();
    fs::rename(lab.persistent("kept"), content.join("persistent")).expect("persistent");
    let alone = cut_out(lab, &disk, "overlay");
    let options = ["-q", "-F", "-t", "ext4", "-b", "1024", "-L", "overlay", "-d"];
    run(Command::new("mke2fs").args(options).arg(&content).arg(&alone));
    put_back(&disk, "overlay", &alone);
    disk
}

/// Overwrites the group descriptors: the superblock stays, so the label is found and the mount fails with EUCLEAN.
pub fn break_descriptors(disk: &Path) {
    let (start, _) = partition(disk, "overlay");
    scribble(disk, start + 4096, &[0xff; 4096]);
    scribble(disk, start + 2048, &[0xff; 2048]);
}

/// Gives the filesystem a feature that neither the kernel nor e2fsck knows: of the kind `R` it can be read, of `I` not even that.
fn add_feature(lab: &Lab, disk: &Path, kind: char) {
    let alone = cut_out(lab, disk, "overlay");
    debugfs(&alone, &format!("feature FEATURE_{kind}30"));
    put_back(disk, "overlay", &alone);
}

/// Returns the notices of a boot that are about anything but what the test images lack.
fn repairs(marks: &Marks) -> Vec<String> {
    let report = marks.report();
    let notices = report["notices"].as_array().expect("notices").iter().filter_map(|notice| notice.as_str());
    notices.filter(|notice| !notice.contains("no modules for this kernel")).map(String::from).collect()
}

/// The default: e2fsck repairs it, and nothing is lost. Also where not even the label is left and the partition is named otherwise.
pub fn checked(lab: &Lab) {
    let initrd = lab.initrd("");
    let whole = disk(lab, root(lab));
    let damaged = lab.copy(&whole);
    break_descriptors(&damaged);
    let said = lab.fail(&lab.machine(&initrd, &[&damaged], "rd.overlay.repair=no"), "overlay-mount");
    assert!(!said.contains("e2fsck exited"), "{said}");
    let marks = lab.boot(&initrd, &damaged, "");
    let report = marks.report();
    assert_eq!((marks.get("image"), marks.get("persistent")), ("A", "kept"), "{report}");
    assert_eq!(marks.get("writable"), "yes");
    assert!(report["notices"].to_string().contains("e2fsck exited with status 1"), "{report}");
    let marks = lab.boot(&initrd, &damaged, "rd.overlay.repair=no");
    assert_eq!((marks.get("persistent"), repairs(&marks)), ("kept", Vec::new()));
    // The superblock itself: e2fsck finds another one.
    let (start, _) = partition(&whole, "overlay");
    scribble(&whole, start, &[0; 2048]);
    lab.fail(&lab.machine(&initrd, &[&whole], "rd.timeout=1s"), "overlay-missing");
    let marks = lab.boot(&initrd, &whole, "rd.overlay=PARTLABEL=overlay");
    assert_eq!(marks.get("persistent"), "kept", "{}", marks.report());
}

/// Beyond repair: the card says so, unless it may be recreated; then `persistent` comes back if it can be read.
pub fn remade(lab: &Lab) {
    let initrd = lab.initrd("");
    let whole = disk(lab, root(lab));
    for (kind, persistent) in [('R', "kept"), ('I', "")] {
        let damaged = lab.copy(&whole);
        add_feature(lab, &damaged, kind);
        let said = lab.fail(&lab.machine(&initrd, &[&damaged], ""), "overlay-mount");
        assert!(said.contains("e2fsck exited with status 8"), "{said}");
        let marks = lab.boot(&initrd, &damaged, "rd.overlay.repair=remake");
        let report = marks.report();
        assert_eq!((marks.get("image"), marks.get("persistent")), ("A", persistent), "{report}");
        assert!(report["notices"].to_string().contains("is recreated"), "{report}");
        assert!(!marks.group("layer-img").iter().any(|file| file.starts_with("persistent-saved")), "nothing is left");
        let marks = lab.boot(&initrd, &damaged, "");
        assert_eq!((marks.get("persistent"), marks.get("writable")), (persistent, "yes"));
        assert_eq!(repairs(&marks), Vec::<String>::new());
    }
}

/// Cut off between the saving and the making: what was saved is not saved over, and comes back.
pub fn saved_before(lab: &Lab) {
    let initrd = lab.initrd("");
    let disk = disk(lab, root(lab));
    let alone = cut_out(lab, &disk, "img");
    for command in ["mkdir persistent-saved", "mkdir persistent-saved/etc"] {
        debugfs(&alone, command);
    }
    let mark = lab.directory().join("mark");
    fs::write(&mark, "saved\n").expect("a mark");
    debugfs(&alone, &format!("write {} persistent-saved/etc/persistent-mark", mark.display()));
    put_back(&disk, "img", &alone);
    add_feature(lab, &disk, 'R');
    let marks = lab.boot(&initrd, &disk, "rd.overlay.repair=remake");
    assert_eq!(marks.get("persistent"), "saved", "{}", marks.report());
}

/// An image without the programs: that is said, and a fallback on a tmpfs boots.
pub fn without_programs(lab: &Lab) {
    let initrd = lab.initrd("");
    let disk = disk(lab, lab.root("A"));
    break_descriptors(&disk);
    let said = lab.fail(&lab.machine(&initrd, &[&disk], "rd.overlay.repair=remake"), "overlay-mount");
    assert!(said.contains("e2fsck is not in the image") && said.contains("mke2fs is not in the image"), "{said}");
    let marks = lab.boot(&initrd, &disk, "rd.overlay.repair=remake rd.overlay.fallback=tmpfs");
    assert_eq!((marks.get("image"), &marks.report()["status"]), ("A", &"degraded".into()), "{}", marks.report());
}
