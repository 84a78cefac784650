//! The processes that this one started.

use std::{
    fs,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

/// Longest wait for processes that were asked to end.
const PATIENCE: Duration = Duration::from_secs(3);

/// Asks all children to end, and kills those that do not. They are left to whoever waits for them.
pub(crate) fn end() {
    let deadline = Instant::now() + PATIENCE;
    let children = of(std::process::id());
    children.iter().for_each(|child| send(*child, Signal::TERM));
    for child in children {
        while is_running(child) {
            if Instant::now() > deadline {
                send(child, Signal::KILL);
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Kills all processes below this one, as far as they are known; returns whether there were any.
pub fn kill_all() -> bool {
    let mut pending = of(std::process::id());
    let found = !pending.is_empty();
    while let Some(process) = pending.pop() {
        pending.extend(of(process));
        send(process, Signal::KILL);
    }
    found
}

/// Returns the children of a process (proc_pid_children(5)).
fn of(process: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}

/// Returns true for a process that is there and has not ended.
fn is_running(process: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The state follows the name, which may have parentheses itself (proc_pid_stat(5)).
    stat.rsplit_once(')').is_some_and(|(_, rest)| !matches!(rest.trim_start().chars().next(), Some('Z' | 'X') | None))
}

fn send(process: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // It may have ended.
        let _ = kill_process(pid, signal);
    }
}
