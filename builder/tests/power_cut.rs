//! Updates on a real ext4 whose power is cut: a machine in QEMU puts an update in while everything that it writes is logged; then
//! every disk that a cut could have left is examined by the doctor's code, and some are booted. Machines are killed as well. Of
//! filesystems that the doctor does not read, all disks are booted.
//!
//! `cargo test --test power_cut -- [cuts] [kills] [others] [blackbox]` runs a part. `BOOT_TESTS=required|none` as for the boot tests.
//! `POWER_CUT=long` takes ten times as many; `POWER_CUT_SEED=N` repeats a run's losses. Debian packages: qemu-system-x86,
//! e2fsprogs, squashfs-tools, xfsprogs, btrfs-progs, f2fs-tools.

#[allow(dead_code, reason = "the other tests use the rest of it")]
mod cases;
#[path = "../../test-images/image.rs"]
mod image;
#[allow(dead_code, reason = "the boot tests use the rest of it")]
#[path = "boot/lab.rs"]
mod lab;
#[allow(dead_code, reason = "the quiet boot uses the rest of it")]
#[path = "power_cut/log.rs"]
mod log;
#[allow(dead_code, reason = "the boot tests use the rest of it")]
#[path = "boot/make.rs"]
mod make;
mod support;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use contract::blackbox::{TEXT_SIZE, locate};
use disk::{Source, layout::Role, size::MIB};
use doctor::{
    self, BootInput, Depth,
    block_reader::{Disk, Medium, Part, Shared},
    journal, table, volume,
};
use sha2::{Digest, Sha256};
use vm::qemu::{Guest, Machine};

use lab::{Lab, PATIENCE};
use log::{Log, logged};
use support::{Numbers, noise, program, run, said};

/// The extent of a run.
struct Extent {
    /// Bytes of the update that no compressor shrinks.
    update: u64,
    /// Cuts between flushes that are examined.
    cuts: usize,
    /// Of them, those that are booted.
    boots: usize,
    /// Machines that are killed.
    kills: usize,
    /// Filesystems other than ext4, and cuts on each.
    others: (usize, usize),
}

