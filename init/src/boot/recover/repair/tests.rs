use super::*;
use crate::{
    config::Abilities,
    kernel::{
        Kernel, Mount,
        recorder::{Device, Node, Recorder},
    },
};
use contract::step::Step;

fn volume(name: &str, kind: Option<&str>, label: &str) -> Volume {
    let label = (!label.is_empty()).then(|| label.to_owned());
    let size = 1 << 30;
    Volume { name: name.into(), disk: "vda".into(), size, kind: kind.map(String::from), label, ..Volume::default() }
}

fn machine(programs: &[(&str, i32)]) -> Recorder {
    let volumes = [
        volume("vda1", Some("vfat"), "BOOT"),
        volume("vda2", Some("ext4"), "img"),
        volume("vda3", Some("ext4"), "ovrelay"),
        volume("vda4", None, ""),
    ];
    let devices = volumes.map(|volume| Device { volume, ..Device::default() }).into();
    let mut kernel = Recorder { devices, ..Recorder::default() };
    for (program, status) in programs {
        kernel.files.insert(format!("bin/{program}"), Node::file("", 0o755));
        kernel.programs.insert((*program).into(), *status);
    }
    kernel
}

fn card(code: Code) -> Card {
    Card {
        code,
        step: Step::Devices,
        wanted: String::new(),
        seen: Vec::new(),
        kernel: Vec::new(),
        notices: Vec::new(),
        next: String::new(),
        then: String::new(),
    }
}

fn appliance() -> Appliance {
    let tag = |label: &str| Tag::Label(label.into());
    let roles = [(Role::Overlay, "overlay"), (Role::Img, "img"), (Role::Boot, "boot"), (Role::NewImg, "newimg")];
    let tags = roles.map(|(role, label)| (role, tag(label))).into();
    Appliance { image: "root-squashfs.img".into(), tags }
}

const ABILITIES: Abilities = Abilities { shell: true, trust: false };
const MISSING: Code = Code::PartitionMissing(Role::Overlay);

/// Returns what a repair ends with after these answers, and the record of the machine.
fn go(programs: &[(&str, i32)], task: Task, answers: &[&str]) -> (Progress, Vec<String>) {
    let mut kernel = machine(programs);
    let (card, appliance) = (card(MISSING), appliance());
    let mut context = Context::new(&mut kernel, ABILITIES);
    let mut repair = Repair::new(Some(&card), &appliance);
    let mut progress = repair.start(&mut context, task);
    for answer in answers {
        assert!(matches!(progress, Progress::Ask(..)), "{answer}: {progress:?}");
        progress = repair.answer(&mut context, answer);
    }
    let commands = kernel.record.iter().filter(|line| line.starts_with("run in /: ")).cloned().collect();
    (progress, commands)
}

#[test]
fn what_is_offered_has_its_program_and_a_partition() {
    let offered = |programs: &[(&str, i32)], code| {
        let mut kernel = machine(programs);
        let mut context = Context::new(&mut kernel, ABILITIES);
        offered(&mut context, Some(&card(code)), &appliance())
    };
    let all = [("e2fsck", 0), ("e2label", 0)];
    assert_eq!(offered(&all, MISSING), Task::ALL);
    assert_eq!(offered(&[], MISSING), [Task::Copy]);
    assert_eq!(offered(&all, Code::OverlayUnusable), [Task::Check, Task::Copy], "no label is missing");
    assert_eq!(offered(&all, Code::ParameterValue), [Task::Copy]);
    // Nothing could get the label.
    assert_eq!(offered(&[("fatlabel", 0)], Code::PartitionMissing(Role::Boot)), [Task::Copy]);
}

#[test]
fn a_label_is_given_once_somebody_is_sure() {
    let programs = [("e2label", 0), ("fatlabel", 0)];
    // The others have labels of the boot's already, and there is one label left.
    let (progress, commands) = go(&programs, Task::Label, &["1", "y"]);
    assert_eq!(progress, Progress::Again);
    assert!(matches!(&commands[..], [one] if one.ends_with("/bin/e2label /dev/vda3 overlay")), "{commands:?}");
    for answers in [&["2"][..], &[""], &["1", "n"], &["1", ""]] {
        let (progress, commands) = go(&programs, Task::Label, answers);
        assert_eq!((progress, commands.len()), (Progress::Back, 0), "{answers:?}");
    }
    let (progress, _) = go(&[("e2label", 1)], Task::Label, &["1", "y"]);
    assert!(matches!(&progress, Progress::Show(lines) if lines[0].ends_with("exit status 1")), "{progress:?}");
    let volumes = [volume("vda1", Some("vfat"), "NONE"), volume("vda2", Some("ext4"), "img")];
    assert_eq!(
        labels(Some(&card(MISSING)), &appliance(), &volumes),
        ["overlay", "boot"],
        "the one that it failed for first"
    );
    assert_eq!(labels(Some(&card(Code::OverlayUnusable)), &appliance(), &volumes), Vec::<String>::new());
    let tags = vec![(Role::Img, Tag::Label("img".into())), (Role::Overlay, Tag::Uuid("x".into()))];
    let by_uuid = Appliance { image: String::new(), tags };
    assert_eq!(labels(Some(&card(MISSING)), &by_uuid, &[]), Vec::<String>::new(), "no label can help");
    assert_eq!(kept("vfat", "boot"), Some("BOOT".into()), "FAT keeps capitals");
    assert_eq!(kept("vfat", "a-long-label"), None);
    assert_eq!(kept("ext4", "a-long-label"), Some("a-long-label".into()));
}

