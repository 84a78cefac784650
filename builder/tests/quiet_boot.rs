//! The writes of a boot with nothing to do: a disk is booted once, used, and shut down; at its second boot everything that is written
//! until the new root's init has started is logged, counted and attributed.
//!
//! `cargo test --test quiet_boot`. `BOOT_TESTS=required|none` as for the boot tests. Debian packages: qemu-system-x86, e2fsprogs,
//! squashfs-tools.

mod cases;
#[path = "../../test-images/image.rs"]
mod image;
#[allow(dead_code, reason = "the boot tests use the rest of it")]
#[path = "boot/lab.rs"]
mod lab;
#[allow(dead_code, reason = "the power cuts use the rest of it")]
#[path = "power_cut/log.rs"]
mod log;
mod support;

use std::{collections::BTreeMap, path::Path, process::ExitCode};

use lab::{Lab, PATIENCE};
use log::{Log, logged};
use support::{program, said};
use vm::qemu::Guest;

/// Bytes that a boot with nothing to do may write, and flushes that it may ask for.
const BYTES: u64 = 16 << 10;
const FLUSHES: usize = 1;

/// The root's init says this first.
const STARTED: &str = "MARK begin";

/// Ways in which the system before ended: their names, and what its init is told.
const ENDS: [(&str, &str); 2] = [
    ("a clean shutdown", "-- \"run=sync; echo u >/proc/sysrq-trigger; busybox sleep 1\""),
    ("a power cut after a sync", ""),
];

fn main() -> ExitCode {
    let cases = ENDS.iter().map(|end| (format!("after {}", end.0), end)).collect();
    println!("quiet boot: allowed are {BYTES} bytes and {FLUSHES} flush");
    cases::run("quiet boot", 1, cases, || Lab::open("x86_64"), |lab, end| boot(lab, end))
}

fn boot(lab: &Lab, (end, append): &(&str, &str)) {
    let (initrd, disk) = (lab.initrd(""), lab.make(&lab.disk()));
    let (marks, _) =
        image::boot(&lab.machine(&initrd, &[&disk], append), PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(marks.get("writable"), "yes");
    let counted = count(lab, &initrd, &disk);
    let Counted { bytes, writes, flushes, .. } = counted;
    println!("quiet boot: after {end}: {bytes} bytes in {writes} writes, {flushes} flushes");
    for (place, (writes, bytes)) in &counted.places {
        println!("  {place}: {writes} writes, {bytes} bytes");
    }
    // What the system before left to do, a journal to replay, is no boot with nothing to do.
    let is_quiet = *end == ENDS[0].0;
    assert!(!is_quiet || bytes <= BYTES && flushes <= FLUSHES, "that is too much");
}

/// The writes of a boot.
struct Counted {
    writes: usize,
    bytes: u64,
    flushes: usize,
    /// Writes and bytes by what was written.
    places: BTreeMap<String, (usize, u64)>,
}

/// Boots a disk until the root's init has started, and counts.
fn count(lab: &Lab, initrd: &Path, disk: &Path) -> Counted {
    let (machine, path) = logged(lab, initrd, disk, None);
    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for(STARTED, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    // QEMU is killed with it.
    drop(guest);
    let log = Log::read(disk, &path);
    let structures: Vec<(String, u64, u64)> =
        ["img", "overlay", "newimg", "boot"].into_iter().flat_map(|label| structures(lab, disk, label)).collect();
    let mut counted = Counted { writes: 0, bytes: 0, flushes: log.flushes().len() - 1, places: BTreeMap::new() };
    for (start, length) in log.writes() {
        counted.writes += 1;
        counted.bytes += length;
        let is_there = |(_, first, end): &&(String, u64, u64)| *first <= start && start < *end;
        let place = structures.iter().find(is_there).map_or("outside every partition", |(name, _, _)| name);
        let (writes, bytes) = counted.places.entry(place.to_owned()).or_default();
        (*writes, *bytes) = (*writes + 1, *bytes + length);
    }
    counted
}

/// Returns the parts of a partition by name, with where each begins and ends on the disk, in bytes; the partition itself comes last.
fn structures(lab: &Lab, disk: &Path, label: &str) -> Vec<(String, u64, u64)> {
    let (start, size) = lab::partition(disk, label);
    let mut all = Vec::new();
    let alone = lab::cut_out(lab, disk, label);
    let run = |name: &str, arguments: &[&str]| said(program(name).args(arguments).arg(&alone));
    let text = run("dumpe2fs", &[]);
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned());
    if let Some(block) = field("Block size:").and_then(|value| value.parse::<u64>().ok()) {
        let mut add = |name: &str, first: u64, last: u64| {
            all.push((format!("{label}, {name}"), start + first * block, start + (last + 1) * block));
        };
        for number in run("debugfs", &["-R", "blocks <8>"]).split_whitespace().filter_map(|text| text.parse().ok()) {
            add("journal", number, number);
        }
        for line in text.lines() {
            for name in ["superblock", "Group descriptors", "Block bitmap", "Inode bitmap", "Inode table"] {
                for part in line.split(", ").filter(|part| part.contains(name)) {
                    let numbers = part.rsplit(" at ").next().unwrap_or_default().split(' ').next().unwrap_or_default();
                    let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
                    if let (Ok(first), Ok(last)) = (first.parse(), last.parse()) {
                        add(name, first, last);
                    }
                }
            }
        }
    }
    all.push((format!("{label}, data and directories"), start, start + size));
    all
}