fn main() -> ExitCode {
    let lab = match cases::open_lab("power cut", PARTS, || Lab::open("x86_64")) {
        Ok(lab) => lab,
        Err(code) => return code,
    };
    let extent = match std::env::var("POWER_CUT").as_deref() {
        Ok("long") => Extent { update: 64 * MIB, cuts: 5000, boots: 40, kills: 100, others: (make::OTHERS.len(), 40) },
        _ => Extent { update: 24 * MIB, cuts: 500, boots: 8, kills: 20, others: (1, 2) },
    };
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let seed = std::env::var("POWER_CUT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(clock);
    println!("power cuts: seed {seed}");
    let start = Instant::now();
    let names: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let is_asked = |name: &str| names.is_empty() || names.iter().any(|asked| asked == name);
    let mut parts = Vec::new();
    if is_asked("cuts") {
        parts.extend(examine_cuts(&lab, &extent, seed));
    }
    if is_asked("kills") {
        parts.push(kill(&lab, &extent, seed));
    }
    if is_asked("others") {
        parts.extend(examine_others(&lab, &extent, seed));
    }
    if is_asked("blackbox") {
        parts.push(examine_black_box(&lab, &extent, seed));
    }
    println!("power cuts: {:.0} s", start.elapsed().as_secs_f32());
    for failure in parts.iter().flat_map(|failures| failures.iter().take(20)) {
        println!("failed: {failure}");
    }
    let failed = parts.iter().filter(|failures| !failures.is_empty()).count();
    println!("{} passed, {failed} failed, 0 skipped", parts.len() - failed);
    ExitCode::from(u8::from(failed > 0))
}

/// Number of parts that are counted as passed or failed: flushes, losses, lies, boots, kills, another filesystem, the black box.
const PARTS: usize = 7;

/// The failures of a part, one line each.
type Failures = Vec<String>;

/// Returns a disk with image A and the update B, and the digest of B.
fn disk(lab: &Lab, update: u64) -> (PathBuf, String) {
    let root = lab.root("B");
    fs::write(root.join("noise"), noise(update as usize)).expect("noise");
    let packed = lab.directory().join("root-squashfs.img");
    let mut mksquashfs = Command::new("mksquashfs");
    let made = mksquashfs.arg(&root).arg(&packed).args(["-noappend", "-quiet", "-no-progress", "-all-root"]).output();
    assert!(made.expect("mksquashfs").status.success());
    let digest = Sha256::digest(fs::read(&packed).expect("the update"));
    let mut disk = lab.disk();
    disk.source = Source::Root(lab.root("A"));
    disk.newimg = Some(Some(packed));
    disk.boot = None;
    disk.sizes = [(Role::Img, update + 32 * MIB), (Role::Overlay, 16 * MIB)].into();
    (lab.make(&disk), digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Returns a machine that writes slowly to a copy of `disk`, and the log of what it writes.
fn slow(lab: &Lab, initrd: &Path, disk: &Path) -> (Machine, PathBuf) {
    let (mut machine, log) = logged(lab, initrd, disk, Some(2 * MIB));
    machine.memory = Some(192);
    (machine, log)
}

/// Checks the guarantee for a disk: it boots, with or without its update medium, and the update is not lost. Returns the state.
fn judge(medium: impl Medium + 'static, update: &str) -> Result<String, String> {
    let medium: Shared = Arc::new(medium);
    let boots = |cmdline: &str| {
        let boots = BootInput { cmdline: cmdline.to_owned(), ..BootInput::default() };
        doctor::examine(volume::devices(medium.clone(), "vda", None).0, &boots, Depth::Digest)
    };
    let with = boots("");
    if !with.is_well() {
        return Err(format!("it is not well: {:?} {:?} {:?}", with.failure, with.findings, with.unknown));
    }
    if with.image.as_ref().and_then(|image| image.sha256.as_deref()) != Some(update) {
        return Err(format!("the update is lost: {with:?}"));
    }
    let without = boots("rd.newimg=LABEL=nowhere");
    match without.is_well() {
        true => Ok(format!("{}; next boot: {}", with.update, with.outcome)),
        false => Err(format!("without newimg it is not well: {:?} {:?}", without.failure, without.findings)),
    }
}

/// Does `work` for every number below `count`, on all processors, and gathers what went wrong.
fn side_by_side(
    count: usize,
    work: impl Fn(usize) -> Result<String, String> + Sync,
) -> (BTreeMap<String, usize>, Failures) {
    let next = AtomicUsize::new(0);
    let found = Mutex::new((BTreeMap::new(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count) {
                    let outcome = work(number);
                    let mut found = found.lock().expect("no panic while it is held");
                    match outcome {
                        Ok(state) => *found.0.entry(state).or_default() += 1,
                        Err(reason) => found.1.push(reason),
                    }
                }
            });
        }
    });
    found.into_inner().expect("no panic while it is held")
}

fn tell(what: &str, (states, failures): (BTreeMap<String, usize>, Failures)) -> Failures {
    let good: usize = states.values().sum();
    println!("power cuts: {} {what}, {} of them bad", good + failures.len(), failures.len());
    for (state, count) in states {
        println!("  {count:>6}  {state}");
    }
    failures
}

