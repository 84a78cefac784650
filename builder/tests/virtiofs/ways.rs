//! Boots that come to their command, and what the command sees.

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use sources::target;
use vm::{
    qemu::{Guest, Machine},
    share::{Daemon, Kind},
};

use crate::{bare, ended::run, http, lab::Lab};

pub fn statuses(lab: &Lab) {
    let root = lab.root();
    for (script, status) in [("exit 0", 0), ("exit 1", 1), ("exit 42", 42), ("kill -9 $$", 137), ("kill -TERM $$", 143)]
    {
        lab.script(&root, &[], script).expect(status);
    }
    run(lab.command(&root).args(["--init", "/bin/false"])).expect(1);
    // The kernel gives process 1 no PATH; programs that a shell starts need one.
    let ended = lab.script(&root, &[], "/bin/busybox env");
    ended.expect(0).expect_lines(&[&format!("PATH={}", contract::workload::PATH)]);
}

pub fn directories(lab: &Lab) {
    let (root, work, cache) = (lab.root(), lab.directory(), lab.directory());
    fs::write(work.join("in"), "from the host\n").expect("a file");
    fs::write(cache.join("kept"), "kept\n").expect("a file");
    let script = "cat /run/mnt/work/in; echo written > /run/mnt/work/out; cat /run/mount/cache/kept
        touch /run/mnt/cache/x 2>&1; touch /x 2>&1; echo tmp > /tmp/x && echo tmp is there
        grep -c virtiofs /proc/mounts; ls /dev/fd /dev/fuse /dev/kvm /dev/loop-control > /dev/null && echo nodes
        env | grep -c '^mount\\|^rootfs'; echo at $PWD";
    let paths = [work.to_str().expect("UTF-8"), cache.to_str().expect("UTF-8")];
    let ended = lab.script(&root, &["--share", "work", paths[0], "--share-ro", "cache", paths[1]], script);
    ended.expect(0).expect_lines(&[
        "from the host",
        "kept",
        "touch: /run/mnt/cache/x: Read-only file system",
        "touch: /x: Read-only file system",
        "tmp is there",
        "3",
        "nodes",
        "0",
        "at /",
    ]);
    assert_eq!(fs::read_to_string(work.join("out")).expect("what the guest wrote"), "written\n");
    assert!(!cache.join("x").exists() && !root.join("x").exists());
}

pub fn overlay(lab: &Lab) {
    let root = lab.root_of("i686");
    fs::remove_dir(root.join("proc")).expect("an empty directory");
    let script =
        "echo new > /etc/new; rm /etc/passwd; cat /etc/new; grep -c 'model name.*Pentium II' /proc/cpuinfo; exit 7";
    let ended = lab.script(&root, &["--target", "i686", "--overlay"], script);
    ended.expect(7).expect_lines(&["new", "1"]);
    assert!(root.join("etc/passwd").exists() && !root.join("etc/new").exists() && !root.join("proc").exists());
}

/// Boots a target that others stand for, with a layer over the root. `processor` is a line of its /proc/cpuinfo.
pub fn overlay_on(lab: &Lab, name: &str, processor: &str) {
    let root = lab.root_of(name);
    let script =
        format!("echo new > /etc/new; rm /etc/passwd; cat /etc/new; grep -m 1 '{processor}' /proc/cpuinfo; exit 7");
    let ended = lab.script(&root, &["--target", name, "--overlay"], &script);
    ended.expect(7).expect_lines(&["new"]);
    assert!(ended.output.lines().any(|line| line.starts_with(processor)), "{}", ended.output);
    assert!(root.join("etc/passwd").exists() && !root.join("etc/new").exists());
}

pub fn read_write(lab: &Lab) {
    let root = lab.root();
    lab.script(&root, &["--write"], "echo here > /etc/new; mkdir /made").expect(0);
    assert_eq!(fs::read_to_string(root.join("etc/new")).expect("what the guest wrote"), "here\n");
    assert!(root.join("made").is_dir());
}

