//! The network of the system that is an initramfs: cards, wires and their ends, on QEMU's user network.

use std::path::PathBuf;

use serde_json::json;
use vm::qemu::{End, Guest, Verdict};

use crate::{
    diskless::{LONG, PROMPT, build, kernel, start, wait},
    lab::Lab,
    monitor::Socket,
};

/// Returns the system with modules of its kernel.
pub fn system(lab: &Lab, name: &str, modules: &str) -> PathBuf {
    let tree = kernel(name).modules;
    build(lab, name, &["--module-tree", tree.to_str().expect("UTF-8"), "--modules", modules]).0
}

/// Runs a command in the guest's shell and returns the output up to its end.
pub fn ask(guest: &mut Guest, command: &str) -> String {
    guest.send(&format!("{command}; echo en''ded\n")).expect("typing");
    wait(guest, "ended")
}

/// Returns the output of `guest` up to the end of the next line about an interface.
pub fn told(guest: &mut Guest) -> String {
    wait(guest, " s after the start")
}

fn end(mut guest: Guest) {
    guest.send("poweroff\n").expect("typing");
    let verdict = guest.finish(Some(LONG)).expect("the end");
    assert_eq!(verdict, Verdict::Ended(End::PoweredOff), "{}", guest.last_lines());
    let console = guest.console();
    assert!(!console.contains("initramfs-overlay:"), "{}", guest.last_lines());
    // Nothing is started or taken away any more while the machine ends.
    assert!(!console.rsplit("poweroff").next().is_some_and(|last| last.contains("after the start")), "{console}");
}

/// Two cards on networks of their own.
const TWO: [&str; 8] = [
    "-netdev",
    "user,id=one,net=10.1.0.0/24",
    "-device",
    "virtio-net-pci,netdev=one,id=first",
    "-netdev",
    "user,id=two,net=10.2.0.0/24",
    "-device",
    "virtio-net-pci,netdev=two,id=second",
];

pub fn two_cards(lab: &Lab) {
    for name in ["x86_64", "i686"] {
        let mut guest = start(name, system(lab, name, "virtio_pci,virtio_net"), Some(128), &TWO);
        // Nobody waits for the network, so its lines may come before the prompt or behind it.
        told(&mut guest);
        told(&mut guest);
        let said = guest.console();
        for line in ["eth0: 10.1.0.15/24, router 10.1.0.2, ", "eth1: 10.2.0.15/24, router 10.2.0.2, "] {
            assert!(said.contains(line), "{line}: {said}");
        }
        let said = ask(&mut guest, "ip route; cat /etc/resolv.conf; cat /run/network/eth?/address");
        let metric = |router: &str| {
            let line = said.lines().find(|line| line.starts_with(&format!("default via {router} ")));
            let words = line.map(|line| line.split_whitespace().skip_while(|word| *word != "metric"));
            words.and_then(|mut words| words.nth(1)?.parse::<u32>().ok()).unwrap_or_else(|| panic!("{router}: {said}"))
        };
        assert!(metric("10.1.0.2") < metric("10.2.0.2"), "{said}");
        assert!(said.contains("nameserver 10.1.0.3\r\nnameserver 10.2.0.3\r\n"), "{said}");
        end(guest);
    }
}

pub fn links(lab: &Lab) {
    let socket = Socket::new(&lab.directory());
    let monitor = socket.arguments();
    let mut extra = [&["-S"], &TWO[..]].concat();
    extra.extend(monitor.iter().map(String::as_str));
    let mut guest = start("x86_64", system(lab, "x86_64", "virtio_pci,virtio_net"), Some(128), &extra);
    let mut monitor = socket.accept();
    // Pulled before the machine begins.
    monitor.set_link("first", false);
    monitor.ask("cont", json!({}));
    let line = told(&mut guest);
    assert!(line.contains("eth1: 10.2.0.15/24"), "{line}");
    let asks = "ps | grep -c '[u]dhcpc.*-i eth0'";
    let said = ask(&mut guest, &format!("{asks}; ip -o link show eth0"));
    assert!(said.contains("\r\n0\r\n") && said.contains("NO-CARRIER") && said.contains("UP"), "{said}");

    monitor.set_link("first", true);
    let line = told(&mut guest);
    assert!(line.contains("eth0: 10.1.0.15/24"), "{line}");
    let said = ask(&mut guest, "ip route | grep -m 1 default; head -n 1 /etc/resolv.conf");
    assert!(said.contains("10.1.0.2") && said.contains("nameserver 10.1.0.3"), "{said}");

    monitor.set_link("first", false);
    let line = told(&mut guest);
    assert!(line.contains("eth0: 10.1.0.15/24 is gone"), "{line}");
    let said = ask(&mut guest, &format!("{asks}; ip route; ip -4 -o addr; cat /etc/resolv.conf"));
    assert!(!said.contains("10.1.0.") && said.contains("\r\n0\r\n"), "{said}");
    assert!(said.contains("default via 10.2.0.2") && said.contains("nameserver 10.2.0.3"), "{said}");
    // The other one was never disturbed, and what one switches off oneself stays off.
    ask(&mut guest, "ip link set eth0 down");
    monitor.set_link("first", true);
    let said = ask(&mut guest, "ip -o link show eth0");
    assert!(!said.contains(",UP"), "{said}");
    // Asking that ends by itself begins again.
    guest.send("ip link set eth0 up\n").expect("typing");
    let line = told(&mut guest);
    assert!(line.contains("eth0: 10.1.0.15/24, router"), "{line}");
    guest.send("kill $(ps | awk '/udhcp[c].*-i eth0/ { print $1 }')\n").expect("typing");
    let line = told(&mut guest);
    assert!(line.contains("eth0: 10.1.0.15/24 is gone"), "{line}");
    let line = told(&mut guest);
    assert!(line.contains("eth0: 10.1.0.15/24, router"), "{line}");
    end(guest);
}

