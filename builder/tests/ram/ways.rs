//! Boots that come to their program, and what the program sees.

use serde_json::json;

use crate::{
    image::{Layer, layout},
    lab::Lab,
};

pub fn statuses(lab: &Lab) {
    let image = lab.image();
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        lab.run(&image, &[], &[script]).expect(status);
    }
}

pub fn config(lab: &Lab) {
    let config = json!({
        "Entrypoint": ["sh", "-c"], "Cmd": ["echo not this"], "Env": ["A=b c", "PATH=/none:/bin"], "WorkingDir": "/srv/deep/er",
        "User": "web", "Hostname": "box",
    });
    let image = lab.image_with(
        &config,
        vec![lab.base(), Layer::new().directory("run/", 0o755).file("run/kept", 0o644, b"kept\n")],
    );
    let script = "id; pwd; echo \"A=$A HOME=$HOME PATH=$PATH EXTRA=$EXTRA\"; hostname; cat /run/kept; stat -c '/ %a %u' /
        touch /x 2>&1; echo out > /dev/stdout; ps | grep -c '^ *1 .*/init'; ifconfig lo | grep -c 'UP LOOPBACK'
        mount | grep -c -e ' /dev/pts type devpts' -e ' /dev/shm type tmpfs' -e ' /sys/fs/cgroup type cgroup2' -e ' / type rootfs'
        echo \"$0,$1,$#\"";
    let ended = lab.run(&image, &["--env", "EXTRA=x y", "--append", "rd.verify"], &[script, "zero", "a \"b\" ä"]);
    ended.expect(0).expect_lines(&[
        "uid=33(web) gid=34(web) groups=4(log)",
        "/srv/deep/er",
        "A=b c HOME=/srv/www PATH=/none:/bin EXTRA=x y",
        "box",
        "kept",
        "/ 755 0",
        "touch: /x: Permission denied",
        "out",
        "1",
        "4",
        "zero,a \"b\" ä,1",
    ]);
    assert!(!ended.output.contains("not this"), "{}", ended.output);
}

pub fn scratch(lab: &Lab) {
    let layer = Layer::new().file("sh", 0o755, &lab.busybox("x86_64"));
    let image = lab.image_with(&json!({ "Cmd": ["/sh", "-c", "echo /*; echo $$; exit 3"] }), vec![layer]);
    let ended = lab.run(&image, &[], &[]);
    ended.expect(3).expect_lines(&["/dev /etc /init /proc /root /run /sh /sys"]);
}

pub fn scratch_i686(lab: &Lab) {
    let layer = Layer::new().file("app/sh", 0o755, &lab.busybox("i686"));
    let config = json!({ "Entrypoint": ["./sh", "-c"], "User": "1000:1001", "WorkingDir": "/app" });
    let image = layout(&lab.directory(), "386", &config, vec![layer]);
    let script =
        "while read word rest; do case $word in Uid:|Gid:|Groups:) echo $word $rest;; esac; done < /proc/self/status
        while read line; do case $line in *'Pentium II'*) echo old;; esac; done < /proc/cpuinfo; exit 7";
    let ended = lab.run(&image, &["--platform", "linux/386"], &[script]);
    ended.expect(7).expect_lines(&["Uid: 1000 1000 1000 1000", "Gid: 1001 1001 1001 1001", "Groups:", "old"]);
}

/// Boots an image of nothing but a shell on a target that others stand for, with the network. `processor` is what a line of its
/// /proc/cpuinfo begins with.
pub fn on(lab: &Lab, name: &str, architecture: &str, processor: &str) {
    let layer = Layer::new().file("bin/sh", 0o755, &lab.busybox(name)).directory("etc/", 0o755);
    let image = layout(&lab.directory(), architecture, &json!({ "Entrypoint": ["/bin/sh", "-c"] }), vec![layer]);
    let platform = format!("linux/{architecture}");
    let script = format!(
        "while read -r line; do case $line in '{processor}'*) echo found;; esac; done < /proc/cpuinfo
        until read -r word server < /etc/resolv.conf; do :; done 2> /dev/null; echo $word $server; exit 7"
    );
    let ended = lab.run(&image, &["--platform", &platform, "--network"], &[&script]);
    ended.expect(7).expect_lines(&["found", "nameserver 10.0.2.3"]);
    lab.run(&image, &["--platform", &platform], &["kill -TERM $$"]).expect(143);
}

pub fn raspberry(lab: &Lab) {
    let layer = Layer::new().file("bin/sh", 0o755, &lab.busybox("armv6l")).file(
        "etc/passwd",
        0o644,
        b"root:x:0:0::/:\npi:x:5:6::/home/pi:\n",
    );
    let config = json!({ "Entrypoint": ["sh", "-c"], "User": "pi" });
    let image = layout(&lab.directory(), "arm/v6", &config, vec![layer]);
    let script =
        "echo $HOME; while read word rest; do case $word in Uid:) echo $word $rest;; esac; done < /proc/self/status
        while read line; do case $line in *ARMv6*) echo old;; esac; done < /proc/cpuinfo; exit 7";
    let ended = lab.run(&image, &["--platform", "linux/arm/v6"], &[script]);
    ended.expect(7).expect_lines(&["/home/pi", "Uid: 5 5 5 5", "old"]);
    lab.run(&image, &["--platform", "linux/arm/v6"], &["kill -TERM $$"]).expect(143);
}

