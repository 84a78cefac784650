//! The black box of a machine that failed, as somebody reads it who has its disk: by `report`, and on `boot` by what every PC has.

use std::{fs, path::Path, process::Command};

use contract::blackbox::{TEXT_NAME, TEXT_SIZE, locate};
use serde_json::{Value, json};

use crate::{
    lab::{Lab, cut_out, partition, put_back},
    support::{program, run},
    update::debugfs,
};

/// Runs the command; returns its standard output.
fn command(arguments: &[&str], disk: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay")).args(arguments).arg(disk).output();
    String::from_utf8_lossy(&output.expect("the command").stdout).into_owned()
}

/// Changes the files of img without the machine.
fn change_img(lab: &Lab, disk: &Path, command: &str) {
    let alone = cut_out(lab, disk, "img");
    debugfs(&alone, command);
    put_back(disk, "img", &alone);
}

/// A boot fails before its writable partition is mounted, and the next one, with its image back, tells of it.
pub fn kept(lab: &Lab) {
    let disk = lab.make(&lab.disk());
    let boot = |disk: &Path| fs::read(cut_out(lab, disk, "boot")).expect("boot");
    let before = boot(&disk);
    change_img(lab, &disk, "ln root-squashfs.img kept");
    change_img(lab, &disk, "unlink root-squashfs.img");
    let initrd = lab.initrd("");
    lab.fail(&lab.machine(&initrd, &[&disk], ""), "image-missing");

    let told = command(&["report"], &disk);
    for words in [
        "Boot 1 failed in step choose with image-missing;",
        "The boot failed (initramfs-overlay ",
        " initramfs-overlay 0.1.0 cannot boot: image-missing\n",
        "The end of the kernel's log of boot 1:\n[",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let json: Value = serde_json::from_str(&command(&["report", "--json"], &disk)).expect("JSON");
    let card = json["boots"][0]["card"].as_str().expect("a card");
    assert_eq!(json["boots"][0]["report"]["failure"]["code"], "image-missing");

    let image = format!("{}@@{}", disk.display(), partition(&disk, "boot").0);
    let text = run(program("mtype").args(["-i", &image]).arg(format!("::/{TEXT_NAME}"))).replace("\r\n", "\n");
    assert!(text.contains(card) && text.contains("The end of the kernel's log:\n["), "{text}");

    // Of boot nothing was written but the text.
    let after = boot(&disk);
    let found = locate(&mut |offset, most| {
        let start = usize::try_from(offset).ok()?;
        after.get(start..start + most).map(<[u8]>::to_vec)
    });
    let found = usize::try_from(found.expect("the text")).expect("a place");
    let differ = (0..after.len()).filter(|at| before[*at] != after[*at]);
    let outside: Vec<usize> = differ.filter(|at| !(found..found + TEXT_SIZE).contains(at)).collect();
    assert!(before.len() == after.len() && outside.is_empty(), "{outside:?}");

    change_img(lab, &disk, "ln kept root-squashfs.img");
    let marks = lab.boot(&initrd, &disk, "");
    let wanted = json!([{"end": "failed", "code": "image-missing", "step": "choose"}]);
    assert_eq!((marks.get("image"), &marks.report()["previous"]), ("A", &wanted));
    let told = command(&["doctor"], &disk);
    assert!(told.contains("boot 1 failed: image-missing in step choose\n"), "{told}");
}
