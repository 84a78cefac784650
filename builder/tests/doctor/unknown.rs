//! Media with features that the doctor does not read: its verdict is `cannot-tell` with the reason, and never that all is well.

use std::{
    fs::{self, File},
    path::Path,
};

use archive::{
    newc::{self, Properties},
    tree::{Entry, OnConflict, Tree},
};

use crate::{
    Bench, X, command, doctor, examine, partition, scribble,
    support::{program, run},
};

/// Makes a filesystem of 48 MiB with these features, this label, and what is in `root`.
fn mke2fs(path: &Path, features: &str, label: &str, root: &Path) {
    File::create(path).unwrap().set_len(48 << 20).unwrap();
    run(program("mke2fs").args(["-q", "-F", "-t", "ext4", "-O", features, "-L", label, "-d"]).arg(root).arg(path));
}

#[test]
fn features_that_are_not_read_are_named() {
    let Some(bench) = Bench::new(&[]) else { return };
    for (directory, image) in [("img", Some("a.img")), ("none", None)] {
        fs::create_dir(bench.at(directory)).unwrap();
        image.map(|image| fs::copy(bench.at(image), bench.at(directory).join(X)).unwrap());
    }
    let (img, overlay) = (bench.at("img.ext4"), bench.at("overlay.ext4"));
    let overlay_path = overlay.to_str().unwrap();
    mke2fs(&overlay, "ext_attr", "overlay", &bench.at("none"));
    let large = "ea_inode,large_dir,mmp";
    for (features, name) in [
        ("inline_data", Some("inline_data")),
        ("casefold", Some("casefold")),
        ("meta_bg,^resize_inode", Some("meta_bg")),
        ("^filetype", Some("^filetype")),
        (large, None),
    ] {
        mke2fs(&img, features, "img", &bench.at("img"));
        let (status, json) = examine(&img, &[overlay_path]);
        match name {
            None => assert_eq!((status, &json["verdict"]), (0, &"boots".into()), "{features}: {json:#}"),
            Some(name) => {
                assert_eq!((status, &json["verdict"]), (4, &"cannot-tell".into()), "{features}: {json:#}");
                let reason = json["unknown"][0].as_str().unwrap();
                assert!(reason.starts_with("img (/dev/sda): ") && reason.ends_with(name), "{reason}");
                assert!(json["failure"].is_null() && json["image"].is_null(), "{json:#}");
            }
        }
    }
    // A filesystem that another machine may have mounted.
    mke2fs(&img, "mmp", "img", &bench.at("img"));
    let mut bytes = fs::read(&img).unwrap();
    let clean = 0xff4d_4d50_u32.to_le_bytes();
    let place = (0..bytes.len()).step_by(1024).find(|place| bytes[place + 4..place + 8] == clean).unwrap();
    bytes[place + 4] = 5;
    fs::write(&img, bytes).unwrap();
    let (status, json) = examine(&img, &[overlay_path]);
    assert!(status == 4 && json["unknown"][0].to_string().contains("mmp"), "{json:#}");
    // A failure before the unknown is certain.
    mke2fs(&img, "ext_attr", "img", &bench.at("none"));
    mke2fs(&overlay, "inline_data", "overlay", &bench.at("none"));
    let (status, json) = examine(&img, &[overlay_path]);
    assert_eq!((status, &json["failure"]["code"]), (1, &"image-missing".into()), "{json:#}");
    mke2fs(&img, "ext_attr", "img", &bench.at("img"));
    let (status, json) = examine(&img, &[overlay_path]);
    assert_eq!((status, json["unknown"][0].as_str().unwrap().split(':').next()), (4, Some("overlay (/dev/sdb)")));
}

#[test]
fn a_program_of_the_image_is_not_run() {
    let Some(bench) = Bench::new(&[]) else { return };
    let packed = ["-noappend", "-quiet", "-all-root"];
    // Programs get these.
    ["proc", "dev"].iter().for_each(|name| fs::create_dir(bench.at("a").join(name)).unwrap());
    for (program_name, status) in [("sbin/other", 1), ("sbin/e2fsck", 4)] {
        fs::copy(bench.at("a/sbin/init"), bench.at("a").join(program_name)).unwrap();
        run(program("mksquashfs").arg(bench.at("a")).arg(bench.at("a.img")).args(packed));
        let disk = bench.disk(&["--no-newimg"]);
        let (overlay, _) = partition(&disk, "overlay");
        scribble(&disk, overlay + 4096, &[0xff; 16384]);
        let (seen, json) = examine(&disk, &[]);
        assert_eq!(seen, status, "{program_name}: {json:#}");
        assert_eq!(json["unknown"].to_string().contains("/sbin/e2fsck for the repair"), status == 4, "{json:#}");
    }
}

