//! Disks made by the command, looked at with the filesystems' own checkers. Needs no root.
//! Debian packages: e2fsprogs, dosfstools, mtools, squashfs-tools, erofs-utils; tests that lack one are skipped.

use std::{
    fs::{self, File},
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use base::program::{Program, run};
use contract::{
    blackbox, fat,
    parameters::MOST,
    partitions::{self, Fault, State},
};
use disk::{
    content::Entry,
    ext4,
    identity::Identity,
    layout::Role,
    size::{GIB, KIB, MIB},
    vfat,
};
use serde_json::Value;
use tempfile::TempDir;

#[path = "cases/signals.rs"]
mod signals;
mod support;

use support::{directory_for, noise};

/// Programs that make filesystems and look at them.
const PROGRAMS: [&str; 10] =
    ["mke2fs", "debugfs", "e2fsck", "dumpe2fs", "mkfs.vfat", "fsck.vfat", "mcopy", "mdir", "mksquashfs", "unsquashfs"];

/// Returns the command under test.
fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs `disk`, expects success and returns its JSON.
fn make(directory: &Path, arguments: &[&str]) -> Value {
    let mut command = command();
    let output =
        command.current_dir(directory).arg("disk").args(arguments).args(["--json", "--root-owned"]).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns the names in a directory.
fn names(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn an_interrupted_command_leaves_nothing_behind() {
    let Some(directory) = directory_for(&PROGRAMS) else { return };
    signals::restore();
    let root = directory.path().join("root");
    let output = directory.path().join("output");
    fs::create_dir_all(root.join("sbin")).unwrap();
    fs::create_dir(&output).unwrap();
    // Compressing this takes far longer than it takes to see that it has begun.
    fs::write(root.join("sbin/init"), noise(96 << 20)).unwrap();
    let mut disk = command();
    disk.arg("disk").arg("--root").arg(&root).arg("--root-owned").arg(output.join("disk.img"));
    let mut child = disk.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while names(&output).is_empty() {
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        std::thread::yield_now();
    }
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(names(&output), Vec::<String>::new());
}

fn program(name: &'static str, package: &'static str, directory: &Path, arguments: &[&str]) -> String {
    let mut command = Program { name, package }.command().unwrap();
    let written = run(command.current_dir(directory).args(arguments))
        .unwrap_or_else(|error| panic!("{name} {arguments:?}: {error}: {:?}", std::error::Error::source(&error)));
    written.stdout + &written.stderr
}

/// Writes a small root directory, an update, persistent files with odd names, and files for `boot`. Nothing where a program
/// is missing.
fn inputs() -> Option<TempDir> {
    let directory = directory_for(&PROGRAMS)?;
    let at = |path: &str| directory.path().join(path);
    for path in ["root/sbin", "root/etc", "update/sbin", "persistent/etc", "persistent/a \"b\"", "boot/overlays"] {
        fs::create_dir_all(at(path)).unwrap();
    }
    for root in ["root", "update"] {
        fs::write(at(root).join("sbin/init"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(at(root).join("sbin/init"), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(at("root/etc/large"), noise(6 << 20)).unwrap();
    fs::write(at("persistent/etc/<12>"), "persistent\n").unwrap();
    fs::hard_link(at("persistent/etc/<12>"), at("persistent/a \"b\"/same")).unwrap();
    symlink("/etc/a b", at("persistent/link")).unwrap();
    fs::write(at("boot/config.txt"), "initramfs initrd.gz followkernel\n").unwrap();
    fs::write(at("boot/overlays/vc4.dtbo"), noise(5000)).unwrap();
    Some(directory)
}

/// Copies the partition `label` into a file beside the disk.
fn extract(directory: &Path, disk: &str, report: &Value, label: &str) -> String {
    let partitions = report["partitions"].as_array().unwrap();
    let partition = partitions.iter().find(|partition| partition["label"] == label).unwrap();
    let number = |name: &str| partition[name].as_u64().unwrap();
    let mut bytes = vec![0; usize::try_from(number("size")).unwrap()];
    File::open(directory.join(disk)).unwrap().read_exact_at(&mut bytes, number("offset")).unwrap();
    let name = format!("{disk}.{label}");
    fs::write(directory.join(&name), bytes).unwrap();
    name
}

fn debugfs(directory: &Path, image: &str, request: &str) -> String {
    program("debugfs", "e2fsprogs", directory, &["-R", request, image])
}

#[test]
fn every_filesystem_is_clean_and_holds_what_was_given() {
    let Some(directory) = inputs() else { return };
    let path = directory.path();
    for table in ["gpt", "mbr"] {
        let disk = format!("{table}.img");
        let arguments = "--root root --newimg update --persistent persistent --boot boot --boot-file root/etc/large:k/kernel.img --size overlay=16M,boot=16M";
        let line: Vec<&str> = [disk.as_str(), "--table", table].into_iter().chain(arguments.split(' ')).collect();
        let report = make(path, &line);
        assert_eq!(report["warnings"], Value::Array(Vec::new()));
        let size = path.join(&disk).metadata().unwrap().len();
        assert_eq!(report["size"], size);
        assert!(table == "gpt" || size.is_power_of_two(), "{size}");

        let boot = extract(path, &disk, &report, "boot");
        program("fsck.vfat", "dosfstools", path, &["-n", &boot]);
        program("mcopy", "mtools", path, &["-n", "-i", &boot, "::/k/kernel.img", "copy"]);
        assert!(fs::read(path.join("copy")).unwrap() == fs::read(path.join("root/etc/large")).unwrap());
        fs::remove_file(path.join("copy")).unwrap();
        let listing = program("mdir", "mtools", path, &["-b", "-/", "-i", &boot, "::/"]);
        assert!(listing.contains("overlays/vc4.dtbo") && listing.contains("config.txt"), "{listing}");

        for label in ["img", "newimg", "overlay"] {
            let image = extract(path, &disk, &report, label);
            program("e2fsck", "e2fsprogs", path, &["-fn", &image]);
            let superblock = program("dumpe2fs", "e2fsprogs", path, &["-h", &image]);
            assert!(superblock.contains(&format!("volume name:   {label}\n")), "{superblock}");
        }
        for label in ["img", "newimg"] {
            debugfs(path, &format!("{disk}.{label}"), "dump /root-squashfs.img image");
            program("unsquashfs", "squashfs-tools", path, &["-s", "image"]);
            fs::remove_file(path.join("image")).unwrap();
        }
        let overlay = format!("{disk}.overlay");
        assert!(debugfs(path, &overlay, "cat \"/persistent/etc/<12>\"").starts_with("persistent\n"));
        assert!(debugfs(path, &overlay, "cat \"/persistent/a \"\"b\"\"/same\"").starts_with("persistent\n"));
        let link = debugfs(path, &overlay, "stat /persistent/link");
        assert!(link.contains("Fast link dest: \"/etc/a b\""), "{link}");
        fs::remove_file(path.join(&disk)).unwrap();
    }
}

#[test]
fn a_finished_image_brings_its_signature_and_fits_its_digest() {
    let Some(directory) = inputs() else { return };
    let path = directory.path();
    program("mksquashfs", "squashfs-tools", path, &["update", "os.img", "-quiet", "-no-progress"]);
    fs::write(path.join("os.img.minisig"), "signature\n").unwrap();
    let sum = program("sha256sum", "coreutils", path, &["os.img"]);
    fs::write(path.join("os.img.sha256"), &sum).unwrap();
    let line = ["signed.img", "--image", "os.img", "--newimg", "os.img", "--no-boot", "--no-overlay"];
    let report = make(path, &line);
    for (label, with_digest) in [("img", false), ("newimg", true)] {
        let image = extract(path, "signed.img", &report, label);
        program("e2fsck", "e2fsprogs", path, &["-fn", &image]);
        assert!(debugfs(path, &image, "cat /root-squashfs.img.minisig").starts_with("signature\n"), "{label}");
        let names = debugfs(path, &image, "ls -p /");
        assert_eq!(names.contains("/root-squashfs.img.sha256/"), with_digest, "{label}: {names}");
    }
    fs::write(path.join("os.img.sha256"), format!("{}  os.img\n", "0".repeat(64))).unwrap();
    for line in ["x.img --image os.img", "x.img --root root --newimg os.img"] {
        let output = command().current_dir(path).arg("disk").args(line.split(' ')).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{line}: {said}");
        assert!(said.contains("os.img.sha256 beside it says 0000"), "{line}: {said}");
    }
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let Some((first, second)) = inputs().zip(inputs()) else { return };
    // Other times, another order of making, another place, another mask, another zone.
    fs::rename(second.path().join("persistent"), second.path().join("p")).unwrap();
    fs::create_dir(second.path().join("persistent")).unwrap();
    for name in ["link", "a \"b\"", "etc"] {
        fs::rename(second.path().join("p").join(name), second.path().join("persistent").join(name)).unwrap();
    }
    let large = File::options().append(true).open(second.path().join("root/etc/large")).unwrap();
    large.set_modified(std::time::UNIX_EPOCH).unwrap();
    for format in ["squashfs", "erofs"] {
        let make = |directory: &Path, start: &str| {
            let line = format!(
                "{start}; exec {} disk disk.img --force --root root --newimg update --persistent persistent --boot boot \
                 --root-owned --size overlay=16M,boot=16M --image-format {format}",
                env!("CARGO_BIN_EXE_initramfs-overlay")
            );
            let output = Command::new("sh").current_dir(directory).args(["-c", &line]).output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            fs::read(directory.join("disk.img")).unwrap()
        };
        let one = make(first.path(), "umask 022; export TZ=UTC");
        let two =
            make(second.path(), "umask 077; export TZ=Asia/Tokyo LANG=de_DE MTOOLSRC=/nowhere MKE2FS_CONFIG=/nowhere");
        assert!(one == two, "{format}: two disks of the same inputs differ");
        // And a change in what goes in changes the identities.
        fs::write(first.path().join("boot/config.txt"), "other\n").unwrap();
        let three = make(first.path(), "umask 022");
        assert!(one[512..1024] != three[512..1024], "{format}: another disk has the same GPT header");
        fs::write(first.path().join("boot/config.txt"), "initramfs initrd.gz followkernel\n").unwrap();
    }
}

#[test]
fn filesystems_have_the_room_that_the_plan_counts_on() {
    let Some(work) = directory_for(&PROGRAMS) else { return };
    let path = work.path();
    let identity = Identity::new(b"room");
    for size in [16 * MIB, 40 * MIB, 127 * MIB, 128 * MIB, 129 * MIB, GIB, 2 * GIB + 5 * MIB, 17 * GIB] {
        for bytes_per_inode in [16 * KIB, 64 * KIB] {
            let settings = ext4::Settings {
                label: "img".to_owned(),
                uuid: identity.filesystem(Role::Img),
                hash_seed: identity.hash_seed(Role::Img),
                size,
                bytes_per_inode,
                time: 1,
            };
            ext4::make(path, "ext4", &settings, &[]).unwrap();
            let superblock = program("dumpe2fs", "e2fsprogs", path, &["-h", "ext4"]);
            let free = superblock.lines().find_map(|line| line.strip_prefix("Free blocks:")).unwrap();
            let free = free.trim().parse::<u64>().unwrap() * 4 * KIB;
            let counted = ext4::room(size, bytes_per_inode);
            assert!(free >= counted, "{size}, {bytes_per_inode}: {counted} counted on, {free} free");
            fs::remove_file(path.join("ext4")).unwrap();
        }
    }
    let sizes = [8, 16, 31, 33, 63, 64, 256, 257, 1000].map(|mib| (mib, 512));
    let large = [17, 127, 128, 256, 257, 1000].map(|mib| (mib, 4096));
    for (mib, sector) in sizes.into_iter().chain(large) {
        let size = mib * MIB;
        let label = "boot".to_owned();
        let settings = vfat::Settings { label, volume: 1, size, sector, first_sector: 2048, time: 0 };
        vfat::make(path, "vfat", &settings, &[]).unwrap();
        // A listing with "512 bytes per cluster", then "vfat: 0 files, 0/129022 clusters".
        let checked = program("fsck.vfat", "dosfstools", path, &["-nv", "vfat"]);
        let number = |line: &str| line.trim().split(' ').next().unwrap().parse::<u64>().unwrap();
        let cluster = checked.lines().find(|line| line.ends_with("bytes per cluster")).map(number).unwrap();
        let last = checked.lines().last().unwrap();
        let clusters = number(last.split('/').nth(1).unwrap());
        let counted = vfat::room(size, sector);
        assert!(clusters * cluster >= counted, "{mib} MiB: {counted} counted on, {clusters} clusters of {cluster}");
        fs::remove_file(path.join("vfat")).unwrap();
    }
}

#[test]
fn a_disk_for_large_sectors_counts_in_them() {
    let Some(directory) = inputs() else { return };
    let path = directory.path();
    fs::create_dir(path.join("root/bin")).unwrap();
    fs::copy(path.join("root/sbin/init"), path.join("root/bin/sh")).unwrap();
    for table in ["gpt", "mbr"] {
        let line =
            ["large.img", "--root", "root", "--boot", "boot", "--table", table, "--sector-size", "4096", "--force"];
        let report = make(path, &line);
        assert_eq!(report["sector_size"], 4096);
        let disk = File::open(path.join("large.img")).unwrap();
        let mut read = |offset: u64, buffer: &mut [u8]| disk.read_exact_at(buffer, offset).is_ok();
        let size = report["size"].as_u64().unwrap();
        let mut read_table = |sector| partitions::read(&mut partitions::Disk { read: &mut read, size, sector });
        let found = read_table(4096);
        assert_eq!(found.state, if table == "gpt" { State::Gpt } else { State::Mbr });
        for (found, wanted) in found.partitions.iter().zip(report["partitions"].as_array().unwrap()) {
            assert_eq!((found.start.into(), found.size.into()), (wanted["offset"].clone(), wanted["size"].clone()));
            assert_eq!(found.uuid, wanted["partuuid"]);
        }
        assert_eq!(found.partitions.len(), 4);
        // The protective MBR covers the disk, its backup lies in the last sector, and another kind of disk is told.
        if table == "gpt" {
            let mut head = [0; 512];
            disk.read_exact_at(&mut head, 0).unwrap();
            assert_eq!(head[446 + 4], 0xee);
            assert_eq!(head[458..462], u32::try_from(size / 4096 - 1).unwrap().to_le_bytes());
            disk.read_exact_at(&mut head, size - 4096).unwrap();
            assert_eq!(&head[..8], b"EFI PART");
            assert_eq!(read_table(512).state, State::Fault(Fault::Sector { table: 4096 }));
        }
        let boot = extract(path, "large.img", &report, "boot");
        program("fsck.vfat", "dosfstools", path, &["-n", &boot]);
        assert_eq!(fs::read(path.join(&boot)).unwrap()[11..13], 4096_u16.to_le_bytes());
        program("mcopy", "mtools", path, &["-n", "-i", &boot, "::/config.txt", "copy"]);
        fs::remove_file(path.join("copy")).unwrap();
        for label in ["img", "newimg", "overlay"] {
            let part = extract(path, "large.img", &report, label);
            program("e2fsck", "e2fsprogs", path, &["-fn", &part]);
        }
        let doctor = command().current_dir(path).args(["doctor", "large.img"]).output().unwrap();
        assert_eq!(doctor.status.code(), Some(if table == "gpt" { 0 } else { 1 }), "{}", text(&doctor.stdout));
        let doctor =
            command().current_dir(path).args(["doctor", "large.img", "--sector-size", "4096"]).output().unwrap();
        assert!(doctor.status.success(), "{}", text(&doctor.stdout));
    }
}

#[test]
fn bad_input_is_one_clear_error_and_leaves_nothing() {
    let Some(directory) = inputs() else { return };
    let path = directory.path();
    fs::write(path.join("there.img"), "precious").unwrap();
    fs::write(path.join("noise"), noise(4096)).unwrap();
    fs::create_dir(path.join("empty")).unwrap();
    program("mksquashfs", "squashfs-tools", path, &["root", "cut", "-quiet", "-no-progress"]);
    File::options().write(true).open(path.join("cut")).unwrap().set_len(100_000).unwrap();
    let names = || {
        let mut names: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        names.sort();
        names
    };
    let before = names();
    let run =
        |line: &str| -> Output { command().current_dir(path).arg("disk").args(line.split(' ')).output().unwrap() };
    for (line, status, words) in [
        ("there.img --root root", 2, "--force"),
        ("o.img --root empty", 2, "is empty"),
        ("o.img --root nowhere", 2, "--root: cannot read nowhere"),
        ("o.img --image noise", 1, "not a squashfs or EROFS image: it holds neither magic number"),
        ("o.img --image cut", 1, "is truncated: its squashfs superblock says"),
        ("o.img --image root", 1, "it holds a directory"),
        ("o.img --root root --newimg noise", 1, "neither magic number"),
        ("o.img --root root --size img=17M", 2, "for two images of"),
        ("o.img --root root --size overlay=15M", 2, "`overlay` needs 16 MiB"),
        ("o.img --root root --disk-size 64M", 2, "these partitions need"),
        ("o.img --root root --boot-file noise:a --boot-file noise:A", 2, "case does not count"),
        ("o.img --root root --boot-file noise:k --boot-file noise:k", 2, "twice"),
        ("o.img --root root --boot-modules root", 2, "/lib/modules/"),
        ("o.img --root root --boot nowhere", 2, "--boot: cannot"),
        ("o.img --root root --image-name a/b", 2, "--image-name `a/b`"),
        ("o.img --root root --no-boot --size boot=64M", 2, "no partition `boot`"),
        ("nowhere/o.img --root root", 2, "cannot find the directory nowhere"),
    ] {
        let output = run(line);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{line}: {said}");
        assert!(said.contains(words), "{line}: {said}");
        assert_eq!(before, names(), "{line} left something behind");
    }
    assert_eq!(fs::read(path.join("there.img")).unwrap(), b"precious");
    assert!(run("there.img --root root --force --no-update-room --size img=17M").status.success());
}

#[test]
fn init_finds_its_files_on_every_kind_of_vfat() {
    let Some(directory) = directory_for(&PROGRAMS) else { return };
    let path = directory.path();
    let parameters = b"once rd.overlay=tmpfs\r\n";
    let entries: Vec<Entry> = [
        (blackbox::TEXT_NAME, blackbox::template()),
        (contract::names::PARAMETERS_FILE, parameters.to_vec()),
        ("a-kernel-with-a-long-name.img", vec![1; 3000]),
    ]
    .map(|(name, content)| {
        fs::write(path.join(name), content).unwrap();
        Entry::file(name, &path.join(name)).unwrap()
    })
    .into();
    for (mib, sector) in [(16, 512), (64, 512), (300, 512), (64, 4096)] {
        let label = "boot".to_owned();
        let settings = vfat::Settings { label, volume: 1, size: mib * MIB, sector, first_sector: 2048, time: 0 };
        vfat::make(path, "vfat", &settings, &entries).unwrap();
        let device = File::open(path.join("vfat")).unwrap();
        let mut read = |at, most| {
            let mut bytes = vec![0; most];
            device.read_exact_at(&mut bytes, at).ok().map(|()| bytes)
        };
        let text = blackbox::locate(&mut read).unwrap();
        assert_eq!(read(text, blackbox::TEXT_SIZE), Some(blackbox::template()), "{mib} MiB");
        let place = fat::look_up(&mut read, fat::Name::Long(contract::names::PARAMETERS_FILE), MOST).unwrap();
        let start = place.start.unwrap();
        assert_eq!(read(start, parameters.len()).as_deref(), Some(&parameters[..]), "{mib} MiB");
        assert!(place.is_apart(&(start / 4096 * 4096..start / 4096 * 4096 + 4096)), "{mib} MiB: it can be marked done");
        fs::remove_file(path.join("vfat")).unwrap();
    }
}