pub fn asked_at_boot(lab: &Lab) {
    let image = lab.image_with(&json!({ "Entrypoint": ["/bin/false", "x"], "Cmd": ["y"] }), vec![lab.base()]);
    let ended = lab.run(&image, &["--append", "init=/bin/echo splash -- at \"boot time\""], &[]);
    ended.expect(0).expect_lines(&["at boot time"]);
}

pub fn own_init(lab: &Lab) {
    let layer = Layer::new().file("init", 0o755, b"#!/bin/sh\necho theirs is $0 with $1, process $$; exit 4\n");
    let image = lab.image_with(&json!({ "Entrypoint": ["/init"], "Cmd": ["c"] }), vec![lab.base(), layer]);
    let ended = lab.run(&image, &[], &[]);
    ended.expect(4);
    assert!(ended.output.contains("theirs is /init with c, process "), "{}", ended.output);
}

pub fn split(lab: &Lab) {
    let tool = lab.directory().join("tool");
    std::fs::write(&tool, "#!/bin/sh\necho put in; exit 5\n").expect("a file");
    let inject = format!("{}:/bin/tool:755", tool.display());
    let (file, told) = lab.pack(&lab.image(), &["--split", "--inject", &inject, "--entrypoint", "tool"]);
    assert!(told["initramfs"]["minimum_memory"].as_u64().is_some_and(|least| least > 64 << 20), "{told}");
    let console = lab.boot("x86_64", &file, "rd.verify rd.exit=console");
    assert!(console.contains("put in") && console.contains("initramfs-overlay: exit status 5"), "{console}");
    let again = lab.pack(&lab.image(), &["--split", "--inject", &inject, "--entrypoint", "tool"]).0;
    assert_eq!(std::fs::read(file).expect("a file"), std::fs::read(again).expect("a file"));
}

pub fn attributes(lab: &Lab) {
    // struct vfs_cap_data, revision 2, effective: CAP_NET_RAW (include/uapi/linux/capability.h).
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let layer =
        Layer::new().attribute("security.capability", &capability).file("raw/sh", 0o755, &lab.busybox("x86_64"));
    let layer = layer.attribute("user.colour", b"red").file("etc/coloured", 0o644, b"");
    let image = lab.image_with(&json!({ "Entrypoint": ["/raw/sh", "-c"], "User": "web" }), vec![lab.base(), layer]);
    let script = "cat /proc/$$/status | grep CapEff; cat /run/initramfs/report.json";
    let ended = lab.run(&image, &[], &[script]);
    ended.expect(0).expect_lines(&["CapEff:\t0000000000002000"]);
    assert!(
        ended.output.contains("1 of 2 extended attributes could not be set (user.colour of /etc/coloured"),
        "{}",
        ended.output
    );
}

pub fn network(lab: &Lab) {
    let layer = Layer::new().file("sh", 0o755, &lab.busybox("x86_64"));
    let image = lab.image_with(&json!({ "Entrypoint": ["/sh", "-c"] }), vec![layer]);
    // Nothing but the shell itself is there to look with.
    let script = "until read -r word server < /etc/resolv.conf; do :; done 2> /dev/null; echo $word $server
        while read -r name destination gateway rest; do echo $name $destination $gateway; done < /proc/net/route; exit 6";
    let ended = lab.run(&image, &["--network"], &[script]);
    ended.expect(6).expect_lines(&["nameserver 10.0.2.3", "eth0 00000000 0202000A"]);
    let script =
        "while read -r line; do case $line in *notices*) echo \"$line\";; esac; done < /run/initramfs/report.json";
    let ended = lab.run(&image, &["--append", "rd.net=dhcp"], &[script]);
    ended.expect(0);
    assert!(ended.output.contains("rd.net=dhcp: this initramfs has no DHCP client"), "{}", ended.output);
}

/// No directory to mount on, no console, no word about what to run: `/sbin/init` runs.
pub fn packed_by_hand(lab: &Lab) {
    use std::{fs, os::unix::fs::PermissionsExt};
    let work = lab.directory();
    let archive = work.join("archive");
    let kernel = lab.kernel("x86_64");
    let modules = archive.join("lib/modules").join(&kernel.version);
    for directory in [&archive.join("sbin"), &modules] {
        fs::create_dir_all(directory).expect("a directory");
    }
    for module in crate::bare::modules(&kernel.modules, &["squashfs"]) {
        fs::copy(&module.file, modules.join(format!("{}.ko", module.entry.name))).expect("a copy");
    }
    fs::copy(crate::bare::init(&work, "x86_64", "ram"), archive.join("init")).expect("a copy");
    fs::write(archive.join("sbin/sh"), lab.busybox("x86_64")).expect("a shell");
    let script = "#!/sbin/sh\necho \"runs as $$ of $PPID\"; echo /*
        while read name rest; do echo \"knows $name\"; done < /proc/filesystems; exit 3\n";
    fs::write(archive.join("sbin/init"), script).expect("a script");
    for name in ["sbin/sh", "sbin/init"] {
        fs::set_permissions(archive.join(name), fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    let said = lab.boot("x86_64", &crate::bare::pack(&archive), "");
    let has = |end: &str| assert!(said.lines().any(|line| line.trim_end().ends_with(end)), "{end}:\n{said}");
    has("knows squashfs");
    has(" of 1");
    assert!(said.contains("/dev /init"), "{said}");
    assert!(said.contains("/sbin/init: exit status 3"), "{said}");
}