#[test]
fn a_filesystem_is_checked_and_a_repair_asked_about() {
    let (progress, commands) = go(&[("e2fsck", 0)], Task::Check, &["2"]);
    assert!(matches!(progress, Progress::Show(_)), "{progress:?}");
    assert!(matches!(&commands[..], [one] if one.ends_with("/bin/e2fsck -f -n /dev/vda3")), "{commands:?}");
    let (progress, commands) = go(&[("e2fsck", 4)], Task::Check, &["2", "y"]);
    assert!(matches!(progress, Progress::Show(_)), "{progress:?}");
    assert!(commands[1].ends_with("/bin/e2fsck -f -y /dev/vda3"), "{commands:?}");
    let (progress, commands) = go(&[("e2fsck", 4)], Task::Check, &["2", "n"]);
    assert_eq!((progress, commands.len()), (Progress::Back, 1));
    // A device that does not answer is not repaired.
    let (progress, commands) = go(&[("e2fsck", 8)], Task::Check, &["2"]);
    assert!(matches!(progress, Progress::Show(_)) && commands.len() == 1, "{progress:?}");
    let (_, commands) = go(&[("fsck.fat", 1)], Task::Check, &["1", "y"]);
    assert!(commands[0].ends_with("/bin/fsck.fat -n /dev/vda1"), "{commands:?}");
    assert!(commands[1].ends_with("/bin/fsck.fat -a /dev/vda1"), "{commands:?}");
}

#[test]
fn a_device_that_is_another_one_by_now_is_left_alone() {
    let mut kernel = machine(&[("e2fsck", 4), ("e2label", 0)]);
    let (card, appliance) = (card(MISSING), appliance());
    for (task, answer) in [(Task::Check, "2"), (Task::Label, "1")] {
        let mut context = Context::new(&mut kernel, ABILITIES);
        let mut repair = Repair::new(Some(&card), &appliance);
        repair.start(&mut context, task);
        assert!(matches!(repair.answer(&mut context, answer), Progress::Ask(..)));
        kernel.devices.iter_mut().for_each(|device| device.volume.size += 4096);
        let mut context = Context::new(&mut kernel, ABILITIES);
        let progress = repair.answer(&mut context, "y");
        let Progress::Show(lines) = progress else { panic!("{task:?}: {progress:?}") };
        assert!(lines[0].ends_with("is gone or was replaced"), "{lines:?}");
    }
}

#[test]
fn a_label_that_has_come_meanwhile_is_offered_to_nobody() {
    let mut kernel = machine(&[("e2label", 0)]);
    let (card, appliance) = (card(MISSING), appliance());
    let mut context = Context::new(&mut kernel, ABILITIES);
    let mut repair = Repair::new(Some(&card), &appliance);
    repair.start(&mut context, Task::Label);
    kernel.devices[3].volume = volume("vda4", Some("ext4"), "overlay");
    let mut context = Context::new(&mut kernel, ABILITIES);
    assert_eq!(repair.answer(&mut context, "1"), Progress::show("the partition is there by now: try again"));
}

#[test]
fn what_stays_mounted_is_left_alone() {
    let mut kernel = machine(&[("e2fsck", 0)]);
    kernel.filesystems.push("ext4".into());
    // Below /run a mount of somebody else's is no disk that is unmounted here.
    kernel.files.insert("run/mine".into(), Node::Directory);
    let mount = Mount { source: "/dev/vda3", target: "/run/mine", filesystem: "ext4", ..Mount::default() };
    kernel.mount(&mount).unwrap();
    let (card, appliance) = (card(MISSING), appliance());
    let mut context = Context::new(&mut kernel, ABILITIES);
    assert!(!is_in_use(&mut context, "/dev/vda2"));
    let mut repair = Repair::new(Some(&card), &appliance);
    repair.start(&mut context, Task::Check);
    assert_eq!(repair.answer(&mut context, "2"), Progress::Show(vec![in_use("/dev/vda3")]));
    assert!(!kernel.record.iter().any(|line| line.starts_with("run")));
}