/// Logs one update, examines the disk at every flush and after many losses between them, and boots some of these.
fn examine_cuts(lab: &Lab, extent: &Extent, seed: u64) -> Vec<Failures> {
    let initrd = lab.initrd("");
    let (disk, update) = disk(lab, extent.update);
    // Slow enough for several of the journal's commits, which come every 5 s.
    let (machine, path) = slow(lab, &initrd, &disk);
    let start = Instant::now();
    let (marks, _) = image::boot(&machine, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((marks.get("image"), marks.report()["update"].as_str()), ("B", Some("installed")));
    let log = Log::read(&disk, &path);
    let flushes = log.flushes();
    println!(
        "power cuts: an update of {} MiB, {} writes and flushes, {} flushes, {:.0} s",
        extent.update / MIB,
        log.len(),
        flushes.len() - 1,
        start.elapsed().as_secs_f32()
    );
    let at_flushes = side_by_side(flushes.len(), |number| {
        judge(log.whole(flushes[number]), &update).map_err(|reason| format!("flush {number}: {reason}"))
    });
    let between = side_by_side(extent.cuts, |number| {
        let mut numbers = Numbers(seed ^ (number as u64) << 32);
        judge(log.cut(&mut numbers, true), &update).map_err(|reason| format!("seed {seed}, cut {number}: {reason}"))
    });
    let mut parts = vec![tell("disks at flushes", at_flushes), tell("disks with losses between flushes", between)];
    // Were flushes worth nothing, updates would be lost: who does not see that sees nothing.
    let (_, seen) =
        side_by_side(60, |number| judge(log.cut(&mut Numbers(seed ^ (number as u64) << 32), false), &update));
    println!("power cuts: of 60 disks whose flushes were lies, {} are seen to be bad", seen.len());
    let is_blind = seen.is_empty();
    parts
        .push(is_blind.then(|| "disks that lost what was flushed are taken for good".to_owned()).into_iter().collect());
    let booted = side_by_side(extent.boots, |number| {
        let mut numbers = Numbers(!seed ^ (number as u64) << 32);
        let file = lab.directory().join("cut.img");
        log.cut(&mut numbers, true).write(&file);
        compare_with_e2fsck(lab, &file)
            .and_then(|()| boot_twice(lab, &initrd, &file))
            .map_err(|reason| format!("seed {seed}, boot {number}: {reason}"))
    });
    parts.push(tell("disks booted twice, their journals replayed as e2fsck does", booted));
    parts
}

/// Checks that the doctor's replay of img's journal is that of e2fsck.
fn compare_with_e2fsck(lab: &Lab, disk: &Path) -> Result<(), String> {
    let medium: Shared = Arc::new(Disk::open(disk).expect("the disk"));
    let partitions = table::read(&medium, None).partitions;
    let img = partitions.iter().find(|partition| partition.name.as_deref() == Some("img")).expect("img");
    let part: Shared = Arc::new(Part::new(medium, img.start, img.size));
    let read = |medium: &Shared| {
        let mut bytes = vec![0; usize::try_from(medium.size()).expect("a size")];
        medium.read_at(0, &mut bytes).expect("the partition");
        bytes
    };
    let copy = lab.directory().join("img");
    fs::write(&copy, read(&part)).expect("the partition");
    let run = |name: &str, arguments: &[&str]| said(program(name).args(arguments).arg(&copy));
    // Before the replay a bitmap's checksum may be wrong; `-c` reads none.
    let blocks = run("debugfs", &["-c", "-R", "blocks <8>"]);
    let journal: Vec<usize> = blocks.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    assert!(journal.len() > 100, "the journal's blocks: {blocks}");
    run("e2fsck", &["-y", "-E", "journal_only"]);
    let (replayed, _) = journal::replayed(part).map_err(|error| error.to_string())?;
    let (ours, theirs) = (read(&replayed), fs::read(&copy).expect("the copy"));
    // e2fsck also empties the journal and counts in the superblock.
    let differ = |number: &usize| ours[number * 4096..][..4096] != theirs[number * 4096..][..4096];
    let other: Vec<usize> = (1..ours.len() / 4096).filter(|number| !journal.contains(number)).filter(differ).collect();
    if other.is_empty() { Ok(()) } else { Err(format!("e2fsck replays the journal otherwise: blocks {other:?}")) }
}

/// Boots a disk in earnest: the new image runs, and nothing is wrong. Returns what was done, and the files on img.
fn boot(lab: &Lab, initrd: &Path, disk: &Path) -> Result<(String, String), String> {
    boot_either(lab, initrd, disk, "", &["B"])
}

/// Boots a disk in earnest: one of these images runs, and nothing is wrong. Returns what was done, and the files on img.
fn boot_either(
    lab: &Lab,
    initrd: &Path,
    disk: &Path,
    append: &str,
    images: &[&str],
) -> Result<(String, String), String> {
    let machine = lab.machine(initrd, &[disk], append);
    let (marks, _) = image::boot(&machine, PATIENCE).map_err(|error| error.to_string())?;
    let report = marks.report();
    let text = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
    match (marks.get("image"), text("status").as_str()) {
        (image, "ok") if images.contains(&image) => Ok((text("update"), marks.group("layer-img").join(" "))),
        (image, status) => Err(format!("it boots {image}, {status}: {}", report["notices"])),
    }
}

/// Boots a disk, and once more: then nothing is left to do.
fn boot_twice(lab: &Lab, initrd: &Path, disk: &Path) -> Result<String, String> {
    let (first, _) = boot(lab, initrd, disk)?;
    let (second, files) = boot(lab, initrd, disk)?;
    match second == "none" && !files.contains(".new") {
        true => Ok(format!("first boot: {first}; second: {second}")),
        false => Err(format!("the second boot is not clean: {second}, {files}")),
    }
}

/// Logs an update on img with another filesystem, and boots what cuts left: without the update medium, with it, and once more. The
/// kernel judges what is left: nothing here reads these filesystems.
fn examine_others(lab: &Lab, extent: &Extent, seed: u64) -> Vec<Failures> {
    let (filesystems, cuts) = extent.others;
    let first = usize::try_from(seed % make::OTHERS.len() as u64).expect("a place");
    let chosen = make::OTHERS.iter().cycle().skip(first).take(filesystems);
    chosen.map(|(filesystem, make)| examine_other(lab, (filesystem, *make), cuts, seed)).collect()
}

fn examine_other(lab: &Lab, (filesystem, make): (&str, make::Make), cuts: usize, seed: u64) -> Failures {
    let wanted = [filesystem, "ext4", "loop", "squashfs", "overlay", "virtio_pci", "virtio_blk"];
    let initrd = lab.initrd_with("-slim", &wanted);
    let disk = disk_of(lab, make);
    let (machine, path) = slow(lab, &initrd, &disk);
    let (marks, _) = image::boot(&machine, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((marks.get("image"), marks.report()["update"].as_str()), ("B", Some("installed")));
    let log = Log::read(&disk, &path);
    println!(
        "power cuts: an update on {filesystem}, {} writes and flushes, {} flushes",
        log.len(),
        log.flushes().len() - 1
    );
    let booted = side_by_side(cuts, |number| {
        let file = lab.directory().join("cut.img");
        let put = || log.cut(&mut Numbers(seed ^ (number as u64) << 32), true).write(&file);
        put();
        let state = boot_either(lab, &initrd, &file, "rd.newimg=LABEL=nowhere", &["A", "B"])
            .and_then(|_| {
                put();
                boot_twice(lab, &initrd, &file)
            })
            .map_err(|reason| format!("{filesystem}, seed {seed}, cut {number}: {reason}"));
        fs::remove_file(&file).expect("to make room");
        state
    });
    tell(&format!("disks with {filesystem} booted without their update medium, and twice with it"), booted)
}

/// Returns a disk whose img has another filesystem, with image A, and the update B.
fn disk_of(lab: &Lab, make: make::Make) -> PathBuf {
    let mut disk = lab.disk();
    disk.source = Source::Root(lab.root("A"));
    disk.newimg = Some(Some(lab.root("B")));
    disk.boot = None;
    disk.sizes = [(Role::Img, make::SIZE), (Role::Overlay, 16 * MIB)].into();
    let disk = lab.make(&disk);
    let (alone, directory) = (lab.directory().join("img"), lab.directory());
    let image = lab::cut_out(lab, &disk, "img");
    let dumped = directory.join("root-squashfs.img");
    run(program("debugfs").arg("-R").arg(format!("dump root-squashfs.img {}", dumped.display())).arg(&image));
    fs::File::create(&alone).and_then(|file| file.set_len(make::SIZE)).expect("room");
    make(&alone, "img", &directory);
    lab::put_back(&disk, "img", &alone);
    disk
}

/// The messages of init when it begins to copy, and when the update is installed.
const BEGUN: &str = "update: copying";
const DONE: &str = "root-squashfs.img: installed";

/// Machines that are killed at a random moment of an update, with writes lost.
fn kill(lab: &Lab, extent: &Extent, seed: u64) -> Failures {
    let initrd = lab.initrd("-slim");
    let (disk, update) = disk(lab, 8 * MIB);
    // How long an update takes here.
    let (machine, _) = slow(lab, &initrd, &disk);
    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for(BEGUN, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let start = Instant::now();
    guest.wait_for(DONE, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let span = start.elapsed().mul_f64(1.25);
    drop(guest);
    let killed = side_by_side(extent.kills, |number| {
        let mut numbers = Numbers(seed.rotate_left(32) ^ (number as u64) << 32);
        let (machine, path) = slow(lab, &initrd, &disk);
        let mut guest = Guest::start(&machine).map_err(|error| error.to_string())?;
        guest.wait_for(BEGUN, PATIENCE).map_err(|error| error.to_string())?;
        let moment = span.mul_f64(numbers.below(1000) as f64 / 1000.0).max(Duration::from_millis(1));
        // Not waited for but let run: it is killed at that moment, wherever it is.
        let _ = guest.wait_for("no console says this", moment);
        drop(guest);
        let log = Log::read(&disk, &path);
        let last = log.flushes().iter().rev().nth(1).copied().unwrap_or(0);
        let count = last + numbers.below(log.len() + 1 - last);
        let state = numbers.0;
        let reason = |reason| format!("seed {seed}, kill {number} after {moment:?}, {count} entries: {reason}");
        judge(log.cut_at(count, &mut Numbers(state), true), &update).map_err(reason)?;
        let file = lab.directory().join("killed.img");
        log.cut_at(count, &mut Numbers(state), true).write(&file);
        let (done, _) = boot(lab, &initrd, &file).map_err(reason)?;
        let state = judge(Disk::open(&file).expect("the disk"), &update).map_err(reason)?;
        for path in [path, file] {
            fs::remove_file(path).expect("to make room");
        }
        match state.starts_with("none; ") {
            true => Ok(format!("boot: {done}")),
            false => Err(reason(format!("something is left after a boot: {state}"))),
        }
    });
    tell("machines killed within an update, examined, booted and examined again", killed)
}

/// Logs a boot that fails after another one did, and examines what cuts left: the disk boots, at most the new entry is torn, and of `boot`
/// nothing but the text is changed.
fn examine_black_box(lab: &Lab, extent: &Extent, seed: u64) -> Failures {
    // The slim variant has no black box.
    let initrd = lab.initrd("");
    let mut disk = lab.disk();
    disk.sizes = [(Role::Overlay, 16 * MIB)].into();
    let disk = lab.make(&disk);
    let mut machine = lab.machine(&initrd, &[&disk], "init=/first");
    lab.fail(&machine, "init-missing");
    let (logged, path) = logged(lab, &initrd, &disk, None);
    machine.drives = logged.drives;
    machine.extra = logged.extra;
    machine.append.push("init=/second".into());
    lab.fail(&machine, "init-missing");
    let log = Log::read(&disk, &path);
    let (start, size) = lab::partition(&disk, "boot");
    let read = |medium: &Shared, at: u64, length: u64| {
        let mut bytes = vec![0; usize::try_from(length).expect("a length")];
        medium.read_at(at, &mut bytes).expect("the disk");
        bytes
    };
    let before: Shared = Arc::new(Disk::open(&disk).expect("the disk"));
    let text = locate(&mut |at, most| Some(read(&before, start + at, most as u64))).expect("the text on boot");
    let examine = |medium: Shared| {
        let devices = || volume::devices(medium.clone(), "vda", None).0;
        let next = doctor::examine(devices(), &BootInput::default(), Depth::Names);
        if !next.is_well() {
            return Err(format!("it is not well: {:?} {:?} {:?}", next.failure, next.findings, next.unknown));
        }
        let found = doctor::blackbox::read(&devices(), &BootInput::default().config());
        let content = found.content.clone().unwrap_or_default();
        let has = |program: &str| content.entries.iter().any(|entry| entry.card.contains(program));
        if !has("/first") || content.torn > 1 {
            return Err(format!("an entry is lost: {:?}, {} torn", found.boots(), content.torn));
        }
        for (from, to) in [(0, text), (text + TEXT_SIZE as u64, size)] {
            if read(&before, start + from, to - from) != read(&medium, start + from, to - from) {
                return Err("boot is changed outside the text".to_owned());
            }
        }
        Ok(match (has("/second"), content.torn) {
            (true, _) => "the new entry is there".to_owned(),
            (false, 0) => "the new entry is not there".to_owned(),
            (false, _) => "the new entry is torn".to_owned(),
        })
    };
    let cuts = side_by_side(extent.cuts / 10, |number| {
        let mut numbers = Numbers(seed.rotate_left(16) ^ (number as u64) << 32);
        examine(Arc::new(log.cut(&mut numbers, true))).map_err(|reason| format!("seed {seed}, cut {number}: {reason}"))
    });
    let whole = examine(Arc::new(log.whole(log.len())));
    let mut failures = tell("disks whose power was cut while a failure was kept", cuts);
    if whole.as_deref() != Ok("the new entry is there") {
        failures.push(format!("without a cut: {whole:?}"));
    }
    failures
}
