//! The runner of tests that boot machines: many, slow, and to be skipped *visibly* where artifacts or QEMU are not there.
//!
//! `cargo test --test NAME -- [NAME PART …]` runs the cases whose name contains a part. With `BOOT_TESTS=required` a skip is a failure,
//! with `BOOT_TESTS=none` all are skipped. With
//! `BOOT_TARGETS=all` those targets boot too that others stand for otherwise. The last line is counted by `test.sh`.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

/// Returns what `open` makes, or says that all `count` tests are skipped and returns the program's status.
pub fn open_lab<Lab>(kind: &str, count: usize, open: impl FnOnce() -> Result<Lab, String>) -> Result<Lab, ExitCode> {
    let wish = std::env::var("BOOT_TESTS").unwrap_or_default();
    if wish == "none" {
        println!("{kind} tests skipped: BOOT_TESTS=none\n0 passed, 0 failed, {count} skipped");
        return Err(ExitCode::SUCCESS);
    }
    open().map_err(|reason| {
        let required = wish == "required";
        println!("{kind} tests {}: {reason}", if required { "cannot run" } else { "skipped" });
        println!("0 passed, {} failed, {} skipped", usize::from(required), if required { 0 } else { count });
        ExitCode::from(u8::from(required))
    })
}

/// Returns true if targets that other ones stand for boot as well: with `BOOT_TARGETS=all`.
#[allow(dead_code, reason = "not every test boots several targets")]
pub fn all_targets() -> bool {
    std::env::var_os("BOOT_TARGETS").is_some_and(|wish| wish == "all")
}

/// Runs the cases that were asked for, so many at a time, in what `open` makes or says that it lacks. `kind` stands before each name.
pub fn run<Lab: Sync, Case: Sync>(
    kind: &str,
    workers: usize,
    mut cases: Vec<(String, Case)>,
    open: impl FnOnce() -> Result<Lab, String>,
    act: impl Fn(&Lab, &Case) + Sync,
) -> ExitCode {
    let parts: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    cases.retain(|(name, _)| parts.is_empty() || parts.iter().any(|part| name.contains(part.as_str())));
    let lab = match open_lab(kind, cases.len(), open) {
        Ok(lab) => lab,
        Err(code) => return code,
    };
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((name, case)) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let start = Instant::now();
                    let passed = catch_unwind(AssertUnwindSafe(|| act(&lab, case))).is_ok();
                    let word = if passed { "ok" } else { "FAILED" };
                    println!("{kind} {name} ... {word} ({:.1} s)", start.elapsed().as_secs_f32());
                    if !passed {
                        failures.lock().expect("no panic while it is held").push(name);
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().expect("no panic while it is held");
    for name in &failures {
        println!("failed: {name}");
    }
    println!("{} passed, {} failed, 0 skipped", cases.len() - failures.len(), failures.len());
    ExitCode::from(u8::from(!failures.is_empty()))
}
