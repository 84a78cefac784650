//! Commands that are ended at random moments leave no process, no temporary file and no half of an output, and say by which signal.
//!
//! `INTERRUPTED=long` tries each command, and some more, with each signal 20 times; `INTERRUPTED=N` N times.

#[allow(dead_code, reason = "of the boots' helpers few are needed")]
#[path = "cases/ended.rs"]
mod ended;
#[path = "oci_images/layout.rs"]
mod made;
#[path = "cases/signals.rs"]
mod signals;
mod support;

use std::{
    fs,
    os::unix::{fs::symlink, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use base::progress::Progress;
use initramfs_overlay::{busybox_image, busybox_rootfs};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, wait};
use serde_json::json;
use sources::target;
use support::Numbers;

/// The tests look at all processes that this one has started: one at a time.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// A command: its name, the time in which it is ended, its arguments and its output.
#[derive(Clone)]
struct Case {
    name: &'static str,
    time: Duration,
    arguments: Vec<String>,
    output: Option<PathBuf>,
    /// It has a cache in which init is not compiled yet.
    compiles: bool,
}

/// Everything that the commands need.
struct Lab {
    work: tempfile::TempDir,
    cases: Vec<Case>,
    /// The cases that others stand for in a short run.
    more: Vec<Case>,
}

fn lab() -> Result<Lab, String> {
    ended::need(&["qemu-system-x86_64", "mksquashfs", "mke2fs"])?;
    vm::share::Daemon::find(None).map_err(|error| error.to_string())?;
    let cache = initramfs_overlay::cache::open().map_err(|error| error.to_string())?;
    let target = target::named("x86_64").map_err(|error| error.to_string())?;
    let busybox = busybox_image::get(target, None, &cache, sources::Substitute::Allow, &Progress::none())
        .map_err(|error| error.to_string())?;
    let work = tempfile::tempdir().expect("a directory");
    let at = |name: &str| work.path().join(name);
    for name in ["root", "image", "out", "tmp", "cache"] {
        fs::create_dir(at(name)).expect("a directory");
    }
    for entry in fs::read_dir(cache.root()).expect("the cache").flatten() {
        let name = entry.file_name();
        if name != "init" && name != "oci-disk" {
            symlink(entry.path(), at("cache").join(name)).expect("a link");
        }
    }
    busybox_rootfs::make(&at("root"), &busybox.bytes, &[]).expect("a root");
    fs::write(at("root/noise"), support::noise(48 << 20)).expect("a file");
    let mut layer = tar::Builder::new(Vec::new());
    layer.append_dir_all(".", at("root")).expect("a layer");
    let layer = layer.into_inner().expect("a layer");
    let image = made::layout(
        &at("image"),
        "amd64",
        &json!({ "Cmd": ["/bin/sh", "-c", "sleep 60"] }),
        &[(layer.clone(), layer)],
    );
    let words = |text: &str| -> Vec<String> {
        text.split(' ')
            .map(|word| {
                let word = word.replace("IMAGE", &image);
                ["ROOT", "OUT"]
                    .iter()
                    .fold(word, |word, name| word.replace(name, at(&name.to_lowercase()).to_str().expect("UTF-8")))
            })
            .collect()
    };
    let case = |name, seconds, line: &str, output: Option<&str>, compiles| Case {
        name,
        time: Duration::from_secs(seconds),
        arguments: words(line),
        output: output.map(|name| at("out").join(name)),
        compiles,
    };
    let cases = vec![
        case("disk", 6, "disk OUT/disk.img --root ROOT --compress xz", Some("disk.img"), false),
        case("oci", 4, "oci IMAGE -o OUT/oci.gz --entrypoint sh", Some("oci.gz"), false),
        case("oci --squashfs", 4, "oci IMAGE --squashfs OUT/oci.img", Some("oci.img"), false),
        case("oci run", 8, "oci run IMAGE --disk --accel tcg", None, false),
        case("vm", 8, "vm ROOT --kernel debian --accel tcg -- -c sleep", None, false),
        case("run", 8, "run OUT/../initrd --timeout 60s", None, false),
        case("build", 12, "build --target x86_64 --output-dir OUT", Some("init"), true),
        case("inspect --extract", 1, "inspect OUT/../large --extract OUT/tree", Some("tree"), false),
    ];
    let more = vec![
        case("diskless", 12, "diskless --target x86_64 --output-dir OUT", Some("diskless"), true),
        case("virtiofs", 12, "virtiofs --no-modules -o OUT/virtiofs.gz", Some("virtiofs.gz"), true),
        case("bundle", 12, "bundle --target x86_64 --output-dir OUT", Some("bundle"), true),
        case("oci --erofs", 4, "oci IMAGE --erofs OUT/oci.img", Some("oci.img"), false),
        case("oci run, from memory", 8, "oci run IMAGE --accel tcg", None, false),
        case("disk, of an image", 4, "disk OUT/disk.img --image OUT/../system.img", Some("disk.img"), false),
    ];
    let mut large = command(&work, &words("oci IMAGE -o OUT/../large --cmd /bin/sh --compress none"), false);
    ended::run(&mut large).expect(0);
    let mut system = command(&work, &words("oci IMAGE --squashfs OUT/../system.img"), false);
    ended::run(&mut system).expect(0);
    let mut initrd = command(&work, &words("oci IMAGE -o OUT/../initrd --exclude noise --cmd /bin/sh"), false);
    ended::run(&mut initrd).expect(0);
    Ok(Lab { work, cases, more })
}

fn command(work: &tempfile::TempDir, arguments: &[String], compiles: bool) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
    command.args(arguments).stdin(Stdio::null()).env("TMPDIR", work.path().join("tmp"));
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    if compiles {
        command.env("INITRAMFS_OVERLAY_CACHE", work.path().join("cache"));
    }
    command
}

