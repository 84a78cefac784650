//! Roots on a disk, directories of the host and its ports.

use std::{
    fs,
    io::Write,
    net::TcpListener,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tar::{EntryType, Header};

use crate::{
    ended::{Ended, run},
    http,
    image::Layer,
    lab::Lab,
};

/// All that a program sees must be as with a root that was unpacked.
pub fn as_unpacked(lab: &Lab) {
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer = Layer::new()
        .directory("./", 0o751)
        .directory("run/", 0o755)
        .file("run/kept", 0o644, b"kept\n")
        .file("lower", 0o666, b"lower\n")
        .directory("gone/", 0o777)
        .attribute("security.capability", &capability)
        .file("raw/sh", 0o755, &lab.busybox("x86_64"));
    let config = json!({
        "Entrypoint": ["/raw/sh", "-c"], "Env": ["A=b c"], "WorkingDir": "/srv/deep", "User": "web", "Hostname": "box",
        "Volumes": { "/data/db": {} },
    });
    let image = lab.image_with(&config, vec![lab.base(), layer]);
    let script = "id; pwd; echo \"A=$A HOME=$HOME\"; hostname; cat /run/kept /etc/hosts /etc/hostname; stat -c '/ %a %u' /
        grep CapEff /proc/$$/status; stat -c '%F %a %n' /data/db; touch /x 2>&1; echo upper >> /lower; cat /lower; ls -d /gone
        ls -A /run /run/initramfs; ls /dev > /dev/null; cat /proc/1/comm; ulimit -n; echo out > /dev/stdout
        mount | grep -v ' / type ' | grep -v -e '^devtmpfs' -e '^tmpfs'; echo \"$0,$1,$#\"; exit 7";
    let see = |options: &[&str]| -> Vec<String> {
        let ended = lab.run(&image, options, &[script, "zero", "a \"b\" ä"]);
        ended.expect(7);
        ended.output.lines().map(|line| line.trim_end().to_owned()).collect()
    };
    let (unpacked, disk) = (see(&[]), see(&["--disk"]));
    assert!(unpacked.iter().any(|line| line == "upper"), "{unpacked:#?}");
    // Where the image has something in /run, nothing is mounted there.
    for wanted in ["kept", "uid=33(web) gid=34(web) groups=4(log)", "CapEff:\t0000000000002000", "zero,a \"b\" ä,1"] {
        assert!(disk.iter().any(|line| line == wanted), "{wanted}: {disk:#?}");
    }
    assert_eq!(unpacked, disk);
}

/// Programs that must be process 1.
pub fn process_1(lab: &Lab) {
    let init = b"#!/bin/sh\n[ $$ = 1 ] || exit 100\necho theirs is $0\n\"$@\"\n";
    let layer = Layer::new().file("s6", 0o755, init).link("init", "s6");
    let config = json!({ "Entrypoint": ["/init"], "Cmd": ["sh", "-c", "mount | grep -c ' / type overlay'; exit 7"] });
    let image = lab.image_with(&config, vec![lab.base(), layer]);
    for _ in ["made", "kept"] {
        lab.run(&image, &["--disk"], &[]).expect(7).expect_lines(&["theirs is /init", "1"]);
    }
    let inittab = b"::sysinit:/bin/echo started as process 1\n::once:/bin/sh -c '/bin/busybox poweroff'\n";
    let layer =
        Layer::new().directory("sbin/", 0o755).link("sbin/init", "../bin/busybox").file("etc/inittab", 0o644, inittab);
    let image = lab.image_with(&json!({ "Cmd": ["/sbin/init"] }), vec![lab.base(), layer]);
    lab.run(&image, &["--disk", "--pid1", "real"], &[]).expect(0).expect_lines(&["started as process 1"]);
}

/// Returns a file of a gibibyte, as a sparse member (GNU tar's manual, "Old GNU Format").
fn gibibyte() -> Layer {
    const SIZE: u64 = 1 << 30;
    const DATA: u64 = 512;
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::GNUSparse);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header.set_size(DATA);
    let gnu = header.as_gnu_mut().expect("GNU's header");
    for (field, value) in
        [(&mut gnu.sparse[0].offset, SIZE - DATA), (&mut gnu.sparse[0].numbytes, DATA), (&mut gnu.realsize, SIZE)]
    {
        field.copy_from_slice(format!("{value:011o}\0").as_bytes());
    }
    Layer::new().member(header, "large", &[b'x'; DATA as usize])
}

/// Returns a cache whose disks are its own, and all else that of the others.
fn cache_of_its_own(lab: &Lab) -> PathBuf {
    let directory = lab.directory();
    let shared = initramfs_overlay::cache::open().expect("the cache");
    for entry in fs::read_dir(shared.root()).expect("the cache").flatten() {
        if entry.file_name() != "oci-disk" {
            std::os::unix::fs::symlink(entry.path(), directory.join(entry.file_name())).expect("a link");
        }
    }
    directory
}

/// Runs an image on a disk in a machine with 128 MiB. Returns how it ended and how long all of it took.
fn start(lab: &Lab, cache: &Path, image: &str, script: &str) -> (Ended, Duration) {
    let mut command = lab.command(&["run", image, "--disk", "--accel", "tcg", "--memory", "128M", "--timeout", "300s"]);
    let started = Instant::now();
    let ended = run(command.env("INITRAMFS_OVERLAY_CACHE", cache).args(["--debug", "--", script]));
    (ended, started.elapsed())
}

