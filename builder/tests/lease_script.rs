//! The script that udhcpc calls in a diskless system, run on this machine by the same BusyBox: its calls of `ip` are recorded, and its
//! files are in a directory of the test's.

use std::{fs, os::unix::fs::symlink, path::PathBuf, process::Command};

use base::progress::Progress;
use initramfs_overlay::busybox_image;
use oci::network;
use sources::target;
use tempfile::TempDir;

mod support;

/// The machine that the script believes it runs on.
struct Machine {
    directory: TempDir,
}

/// The words of `ip`, one line a call; the last line on the console without its time; all of `resolv.conf`.
type Outcome = (Vec<String>, String, String);

impl Machine {
    /// Returns none where there is no BusyBox that runs here.
    fn new() -> Option<Self> {
        if !cfg!(target_arch = "x86_64") {
            println!("skipped: lease script: its BusyBox is for x86_64");
            return None;
        }
        let target = target::named("x86_64").unwrap();
        let busybox = match busybox_image::get(
            target,
            None,
            &initramfs_overlay::cache::open().unwrap(),
            sources::Substitute::Allow,
            &Progress::none(),
        ) {
            Ok(busybox) => busybox,
            Err(error) => {
                println!("skipped: lease script: no BusyBox: {error}");
                return None;
            }
        };
        let machine = Self { directory: tempfile::tempdir().unwrap() };
        let path = |name: &str| machine.path(name);
        fs::create_dir(path("bin")).unwrap();
        support::write_program(&path("bin/busybox"), &busybox.bytes);
        for applet in network::NEEDED {
            symlink("busybox", path("bin").join(applet)).unwrap();
        }
        for (number, interface) in [(2, "eth0"), (10, "eth1"), (3, "usb0")] {
            let directory = path("sys").join(interface);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join("ifindex"), format!("{number}\n")).unwrap();
            fs::write(directory.join("mtu"), "1500\n").unwrap();
        }
        let place = |name: &str| path(name).to_str().unwrap().to_owned();
        // A function comes before BusyBox's own `ip`, which comes before any other.
        let ip = format!("set -f\nip() {{ echo \"$*\" >>{}; }}\n", place("calls"));
        let script = network::LEASE_SCRIPT
            .replace("PATH=/usr/sbin:/usr/bin:/sbin:/bin", &format!("PATH={}", place("bin")))
            .replace("set -f\n", &ip)
            .replace("/run/network", &place("run"))
            .replace("/etc", &place("etc"))
            .replace("/sys/class/net", &place("sys"))
            .replace("/dev/console", &place("console"));
        fs::write(path("script"), script).unwrap();
        Some(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Calls the script as udhcpc does.
    fn call(&self, event: &str, interface: &str, given: &[(&str, &str)]) -> Outcome {
        for file in ["calls", "console"] {
            let _ = fs::remove_file(self.path(file));
        }
        let mut command = Command::new(self.path("bin/sh"));
        command.arg(self.path("script")).arg(event).env_clear().env("interface", interface).current_dir("/");
        let output = command.envs(given.iter().copied()).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && errors.is_empty(), "{event} {interface} {given:?}: {errors}");
        let calls = self.text("calls").lines().map(str::to_owned).collect();
        let console = self.text("console");
        let said = console.rsplit_once(", ").map_or("", |(said, _)| said).to_owned();
        (calls, said, self.text("etc/resolv.conf"))
    }
}

fn calls(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

const LEASE: [(&str, &str); 3] = [("ip", "10.0.0.5"), ("mask", "24"), ("broadcast", "10.0.0.255")];

fn with<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [&LEASE, more].concat()
}

#[test]
fn a_lease_comes_is_renewed_and_goes() {
    let Some(machine) = Machine::new() else { return };
    // Somebody's own resolvers stay until there are others.
    fs::create_dir(machine.path("etc")).unwrap();
    fs::write(machine.path("etc/resolv.conf"), "nameserver 9.9.9.9\n").unwrap();
    let (ip, said, resolv) = machine.call("deconfig", "eth0", &[]);
    assert_eq!((ip, said.as_str(), resolv.as_str()), (calls(&["link set eth0 up"]), "", "nameserver 9.9.9.9\n"));
    assert_eq!(machine.call("gone", "eth0", &[]).0, calls(&[]));
    for event in ["nak", "leasefail"] {
        assert_eq!(machine.call(event, "eth0", &[("message", "no")]).0, calls(&[]), "{event}");
    }

    let given = with(&[("router", "10.0.0.1 10.0.0.2"), ("dns", "1.1.1.1 1.0.0.1"), ("domain", "one.test")]);
    let (ip, said, resolv) = machine.call("bound", "eth0", &given);
    let address = "addr add 10.0.0.5/24 broadcast 10.0.0.255 dev eth0";
    let routes =
        ["route add default via 10.0.0.1 dev eth0 metric 200", "route add default via 10.0.0.2 dev eth0 metric 201"];
    assert_eq!(ip, calls(&[address, routes[0], routes[1]]));
    assert_eq!(said, "eth0: 10.0.0.5/24, router 10.0.0.1 10.0.0.2");
    assert_eq!(resolv, "search one.test\nnameserver 1.1.1.1\nnameserver 1.0.0.1\n");

    // The same again: nothing is taken away for a moment, and nothing is said.
    let (ip, said, _) = machine.call("renew", "eth0", &given);
    assert_eq!((ip, said.as_str()), (calls(&[address, routes[0], routes[1]]), ""));

    // Another router, then another address.
    let (ip, said, _) = machine.call("renew", "eth0", &with(&[("router", "10.0.0.1")]));
    let removed = routes.map(|route| route.replace("add", "del"));
    assert_eq!(ip, calls(&[&removed[0], &removed[1], address, routes[0]]));
    assert_eq!(said, "eth0: 10.0.0.5/24, router 10.0.0.1");
    let (ip, said, resolv) = machine.call("renew", "eth0", &[("ip", "10.0.0.6")]);
    assert_eq!(ip, calls(&[&removed[0], "addr del 10.0.0.5/24 dev eth0", "addr add 10.0.0.6/24 dev eth0"]));
    assert_eq!((said.as_str(), resolv.as_str()), ("eth0: 10.0.0.6/24, router none", ""));

    let (ip, said, resolv) = machine.call("gone", "eth0", &[]);
    assert_eq!(ip, calls(&["addr del 10.0.0.6/24 dev eth0"]));
    assert_eq!((said.as_str(), resolv.as_str()), ("eth0: 10.0.0.6/24 is gone", ""));
    assert_eq!(machine.call("gone", "eth0", &[]).0, calls(&[]));
}

