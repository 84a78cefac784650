//! Boots of the system that is an initramfs: its shells, its network, its ends.

use std::{path::PathBuf, time::Duration};

use initramfs_overlay::{
    cache::Cache,
    kernel_package::{self, Kernel},
    progress::Progress,
    qemu::{End, Guest, Machine, Verdict},
    target,
};
use serde_json::Value;

use crate::lab::Lab;

const LONG: Duration = Duration::from_secs(300);
const PROMPT: &str = "diskless:~# ";

fn kernel(name: &str) -> Kernel {
    let target = target::named(name).expect("a target");
    kernel_package::debian(target, &Cache::open().expect("the cache"), &Progress::none()).expect("a kernel")
}

fn build(lab: &Lab, name: &str, options: &[&str]) -> (PathBuf, Value) {
    let folder = lab.folder();
    let mut arguments = vec!["--target", name, "--json", "--output", folder.to_str().expect("UTF-8")];
    arguments.extend(options);
    let ended = lab.finish("diskless", &arguments);
    ended.expect(0);
    let told: Value = serde_json::from_str(&ended.output).expect("JSON");
    (told[0]["file"].as_str().expect("a name").into(), told[0].clone())
}

fn start(name: &str, initrd: PathBuf, memory: Option<u32>, extra: &[&str]) -> Guest {
    let mut machine = Machine::new(target::named(name).expect("a target"), &kernel(name));
    machine.initrd = Some(initrd);
    machine.append.push("quiet panic=-1".to_owned());
    machine.memory = memory;
    machine.extra = extra.iter().map(Into::into).collect();
    Guest::start(&machine).expect("QEMU")
}

fn wait(guest: &mut Guest, words: &str) -> String {
    guest.wait_for(words, LONG).expect("what the system says")
}

pub fn network(lab: &Lab) {
    let modules = kernel("x86_64").modules;
    let tree = modules.to_str().expect("UTF-8");
    let (file, _) = build(lab, "x86_64", &["--module-tree", tree, "--modules", "virtio_pci,virtio_net"]);
    // Two cards; nobody answers on the second.
    let extra = [
        "-netdev",
        "user,id=one",
        "-device",
        "virtio-net-pci,netdev=one",
        "-netdev",
        "socket,id=two,udp=127.0.0.1:9,localaddr=127.0.0.1:0",
        "-device",
        "virtio-net-pci,netdev=two",
    ];
    let mut guest = start("x86_64", file, Some(128), &extra);
    let before = wait(&mut guest, PROMPT);
    assert!(!before.contains("job control turned off"), "{before}");
    let line = wait(&mut guest, " s after the start");
    assert!(line.contains("eth0: 10.0.2.15/24, router 10.0.2.2, "), "{line}");
    guest.send("ip route; cat /etc/resolv.conf; ip -o link | grep -c UP; echo do''ne\n").expect("typing");
    let said = wait(&mut guest, "done");
    for words in ["default via 10.0.2.2 dev eth0  metric", "nameserver 10.0.2.3", "\r\n3\r\n"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    // Leaving the shell gives another one.
    guest.send("echo fi''rst $$; exit\n").expect("typing");
    wait(&mut guest, "first ");
    wait(&mut guest, PROMPT);
    guest.send("echo sec''ond; kill -STOP $(pidof udhcpc); poweroff\n").expect("typing");
    wait(&mut guest, "second");
    assert_eq!(guest.finish(Some(LONG)).expect("the end"), Verdict::Ended(End::PoweredOff), "{}", guest.last_lines());
}

pub fn small(lab: &Lab) {
    let include = lab.folder();
    std::fs::create_dir(include.join("etc")).expect("a folder");
    std::fs::write(include.join("etc/motd"), "mine\n").expect("a file");
    let include = include.to_str().expect("UTF-8").to_owned();
    let (file, told) = build(lab, "x86_64", &["--include", &include, "--hostname", "box"]);
    let size = told["size"].as_u64().expect("a size");
    assert!(size <= 1_200_000, "{size} bytes");
    let again = build(lab, "x86_64", &["--include", &include, "--hostname", "box"]).0;
    assert_eq!(std::fs::read(&file).expect("a file"), std::fs::read(again).expect("a file"));
    let mut guest = start("x86_64", file, Some(128), &[]);
    wait(&mut guest, "box:~# ");
    guest.send("cat /etc/motd; id -un; hostname; (sleep 1000 &); reboot\n").expect("typing");
    wait(&mut guest, "mine\r\nroot\r\nbox\r");
    assert_eq!(guest.finish(Some(LONG)).expect("the end"), Verdict::Ended(End::Restarted), "{}", guest.last_lines());
}

pub fn i686(lab: &Lab) {
    let mut guest = start("i686", build(lab, "i686", &[]).0, Some(128), &[]);
    wait(&mut guest, PROMPT);
    // Ctrl-Alt-Del reaches process 1 as this signal.
    guest.send("grep -c 'Pentium II' /proc/cpuinfo; kill -INT 1\n").expect("typing");
    wait(&mut guest, "\n1\r");
    assert_eq!(guest.finish(Some(LONG)).expect("the end"), Verdict::Ended(End::Restarted), "{}", guest.last_lines());
}

pub fn raspberry(lab: &Lab) {
    let mut guest = start("armv6l", build(lab, "armv6l", &[]).0, None, &[]);
    wait(&mut guest, PROMPT);
    guest.send("grep -c ARMv6 /proc/cpuinfo; exit\n").expect("typing");
    wait(&mut guest, PROMPT);
    guest.send("halt\n").expect("typing");
    assert_eq!(guest.finish(Some(LONG)).expect("the end"), Verdict::Ended(End::Halted), "{}", guest.last_lines());
}
