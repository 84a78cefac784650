//! Disks with XFS, Btrfs or F2FS: an update is installed, the image boots and the writable layer works.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    image,
    lab::{Lab, PATIENCE},
    support::{program, run},
    update,
};

/// Size of each filesystem in bytes: mkfs.xfs takes no less than 300 MiB.
const SIZE: u64 = 320 << 20;

pub fn xfs(lab: &Lab) {
    check(lab, "xfs", &make_xfs);
}

pub fn btrfs(lab: &Lab) {
    check(lab, "btrfs", &|device, label, folder| {
        run(program("mkfs.btrfs").args(["-q", "-L", label, "--rootdir"]).arg(folder).arg(device));
    });
}

pub fn f2fs(lab: &Lab) {
    check(lab, "f2fs", &|device, label, folder| {
        run(program("mkfs.f2fs").args(["-q", "-l", label]).arg(device));
        run(program("sload.f2fs").arg("-f").arg(folder).arg(device));
    });
}

/// Makes a filesystem with this label, and what a directory holds, in a file.
type Make = dyn Fn(&Path, &str, &Path);

/// Puts the image, the writable layer and an update on a disk each, and boots.
fn check(lab: &Lab, filesystem: &str, make: &Make) {
    let file = |folder: &Path, name: &str, content: &[u8]| fs::write(folder.join(name), content).expect("a file");
    let folders = [lab.folder(), lab.folder(), lab.folder()];
    let [img, overlay, newimg] = &folders;
    file(img, "root-squashfs.img", &update::image(lab, "A"));
    file(newimg, "root-squashfs.img", &update::image(lab, "B"));
    image::persistent(&overlay.join("persistent"), "kept").expect("a persistent directory");
    let disks: Vec<PathBuf> = ["img", "overlay", "newimg"]
        .iter()
        .zip(&folders)
        .map(|(label, folder)| {
            let device = lab.folder().join(label);
            fs::File::create(&device).and_then(|file| file.set_len(SIZE)).expect("room");
            make(&device, label, folder);
            device
        })
        .collect();
    let initrd = lab.initrd_with("", &[filesystem, "loop", "squashfs", "overlay", "virtio_pci", "virtio_blk"]);
    let disks: Vec<&Path> = disks.iter().map(PathBuf::as_path).collect();
    let machine = lab.machine(&initrd, &disks, "");
    let (marks, _) = image::boot(&machine, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let report = marks.report();
    assert_eq!((&report["status"], &report["update"]), (&"ok".into(), &"installed".into()), "{report}");
    assert_eq!((marks.get("image"), marks.get("persistent"), marks.get("writable")), ("B", "kept", "yes"));
    for (place, options) in [("img", "ro"), ("overlay", "rw")] {
        let [_, kind, seen] = marks.mount(&format!("/run/initramfs/{place}")).expect("it is mounted");
        assert_eq!((kind, seen.split(',').next()), (filesystem, Some(options)), "{place}");
    }
    assert!(marks.group("layer-img").contains(&"root-squashfs-old.img"), "{:?}", marks.group("layer-img"));
    assert!(marks.group("layer-overlay").contains(&"upper"), "{:?}", marks.group("layer-overlay"));
}

/// Makes an XFS with what a directory holds, listed in a prototype file (mkfs.xfs(8), -p).
fn make_xfs(device: &Path, label: &str, folder: &Path) {
    fn list(folder: &Path, lines: &mut String) {
        for entry in fs::read_dir(folder).expect("a directory").flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_str().expect("a name");
            if path.is_dir() {
                *lines += &format!("{name} d--755 0 0\n");
                list(&path, lines);
                *lines += "$\n";
            } else {
                *lines += &format!("{name} ---644 0 0 {}\n", path.display());
            }
        }
    }
    let mut lines = "none\n0 0\nd--755 0 0\n".to_owned();
    list(folder, &mut lines);
    lines += "$\n";
    let prototype = device.with_extension("proto");
    fs::write(&prototype, lines).expect("a prototype");
    run(program("mkfs.xfs").args(["-q", "-L", label, "-p"]).arg(&prototype).arg(device));
}