pub fn late(lab: &Lab) {
    let modules = "virtio_pci,virtio_net,xhci_pci,usbnet,cdc_ether,rndis_host";
    let socket = Socket::new(&lab.directory());
    let monitor = socket.arguments();
    let mut extra = vec!["-netdev", TWO[1], "-netdev", TWO[5], "-device", "qemu-xhci"];
    extra.extend(monitor.iter().map(String::as_str));
    let mut guest = start("x86_64", system(lab, "x86_64", modules), Some(128), &extra);
    let mut monitor = socket.accept();
    wait(&mut guest, PROMPT);
    let said = ask(&mut guest, "ls /sys/class/net; lsmod | grep -c virtio_net");
    assert!(said.contains("lo\r\n0\r\n"), "{said}");

    monitor.ask("device_add", json!({ "driver": "virtio-net-pci", "netdev": "one", "id": "first" }));
    let line = told(&mut guest);
    assert!(line.contains("eth0: 10.1.0.15/24"), "{line}");
    monitor.ask("device_add", json!({ "driver": "usb-net", "netdev": "two", "id": "second" }));
    let line = told(&mut guest);
    assert!(line.contains(": 10.2.0.15/24"), "{line}");

    for (card, address) in [("first", "10.1.0.15"), ("second", "10.2.0.15")] {
        monitor.ask("device_del", json!({ "id": card }));
        let line = told(&mut guest);
        assert!(line.contains(&format!("{address}/24 is gone")), "{line}");
    }
    let said = ask(&mut guest, "ls /sys/class/net /run/network; ip route; pidof udhcpc; cat /etc/resolv.conf");
    assert!(said.contains("/run/network:\r\n\r\n/sys/class/net:\r\nlo\r\n"), "{said}");
    assert!(!said.contains("10.1.0.") && !said.contains("10.2.0."), "{said}");
    end(guest);
}

pub fn no_card(lab: &Lab) {
    let mut guest = start("x86_64", system(lab, "x86_64", "virtio_pci,virtio_net"), Some(128), &[]);
    wait(&mut guest, PROMPT);
    // What attends to the network comes to rest, and then does nothing at all.
    let count = "$(grep ctxt /proc/$(ps | awk '/hotplu[g]/ { print $1 }')/status)";
    let rests =
        format!("until now=\"{count}\"; [ \"$now\" ] && [ \"$now\" = \"$before\" ]; do before=$now; sleep 1; done");
    let said = ask(&mut guest, &format!("{rests}; pidof udhcpc || echo no''body"));
    assert!(said.contains("\nnobody\r"), "{said}");
    end(guest);
}

pub fn left_alone(lab: &Lab) {
    let mut extra = TWO[..4].to_vec();
    // The later one counts.
    extra.extend(["-append", "console=ttyS0 quiet panic=-1 rd.net=no"]);
    let mut guest = start("x86_64", system(lab, "x86_64", "virtio_pci,virtio_net"), Some(128), &extra);
    wait(&mut guest, PROMPT);
    let said = ask(&mut guest, "ip -o link show eth0; ls /run/network; pidof udhcpc || echo no''body");
    assert!(said.contains("<BROADCAST,MULTICAST> ") && said.contains("\nnobody\r"), "{said}");
    // What is called by hand does the same as ever.
    guest.send("ip link set eth0 up; udhcpc -i eth0 -s /usr/share/udhcpc/default.script\n").expect("typing");
    let line = told(&mut guest);
    assert!(line.contains("eth0: 10.1.0.15/24, router 10.1.0.2"), "{line}");
    end(guest);
}

pub fn silence(lab: &Lab) {
    let extra =
        ["-netdev", "socket,id=one,udp=127.0.0.1:9,localaddr=127.0.0.1:0", "-device", "virtio-net-pci,netdev=one"];
    let mut guest = start("x86_64", system(lab, "x86_64", "virtio_pci,virtio_net"), Some(128), &extra);
    let before = wait(&mut guest, PROMPT);
    assert!(!before.contains("after the start"), "{before}");
    // It goes on behind the prompt, and has an end when the machine has.
    let said = ask(&mut guest, "until pidof udhcpc; do :; done; kill -STOP $(pidof udhcpc)");
    assert!(!said.contains("not found"), "{said}");
    end(guest);
}