/// An image that is larger than the machine's memory; how long it takes is told beside a small one.
pub fn large(lab: &Lab) {
    let cache = cache_of_its_own(lab);
    let config = json!({ "Entrypoint": ["/bin/sh", "-c"] });
    let (small, large) = (lab.image(), lab.image_with(&config, vec![lab.base(), gibibyte()]));
    let script = "read up idle < /proc/uptime; echo \"up $up\"; stat -c 'size %s' /large; exit 3";
    // Seconds from the kernel's line about /init to the first of the program.
    let boot = |ended: &Ended| {
        let number = |text: &str| text.trim().parse::<f64>().expect("seconds");
        let lines: Vec<&str> = ended.output.lines().collect();
        let init = lines.iter().find(|line| line.contains("Run /init as init process")).expect("the kernel's line");
        let up = lines.iter().find_map(|line| line.trim_end().strip_prefix("up ")).expect("the program's line");
        number(up) - number(init.trim_start_matches(['[', ' ']).split(']').next().unwrap_or_default())
    };
    let disk = || {
        let room = cache.join("oci-disk");
        let mut all: Vec<PathBuf> = fs::read_dir(room).expect("disks").flatten().map(|entry| entry.path()).collect();
        all.retain(|path| path.join("root.erofs").metadata().is_ok_and(|metadata| metadata.len() > 1 << 30));
        all.pop().map(|path| path.join("root.erofs")).expect("the disk")
    };
    start(lab, &cache, &small, script).0.expect(3);
    let (first, _) = start(lab, &cache, &large, script);
    first.expect(3).expect_lines(&["size 1073741824"]);
    let made = disk().metadata().expect("the disk").modified().expect("a time");
    let (again, large_time) = start(lab, &cache, &large, script);
    again.expect(3);
    assert!(!again.errors.contains("reading"), "the layers were read again:\n{}", again.errors);
    let (small, small_time) = start(lab, &cache, &small, script);
    small.expect(3);
    println!(
        "a gibibyte against a small image on a disk: {:.2} times from init to the program, {:.2} times for a second start",
        boot(&again) / boot(&small),
        large_time.as_secs_f64() / small_time.as_secs_f64()
    );
    // One that somebody has written to is recreated.
    fs::File::options().write(true).open(disk()).expect("the disk").write_all(b"x").expect("a change");
    let (ended, _) = start(lab, &cache, &large, script);
    ended.expect(3);
    assert!(ended.errors.contains("reading") && disk().metadata().expect("it").modified().expect("a time") > made);
    let mut prune = lab.command(&["prune", "--json"]);
    // The blobs are everybody's.
    fs::remove_file(cache.join("oci")).ok();
    let told = run(prune.env("INITRAMFS_OVERLAY_CACHE", &cache));
    let told: Value = serde_json::from_str(&told.expect(0).output).expect("JSON");
    assert!(told["disks"] == 2 && told["bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 30), "{told}");
}

/// Directories to write and to read, a port of the host, and the result as JSON; the root in memory and on a disk.
pub fn mounts(lab: &Lab) {
    let image = lab.image();
    for options in [&[][..], &["--disk"]] {
        let (work, kept) = (lab.directory(), lab.directory());
        fs::write(work.join("in"), "from the host\n").expect("a file");
        fs::write(kept.join("a"), "kept\n").expect("a file");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
        let script = "cd /work/deep || exit 1; cat in /etc/kept/a; touch /etc/kept/b 2>&1; echo out > out
            busybox httpd -p 80 -h /work/deep; until [ -e /work/deep/done ]; do usleep 100000; done; exit 5";
        let [work_at, kept_at] = [(&work, "/work/deep"), (&kept, "/etc/kept:ro")]
            .map(|(path, target)| format!("{}:{target}", path.display()));
        let published = format!("{port}:80");
        let mut all = vec!["--json", "--mount", &work_at, "--mount", &kept_at, "--publish", &published];
        all.extend(options);
        std::thread::scope(|scope| {
            let machine = scope.spawn(|| lab.run(&image, &all, &[script]));
            let text = http::fetch(port, "/in", || machine.is_finished());
            fs::write(work.join("done"), "").expect("a file");
            let ended = machine.join().expect("the machine");
            ended.expect(5);
            let value: Value = serde_json::from_str(&ended.output).expect("nothing but JSON");
            assert_eq!((&value["status"], &value["outcome"]), (&5.into(), &"exited".into()), "{value}");
            assert!(text.is_some_and(|text| text.ends_with("from the host\n")), "{}", ended.errors);
            for line in ["from the host", "kept", "touch: /etc/kept/b: Read-only file system"] {
                assert!(ended.errors.lines().any(|seen| seen.trim_end() == line), "{line}:\n{}", ended.errors);
            }
        });
        assert_eq!(fs::read_to_string(work.join("out")).expect("what the guest wrote"), "out\n");
        assert!(!kept.join("b").exists());
    }
}

pub fn bad_input(lab: &Lab) {
    let image = lab.image();
    for (options, words) in [
        (&["--mount", "/no/such:/a"][..], "HOST is not a directory"),
        (&["--mount", "/:a"], "GUEST is not an absolute path"),
        (&["--publish", "80"], "[ADDRESS:]HOST:GUEST"),
        (&["--disk", "--platform", "linux/arm/v6"], "no virtio disk"),
        (&["--mount", "/:/a", "--platform", "linux/arm/v6"], "no PCI bus"),
    ] {
        let image = match options.contains(&"linux/arm/v6") {
            true => crate::image::layout(&lab.directory(), "arm/v6", &json!({ "Cmd": ["/sh"] }), vec![Layer::new()]),
            false => image.clone(),
        };
        let ended = lab.run(&image, options, &[]);
        ended.expect(2);
        assert!(ended.errors.contains(words), "{words}:\n{}", ended.errors);
    }
}