/// Returns the names below a directory that were not there at the beginning.
fn left(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.collect()
}

/// Returns all processes below this one: what outlives a command comes here.
fn descendants() -> Vec<(i32, String)> {
    // What has ended and nobody has waited for.
    while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    let mut all = Vec::new();
    let mut pending = vec![i32::try_from(std::process::id()).expect("a process")];
    while let Some(parent) = pending.pop() {
        for task in fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten() {
            let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            let children: Vec<i32> = list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect();
            pending.extend(&children);
            all.extend(children.into_iter().map(|pid| {
                (pid, fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned())
            }));
        }
    }
    all
}

fn interrupt(lab: &Lab, case: &Case, signal: Signal, after: Duration) {
    let shown = format!("{} by {signal:?} after {after:?}", case.name);
    if let Some(output) = &case.output {
        let _ = fs::remove_file(output).or_else(|_| fs::remove_dir_all(output));
    }
    let log = fs::File::create(lab.work.path().join("log")).expect("a file");
    let errors = log.try_clone().expect("a file");
    let mut child =
        command(&lab.work, &case.arguments, case.compiles).stdout(log).stderr(errors).spawn().expect("the command");
    std::thread::sleep(after);
    let has_ended = child.try_wait().expect("the command").is_some();
    if !has_ended {
        kill_process(Pid::from_child(&child), signal).expect("a signal");
    }
    let status = child.wait().expect("the end");
    let said = || fs::read_to_string(lab.work.path().join("log")).unwrap_or_default();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !descendants().is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(20));
    }
    let processes = descendants();
    for (pid, _) in &processes {
        let _ = kill_process(Pid::from_raw(*pid).expect("a process"), Signal::KILL);
    }
    assert!(processes.is_empty(), "{shown} leaves {processes:?}\n{}", said());
    let temporary = lab.work.path().join("tmp");
    let files = [left(&temporary), left(&lab.work.path().join("out"))].concat();
    if signal == Signal::KILL {
        let files = [files, left(&lab.work.path().join("cache/init"))].concat();
        files.iter().for_each(|path| drop(fs::remove_file(path).or_else(|_| fs::remove_dir_all(path))));
        assert!(has_ended || status.signal() == Some(9), "{shown}: {status}");
        return;
    }
    // Whoever is quicker than the signal is whole.
    let is_whole = status.success();
    assert!(is_whole || has_ended || status.code() == Some(128 + signal.as_raw()), "{shown}: {status}\n{}", said());
    assert!(is_whole || files.is_empty(), "{shown} leaves {files:?}\n{}", said());
    let parts: Vec<_> = left(&lab.work.path().join("cache/init"));
    assert!(!case.compiles || parts.is_empty(), "{shown} leaves {parts:?}\n{}", said());
}

#[test]
fn commands_that_are_ended_leave_nothing() {
    if std::env::var("BOOT_TESTS").is_ok_and(|wish| wish == "none") {
        return support::skip("BOOT_TESTS=none");
    }
    let _alone = ALONE.lock();
    let lab = match lab() {
        Ok(lab) => lab,
        Err(reason) => return support::skip(&reason),
    };
    signals::restore();
    set_child_subreaper(Some(rustix::process::getpid())).expect("prctl");
    let wish = std::env::var("INTERRUPTED").ok();
    let is_long = wish.is_some();
    let rounds = wish.map_or(1, |wish| wish.parse().unwrap_or(20));
    let cases: Vec<&Case> = lab.cases.iter().chain(lab.more.iter().filter(|_| is_long)).collect();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let mut numbers = Numbers(seed);
    for _ in 0..rounds {
        for case in &cases {
            for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::KILL] {
                let most = usize::try_from(case.time.as_millis()).expect("a number");
                // The first moments belong to the loader of programs, which knows nothing of signals.
                let after = Duration::from_millis(numbers.below(most) as u64 + 100);
                interrupt(&lab, case, signal, after);
            }
        }
    }
}

