//! `initramfs-overlay doctor` from outside: disks in every state of an update, damaged ones, directories. Needs no root.
//! Debian packages: e2fsprogs, dosfstools, mtools, squashfs-tools, erofs-utils; tests that lack one are skipped.

use std::{
    fs::{self, File},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
};

use doctor::{
    block_reader::{Disk, Shared},
    journal, table,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

mod content;
mod fat;
mod model;
mod pages;
#[path = "../support/mod.rs"]
mod support;
mod unknown;

use support::{directory_for, noise, program, run};

/// Programs that make filesystems and look at them.
const PROGRAMS: [&str; 6] = ["mke2fs", "debugfs", "e2fsck", "mkfs.vfat", "mcopy", "mksquashfs"];

const X: &str = "root-squashfs.img";

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
}

/// A directory with two root directories, `a` and `b`, and their images.
struct Bench {
    directory: TempDir,
}

impl Bench {
    /// Makes the systems; nothing where a program is missing, those in `more` included.
    fn new(more: &[&str]) -> Option<Self> {
        let bench = Self { directory: directory_for(&[&PROGRAMS[..], more].concat())? };
        for (name, size) in [("a", 100_000), ("b", 300_000)] {
            let root = bench.at(name);
            for name in ["sbin/init", "bin/sh"] {
                fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
                fs::write(root.join(name), "#!/bin/sh\n").unwrap();
                fs::set_permissions(root.join(name), fs::Permissions::from_mode(0o755)).unwrap();
            }
            fs::write(root.join("noise"), noise(size)).unwrap();
            run(program("mksquashfs")
                .arg(&root)
                .arg(bench.at(&format!("{name}.img")))
                .args(["-noappend", "-quiet", "-all-root"]));
        }
        Some(bench)
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns a disk with image a, made with these arguments.
    fn disk(&self, arguments: &[&str]) -> PathBuf {
        let disk = self.at("disk.img");
        let mut command = command();
        command
            .current_dir(self.directory.path())
            .arg("disk")
            .arg(&disk)
            .args(["--image", "a.img", "--force", "--root-owned"]);
        run(command.args(["--size", "boot=16M,overlay=16M"]).args(arguments));
        disk
    }

    /// Changes the partition `label` of a disk with debugfs.
    fn change(&self, disk: &Path, label: &str, commands: &[&str]) {
        let (start, size) = partition(disk, label);
        let part = self.at("part");
        fs::write(&part, &fs::read(disk).unwrap()[start..start + size]).unwrap();
        for line in commands {
            let said = run(program("debugfs").current_dir(self.directory.path()).args(["-w", "-R", line]).arg(&part));
            assert!(said.lines().count() <= 2, "{line}: {said}");
        }
        scribble(disk, start, &fs::read(&part).unwrap());
    }
}

fn partition(disk: &Path, label: &str) -> (usize, usize) {
    let medium: Shared = Arc::new(Disk::open(disk).unwrap());
    let partitions = table::read(&medium, None).partitions;
    let found = partitions.into_iter().find(|partition| partition.name.as_deref() == Some(label)).unwrap();
    (usize::try_from(found.start).unwrap(), usize::try_from(found.size).unwrap())
}

fn scribble(disk: &Path, at: usize, bytes: &[u8]) {
    let mut file = File::options().write(true).open(disk).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(bytes).unwrap();
}

fn doctor(arguments: &[&str]) -> Output {
    command().arg("doctor").args(arguments).output().unwrap()
}

/// Examines a disk, sees that it was not written to, and returns the exit status and the JSON.
fn examine(disk: &Path, arguments: &[&str]) -> (i32, Value) {
    let sum = |path: &Path| Sha256::digest(fs::read(path).unwrap());
    let before = sum(disk);
    let text = disk.to_str().unwrap();
    let output = doctor(&[&[text, "--json"], arguments].concat());
    assert_eq!(before, sum(disk), "the disk was written to");
    let json = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let table = doctor(&[&[text], arguments].concat());
    assert_eq!(table.status, output.status);
    assert!(String::from_utf8_lossy(&table.stdout).contains("verdict"));
    (output.status.code().unwrap(), json)
}

fn digest(path: &Path) -> String {
    Sha256::digest(fs::read(path).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_state_of_an_update_is_told_and_the_right_image_boots() {
    let Some(bench) = Bench::new(&[]) else { return };
    let (a, b) = (digest(&bench.at("a.img")), digest(&bench.at("b.img")));
    let old = "root-squashfs-old.img";
    fs::write(bench.at("half"), &fs::read(bench.at("b.img")).unwrap()[..50_000]).unwrap();
    let write = |from: &str, to: &str| format!("write {from} {to}");
    let half = write("half", "root-squashfs.img.new");
    let copied = write("b.img", "root-squashfs.img.new");
    let linked = ["link root-squashfs.img root-squashfs-old.img", "set_inode_field root-squashfs.img links_count 2"];
    let (to_old, to_new) = (write("a.img", old), write("b.img", X));
    let rejected = write("b.img", "root-squashfs-rejected.img");
    let (copying, rejecting) = ([half.as_str()], [rejected.as_str()]);
    let linking = [copied.as_str(), linked[0], linked[1]];
    let installing = ["rm root-squashfs.img", &to_new, &to_old];
    type Changes<'a> = &'a [(&'a str, &'a [&'a str])];
    let cases: [(bool, Changes<'_>, &str, &str, &str, i32); 9] = [
        (false, &[], "none", "none", &a, 0),
        (true, &[], "delivered", "installed", &b, 0),
        (true, &[("img", &copying)], "copying", "installed", &b, 0),
        (true, &[("img", &linking)], "linked", "installed", &b, 0),
        (true, &[("img", &installing)], "installed", "already installed", &b, 0),
        (false, &[("img", &copying)], "orphan", "none", &a, 0),
        (false, &[("newimg", &rejecting)], "rejected", "none", &a, 3),
        (false, &[("newimg", &[&write("half", X)])], "delivered", "rejected", &a, 3),
        (false, &[("img", &["rm root-squashfs.img", &to_old])], "none", "none", &a, 3),
    ];
    for (with_update, changes, state, outcome, booted, status) in cases {
        let disk = bench.disk(if with_update { &["--newimg", "b.img"] } else { &[] });
        for (label, lines) in changes {
            bench.change(&disk, label, lines);
        }
        let (code, json) = examine(&disk, &["--digest"]);
        let case = format!("{state}, {outcome}: {json:#}");
        assert_eq!((&json["update"], &json["outcome"]), (&state.into(), &outcome.into()), "{case}");
        assert_eq!((json["image"]["sha256"].as_str(), code), (Some(booted), status), "{case}");
        assert_eq!(json["findings"].as_array().unwrap().is_empty(), status == 0, "{case}");
    }
}

/// Checks that a disk fails to boot with this code; returns all that the doctor says.
fn fails(disk: &Path, arguments: &[&str], code: &str) -> Value {
    let (status, json) = examine(disk, arguments);
    assert_eq!((status, &json["failure"]["code"]), (1, &code.into()), "{json:#}");
    assert_eq!((&json["verdict"], &json["image"]), (&"fails".into(), &Value::Null));
    json
}

#[test]
fn what_would_not_boot_has_inits_own_card() {
    let Some(bench) = Bench::new(&[]) else { return };
    let disk = bench.disk(&[]);
    let (img, _) = partition(&disk, "img");
    let (overlay, _) = partition(&disk, "overlay");
    let whole = fs::read(&disk).unwrap();
    fails(&disk, &["--append", "rd.img=LABEL=elsewhere"], "img-missing");
    fails(&disk, &["--append", "rd.img=elsewhere"], "parameter-value");
    fails(&disk, &["--append", "init=/bin/none"], "init-missing");
    // The group descriptors and the inodes: the superblock stays, so the label is found and the mount fails.
    for (start, code) in [(img, "img-mount"), (overlay, "overlay-mount")] {
        scribble(&disk, start + 4096, &[0xff; 16384]);
        let json = fails(&disk, &[], code);
        assert!(json["failure"]["seen"].to_string().contains("(EUCLEAN)"), "{json:#}");
        fs::write(&disk, &whole).unwrap();
    }
    // A superblock whose checksum is wrong is none, and a descriptor is looked at before the journal could repair it.
    for (start, code) in [(img, "img-missing"), (overlay, "overlay-missing")] {
        scribble(&disk, start + 1024 + 0x2c, &[0xaa]);
        fails(&disk, &[], code);
        fs::write(&disk, &whole).unwrap();
    }
    bench.change(&disk, "overlay", &["feature needs_recovery"]);
    let (status, json) = examine(&disk, &[]);
    assert_eq!(status, 0, "{json:#}");
    scribble(&disk, overlay + 4096 + 0xc, &[0xff, 0xff]);
    let json = fails(&disk, &[], "overlay-mount");
    assert!(json["failure"]["seen"].to_string().contains("(EUCLEAN)"), "{json:#}");
    // No kernel takes the copy of a table's header, or a table that is made for a larger disk.
    fs::write(&disk, &whole).unwrap();
    let finding =
        |arguments: &[&str]| fails(&disk, arguments, "img-missing")["findings"][0].as_str().unwrap().to_owned();
    scribble(&disk, 512, &[0; 512]);
    assert!(finding(&[]).contains("the backup at the end of the disk is whole; the kernel parameter `gpt`"));
    scribble(&disk, whole.len() - 512, &[0; 512]);
    assert!(finding(&[]).contains("its partition table is gone"));
    scribble(&disk, 0, &[0; 512]);
    assert!(finding(&[]).contains("neither a partition table nor a filesystem"));
    fs::write(&disk, &whole[..whole.len() - (1 << 20)]).unwrap();
    let sizes = format!("({} bytes, and this one has {})", whole.len(), whole.len() - (1 << 20));
    assert!(finding(&[]).contains(&sizes));
    fs::write(&disk, &whole).unwrap();
    assert!(finding(&["--sector-size", "4096"]).contains("(512 bytes, and this one's have 4096)"));
    // An MBR does not say how large its disk is: there the last partition is cut off, and its filesystem does not fit.
    let short = bench.disk(&["--table", "mbr"]);
    let last = table::read(&(Arc::new(Disk::open(&short).unwrap()) as Shared), None).partitions.pop().unwrap();
    File::options().write(true).open(&short).unwrap().set_len(last.start + last.size - (1 << 20)).unwrap();
    let json = fails(&short, &[], "overlay-mount");
    assert!(
        json["findings"][0].as_str().unwrap().contains("its partitions end 1048576 bytes past its end"),
        "{json:#}"
    );
}

#[test]
fn an_image_that_would_not_boot_has_inits_own_card() {
    let Some(bench) = Bench::new(&[]) else { return };
    let disk = bench.disk(&[]);
    let whole = fs::read(&disk).unwrap();
    bench.change(&disk, "img", &["set_inode_field root-squashfs.img size 50000"]);
    fails(&disk, &[], "image-truncated");
    bench.change(&disk, "img", &["rm root-squashfs.img"]);
    fails(&disk, &[], "image-missing");
    fs::write(bench.at("text"), "no image").unwrap();
    bench.change(&disk, "img", &["write text root-squashfs.img"]);
    fails(&disk, &[], "image-unknown");
    // Squashfs' tables: the superblock is good, and nothing can be looked up.
    let mut broken = fs::read(bench.at("a.img")).unwrap();
    let end = broken.len();
    broken[end / 2..].fill(0xff);
    fs::write(bench.at("broken"), broken).unwrap();
    bench.change(&disk, "img", &["rm root-squashfs.img", "write broken root-squashfs.img"]);
    fails(&disk, &[], "image-mount");
    fs::write(bench.at("garbage"), [0x5a; 70_000]).unwrap();
    fails(&bench.at("garbage"), &[], "img-missing");
    for cut in [40_000_usize, 20 << 20] {
        fs::write(bench.at("cut"), &whole[..cut]).unwrap();
        examine(&bench.at("cut"), &[]);
    }
}

#[test]
fn a_boot_that_needs_a_look_says_at_what() {
    let Some(bench) = Bench::new(&[]) else { return };
    let disk = bench.disk(&["--no-newimg"]);
    let elsewhere = "rd.overlay=LABEL=elsewhere rd.overlay.fallback=tmpfs";
    let (status, json) = examine(&disk, &["--append", elsewhere]);
    assert_eq!((status, &json["verdict"]), (3, &"boots".into()));
    assert!(json["findings"][0].as_str().unwrap().contains("tmpfs"), "{json:#}");
    for cmdline in ["rd.overlay=tmpfs", "rd.overlay=tmpfs rd.toram"] {
        let (status, json) = examine(&disk, &["--append", cmdline]);
        assert_eq!((status, &json["changes"]), (0, &Value::Array(Vec::new())), "{json:#}");
    }
}

#[test]
fn directories_stand_for_partitions() {
    let Some(bench) = Bench::new(&[]) else { return };
    for (directory, image) in [("img", "a.img"), ("newimg", "b.img")] {
        fs::create_dir(bench.at(directory)).unwrap();
        fs::copy(bench.at(image), bench.at(directory).join(X)).unwrap();
    }
    fs::create_dir(bench.at("overlay")).unwrap();
    let at = |name: &str| bench.at(name).to_str().unwrap().to_owned();
    let (img, newimg, overlay) = (at("img"), at("newimg"), at("overlay"));
    let output = doctor(&["--img", &img, "--newimg", &newimg, "--overlay", &overlay, "--json", "--digest"]);
    assert_eq!(output.status.code(), Some(0));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["image"]["sha256"], digest(&bench.at("b.img")).as_str());
    assert_eq!(fs::read_dir(bench.at("img")).unwrap().count(), 1, "nothing came");
    assert!(bench.at("newimg").join(X).exists() && fs::read_dir(bench.at("overlay")).unwrap().count() == 0);
    let file = bench.at("a.img");
    for (arguments, code) in [
        (vec!["--img", file.to_str().unwrap()], 2),
        (vec!["--newimg", &newimg], 2),
        (vec!["--img", &img, "disk.img"], 2),
        (vec!["--img", &img, "--overlay", &overlay, "--append", "rd.overlay=tmpfs"], 2),
        (vec![], 2),
        (vec![img.as_str()], 1),
        (vec!["/nowhere/disk"], 2),
        (vec!["--img", &img, "--initramfs", file.to_str().unwrap()], 1),
    ] {
        let output = doctor(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

/// The journal is applied in memory as e2fsck applies it on the disk: transactions, freed blocks, every kind of checksum.
#[test]
fn a_journal_is_replayed_as_e2fsck_does() {
    let Some(bench) = Bench::new(&[]) else { return };
    for (features, open) in
        [("", "jo -c -v 3"), ("", "jo -c -v 2"), ("^metadata_csum", "jo"), ("^64bit,^metadata_csum", "jo")]
    {
        let part = bench.at("ext4");
        fs::write(&part, []).unwrap();
        File::options().write(true).open(&part).unwrap().set_len(16 << 20).unwrap();
        let features = if features.is_empty() { "has_journal" } else { features };
        run(program("mke2fs")
            .args(["-q", "-F", "-t", "ext4", "-b", "4096", "-J", "size=4", "-O", features])
            .arg(&part));
        let block = |byte: u8| {
            let name = format!("block-{byte}");
            // A block that begins like a part of the journal has to be told from one.
            let mut content = vec![byte; 4096];
            if byte == 3 {
                content[..4].copy_from_slice(&0xc03b_3998_u32.to_be_bytes());
            }
            fs::write(bench.at(&name), content).unwrap();
            name
        };
        let script = [
            open.to_owned(),
            format!("jw -b 3000 {}", block(1)),
            format!("jw -b 3001 {}", block(2)),
            format!("jw -b 3002 {}", block(3)),
            format!("jw -b 3003 {}", block(4)),
            "jw -r 3000".to_owned(),
            format!("jw -b 3001 {}", block(5)),
            format!("jw -b 3004 -c {}", block(6)),
            "jc".to_owned(),
        ];
        fs::write(bench.at("script"), script.join("\n")).unwrap();
        let said = run(program("debugfs").current_dir(bench.directory.path()).args(["-w", "-f", "script"]).arg(&part));
        assert!(!said.to_lowercase().contains("usage") && !said.contains("while"), "{said}");

        let medium: Shared = Arc::new(Disk::open(&part).unwrap());
        let (replayed, count) = journal::replayed(medium.clone()).unwrap();
        assert!(count >= 3, "{open}: {count} blocks");
        let mut ours = vec![0; 16 << 20];
        replayed.read_at(0, &mut ours).unwrap();
        let checked = bench.at("checked");
        fs::copy(&part, &checked).unwrap();
        run(program("e2fsck").args(["-y", "-E", "journal_only"]).arg(&checked));
        let theirs = fs::read(&checked).unwrap();
        let journal: Vec<usize> = run(program("debugfs").args(["-R", "blocks <8>"]).arg(&part))
            .split_whitespace()
            .filter_map(|word| word.parse().ok())
            .collect();
        let differ = |number: &usize| ours[number * 4096..][..4096] != theirs[number * 4096..][..4096];
        // e2fsck also empties the journal and counts in the superblock.
        let other: Vec<usize> = (1..4096).filter(|number| !journal.contains(number)).filter(differ).collect();
        assert!(other.is_empty(), "{open}: these blocks differ: {other:?}");
        assert_eq!(ours[3002 * 4096..3002 * 4096 + 4], 0xc03b_3998_u32.to_be_bytes());
        assert_ne!(ours[3000 * 4096], 1, "{open}: a freed block came back");
        assert_eq!(ours[3001 * 4096], 5);
    }
}