#[test]
fn quotas_take_a_module() {
    let Some(bench) = Bench::new(&[]) else { return };
    for directory in ["img", "none"] {
        fs::create_dir(bench.at(directory)).unwrap();
    }
    fs::copy(bench.at("a.img"), bench.at("img").join(X)).unwrap();
    let (img, overlay) = (bench.at("img.ext4"), bench.at("overlay.ext4"));
    // Mounted read-only, it takes none.
    mke2fs(&img, "quota", "img", &bench.at("img"));
    mke2fs(&overlay, "quota", "overlay", &bench.at("none"));
    let overlay = overlay.to_str().unwrap();
    let (status, json) = examine(&img, &[overlay]);
    assert_eq!((status, json["unknown"].as_array().unwrap().len()), (4, 1), "{json:#}");
    let reason = json["unknown"][0].as_str().unwrap();
    assert!(reason.starts_with("overlay (/dev/sdb)") && reason.contains("quota_v2; give the initramfs"), "{reason}");
    for (module, status, words) in [("quota_v2", 0, None), ("ext4", 4, Some("the initramfs has no such module"))] {
        let initramfs = bench.at("initramfs");
        let mut tree = Tree::new();
        let path = format!("lib/modules/6.1/kernel/fs/{module}.ko");
        tree.create_parents(&path).unwrap();
        let content = archive::tree::Content::Bytes(b"module".to_vec());
        tree.insert(&path, Entry::file(0o644, content), OnConflict::Refuse).unwrap();
        newc::write(&tree, Properties::default(), &mut File::create(&initramfs).unwrap()).unwrap();
        let (seen, json) = examine(&img, &[overlay, "--initramfs", initramfs.to_str().unwrap()]);
        assert_eq!(seen, status, "{json:#}");
        assert!(words.is_none_or(|words| json["unknown"][0].to_string().contains(words)), "{json:#}");
    }
}

#[test]
fn what_is_no_disk_is_said_in_one_line() {
    let Some(bench) = Bench::new(&[]) else { return };
    fs::write(bench.at("empty"), "").unwrap();
    let mut tree = Tree::new();
    tree.insert("etc", Entry::directory(0o755), OnConflict::Refuse).unwrap();
    newc::write(&tree, Properties::default(), &mut File::create(bench.at("initrd.cpio")).unwrap()).unwrap();
    run(program("gzip").args(["-kn"]).arg(bench.at("initrd.cpio")));
    fs::write(bench.at("disk"), [0; 70_000]).unwrap();
    run(program("gzip").args(["-n"]).arg(bench.at("disk")));
    for (name, words) in [
        ("empty", "is empty;"),
        ("a.img", "is the image of a system (squashfs), not a disk;"),
        ("initrd.cpio", "is an initramfs (cpio), not a disk; give the disk that it boots"),
        ("initrd.cpio.gz", "is an initramfs, not a disk; give the disk that it boots"),
        ("disk.gz", "is packed data; unpack it"),
        ("/dev/null", "is a character device;"),
        (".", "is a directory; --img-dir DIR"),
    ] {
        let output = doctor(&[bench.at(name).to_str().unwrap()]);
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            (output.status.code(), output.stdout.len(), text.lines().count()),
            (Some(1), 0, 1),
            "{name}: {text}"
        );
        assert!(text.contains(words), "{name}: {text}");
    }
}

#[test]
fn labels_of_other_filesystems_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let disk = directory.path().join("disk");
    let mut xfs = vec![0; 1 << 20];
    xfs[..4].copy_from_slice(b"XFSB");
    xfs[108..111].copy_from_slice(b"img");
    let mut ntfs = vec![0; 1 << 20];
    ntfs[3..11].copy_from_slice(b"NTFS    ");
    for (content, words) in [
        (&xfs, "img (/dev/sda): the doctor does not read xfs"),
        (&ntfs, "the doctor does not read the label of /dev/sda: ntfs"),
    ] {
        fs::write(&disk, content).unwrap();
        let (status, json) = examine(&disk, &["--append", "rd.overlay=tmpfs rd.timeout=0"]);
        assert_eq!(status, 4, "{json:#}");
        assert!(json["unknown"][0].as_str().unwrap().starts_with(words), "{json:#}");
        let output = command().args(["doctor", "--append", "rd.overlay=tmpfs"]).arg(&disk).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(text.lines().last().unwrap().contains(&format!("cannot tell: {words}")), "{text}");
    }
}
