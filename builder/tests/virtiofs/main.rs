//! Real boots from a directory: `virtiofs` and `vm` as they are called, Debian's kernels in QEMU, virtiofsd as this machine has it.
//!
//! `cargo test --test virtiofs -- [NAME PART …]` runs the cases whose name contains a part; see `cases/`.

#[path = "../cases/bare.rs"]
mod bare;
#[path = "../cases/mod.rs"]
mod cases;
#[path = "../cases/ended.rs"]
mod ended;
mod ends;
mod hostile;
#[path = "../cases/http.rs"]
mod http;
mod lab;
#[path = "../cases/signals.rs"]
mod signals;
mod ways;

use std::process::ExitCode;

use lab::Lab;

/// A test: its name, what it does.
type Case = (&'static str, fn(&Lab));

const CASES: &[Case] = &[
    ("the command's status is vm's own", ways::statuses),
    ("a read-only root, directories to write and to read", ways::directories),
    ("i686: a writable layer over the root", ways::overlay),
    ("a root that may be written to", ways::read_write),
    ("arguments arrive as they were given", ways::arguments),
    ("a known caller's line boots", ways::known_caller),
    ("a known caller's own archive boots: /init and modules, nothing else", ways::known_caller_bare),
    ("orphans are reaped, what is left over is ended", ways::orphans),
    ("the result as JSON, the console beside it", ways::json),
    ("a network card, and a port of the host", ways::network),
    ("armv6l builds and says that it has no PCI bus", ways::armv6l),
    ("a hostile guest changes nothing that is shared to read only", hostile::guest),
    ("what cannot be kept read-only is refused", hostile::refused),
    ("a tag that is not there: the card lists those that are", ends::tag_missing),
    ("an init that is not there: the card", ends::init_missing),
    ("a virtiofsd that dies ends the machine", ends::daemon_dies),
    ("a timeout", ends::timeout),
    ("killed, it leaves nothing behind", ends::killed),
    ("interrupted, it leaves nothing behind", ends::interrupted),
    ("bad input is refused before anything is started", ends::bad_input),
    ("programs that are missing are named with their packages", ends::missing_programs),
];

/// Cases of targets that others stand for.
const OTHER_TARGETS: &[Case] = &[
    ("aarch64: a writable layer over the root", |lab| ways::overlay_on(lab, "arm64", "CPU architecture: 8")),
    ("armv7l: a writable layer over the root", |lab| ways::overlay_on(lab, "armv7l", "CPU architecture: 7")),
    ("riscv64: a writable layer over the root", |lab| ways::overlay_on(lab, "riscv64", "isa\t\t: rv64")),
];

fn main() -> ExitCode {
    let others = if cases::all_targets() { OTHER_TARGETS } else { &[] };
    let cases = CASES.iter().chain(others).map(|(name, case)| ((*name).to_owned(), case)).collect();
    cases::run("virtiofs:", 2, cases, Lab::open, |lab, case| case(lab))
}