#[test]
fn routes_are_as_the_server_names_them() {
    let Some(machine) = Machine::new() else { return };
    let address = "addr add 10.0.0.5/24 broadcast 10.0.0.255 dev eth0";
    for (given, wanted, through) in [
        // RFC 3442: option 3 counts only where option 121 is not.
        (
            with(&[("router", "10.0.0.1"), ("staticroutes", "10.9.0.0/16 10.0.0.9 0.0.0.0/0 10.0.0.8")]),
            vec![
                address,
                "route add 10.9.0.0/16 via 10.0.0.9 dev eth0 metric 200",
                "route add default via 10.0.0.8 dev eth0 metric 201",
            ],
            "10.0.0.8",
        ),
        (
            with(&[("router", "10.0.0.1"), ("staticroutes", "10.8.0.0/16 0.0.0.0")]),
            vec![address, "route add 10.8.0.0/16 dev eth0 metric 200"],
            "none",
        ),
        // One without a way has no meaning.
        (with(&[("staticroutes", "10.8.0.0/16")]), vec![address], "none"),
        (
            vec![("ip", "10.0.0.5"), ("mask", "32"), ("router", "10.9.9.1")],
            vec![
                "addr add 10.0.0.5/32 dev eth0",
                "route add 10.9.9.1 dev eth0 metric 200",
                "route add default via 10.9.9.1 dev eth0 metric 200",
            ],
            "10.9.9.1",
        ),
        (with(&[("mtu", "1400")]), vec!["link set eth0 mtu 1400", address], "none"),
        (with(&[("mtu", "1500")]), vec![address], "none"),
        (with(&[("mtu", "68")]), vec![address], "none"),
    ] {
        let (ip, said, _) = machine.call("bound", "eth0", &given);
        assert_eq!(ip, calls(&wanted), "{given:?}");
        assert!(said.ends_with(&format!(", router {through}")), "{given:?}: {said}");
        machine.call("gone", "eth0", &[]);
    }
}

#[test]
fn resolvers_of_all_interfaces_are_together() {
    let Some(machine) = Machine::new() else { return };
    // In the order of their numbers, not of their names or of the answers; each once. What a server says names no files.
    let lease = |dns, search| with(&[("dns", dns), ("search", search), ("domain", "not.this")]);
    machine.call("bound", "eth1", &lease("3.3.3.3 1.1.1.1", "b.test a.test"));
    machine.call("bound", "usb0", &lease("2.2.2.2", "c.test *"));
    let (_, _, resolv) = machine.call("bound", "eth0", &lease("1.1.1.1", "a.test"));
    let wanted = "search a.test c.test * b.test\nnameserver 1.1.1.1\nnameserver 2.2.2.2\nnameserver 3.3.3.3\n";
    assert_eq!(resolv, wanted);
    let (_, _, resolv) = machine.call("gone", "usb0", &[]);
    assert_eq!(resolv, "search a.test b.test\nnameserver 1.1.1.1\nnameserver 3.3.3.3\n");
    assert_eq!(fs::read_dir(machine.path("etc")).unwrap().count(), 1, "nothing half-written stays");
}

#[test]
fn interfaces_at_the_same_time_lose_nothing() {
    let Some(machine) = Machine::new() else { return };
    for round in 0..20 {
        let children: Vec<_> = [("eth0", "1.1.1.1"), ("eth1", "2.2.2.2"), ("usb0", "3.3.3.3")]
            .map(|(interface, dns)| {
                let mut command = Command::new(machine.path("bin/sh"));
                command.arg(machine.path("script")).arg("bound").env_clear().env("interface", interface);
                command.env("ip", "10.0.0.5").env("dns", dns).spawn().unwrap()
            })
            .into();
        for mut child in children {
            assert!(child.wait().unwrap().success());
        }
        assert_eq!(machine.text("etc/resolv.conf").lines().count(), 3, "round {round}");
        for interface in ["eth0", "eth1", "usb0"] {
            machine.call("gone", interface, &[]);
        }
        assert_eq!(machine.text("etc/resolv.conf"), "");
    }
}
