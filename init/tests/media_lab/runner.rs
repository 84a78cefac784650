//! Runs processes with a deadline, and many cases side by side.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::{
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// Waits for a process that leads its own group; kills the group at the deadline and returns nothing then.
pub fn finish(child: Child, limit: Duration) -> Option<Output> {
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let outcome = receiver.recv_timeout(limit);
    // What a process leaves behind in its group goes with it.
    let _ = killpg(group, Signal::SIGKILL);
    outcome.ok().map(|output| output.unwrap())
}

/// Runs every case, a text that means something to [`super::CASE`], in a process of its own, as many at a time as there are
/// processors, and starts no more once `budget` is used up. `done` gets the position of each with what it printed, or nothing if it did
/// not end well within `limit`.
pub fn run_cases(
    cases: &[String],
    templates: &Path,
    limit: Duration,
    budget: Duration,
    done: impl Fn(usize, Option<String>) + Sync,
) {
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let this = std::env::current_exe().unwrap();
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(place).filter(|_| start.elapsed() < budget) else { return };
                    use std::os::unix::process::CommandExt;
                    let child = Command::new(&this)
                        .arg(super::CASE)
                        .arg(case)
                        .arg(templates)
                        .stdin(Stdio::null())
                        .stdout(Stdio::piped())
                        .process_group(0)
                        .spawn()
                        .unwrap();
                    let output = finish(child, limit).filter(|output| output.status.success());
                    done(place, output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()));
                }
            });
        }
    });
}
