//! Repairs typed over a serial line as a technician would, from the debug shell and from its menu. Each lasts after the next reboot, with
//! `persistent` kept. With `BOOT_REPAIRS=all`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use disk::{Disk, Source};
use initramfs_overlay::busybox_rootfs::{self, RootFile};
use serde_json::json;
use vm::qemu::{Guest, Machine};

use crate::{
    debug::{PROMPT, type_in},
    faults::images::disk_of,
    lab::{Lab, PATIENCE, cut_out, monitor::Monitor, put_back},
    recover::marks,
    repair,
    support::{program, run},
    update,
};

/// Returns true where these repairs are to be typed.
pub fn are_wanted() -> bool {
    std::env::var_os("BOOT_REPAIRS").is_some_and(|wish| wish == "all")
}

/// A machine before its technician.
struct Bench<'l> {
    lab: &'l Lab,
    disk: PathBuf,
    guest: Guest,
    monitor: Monitor,
}

impl<'l> Bench<'l> {
    /// Boots the debug variant from a disk until its shell is there after this failure. `stick`: a stick that can be plugged in.
    fn start(lab: &'l Lab, disk: PathBuf, append: &str, code: &str, stick: Option<&Path>) -> Self {
        let mut bench = Self::boot(lab, disk, append, stick);
        let reason = format!("The boot failed: {code}");
        bench.guest.wait_for(&reason, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        bench.guest.wait_for(PROMPT, PATIENCE).expect("a prompt");
        bench
    }

    /// Boots the debug variant from a disk.
    fn boot(lab: &'l Lab, disk: PathBuf, append: &str, stick: Option<&Path>) -> Self {
        let modules = [
            "ext4", "vfat", "nls_cp437", "nls_ascii", "loop", "squashfs", "overlay", "virtio_pci", "virtio_blk",
            "xhci_pci", "usb_storage", "sd_mod",
        ];
        let mut machine: Machine = lab.machine(&lab.initrd_with("-debug", &modules), &[&disk], append);
        machine.append.push("rd.timeout=2s".into());
        let directory = lab.directory();
        Monitor::prepare(&mut machine, &directory);
        if let Some(stick) = stick {
            let drive = format!("file={},format=raw,if=none,id=stick", stick.display());
            machine.extra.extend(["-device", "qemu-xhci,id=usb", "-drive", &drive].map(Into::into));
        }
        let guest = Guest::start(&machine).expect("QEMU");
        let monitor = Monitor::open(&directory);
        Self { lab, disk, guest, monitor }
    }

    /// Plugs the stick in.
    fn plug(&mut self) {
        let device = json!({ "driver": "usb-storage", "drive": "stick", "bus": "usb.0", "id": "plugged" });
        self.monitor.ask("device_add", &device);
    }

    /// Types a command, which must succeed.
    fn command(&mut self, command: &str) -> String {
        type_in(&mut self.guest, &format!("{command}; echo status=$?"), "status=0")
    }

    /// Opens the menu.
    fn open_menu(&mut self) {
        self.guest.send("recover\n").expect("typing");
    }

    /// Types the key of the line with these words.
    fn choose(&mut self, words: &str) {
        let said = self.guest.wait_for(words, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        let line = said.rsplit('\n').next().expect("a line");
        let key = line.split_whitespace().next().expect("a key").to_owned();
        self.guest.wait_for(":", PATIENCE).expect("the question");
        self.guest.send(&format!("{key}\r")).expect("typing");
    }

    /// Leaves the shell before the root is switched, where `command` was typed.
    fn stopped(&mut self, command: &str) {
        self.guest.wait_for("Stopped before step switch-root", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        self.guest.wait_for(PROMPT, PATIENCE).expect("a prompt");
        self.command(command);
        self.exit();
    }

    fn exit(&mut self) {
        self.guest.send("exit\n").expect("typing");
    }

    /// Waits for the root of this boot: `image`, with what `persistent` says. Then boots the standard variant, which must find the same
    /// image and `persistent` as it was.
    fn lasts(mut self, image: &str, persistent: &str) {
        let said = marks(&mut self.guest);
        assert_eq!((said.get("image"), said.get("persistent")), (image, persistent), "{}", said.report());
        self.guest.finish(Some(PATIENCE)).expect("the end");
        let said = self.lab.boot(&self.lab.initrd(""), &self.disk, "rd.overlay.repair=no rd.newimg=LABEL=nowhere");
        assert_eq!((said.get("image"), said.get("persistent")), (image, "kept"), "{}", said.report());
    }
}

/// Boots on without a stop once the failure is repaired.
const ON: &str = "rd.break=none";

/// The writable partition has another label.
fn mislabelled(lab: &Lab) -> PathBuf {
    let disk = lab.make(&lab.disk());
    let alone = cut_out(lab, &disk, "overlay");
    run(program("tune2fs").args(["-L", "mistaken"]).arg(&alone));
    put_back(&disk, "overlay", &alone);
    disk
}

pub fn label_in_menu(lab: &Lab) {
    let mut bench = Bench::start(lab, mislabelled(lab), ON, "overlay-missing", None);
    bench.open_menu();
    bench.choose("give a partition its label");
    bench.choose("/dev/vda4: ext4 LABEL=mistaken");
    bench.guest.wait_for("gets the label overlay", PATIENCE).expect("the question");
    bench.guest.send("y\r").expect("typing");
    bench.lasts("A", "kept");
}

/// The group descriptors of the writable partition are damaged.
fn damaged(lab: &Lab) -> PathBuf {
    let disk = repair::disk(lab, lab.root("A"));
    repair::break_descriptors(&disk);
    disk
}

pub fn check_in_shell(lab: &Lab) {
    let mut bench = Bench::start(lab, damaged(lab), ON, "overlay-mount", None);
    type_in(&mut bench.guest, "e2fsck -fy /dev/vda4; echo checked=$?", "checked=1");
    bench.exit();
    bench.lasts("A", "kept");
}

pub fn check_in_menu(lab: &Lab) {
    let mut bench = Bench::start(lab, damaged(lab), ON, "overlay-mount", None);
    bench.open_menu();
    bench.choose("check and repair a filesystem");
    bench.choose("/dev/vda4: ext4 LABEL=overlay");
    let said = bench.guest.wait_for("y repairs all", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    assert!(said.contains("e2fsck -f -n /dev/vda4: exit status"), "{said}");
    bench.guest.send("y\r").expect("typing");
    bench.guest.wait_for("e2fsck -f -y /dev/vda4: exit status 1", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    bench.guest.send("\r").expect("typing");
    bench.choose("try again");
    bench.lasts("A", "kept");
}

/// Returns a stick with ext4, a label and image B.
fn image_stick(lab: &Lab, label: &str) -> PathBuf {
    let (directory, stick) = (lab.directory(), lab.directory().join("stick.img"));
    fs::write(directory.join("root-squashfs.img"), update::image(lab, "B")).expect("an image");
    fs::File::create(&stick).and_then(|file| file.set_len(32 << 20)).expect("a stick");
    run(program("mke2fs").args(["-q", "-F", "-t", "ext4", "-L", label, "-d"]).arg(&directory).arg(&stick));
    stick
}

pub fn image_in_shell(lab: &Lab) {
    let stick = image_stick(lab, "STICK");
    let mut bench = Bench::start(lab, disk_of(lab, &[0x41; 70_000]), ON, "image-unknown", Some(&stick));
    bench.plug();
    bench.command("modprobe xhci_pci && modprobe usb_storage && modprobe sd_mod");
    bench.command("for i in $(seq 30); do [ -b /dev/sda ] && break; sleep 1; done; mkdir /mnt /media");
    bench.command("umount /dev/vda2; mount /dev/sda /media && mount /dev/vda2 /mnt");
    let copy = "cp /media/root-squashfs.img /mnt/root-squashfs.img.new";
    bench.command(&format!("{copy} && mv /mnt/root-squashfs.img.new /mnt/root-squashfs.img"));
    bench.command("umount /mnt /media");
    bench.exit();
    bench.lasts("B", "kept");
}

pub fn image_in_menu(lab: &Lab) {
    let stick = image_stick(lab, "newimg");
    let disk = disk_of(lab, &[0x41; 70_000]);
    // The disk's own partition for updates would be a second one.
    let mut bench = Bench::start(lab, disk, ON, "image-unknown", Some(&stick));
    bench.command("e2label /dev/vda3 unused");
    bench.plug();
    bench.open_menu();
    bench.choose("install an image from a stick");
    bench.lasts("B", "kept");
}

/// Somebody's change in `persistent` keeps the system from starting.
fn customised(lab: &Lab) -> PathBuf {
    let persistent = lab.persistent("kept");
    busybox_rootfs::put(&persistent, &RootFile { path: "sbin/init", mode: 0o755, content: b"" }).expect("an init");
    lab.make(&Disk { overlay: Some(Some(persistent)), ..lab.disk() })
}

pub fn customisation_in_shell(lab: &Lab) {
    let mut bench = Bench::start(lab, customised(lab), ON, "init-unusable", None);
    bench.command("mkdir /mnt && mount /dev/vda4 /mnt && rm /mnt/persistent/sbin/init && umount /mnt");
    bench.exit();
    bench.lasts("A", "kept");
}

pub fn customisation_in_menu(lab: &Lab) {
    let mut bench = Bench::start(lab, customised(lab), "", "init-unusable", None);
    bench.open_menu();
    bench.choose("boot once without persistent");
    bench.stopped("rm /run/initramfs/overlay/persistent/sbin/init");
    bench.lasts("A", "");
}

/// The image of the last update has no init; the one before it is there.
fn updated(lab: &Lab) -> PathBuf {
    let root = lab.root("B");
    fs::remove_file(root.join("sbin/init")).expect("remove");
    let disk = lab.make(&Disk { source: Source::Root(root), ..lab.disk() });
    let alone = cut_out(lab, &disk, "img");
    let old = lab.directory().join("old");
    fs::write(&old, update::image(lab, "A")).expect("an image");
    update::debugfs(&alone, &format!("write {} root-squashfs-old.img", old.display()));
    put_back(&disk, "img", &alone);
    disk
}

/// Makes the old image the current one.
const SWAP: &str = "cd /run/initramfs/img && mount -o remount,rw . && mv root-squashfs.img root-squashfs-bad.img && \
                    mv root-squashfs-old.img root-squashfs.img && mount -o remount,ro . && cd /";

pub fn old_image_in_shell(lab: &Lab) {
    let mut bench = Bench::start(lab, updated(lab), ON, "init-missing", None);
    bench.command(SWAP);
    bench.exit();
    bench.lasts("A", "kept");
}

pub fn old_image_in_menu(lab: &Lab) {
    let mut bench = Bench::start(lab, updated(lab), "", "init-missing", None);
    bench.open_menu();
    bench.choose("boot the old image (root-squashfs-old.img) once");
    bench.stopped(SWAP);
    bench.lasts("A", "kept");
}

/// The running system asks for the menu. A check there unmounts the layers of the boot, which goes on with them all the same.
pub fn check_on_request(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let alone = cut_out(lab, &disk, "overlay");
    run(program("debugfs").args(["-w", "-R", "write /dev/null recover"]).arg(&alone));
    put_back(&disk, "overlay", &alone);
    let mut bench = Bench::boot(lab, disk, ON, None);
    bench.choose("check and repair a filesystem");
    bench.choose("/dev/vda4: ext4 LABEL=overlay");
    bench.guest.wait_for("exit status 0", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    bench.guest.send("\r").expect("typing");
    bench.choose("boot as usual");
    bench.lasts("A", "kept");
}

/// The black box goes to a stick that is put in when it is asked for; what is on the stick stays.
pub fn copy_in_menu(lab: &Lab) {
    let stick = lab.directory().join("stick.img");
    fs::File::create(&stick).and_then(|file| file.set_len(32 << 20)).expect("a stick");
    run(program("mkfs.vfat").args(["-n", "STICK"]).arg(&stick));
    let other = lab.directory().join("initramfs-overlay-1.txt");
    fs::write(&other, "of another machine").expect("a file");
    run(program("mcopy").arg("-i").arg(&stick).arg(&other).arg("::"));
    let mut bench = Bench::start(lab, customised(lab), ON, "init-unusable", Some(&stick));
    bench.open_menu();
    bench.choose("copy the black box to a stick");
    bench.guest.wait_for("put one in", PATIENCE).expect("the request");
    bench.plug();
    bench.choose("/dev/sda: vfat LABEL=STICK");
    let written = "written: initramfs-overlay-2.txt on /dev/sda; the stick can be taken out";
    bench.guest.wait_for(written, PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    bench.guest.send("\r").expect("typing");
    bench.choose("power off");
    bench.guest.finish(Some(PATIENCE)).expect("the end");
    let read = |name: &str| {
        let output = Command::new("mtype").arg("-i").arg(&stick).arg(format!("::{name}")).output().expect("mtype");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(read("initramfs-overlay-1.txt"), "of another machine");
    let text = read("initramfs-overlay-2.txt");
    for words in ["=== entry", "cannot boot: init-unusable", "Linux version"] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
