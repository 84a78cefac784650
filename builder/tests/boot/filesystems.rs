//! Disks with XFS, Btrfs or F2FS: an update is installed, the image boots and the writable layer works.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    image,
    lab::{Lab, PATIENCE},
    make, update,
};

pub fn xfs(lab: &Lab) {
    check(lab, "xfs");
}

pub fn btrfs(lab: &Lab) {
    check(lab, "btrfs");
}

pub fn f2fs(lab: &Lab) {
    check(lab, "f2fs");
}

/// Puts the image, the writable layer and an update on a disk each, and boots.
fn check(lab: &Lab, filesystem: &str) {
    let (_, make) = make::OTHERS.into_iter().find(|(name, _)| *name == filesystem).expect("it is known");
    let file = |directory: &Path, name: &str, content: &[u8]| fs::write(directory.join(name), content).expect("a file");
    let directories = [lab.directory(), lab.directory(), lab.directory()];
    let [img, overlay, newimg] = &directories;
    file(img, "root-squashfs.img", &update::image(lab, "A"));
    file(newimg, "root-squashfs.img", &update::image(lab, "B"));
    image::persistent(&overlay.join("persistent"), "kept").expect("a persistent directory");
    let disks: Vec<PathBuf> = ["img", "overlay", "newimg"]
        .iter()
        .zip(&directories)
        .map(|(label, directory)| {
            let device = lab.directory().join(label);
            fs::File::create(&device).and_then(|file| file.set_len(make::SIZE)).expect("room");
            make(&device, label, directory);
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
