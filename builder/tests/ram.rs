//! Real boots of images that run from memory: `oci` and `oci run` as they are called, Debian's kernels in QEMU.
//!
//! This file has its own `main`, as `boot.rs` has, and the same wishes: `cargo test --test ram -- [NAME PART …]` runs the cases whose
//! name contains a part; with `BOOT_TESTS=required` a skip is a failure, with `BOOT_TESTS=none` all are skipped.

#[path = "ram/ends.rs"]
mod ends;
#[path = "ram/image.rs"]
mod image;
#[path = "ram/lab.rs"]
mod lab;
#[path = "ram/ways.rs"]
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
    ("the program's status is the command's own", ways::statuses),
    ("all that an image's config says", ways::config),
    ("an image from nothing but one program", ways::scratch),
    ("i686: an image from nothing, a user by number", ways::scratch_i686),
    ("armv6l: an image on a Raspberry Pi Zero", ways::raspberry),
    ("said at boot, it comes before the image", ways::asked_at_boot),
    ("an entrypoint that is called /init", ways::own_init),
    ("two archives, all contents compared", ways::split),
    ("attributes are back", ways::attributes),
    ("what asks init to end asks the program as it wants it", ends::stop_signal),
    ("what nobody waits for is reaped", ends::orphans),
    ("an archive that is cut short is refused", ends::cut_short),
    ("too little memory is said loudly", ends::low_memory),
    ("a program that cannot be run has a card", ends::cannot_run),
];

fn main() -> ExitCode {
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let cases: Vec<_> = CASES
        .iter()
        .filter(|(name, _)| parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str())))
        .collect();
    let wish = std::env::var("BOOT_TESTS").unwrap_or_default();
    if wish == "none" {
        println!("boots from memory skipped: BOOT_TESTS=none");
        println!("0 passed, 0 failed, {} skipped", cases.len());
        return ExitCode::SUCCESS;
    }
    let lab = match Lab::open() {
        Ok(lab) => lab,
        Err(reason) => {
            let required = wish == "required";
            println!("boots from memory {}: {reason}", if required { "cannot run" } else { "skipped" });
            println!("0 passed, {} failed, {} skipped", usize::from(required), if required { 0 } else { cases.len() });
            return ExitCode::from(u8::from(required));
        }
    };
    let mut failures = Vec::new();
    for (name, case) in &cases {
        let start = Instant::now();
        let passed = catch_unwind(AssertUnwindSafe(|| case(&lab))).is_ok();
        println!("ram: {name} ... {} ({:.1} s)", if passed { "ok" } else { "FAILED" }, start.elapsed().as_secs_f32());
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
