//! Boots of the system that is an initramfs: its shells and its ends.

use std::{path::PathBuf, time::Duration};

use base::progress::Progress;
use serde_json::{Value, json};
use sources::{
    kernel_package::{self, Kernel},
    target,
};
use vm::qemu::{End, Guest, Machine, Verdict};

use crate::{lab::Lab, monitor::Socket};

pub const LONG: Duration = Duration::from_secs(300);
pub const PROMPT: &str = "diskless:~# ";

pub fn kernel(name: &str) -> Kernel {
    let target = target::named(name).expect("a target");
    kernel_package::debian(
        target,
        &initramfs_overlay::cache::open().expect("the cache"),
        sources::Substitute::Allow,
        &Progress::none(),
    )
    .expect("a kernel")
}

pub fn build(lab: &Lab, name: &str, options: &[&str]) -> (PathBuf, Value) {
    let directory = lab.directory();
    let mut arguments = vec!["--target", name, "--json", "--output-dir", directory.to_str().expect("UTF-8")];
    arguments.extend(options);
    let ended = lab.finish("diskless", &arguments);
    ended.expect(0);
    let told: Value = serde_json::from_str(&ended.output).expect("JSON");
    (told[0]["file"].as_str().expect("a name").into(), told[0].clone())
}

pub fn start(name: &str, initrd: PathBuf, memory: Option<u32>, extra: &[&str]) -> Guest {
    let mut machine = Machine::new(target::named(name).expect("a target"), &kernel(name));
    machine.initrd = Some(initrd);
    machine.append.push("quiet panic=-1".to_owned());
    machine.memory = memory;
    machine.extra = extra.iter().map(Into::into).collect();
    Guest::start(&machine).expect("QEMU")
}

pub fn wait(guest: &mut Guest, words: &str) -> String {
    guest.wait_for(words, LONG).expect("what the system says")
}

pub fn shells(lab: &Lab) {
    let mut guest = start("x86_64", build(lab, "x86_64", &[]).0, Some(128), &[]);
    let before = wait(&mut guest, PROMPT);
    assert!(!before.contains("job control turned off"), "{before}");
    // Leaving the shell gives another one.
    guest.send("echo fi''rst $$; exit\n").expect("typing");
    wait(&mut guest, "first ");
    wait(&mut guest, PROMPT);
    // What is stopped ends as well.
    guest.send("sleep 1000 & kill -STOP $!; echo sec''ond; poweroff\n").expect("typing");
    wait(&mut guest, "second");
    assert_eq!(guest.finish(Some(LONG)).expect("the end"), Verdict::Ended(End::PoweredOff), "{}", guest.last_lines());
}

pub fn small(lab: &Lab) {
    let include = lab.directory();
    std::fs::create_dir(include.join("etc")).expect("a directory");
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
    let socket = Socket::new(&lab.directory());
    let arguments = socket.arguments();
    let mut guest = start("i686", build(lab, "i686", &[]).0, Some(128), &arguments.each_ref().map(String::as_str));
    let mut monitor = socket.accept();
    wait(&mut guest, PROMPT);
    guest.send("grep -c 'Pentium II' /proc/cpuinfo\n").expect("typing");
    wait(&mut guest, "\n1\r");
    let keys = ["ctrl", "alt", "delete"].map(|key| json!({ "type": "qcode", "data": key }));
    monitor.ask("send-key", json!({ "keys": keys }));
    assert_eq!(guest.finish(Some(LONG)).expect("the end"), Verdict::Ended(End::Restarted), "{}", guest.last_lines());
}

/// Boots a target that others stand for.
pub fn on(lab: &Lab, name: &str) {
    let mut guest = start(name, build(lab, name, &[]).0, Some(256), &[]);
    wait(&mut guest, PROMPT);
    guest.send("uname -m; (sleep 1000 &); poweroff\n").expect("typing");
    wait(&mut guest, &format!("{name}\r"));
    assert_eq!(guest.finish(Some(LONG)).expect("the end"), Verdict::Ended(End::PoweredOff), "{}", guest.last_lines());
}

pub fn raspberry(lab: &Lab) {
    let mut guest = start("armv6l", build(lab, "armv6l", &[]).0, None, &[]);
    wait(&mut guest, PROMPT);
    guest.send("grep -c ARMv6 /proc/cpuinfo; exit\n").expect("typing");
    wait(&mut guest, PROMPT);
    guest.send("halt\n").expect("typing");
    assert_eq!(guest.finish(Some(LONG)).expect("the end"), Verdict::Ended(End::Halted), "{}", guest.last_lines());
}