/// Compilers that are killed leave their temporary files: those are deleted for them.
#[test]
fn programs_leave_no_temporary_files() {
    let _alone = ALONE.lock();
    signals::restore();
    let tmp = tempfile::tempdir().expect("a directory");
    let start = |script: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
        command.args(["tether", &std::process::id().to_string(), "--tree", "--", "sh", "-c", script]);
        command.env("TMPDIR", tmp.path()).spawn().expect("the command")
    };
    let files = || left(tmp.path()).iter().map(|directory| left(directory).len()).sum::<usize>();
    assert!(start("echo > $TMPDIR/file").wait().expect("the end").success());
    assert_eq!(left(tmp.path()), Vec::<PathBuf>::new(), "it ends");
    assert_eq!(start("echo > $TMPDIR/file; kill -9 $$").wait().expect("the end").signal(), Some(9));
    assert_eq!(left(tmp.path()), Vec::<PathBuf>::new(), "it is killed");
    let mut child = start("echo > $TMPDIR/file; sleep 100");
    let deadline = Instant::now() + Duration::from_secs(60);
    while files() == 0 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(files(), 1, "a temporary file");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a signal");
    child.wait().expect("the end");
    assert_eq!(left(tmp.path()), Vec::<PathBuf>::new(), "it is ended");
}

/// The terminal is as it was, and has seen nothing of the firmware's that would switch it.
#[test]
fn the_terminal_is_as_before() {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use std::io::Read;
    if std::env::var("BOOT_TESTS").is_ok_and(|wish| wish == "none") {
        return support::skip("BOOT_TESTS=none");
    }
    if let Err(reason) = ended::need(&["qemu-system-x86_64"]) {
        return support::skip(&reason);
    }
    let _alone = ALONE.lock();
    let work = tempfile::tempdir().expect("a directory");
    let [initrd, disk] = ["initrd", "disk"].map(|name| work.path().join(name));
    fs::write(&initrd, "none").expect("a file");
    fs::write(&disk, [0; 1 << 20]).expect("a file");
    let cache = initramfs_overlay::cache::open().expect("the cache");
    let kernel = sources::kernel_package::debian(
        target::named("x86_64").expect("a target"),
        &cache,
        sources::Substitute::Allow,
        &Progress::none(),
    );
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    grantpt(&master).and_then(|()| unlockpt(&master)).expect("a terminal");
    let name = ptsname(&master, Vec::new()).expect("a name").into_string().expect("UTF-8");
    let terminal = || fs::File::options().read(true).write(true).open(&name).expect("the terminal");
    let settings = |file: &fs::File| format!("{:?}", rustix::termios::tcgetattr(file).expect("settings"));
    let held = terminal();
    let before = settings(&held);
    let mut child = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
        .arg("run")
        .args([&initrd, &disk])
        .arg("--kernel")
        .arg(kernel.expect("a kernel").vmlinuz)
        .args(["--timeout", "60s", "--accel", "tcg"])
        .stdin(terminal())
        .stdout(terminal())
        .stderr(terminal())
        .spawn()
        .expect("the command");
    let (sender, shown) = std::sync::mpsc::channel();
    let mut reader = fs::File::from(master);
    std::thread::spawn(move || {
        let mut part = [0; 4096];
        while let Ok(length) = reader.read(&mut part) {
            if sender.send(part[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    let mut seen = Vec::new();
    let until = |words: &[u8], seen: &mut Vec<u8>| {
        while !seen.windows(words.len()).any(|part| part == words) {
            let part = shown.recv_timeout(Duration::from_secs(60));
            seen.extend(part.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(seen))));
        }
    };
    until(b"Linux version", &mut seen);
    assert_ne!(settings(&held), before, "QEMU made it raw");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("a signal");
    assert_eq!(child.wait().expect("the end").code(), Some(143));
    assert_eq!(settings(&held), before);
    until(b"\x1b[?7h", &mut seen);
    for switch in [&b"\x1bc"[..], b"\x1b[?7l", b"\x1b[2J"] {
        assert!(!seen.windows(switch.len()).any(|part| part == switch), "{:?}", String::from_utf8_lossy(&seen));
    }
}
