//! Hostile media on real boots: disks made by the product, with an object planted in the place of a name that init touches, boot twice
//! in QEMU. A root is reached, nothing hangs, and a second disk that links lead to stays as it was.
//!
//! `HOSTILE_MEDIA=long` runs all, else a few that the clock or `HOSTILE_MEDIA_SEED=N` chooses; `cargo test --test hostile_boots -- [NAME
//! PART …]` runs those whose name contains a part. `BOOT_TESTS=required|none` as for the boot tests. Debian packages: qemu-system-x86,
//! e2fsprogs, squashfs-tools.

mod cases;
#[path = "../../test-images/image.rs"]
mod image;
#[allow(dead_code, reason = "the boot tests use the rest of it")]
#[path = "boot/lab.rs"]
mod lab;
mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use disk::{Boot, Disk};
use lab::Lab;
use vm::qemu::Guest;

/// Cases of a run that is not long.
const SAMPLE: usize = 2;

/// Time a boot may take before it counts as hung, on a machine with much to do.
const DEADLINE: Duration = Duration::from_secs(150);

/// An update on `newimg`.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Update {
    None,
    Good,
    /// Its digest is wrong.
    Bad,
}

/// A partition with an object in the place of a name.
struct Hostile {
    /// The partition's label; `boot` holds squashfs' module, which is nowhere else then.
    label: &'static str,
    /// Commands for debugfs; `JUNK` is a file.
    plant: &'static [&'static str],
    update: Update,
    /// Parameters.
    append: &'static str,
}

/// A device that links lead to.
const CANARY: &str = "/dev/vdb";