pub fn arguments(lab: &Lab) {
    let script = "for argument; do echo \"[$argument]\"; done";
    let ended = run(lab
        .command(&lab.root())
        .args(["--", "-c", script, "name", "a \"b\" c", "", "x=1", "-y", "two\nlines", "ä"]));
    ended.expect(0).expect_lines(&["[a \"b\" c]", "[]", "[x=1]", "[-y]", "[two", "lines]", "[ä]"]);
}

/// The line that a builder of operating systems passes, with an initramfs that was made beforehand and a QEMU of its own.
pub fn known_caller(lab: &Lab) {
    let work = lab.directory();
    let initrd = work.join("initrd.gz");
    let made = run(Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
        .args(["virtiofs", "--target", "x86_64", "--module-tree"])
        .arg(&lab.kernel.modules)
        .arg("-o")
        .arg(&initrd)
        .current_dir(env!("CARGO_MANIFEST_DIR")));
    made.expect(0);
    boot_known_caller(lab, &work, initrd);
}

/// The same line with the archive that this builder packs by itself: init, and modules by number.
pub fn known_caller_bare(lab: &Lab) {
    let work = lab.directory();
    let archive = work.join("archive");
    let modules = archive.join("usr/lib/modules");
    fs::create_dir_all(&modules).expect("a directory");
    fs::copy(bare::init(&work, "x86_64", "overlay,virtiofs"), archive.join("init")).expect("a copy");
    let wanted = ["virtio_pci", "virtiofs", "virtio_console"];
    for (number, module) in bare::modules(&lab.kernel.modules, &wanted).iter().enumerate() {
        fs::copy(&module.file, modules.join(format!("{number:03}-{}.ko", module.entry.name))).expect("a copy");
    }
    boot_known_caller(lab, &work, bare::pack(&archive));
}

fn boot_known_caller(lab: &Lab, work: &Path, initrd: PathBuf) {
    let (root, share) = (lab.root(), lab.directory());
    let program = share.join("osbuild/vm.py");
    fs::create_dir(share.join("osbuild")).expect("a directory");
    fs::write(
        &program,
        "#!/bin/sh\necho pid $$ of $0 with $#\ngrep -E ' (/|/run/mnt/mnt0) ' /proc/mounts\nls -l /proc/1/fd\npoweroff -f\n",
    )
    .expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
    let mut machine = Machine::new(target::named("x86_64").expect("a target"), &lab.kernel);
    machine.initrd = Some(initrd);
    machine.append = "console=ttyS0 quiet selinux=1 enforcing=0 rootfstype=virtiofs root=rootfs ro mount=mnt0 \
                      init=/run/mnt/mnt0/osbuild/vm.py"
        .split(' ')
        .map(String::from)
        .collect();
    machine.extra.extend(
        ["-object", "memory-backend-memfd,id=m,size=512M,share=on", "-machine", "memory-backend=m"].map(Into::into),
    );
    let mut daemons = Vec::new();
    for (tag, directory) in [("rootfs", &root), ("mnt0", &share)] {
        let socket = work.join(tag);
        daemons.push(start_daemon(directory, &socket));
        machine.extra.extend(["-chardev".into(), format!("socket,id={tag},path={}", socket.display()).into()]);
        machine.extra.extend(["-device".into(), format!("vhost-user-fs-pci,chardev={tag},tag={tag}").into()]);
    }
    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.finish(Some(Duration::from_secs(300))).expect("the end");
    for mut daemon in daemons {
        daemon.wait().expect("virtiofsd");
    }
    let said = guest.console();
    assert!(said.contains("pid 1 of /run/mnt/mnt0/osbuild/vm.py with 0"), "{said}");
    let open = said.lines().filter(|line| line.trim_end().ends_with("-> /dev/console")).count();
    assert!(open >= 3, "the standard files:\n{said}");
    assert!(said.contains("rootfs / virtiofs ro") && said.contains("mnt0 /run/mnt/mnt0 virtiofs rw"), "{said}");
}

