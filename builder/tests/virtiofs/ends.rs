//! Boots that do not come to their command, commands that are ended, input that cannot be.

use std::{fs, os::unix::process::ExitStatusExt, process::Command};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    ended::run,
    lab::{Lab, descendants, name_of, start_until, wait_gone},
};

pub fn tag_missing(lab: &Lab) {
    let directory = lab.directory();
    let shared = ["--share", "data", directory.to_str().expect("UTF-8")];
    let gone = ["--append", "mount-ro=gone rd.timeout=1s"];
    let ended = lab.script(&lab.root(), &[shared.as_slice(), &gone].concat(), "true");
    ended.expect(125);
    for words in [
        "cannot boot: tag-missing", "step      mounts", "shared as gone, within 1000 ms", "there is data",
        "there is rootfs",
    ] {
        assert!(ended.output.contains(words), "{words}:\n{}", ended.output);
    }
    assert!(ended.errors.contains("the boot failed: tag-missing"), "{}", ended.errors);
}

pub fn init_missing(lab: &Lab) {
    let ended = lab.script(&lab.root(), &["--append", "init=/gone"], "true");
    ended.expect(125);
    assert!(
        ended.output.contains("cannot boot: init-missing") && ended.output.contains("there is /bin/sh"),
        "{}",
        ended.output
    );
}

fn signal(process: u32, signal: Signal) {
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).expect("a process");
    kill_process(pid, signal).expect("a signal");
}

pub fn daemon_dies(lab: &Lab) {
    let root = lab.root();
    let mut command = lab.command(&root);
    command.args(["--debug", "--", "-c", "echo it runs; sleep 1000"]);
    // In the middle of the boot: the kernel runs, the root is not mounted.
    let mut child = start_until(&mut command, "Run /init");
    let all = descendants(child.id());
    let daemon = all.iter().find(|pid| name_of(**pid).starts_with("virtiofsd")).expect("virtiofsd");
    signal(*daemon, Signal::KILL);
    assert_eq!(child.wait().expect("the end").code(), Some(125));
    wait_gone(&all);
}

pub fn timeout(lab: &Lab) {
    let root = lab.root();
    let mut command = lab.command(&root);
    // The later option would be refused, so without the lab's own.
    let mut short = Command::new(command.get_program());
    short.args(command.get_args().map(|word| if word == "300s" { "2s".as_ref() } else { word }));
    short.current_dir(command.get_current_dir().expect("a directory")).stdin(std::process::Stdio::null());
    command = short;
    let ended = run(command.args(["--", "-c", "sleep 1000"]));
    ended.expect(124);
    assert!(ended.errors.contains("timed out"), "{}", ended.errors);
}

pub fn killed(lab: &Lab) {
    let root = lab.root();
    let mut child = start_until(lab.command(&root).args(["--", "-c", "echo it runs; sleep 1000"]), "it runs");
    let all = descendants(child.id());
    assert!(all.len() >= 2, "QEMU and virtiofsd: {all:?}");
    child.kill().expect("a signal");
    child.wait().expect("the end");
    wait_gone(&all);
}

pub fn interrupted(lab: &Lab) {
    let (root, temporary) = (lab.root(), lab.directory());
    crate::signals::restore();
    for (number, status) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let mut command = lab.command(&root);
        command.env("TMPDIR", &temporary).args(["--", "-c", "echo it runs; sleep 1000"]);
        let mut child = start_until(&mut command, "it runs");
        let all = descendants(child.id());
        signal(child.id(), number);
        let ended = child.wait().expect("the end");
        assert_eq!((ended.code(), ended.signal()), (Some(status), None));
        wait_gone(&all);
    }
    let left: Vec<_> =
        fs::read_dir(&temporary).expect("a directory").flatten().map(|entry| entry.file_name()).collect();
    assert!(left.is_empty(), "left in the directory for temporary files: {left:?}");
}

pub fn bad_input(lab: &Lab) {
    let root = lab.root();
    let work = lab.directory();
    let path = work.to_str().expect("UTF-8");
    let long = "x".repeat(37);
    let said = |arguments: &[&str], part: &str| {
        let ended = run(lab.command(&root).args(arguments));
        ended.expect(2);
        assert!(ended.errors.contains(part), "{arguments:?}: {part}:\n{}", ended.errors);
    };
    said(&["--init", "/bin/gone"], "has no /bin/gone; there is /bin/sh");
    said(&["--init", "sh"], "expected an absolute path");
    for tag in ["a/b", "..", "", &long] {
        said(&["--share", tag, path], &format!("--share `{tag}`: a tag has 1 to 36 bytes"));
    }
    said(&["--share", "a", path, "--share-ro", "a", path], "this tag is given twice");
    said(&["--share", "rootfs", path], "the tag of the root");
    said(&["--share", "a", "/no/such/directory"], "/no/such/directory is not a directory");
    said(&["--memory", "1M"], "is not a memory size");
    said(&["--cpus", "0"], "0 is not in 1..=255");
    said(&["--write", "--overlay"], "cannot be used with");
    said(&["--target", "armv6l"], "no PCI bus");
    said(&["--modules", "nonsense"], "has no module nonsense");
    let plain = |root: &std::path::Path, part: &str, status: i32| {
        let ended = run(Command::new(env!("CARGO_BIN_EXE_initramfs-overlay")).arg("vm").arg(root));
        ended.expect(status);
        assert!(ended.errors.contains(part), "{part}:\n{}", ended.errors);
    };
    plain(&root, "there is no kernel in", 2);
    plain(&work, "has no directory dev, proc, run, sys", 2);
    plain("/no/such/root".as_ref(), "cannot read /no/such/root", 2);
    plain(&root.join("bin/sh"), "is not a directory", 2);
}

pub fn missing_programs(lab: &Lab) {
    let root = lab.root();
    let ended = run(lab.command(&root).env("PATH", "/nonexistent"));
    ended.expect(125);
    assert!(
        ended.errors.contains("not installed: qemu-system-x86_64 (on Debian: apt-get install qemu-system-x86)"),
        "{}",
        ended.errors
    );
    let ended = run(lab.command(&root).args(["--virtiofsd", "/no/such/virtiofsd"]));
    ended.expect(2);
    assert!(ended.errors.contains("/no/such/virtiofsd"), "{}", ended.errors);
    let ended = run(lab.command(&root).args(["--virtiofsd", "/bin/true"]));
    ended.expect(125);
    assert!(ended.errors.contains("it is not virtiofsd"), "{}", ended.errors);
    // In a mount namespace of its own, the machine has none.
    let mut hidden = Command::new("unshare");
    hidden.args(["-m", "sh", "-c", "mount -t tmpfs none /usr/lib/qemu; [ ! -e /usr/libexec/virtiofsd ] || mount --bind /dev/null /usr/libexec/virtiofsd; exec \"$@\"", "sh"]);
    hidden.arg(env!("CARGO_BIN_EXE_initramfs-overlay")).arg("vm").arg(&root).args(["--kernel", "debian"]);
    let ended = run(&mut hidden);
    ended.expect(125);
    assert!(ended.errors.contains("install Debian's package virtiofsd"), "{}", ended.errors);
}