fn all() -> Vec<(String, Hostile)> {
    use Update::{Bad, Good, None};
    let table: [(&str, &'static str, &'static [&'static str], Update, &'static str); 21] = [
        ("the image is a FIFO", "img", &["rm root-squashfs.img", "mknod root-squashfs.img p"], Good, ""),
        ("the copy is a link to a disk", "img", &["symlink root-squashfs.img.new /dev/vdb"], Good, ""),
        (
            "the copy is a directory",
            "img",
            &["mkdir root-squashfs.img.new", "cd root-squashfs.img.new", "write JUNK f"],
            Good,
            "",
        ),
        (
            "the copy is immutable",
            "img",
            &["write JUNK root-squashfs.img.new", "sif root-squashfs.img.new flags 0x80010"],
            Good,
            "",
        ),
        (
            "the old image is a directory",
            "img",
            &["mkdir root-squashfs-old.img", "cd root-squashfs-old.img", "write JUNK f"],
            Good,
            "",
        ),
        (
            "the old image is immutable",
            "img",
            &["write JUNK root-squashfs-old.img", "sif root-squashfs-old.img flags 0x80010"],
            Good,
            "",
        ),
        ("the remembered digests are a link to a disk", "img", &["symlink updates.txt /dev/vdb"], Bad, ""),
        ("upper is a link to the directory above", "overlay", &["symlink upper .."], None, ""),
        ("upper is a FIFO", "overlay", &["mknod upper p"], None, ""),
        ("work is a socket", "overlay", &["write JUNK work", "sif work mode 0140644"], None, ""),
        ("persistent is a link to /dev", "overlay", &["symlink persistent /dev"], None, "rd.overlay.reset"),
        ("persistent is a FIFO", "overlay", &["mknod persistent p"], None, "rd.overlay.reset"),
        ("discarded is a link to /dev", "overlay", &["symlink discarded /dev"], None, ""),
        ("discarded is a file", "overlay", &["write JUNK discarded"], None, "rd.overlay.reset"),
        ("spare is a link to /dev", "overlay", &["symlink spare /dev"], None, ""),
        (
            "the trial's count is a link to a disk",
            "overlay",
            &["symlink .initramfs-overlay.new /dev/vdb"],
            Good,
            "rd.newimg.tries=2",
        ),
        ("the note is a link to a disk", "newimg", &["symlink root-squashfs-rejected.img.txt /dev/vdb"], Bad, ""),
        ("the digest is a FIFO", "newimg", &["mknod root-squashfs.img.sha256 p"], Good, ""),
        ("the update is a device", "newimg", &["rm root-squashfs.img", "mknod root-squashfs.img b 254 16"], Good, ""),
        (
            "the rejected image is a directory",
            "newimg",
            &["mkdir root-squashfs-rejected.img", "cd root-squashfs-rejected.img", "write JUNK f"],
            Bad,
            "",
        ),
        ("a module beside the module is junk", "boot", &[], None, ""),
    ];
    let hostile = |label, plant, update, append| Hostile { label, plant, update, append };
    table
        .into_iter()
        .map(|(name, label, plant, update, append)| (format!("{label}: {name}"), hostile(label, plant, update, append)))
        .collect()
}

fn main() -> ExitCode {
    let mut cases = all();
    let is_asked = std::env::args().skip(1).any(|argument| !argument.starts_with('-'));
    if std::env::var("HOSTILE_MEDIA").as_deref() != Ok("long") && !is_asked {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let seed = std::env::var("HOSTILE_MEDIA_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(clock);
        println!("hostile boots: {SAMPLE} of {}, HOSTILE_MEDIA_SEED={seed}", cases.len());
        let place = usize::try_from(seed).unwrap_or(0) % cases.len();
        cases.rotate_left(place);
        cases.truncate(SAMPLE);
    }
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    cases::run("hostile boots", workers, cases, || Lab::open("x86_64"), boot_twice)
}

/// Makes the disk of a case and boots it twice.
fn boot_twice(lab: &Lab, hostile: &Hostile) {
    let (disk, canary) = (make(lab, hostile), lab.directory().join("canary.img"));
    let content: Vec<u8> = (0..1_u32 << 20).map(|place| (place * 7 / 3 % 251) as u8).collect();
    fs::write(&canary, &content).expect("a canary");
    let initrd = match hostile.label {
        "boot" => lab.initrd_with("", &["ext4", "loop", "vfat", "overlay", "virtio_pci", "virtio_blk"]),
        _ => lab.initrd(""),
    };
    // The sweeper works behind the boot; then the devices must still be there.
    let append = format!("{} -- \"run=busybox sleep 2; busybox ls /dev/null {CANARY}\"", hostile.append);
    for round in 1..=2 {
        let machine = lab.machine(&initrd, &[&disk, &canary], &append);
        let mut guest = Guest::start(&machine).expect("QEMU");
        let (place, before) = guest
            .wait_for_any(&["MARK end", "cannot boot: "], DEADLINE)
            .unwrap_or_else(|error| panic!("boot {round} hangs: {error}"));
        if place == 1 {
            let card = guest.wait_for("try next", DEADLINE).unwrap_or_default();
            let card = card.replace("\r\n", "\n").replace("\n              ", " ");
            panic!("boot {round} ends in a card: {card}");
        }
        let marks = image::Marks::parse(&format!("{before}MARK end")).expect("everything was said");
        let _ = guest.finish(Some(DEADLINE));
        assert!(["A", "B"].contains(&marks.get("image")), "boot {round}: {marks:?}");
        assert_eq!(marks.get("writable"), "yes", "boot {round}");
        assert_eq!(marks.group("run"), ["/dev/null", CANARY], "boot {round}: devices are gone");
        assert!(fs::read(&canary).expect("the canary") == content, "boot {round}: the canary disk has changed");
        let is_fixed_by_update = hostile.update == Update::Good && hostile.label != "newimg" && round == 2;
        assert!(!is_fixed_by_update || marks.get("image") == "B", "the update is blocked: {}", marks.report());
    }
}

/// Makes a disk and plants the object.
fn make(lab: &Lab, hostile: &Hostile) -> PathBuf {
    let mut disk: Disk = lab.disk();
    if hostile.update != Update::None {
        disk.newimg = Some(Some(lab.root("B")));
    }
    if hostile.label == "overlay" {
        // An empty partition, as it is before the first boot.
        disk.overlay = Some(None);
    }
    if hostile.label == "boot" {
        disk.boot = Some(boot_with_junk(lab));
    }
    let path = lab.make(&disk);
    let directory = lab.directory();
    let (junk, digest) = (directory.join("junk"), directory.join("digest"));
    fs::write(&junk, "junk\n".repeat(1000)).expect("junk");
    fs::write(&digest, format!("{}  root-squashfs.img\n", "0".repeat(64))).expect("a digest");
    if hostile.update == Update::Bad {
        plant(lab, &path, "newimg", &[&format!("write {} root-squashfs.img.sha256", digest.display())]);
    }
    if !hostile.plant.is_empty() {
        let commands: Vec<String> =
            hostile.plant.iter().map(|line| line.replace("JUNK", &junk.display().to_string())).collect();
        let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
        plant(lab, &path, hostile.label, &commands);
    }
    path
}

/// Returns the content of a `boot` with squashfs' module, xz-compressed, a directory and junk under the names beside it.
fn boot_with_junk(lab: &Lab) -> Boot {
    let modules = lab.directory();
    let directory = modules.join("modules").join(&lab.kernel.version);
    fs::create_dir_all(directory.join("modules.dep")).expect("a directory");
    let module = walkdir::WalkDir::new(&lab.kernel.modules)
        .into_iter()
        .flatten()
        .find(|entry| entry.file_name() == "squashfs.ko")
        .expect("squashfs' module");
    fs::copy(module.path(), directory.join("squashfs.ko")).expect("the module on boot");
    fs::write(directory.join("squashfs.ko.xz"), "junk").expect("junk on boot");
    Boot { directory: Some(modules), ..Boot::default() }
}

/// Has debugfs change a partition.
fn plant(lab: &Lab, disk: &Path, label: &str, commands: &[&str]) {
    let alone = lab::cut_out(lab, disk, label);
    let script = lab.directory().join("script");
    fs::write(&script, commands.join("\n")).expect("a script");
    let output = support::program("debugfs").args(["-w", "-f"]).arg(&script).arg(&alone).output();
    // It says its version there, and what went wrong.
    let said = String::from_utf8_lossy(&output.expect("debugfs").stderr).into_owned();
    assert!(said.lines().count() <= 1, "{said}");
    lab::put_back(disk, label, &alone);
}
