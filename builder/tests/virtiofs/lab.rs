//! Fixtures of the boots from a directory: root directories around a BusyBox, and `vm` run on them.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use base::progress::Progress;
use initramfs_overlay::{busybox_image, busybox_rootfs};
use sources::{
    kernel_package::{self, Kernel},
    target,
};
use tempfile::TempDir;
use vm::share::Daemon;

use crate::ended::{Ended, need, run};

/// BusyBox's applets in the roots.
const APPLETS: [&str; 16] = [
    "cat", "echo", "env", "false", "grep", "head", "kill", "ls", "mkdir", "mount", "poweroff", "ps", "rm", "sleep",
    "touch", "true",
];

/// Everything for these boots.
pub struct Lab {
    busybox: Vec<u8>,
    /// Debian's kernel for x86_64.
    pub kernel: Kernel,
    work: TempDir,
}

impl Lab {
    /// Fetches what is needed, or says what is missing.
    pub fn open() -> Result<Self, String> {
        need(&["qemu-system-x86_64", "qemu-system-i386"])?;
        let said = |error: initramfs_overlay::Error| error.to_string();
        Daemon::find(None).map_err(|error| error.to_string())?;
        let cache = initramfs_overlay::cache::open().map_err(said)?;
        let progress = Progress::none();
        let host = target::named("x86_64").map_err(|error| error.to_string())?;
        let kernel = kernel_package::debian(host, &cache, sources::Substitute::Allow, &progress);
        Ok(Self {
            busybox: busybox_image::get(host, None, &cache, sources::Substitute::Allow, &progress).map_err(said)?.bytes,
            kernel: kernel.map_err(|error| error.to_string())?,
            work: TempDir::new().map_err(|error| error.to_string())?,
        })
    }

    /// Returns a new directory for one test.
    pub fn directory(&self) -> PathBuf {
        tempfile::Builder::new().tempdir_in(self.work.path()).expect("a directory").keep()
    }

    /// Returns a root directory with a shell.
    pub fn root(&self) -> PathBuf {
        self.root_with(&self.busybox)
    }

    /// Returns a root directory with a shell for another target.
    pub fn root_of(&self, name: &str) -> PathBuf {
        let cache = initramfs_overlay::cache::open().expect("the cache");
        let target = target::named(name).expect("a target");
        self.root_with(
            &busybox_image::get(target, None, &cache, sources::Substitute::Allow, &Progress::none())
                .expect("BusyBox")
                .bytes,
        )
    }

    fn root_with(&self, busybox: &[u8]) -> PathBuf {
        let root = self.directory();
        busybox_rootfs::make(&root, busybox, &[]).expect("a root");
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet)).expect("a link");
        }
        root
    }

    /// Returns `vm` on `root` with Debian's kernel under TCG.
    pub fn command(&self, root: &Path) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
        command.arg("vm").arg(root).args(["--kernel", "debian", "--accel", "tcg", "--timeout", "300s"]);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        command
    }

    /// Does the same, running `script` in the machine's shell.
    pub fn script(&self, root: &Path, arguments: &[&str], script: &str) -> Ended {
        run(self.command(root).args(arguments).args(["--", "-c", script]))
    }
}

/// Starts a command and waits until it has written a line with `words`.
pub fn start_until(command: &mut Command, words: &str) -> Child {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the command");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains(words))), "it never wrote {words}");
    // The rest must not stop it.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

/// Returns all processes below `process`.
pub fn descendants(process: u32) -> Vec<u32> {
    let mut all = Vec::new();
    let mut pending = vec![process];
    while let Some(parent) = pending.pop() {
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let text = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children: Vec<u32> = text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
            pending.extend(&children);
            all.extend(children);
        }
    }
    all
}

/// Returns the command name of a process (proc_pid_comm(5)).
pub fn name_of(process: u32) -> String {
    fs::read_to_string(format!("/proc/{process}/comm")).unwrap_or_default().trim().to_owned()
}

/// Waits until processes have ended.
pub fn wait_gone(processes: &[u32]) {
    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        process::{Pid, PidfdFlags, pidfd_open},
    };
    for process in processes {
        let pid = i32::try_from(*process).ok().and_then(Pid::from_raw).expect("a process");
        // Gone already is what is wanted.
        let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        let time = Timespec { tv_sec: 30, tv_nsec: 0 };
        let ended = poll(&mut [PollFd::new(&descriptor, PollFlags::IN)], Some(&time)).expect("poll");
        assert_eq!(ended, 1, "{} ({process}) is still there", name_of(*process));
    }
}
