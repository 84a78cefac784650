//! Partitions with more than plain files and directories, or with little space: FIFOs, links, devices, inodes, reserves.

use std::{fs::File, path::Path};

use doctor::{block_reader::Disk, ext4::Volume, filesystem::Filesystem};

use crate::{
    Bench, X, examine, partition, scribble,
    support::{program, run},
};

#[test]
fn only_files_and_links_beside_them_are_images() {
    let Some(bench) = Bench::new(&[]) else { return };
    let here = format!("symlink {X} other.img");
    for (commands, code) in [
        (vec!["rm root-squashfs.img", "mknod root-squashfs.img p"], Some("image-not-file")),
        (vec!["rm root-squashfs.img", "mknod root-squashfs.img c 1 5"], Some("image-not-file")),
        (vec!["rm root-squashfs.img", "symlink root-squashfs.img ../a.img"], Some("image-not-file")),
        (vec!["rm root-squashfs.img", "symlink root-squashfs.img gone.img"], Some("image-not-file")),
        (vec!["rm root-squashfs.img", &here, "write a.img other.img"], None),
    ] {
        let disk = bench.disk(&["--no-newimg"]);
        bench.change(&disk, "img", &commands);
        let (status, json) = examine(&disk, &[]);
        assert_eq!(json["failure"]["code"].as_str(), code, "{commands:?}: {json:#}");
        assert_eq!(status, i32::from(code.is_some()), "{commands:?}: {json:#}");
    }
}

#[test]
fn persistent_hides_what_it_hides_in_overlayfs() {
    let Some(bench) = Bench::new(&[]) else { return };
    let made = ["mkdir persistent", "mkdir persistent/sbin"];
    for (line, code) in [
        // The device 0:0 deletes the image's init; a FIFO takes its place; another device too.
        ("mknod init c 0 0", Some("init-missing")),
        ("mknod init p", Some("init-unusable")),
        ("mknod init c 1 3", Some("init-unusable")),
        ("mknod other c 0 0", None),
    ] {
        let disk = bench.disk(&["--no-newimg"]);
        let (start, size) = partition(&disk, "overlay");
        let part = bench.at("part");
        std::fs::write(&part, &std::fs::read(&disk).unwrap()[start..start + size]).unwrap();
        std::fs::write(bench.at("script"), [made[0], made[1], "cd persistent/sbin", line].join("\n")).unwrap();
        run(program("debugfs").arg("-w").arg("-f").arg(bench.at("script")).arg(&part));
        scribble(&disk, start, &std::fs::read(&part).unwrap());
        let (_, json) = examine(&disk, &[]);
        assert_eq!(json["failure"]["code"].as_str(), code, "{line}: {json:#}");
        let (_, json) = examine(&disk, &["--append", "rd.persistent=no"]);
        assert_eq!(json["failure"]["code"].as_str(), None, "{line}: {json:#}");
    }
}

fn mke2fs(path: &Path, size: u64, options: &[&str]) {
    File::create(path).unwrap().set_len(size).unwrap();
    run(program("mke2fs").args(["-q", "-F", "-t", "ext4"]).args(options).arg(path));
}

/// Returns the number behind `name` in what dumpe2fs says.
fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {text}"));
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn sizes_are_those_of_the_filesystem() {
    let Some(bench) = Bench::new(&["dumpe2fs"]) else { return };
    let path = bench.at("ext4");
    for (size, options, withheld) in [
        (64 << 20, &["-b", "4096", "-N", "64", "-m", "5"][..], (64 << 20) / 4096 / 50 * 4096),
        (64 << 20, &["-b", "1024", "-O", "^extent,^64bit"], 0),
        (1 << 30, &["-b", "4096", "-O", "bigalloc", "-C", "65536"], (1 << 30) / 65_536 / 50 * 65_536),
        (64 << 30, &["-b", "4096", "-E", "lazy_itable_init=1,lazy_journal_init=1"], 4096 * 4096),
    ] {
        mke2fs(&path, size, options);
        let text = run(program("dumpe2fs").arg("-h").arg(&path));
        let capacity = Volume::open(std::sync::Arc::new(Disk::open(&path).unwrap())).unwrap().capacity();
        assert_eq!(capacity.inodes, number(&text, "Free inodes:"), "{options:?}");
        assert_eq!(capacity.free, number(&text, "Free blocks:") * number(&text, "Block size:"), "{options:?}");
        assert_eq!((capacity.withheld, capacity.total), (withheld, size), "{options:?}");
    }
}

#[test]
fn a_partition_without_inodes_or_blocks_is_told() {
    let Some(bench) = Bench::new(&[]) else { return };
    std::fs::create_dir(bench.at("img")).unwrap();
    std::fs::copy(bench.at("a.img"), bench.at("img").join(X)).unwrap();
    let (img, overlay) = (bench.at("img.ext4"), bench.at("overlay.ext4"));
    mke2fs(&img, 48 << 20, &["-L", "img", "-d", bench.at("img").to_str().unwrap()]);
    std::fs::create_dir(bench.at("files")).unwrap();
    let fill = |directory: &str, count: u32| {
        (0..count).for_each(|number| std::fs::write(bench.at(&format!("files/{directory}{number}")), "x").unwrap());
    };
    let boot = |options: &[&str]| {
        let files = bench.at("files");
        mke2fs(&overlay, 16 << 20, &[&["-L", "overlay", "-d", files.to_str().unwrap()], options].concat());
        examine(&img, &[overlay.to_str().unwrap()])
    };
    // 32 inodes, 11 of them the filesystem's own.
    fill("", 19);
    let (status, json) = boot(&["-N", "32"]);
    assert_eq!((status, &json["failure"]["code"]), (1, &"overlay-unusable".into()), "{json:#}");
    assert!(json["failure"].to_string().contains("No space left on device"), "{json:#}");
    let (status, json) = boot(&["-N", "64"]);
    assert_eq!(status, 0, "{json:#}");
    // The same, but the files are what the last boot wrote: they are deleted, and that is said.
    std::fs::remove_dir_all(bench.at("files")).unwrap();
    std::fs::create_dir_all(bench.at("files/upper")).unwrap();
    fill("upper/", 18);
    let (status, json) = boot(&["-N", "32"]);
    assert_eq!(status, 3, "{json:#}");
    assert!(json["findings"].to_string().contains("overlay is full"), "{json:#}");
}
