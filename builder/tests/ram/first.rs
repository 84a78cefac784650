//! Programs that must be process 1.

use base::cache::Check;
use serde_json::json;

use crate::{ended::run, image::Layer, lab::Lab};

/// An `/init` like that of s6-overlay: a script that checks that it is process 1, runs a service and the program, and ends as that does.
pub fn script(lab: &Lab) {
    let init = b"#!/bin/sh
[ $$ = 1 ] || { echo 'can only run as pid 1'; exit 100; }
ls /proc/1/exe -l | grep -c busybox
ls -d /proc/[0-9]* | wc -l
sleep 1000 &
\"$@\"
";
    let layer = Layer::new().file("init", 0o755, init);
    let config = json!({ "Entrypoint": ["/init"], "Cmd": ["sh", "-c", "id -u; pwd; echo $A; exit 7"], "WorkingDir": "/srv", "Env": ["A=b"],
        "User": "web" });
    let image = lab.image_with(&config, vec![lab.base(), layer]);
    let ended = lab.run(&image, &[], &[]);
    ended.expect(7).expect_lines(&["33", "/srv", "b", "1"]);
    // As a child it is refused by itself.
    let ended = lab.run(&image, &["--pid1", "no"], &[]);
    ended.expect(100).expect_lines(&["can only run as pid 1"]);
}

/// BusyBox's init, which powers its machine off; in a namespace that is a signal.
pub fn busybox(lab: &Lab) {
    let inittab = b"::sysinit:/bin/echo started as process 1\n::once:/bin/sh -c '/bin/busybox poweroff'\n::shutdown:/bin/echo stopped\n";
    let layer =
        Layer::new().directory("sbin/", 0o755).link("sbin/init", "../bin/busybox").file("etc/inittab", 0o644, inittab);
    let image = lab.image_with(&json!({ "Cmd": ["/sbin/init"] }), vec![lab.base(), layer]);
    let ended = lab.run(&image, &[], &[]);
    // 128 + SIGINT (reboot(2), "Behavior inside PID namespaces"), as container engines have it.
    ended.expect(130).expect_lines(&["started as process 1", "stopped"]);
    // As the machine's own process 1 it powers the machine off.
    let ended = lab.run(&image, &["--pid1", "real"], &[]);
    ended.expect(0).expect_lines(&["started as process 1", "stopped"]);
    // And when that ends, the kernel does.
    let ended = lab.run(&image, &["--pid1", "real", "--entrypoint", "/bin/true"], &[]);
    ended.expect(255);
    assert!(ended.errors.contains("the kernel panicked: the image's process 1 exited"), "{}", ended.errors);
}

/// A root of Debian's with systemd, which is process 1 of the machine, boots to the state `running`, and its power-off is the end.
pub fn systemd(lab: &Lab) {
    let Some(root) = debian() else { return };
    let injected = lab.directory();
    let units = injected.join("etc/systemd/system");
    let wanted = units.join("multi-user.target.wants");
    std::fs::create_dir_all(&wanted).expect("a directory");
    let unit = "[Unit]\nAfter=multi-user.target\n[Service]\nStandardOutput=tty\nTTYPath=/dev/console\nExecStart=/bin/sh /probe\n";
    std::fs::write(units.join("probe.service"), unit).expect("a file");
    let script = "echo \"state $(systemctl is-system-running --wait)\"\nsystemctl --failed --no-legend --plain
        echo \"process 1 is $(cat /proc/1/comm) with $(tr '\\0' '\\n' < /proc/1/environ | grep PROBE)\"\nsystemctl poweroff\n";
    std::fs::write(injected.join("probe"), script).expect("a file");
    std::os::unix::fs::symlink("../probe.service", wanted.join("probe.service")).expect("a link");
    let [units, probe] = ["etc", "probe"].map(|name| format!("{}/{name}:/{name}", injected.display()));
    let left_out = ["usr/share/doc", "usr/share/locale", "usr/share/man", "var/lib/apt/lists"];
    let mut options = vec!["--entrypoint", "/sbin/init", "--env", "PROBE=own", "--inject", &units, "--inject", &probe];
    options.extend(left_out.iter().flat_map(|path| ["--exclude", *path]));
    // A root without udev has nobody who would find a terminal's device; it is waited for in vain.
    options.extend(["--append", "systemd.getty_auto=no"]);
    let ended = lab.run(&format!("tar:{root}"), &options, &[]);
    ended.expect(0).expect_lines(&["state running", "process 1 is systemd with PROBE=own"]);
}

/// Returns a root of Debian's that is small and has systemd, made once; `None`, which is said, where it cannot be made.
fn debian() -> Option<String> {
    if let Err(reason) = crate::ended::need(&["mmdebstrap"]) {
        eprintln!("SKIPPED: {reason}");
        return None;
    }
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or("stable");
    let cache = initramfs_overlay::cache::open().expect("the cache");
    let made = cache.entry("test-roots", &format!("debian-systemd-{suite}"), Check::Sizes, |directory| {
        let options = ["--variant=minbase", "--include=systemd-sysv,dbus", "--format=tar", suite];
        let mut command = std::process::Command::new("mmdebstrap");
        run(command.args(options).arg(directory.join("root.tar"))).expect(0);
        Ok::<_, base::Error>(())
    });
    Some(made.expect("a root").join("root.tar").to_str().expect("UTF-8").to_owned())
}
