//! The debug variant before a technician: what its first screen says, repairs typed over a serial line, another try, the end.

use std::{process::Command, time::Duration};

use vm::qemu::Guest;

use crate::{
    lab::{Lab, PATIENCE, cut_out, put_back},
    support::run,
};

/// The longest that a command takes.
const ANSWER: Duration = Duration::from_secs(60);

/// The prompt's end.
pub const PROMPT: &str = "# ";

/// Types a command, and returns what was said up to the prompt behind `words`.
pub fn type_in(guest: &mut Guest, command: &str, words: &str) -> String {
    guest.send(&format!("{command}\n")).expect("typing");
    let said = guest.wait_for(words, ANSWER).unwrap_or_else(|error| panic!("{command}: {error}"));
    guest.wait_for(PROMPT, PATIENCE).expect("a prompt");
    said
}

/// A wrong label: the technician sees it, sets it, checks the filesystem, loads a driver, tries again, and reboots. It lasts.
pub fn repairs(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let alone = cut_out(lab, &disk, "overlay");
    run(Command::new("tune2fs").args(["-L", "mistaken"]).arg(&alone));
    put_back(&disk, "overlay", &alone);
    let modules = ["ext4", "loop", "squashfs", "overlay", "virtio_pci", "virtio_blk", "i6300esb"];
    let machine = lab.machine(&lab.initrd_with("-debug", &modules), &[&disk], "rd.timeout=1s");
    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for("The boot failed: overlay-missing", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let screen = guest.wait_for(PROMPT, PATIENCE).expect("a prompt");
    for line in ["mounted", "modprobe NAME loads one of", "e2fsck e2label", "exit tries again"] {
        assert!(screen.contains(line), "{line}: {screen}");
    }
    let said = type_in(&mut guest, "lsblk -n -o NAME,FSTYPE,LABEL; blkid; echo looked=$?", "looked=0");
    assert!(said.contains("ext4") && said.contains("LABEL=\"mistaken\""), "{said}");
    type_in(&mut guest, "sfdisk -d /dev/vda | grep -c name=; fsck.fat -n /dev/vda1; echo fat=$?", "fat=0");
    type_in(&mut guest, "e2label /dev/vda4 overlay; e2label /dev/vda4; echo labelled=$?", "labelled=0");
    let said = type_in(&mut guest, "e2fsck -fy /dev/vda4; echo checked=$?", "checked=0");
    assert!(said.contains("Pass 5"), "{said}");
    type_in(&mut guest, "modprobe i6300esb; lsmod | grep -c ^i6300esb; echo loaded=$?", "loaded=0");
    type_in(&mut guest, "dd if=/dev/vda of=/dev/null bs=64k count=9 status=progress; echo copied=$?", "copied=0");
    type_in(&mut guest, "mke2fs -V 2>&1 | grep -c 1.47; echo made=$?", "made=0");
    type_in(&mut guest, "lspci | grep -c virtio; lsusb; echo listed=$?", "listed=0");
    type_in(&mut guest, "mkdir -p /mnt; mount -o ro $(blkid -L img) /mnt; echo mounted=$?", "mounted=0");
    let image = "/mnt/root-squashfs.img";
    let said = type_in(&mut guest, &format!("unsquashfs -ll {image} /sbin bin; echo seen=$?"), "seen=0");
    assert!(said.contains("-rwxr-xr-x") && said.contains(" squashfs-root/sbin/init"), "{said}");
    let said = type_in(&mut guest, &format!("unsquashfs -l {image} | head -n 3; echo seen=$?"), "seen=0");
    assert!(said.contains("\nsquashfs-root\r\nsquashfs-root/"), "{said}");
    let said =
        type_in(&mut guest, &format!("unsquashfs -cat {image} sbin/init | head -c 2; echo; echo seen=$?"), "seen=0");
    assert!(said.contains("#!"), "{said}");
    type_in(&mut guest, &format!("unsquashfs -l {image} no/such; echo seen=$?"), "seen=1");
    // Nothing of it stays mounted.
    type_in(&mut guest, "umount /mnt && ! ls -d /run/unsquashfs.* && [ -z \"$(losetup -a)\" ]; echo gone=$?", "gone=0");
    guest.send("exit\n").expect("typing");
    guest.wait_for("Stopped before step switch-root", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    let screen = guest.wait_for(PROMPT, PATIENCE).expect("a prompt");
    assert!(screen.contains("/run/initramfs/img: /dev/vda") && screen.contains("exit goes on"), "{screen}");
    guest.send("reboot\n").expect("typing");
    guest.finish(Some(PATIENCE)).expect("the end");
    let console = guest.console();
    assert!(console.contains("Restarting system"), "{}", guest.last_lines());
    assert!(!console.contains("cannot unmount"), "{}", guest.last_lines());

    let marks = lab.boot(&lab.initrd(""), &disk, "");
    assert_eq!((marks.get("image"), marks.get("persistent")), ("A", "kept"), "{}", marks.report());
}