/// Starts virtiofsd with a socket that has a name, and waits until it is there.
fn start_daemon(directory: &Path, socket: &Path) -> std::process::Child {
    let Daemon { path, kind, .. } = Daemon::find(None).expect("virtiofsd");
    let mut command = Command::new(path);
    command.arg(format!("--socket-path={}", socket.display()));
    match kind {
        Kind::Own => command.arg("--shared-dir").arg(directory).arg("--sandbox=chroot"),
        Kind::Qemu => command.args(["-o", &format!("source={}", directory.display()), "-o", "sandbox=chroot"]),
    };
    let watched = rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC).expect("inotify");
    let directory = socket.parent().expect("a directory");
    rustix::fs::inotify::add_watch(&watched, directory, rustix::fs::inotify::WatchFlags::CREATE).expect("inotify");
    let child = command.spawn().expect("virtiofsd");
    while !socket.exists() {
        rustix::io::read(&watched, &mut [0; 4096]).expect("inotify");
    }
    child
}

pub fn orphans(lab: &Lab) {
    let script =
        "(sleep 1000 &) ; for i in 1 2 3; do (true &); done; sleep 1; ps -o ppid,stat,comm | grep -c ' Z '; exit 3";
    let ended = lab.script(&lab.root(), &[], script);
    ended.expect(3).expect_lines(&["0"]);
}

pub fn json(lab: &Lab) {
    let ended = lab.script(&lab.root(), &["--json", "--cpus", "2", "--memory", "256M"], "echo on the console; exit 5");
    ended.expect(5);
    let value: serde_json::Value = serde_json::from_str(&ended.output).expect("nothing but JSON");
    assert_eq!((&value["status"], &value["outcome"]), (&5.into(), &"exited".into()));
    assert_eq!((&value["accelerator"], &value["reason"]), (&"tcg".into(), &serde_json::Value::Null));
    assert_eq!(value["kernel"], lab.kernel.version);
    assert!(ended.errors.contains("on the console"), "{}", ended.errors);
}

/// A card whose driver is loaded, and a port of the host that leads to a server behind it.
pub fn network(lab: &Lab) {
    let (root, work) = (lab.root(), lab.directory());
    fs::write(work.join("in"), "from the guest\n").expect("a file");
    let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let published = format!("{port}:80");
    let script = "busybox ifconfig eth0 10.0.2.15 up || exit 1; busybox httpd -p 80 -h /run/mnt/work
        until [ -e /run/mnt/work/done ]; do sleep 1; done; exit 5";
    let options = ["--publish", &published, "--share", "work", work.to_str().expect("UTF-8")];
    std::thread::scope(|scope| {
        let machine = scope.spawn(|| lab.script(&root, &options, script));
        let text = http::fetch(port, "/in", || machine.is_finished());
        fs::write(work.join("done"), "").expect("a file");
        let ended = machine.join().expect("the machine");
        ended.expect(5);
        assert!(text.is_some_and(|text| text.ends_with("from the guest\n")), "{}", ended.output);
    });
    lab.script(&root, &[], "busybox ifconfig eth0").expect(1);
}

pub fn armv6l(lab: &Lab) {
    let target = target::named("armv6l").expect("a target");
    let cache = initramfs_overlay::cache::open().expect("the cache");
    let kernel =
        sources::kernel_package::debian(target, &cache, sources::Substitute::Allow, &base::progress::Progress::none());
    let file = lab.directory().join("initrd.gz");
    let made = run(Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
        .args(["virtiofs", "--target", "armv6l", "--json", "--module-tree"])
        .arg(kernel.expect("a kernel").modules)
        .arg("-o")
        .arg(&file)
        .current_dir(env!("CARGO_MANIFEST_DIR")));
    made.expect(0);
    let value: serde_json::Value = serde_json::from_str(&made.output).expect("JSON");
    assert_eq!(value["pci"], false);
    let modules = value["modules"].to_string();
    assert!(modules.contains("virtio_mmio") && modules.contains("virtiofs"), "{modules}");
    assert!(made.errors.contains("has no PCI bus for virtio (virtio_pci)"), "{}", made.errors);
    assert!(file.exists());
}
