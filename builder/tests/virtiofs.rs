//! Real boots from a folder: `virtiofs` and `vm` as they are called, Debian's kernels in QEMU, virtiofsd as this machine has it.
//!
//! This file has its own `main`, as `boot.rs` has, and the same wishes: `cargo test --test virtiofs -- [NAME PART …]` runs the cases
//! whose name contains a part; with `BOOT_TESTS=required` a skip is a failure, with `BOOT_TESTS=none` all are skipped.

#[path = "virtiofs/ends.rs"]
mod ends;
#[path = "virtiofs/lab.rs"]
mod lab;
#[path = "virtiofs/ways.rs"]
mod ways;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

use lab::Lab;

/// A test: its name, what it does.
type Case = (&'static str, fn(&Lab));

const CASES: &[Case] = &[
    ("the command's status is vm's own", ways::statuses),
    ("a read-only root, folders to write and to read", ways::folders),
    ("i686: a writable layer over the root", ways::overlay),
    ("a root that may be written to", ways::read_write),
    ("arguments arrive as they were given", ways::arguments),
    ("a known caller's line boots", ways::known_caller),
    ("orphans are reaped, what is left over is ended", ways::orphans),
    ("the result as JSON, the console beside it", ways::json),
    ("armv6l builds and says that it has no PCI bus", ways::armv6l),
    ("a tag that is not there: the card lists those that are", ends::tag_missing),
    ("an init that is not there: the card", ends::init_missing),
    ("a virtiofsd that dies ends the machine", ends::daemon_dies),
    ("the time is up", ends::timeout),
    ("killed, it leaves nothing behind", ends::killed),
    ("interrupted, it leaves nothing behind", ends::interrupted),
    ("bad input is refused before anything is started", ends::bad_input),
    ("programs that are missing are named with their packages", ends::missing_programs),
];

fn main() -> ExitCode {
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let cases: Vec<_> = CASES
        .iter()
        .filter(|(name, _)| parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str())))
        .collect();
    let wish = std::env::var("BOOT_TESTS").unwrap_or_default();
    if wish == "none" {
        println!("virtiofs boots skipped: BOOT_TESTS=none");
        println!("0 passed, 0 failed, {} skipped", cases.len());
        return ExitCode::SUCCESS;
    }
    let lab = match Lab::open() {
        Ok(lab) => lab,
        Err(reason) => {
            let required = wish == "required";
            println!("virtiofs boots {}: {reason}", if required { "cannot run" } else { "skipped" });
            println!("0 passed, {} failed, {} skipped", usize::from(required), if required { 0 } else { cases.len() });
            return ExitCode::from(u8::from(required));
        }
    };
    let mut failures = Vec::new();
    for (name, case) in &cases {
        let start = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| case(&lab))).is_ok();
        println!(
            "virtiofs: {name} ... {} ({:.1} s)",
            if passed { "ok" } else { "FAILED" },
            start.elapsed().as_secs_f32()
        );
        if !passed {
            failures.push(name);
        }
    }
    for name in &failures {
        println!("failed: {name}");
    }
    println!("{} passed, {} failed, 0 skipped", cases.len() - failures.len(), failures.len());
    ExitCode::from(u8::from(!failures.is_empty()))
}
