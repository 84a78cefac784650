//! The life of a lease, with a DHCP server of the test's own: BusyBox's, on a tap in a network namespace that only this test has.

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, ChildStderr, Command, Stdio},
};

use nix::sched::{CloneFlags, unshare};

use crate::{
    diskless::start,
    lab::Lab,
    network::{ask, system, told},
};

/// Seconds: the shortest that udhcpc takes (its `dhcpc.c`).
const LEASE: u32 = 16;

pub fn lease(lab: &Lab) {
    // The namespace is this thread's, and gone with it and what it started.
    let outcome = std::thread::scope(|scope| scope.spawn(|| in_namespace(lab)).join());
    match outcome {
        Ok(Ok(())) => {}
        Ok(Err(lacking)) => {
            println!("skipped: leases: {lacking}");
            assert_ne!(std::env::var("BOOT_TESTS").as_deref(), Ok("required"), "{lacking}");
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

fn in_namespace(lab: &Lab) -> Result<(), String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("no network namespace ({error}); run it as root"))?;
    for words in ["tuntap add dev tap0 mode tap", "addr add 10.77.0.1/24 dev tap0", "link set tap0 up"] {
        let outcome = Command::new("ip").args(words.split(' ')).stderr(Stdio::piped()).output();
        let output = outcome.map_err(|error| format!("no `ip` (Debian's package iproute2): {error}"))?;
        if !output.status.success() {
            return Err(format!("ip {words}: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
    }
    let server = Server::new(lab);
    let plain = "opt router 10.77.0.1 10.77.0.2\nopt dns 10.77.0.3 10.77.0.4\nopt domain example.test\n";
    let mut running = server.start("plain", plain);
    let card = ["-netdev", "tap,id=one,ifname=tap0,script=no,downscript=no", "-device", "virtio-net-pci,netdev=one"];
    let mut guest = start("x86_64", system(lab, "x86_64", "virtio_pci,virtio_net"), Some(128), &card);

    let line = told(&mut guest);
    assert!(line.contains("eth0: 10.77.0.10/24, router 10.77.0.1 10.77.0.2, "), "{line}");
    let looks = "ip route; ip -4 addr show eth0; cat /etc/resolv.conf /sys/class/net/eth0/mtu";
    let said = ask(&mut guest, looks);
    for words in [
        "default via 10.77.0.1 dev eth0  metric 200",
        "default via 10.77.0.2 dev eth0  metric 201",
        "search example.test\r\nnameserver 10.77.0.3\r\nnameserver 10.77.0.4\r\n1500\r\n",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }

    // The first one was the lease itself; with two more it is older than it lasts.
    for _ in 0..3 {
        running.wait_for("sending ACK to 10.77.0.10");
    }
    let again = ask(&mut guest, looks);
    assert!(again.contains("inet 10.77.0.10/24") && again.contains("default via 10.77.0.1"), "{again}");
    assert!(!again.contains("after the start"), "{again}");

    // A server that knows nothing of it refuses the renewal, and gives another address; its routes take the place of its routers.
    drop(running);
    let other = "static_lease 52:54:00:12:34:56 10.77.0.50\nopt router 10.77.0.1\nopt dns 10.77.0.5\n\
                 opt search one.test two.test\nopt mtu 1400\nopt staticroutes 10.200.0.0/16 10.77.0.9, 0.0.0.0/0 10.77.0.8\n";
    let running = server.start("other", other);
    let line = told(&mut guest);
    assert!(line.contains("eth0: 10.77.0.10/24 is gone"), "{line}");
    let line = told(&mut guest);
    assert!(line.contains("eth0: 10.77.0.50/24, router 10.77.0.8, "), "{line}");
    let said = ask(&mut guest, looks);
    for words in [
        "default via 10.77.0.8 dev eth0 ",
        "10.200.0.0/16 via 10.77.0.9 dev eth0 ",
        "search one.test two.test\r\nnameserver 10.77.0.5\r\n1400\r\n",
    ] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("10.77.0.1 ") && !said.contains("10.77.0.10"), "{said}");

    // Nobody is there any more: the lease runs out, and is asked for again.
    drop(running);
    let line = told(&mut guest);
    assert!(line.contains("eth0: 10.77.0.50/24 is gone"), "{line}");
    let said = ask(&mut guest, "ip route; ip -4 -o addr; cat /etc/resolv.conf; pidof udhcpc | wc -l");
    assert!(!said.contains("10.77.0.") && said.contains("1\r\n"), "{said}");
    let running = server.start("other", other);
    let line = told(&mut guest);
    assert!(line.contains("eth0: 10.77.0.50/24, router 10.77.0.8, "), "{line}");
    drop(running);
    Ok(())
}

struct Server {
    busybox: PathBuf,
    directory: PathBuf,
}

struct Running {
    child: Child,
    said: Lines<BufReader<ChildStderr>>,
}

impl Server {
    fn new(lab: &Lab) -> Self {
        let directory = lab.directory();
        let busybox = directory.join("busybox");
        fs::write(&busybox, lab.busybox("x86_64")).expect("BusyBox");
        fs::set_permissions(&busybox, fs::Permissions::from_mode(0o755)).expect("BusyBox");
        Self { busybox, directory }
    }

    fn start(&self, name: &str, options: &str) -> Running {
        let path = |suffix: &str| self.directory.join(format!("{name}.{suffix}"));
        let (leases, pid) = (path("leases"), path("pid"));
        fs::write(&leases, "").expect("a file");
        let text = format!(
            "start 10.77.0.10\nend 10.77.0.10\ninterface tap0\nmax_leases 1\nlease_file {}\npidfile {}\nopt subnet 255.255.255.0\nopt lease {LEASE}\n{options}",
            leases.display(),
            pid.display()
        );
        fs::write(path("conf"), text).expect("a file");
        let mut command = Command::new(&self.busybox);
        // Without asking whether the address is in use: that takes two seconds.
        command.args(["udhcpd", "-f", "-a", "0"]).arg(path("conf")).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("udhcpd");
        let said = BufReader::new(child.stderr.take().expect("its words")).lines();
        Running { child, said }
    }
}

impl Running {
    fn wait_for(&mut self, words: &str) {
        let line = self.said.by_ref().map(|line| line.expect("a line")).find(|line| line.contains(words));
        assert!(line.is_some(), "udhcpd ended before it said `{words}`");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
