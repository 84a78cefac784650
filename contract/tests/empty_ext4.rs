//! A partition that holds nothing is told from its superblock, and one that holds anything is never taken for one: on filesystems
//! that `mke2fs` and `debugfs` make (Debian's package e2fsprogs). Without these programs the tests are skipped.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::Command,
};

use initramfs_overlay_contract::superblock::ext4::{HEAD, demands, is_empty};

/// Kinds of filesystems, as arguments of mke2fs.
const KINDS: [&[&str]; 9] = [
    &["-t", "ext2"],
    &["-t", "ext2", "-b", "1024", "-I", "128"],
    &["-t", "ext2", "-r", "0"],
    &["-t", "ext3"],
    &["-t", "ext4", "-b", "1024"],
    &["-t", "ext4", "-b", "2048", "-O", "^metadata_csum"],
    &["-t", "ext4", "-b", "4096", "-O", "64bit,metadata_csum"],
    &["-t", "ext4", "-O", "orphan_file"],
    &["-t", "ext4", "-O", "quota", "-I", "256"],
];

fn program(name: &str) -> Command {
    let directory = ["/sbin", "/usr/sbin"].into_iter().map(Path::new).find(|directory| directory.join(name).exists());
    Command::new(directory.map_or_else(|| PathBuf::from(name), |directory| directory.join(name)))
}

/// Returns the name of an image in a new directory `name`. None where a program is not installed, and says so.
fn image(name: &str) -> Option<PathBuf> {
    if let Some(program) = ["mke2fs", "debugfs"].into_iter().find(|name| program(name).arg("-V").output().is_err()) {
        // Past the captured output, so that it is seen.
        let _ = writeln!(io::stderr(), "SKIPPED: {program} is not installed (Debian's package e2fsprogs)");
        return None;
    }
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    Some(directory.join("image"))
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Makes a filesystem of `kind` with what is in `content`.
fn make(image: &Path, kind: &[&str], content: Option<&Path>) {
    let _ = fs::remove_file(image);
    let mut command = program("mke2fs");
    command.args(["-q", "-F"]).args(kind);
    if let Some(content) = content {
        command.arg("-d").arg(content);
    }
    run(command.arg(image).arg("24M"));
}

fn change(image: &Path, request: &str) {
    run(program("debugfs").args(["-w", "-R", request]).arg(image));
}

/// Reads the first bytes of an image.
fn head(image: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    File::open(image).unwrap().take(HEAD.try_into().unwrap()).read_to_end(&mut head).unwrap();
    head
}

fn look(image: &Path) -> bool {
    is_empty(&head(image))
}

#[test]
fn only_what_holds_nothing_is_empty() {
    let Some(image) = image("empty-ext4") else { return };
    let (content, file) = (image.with_file_name("content"), image.with_file_name("file"));
    fs::write(&file, [7; 5000]).unwrap();
    let write = format!("write {} root-squashfs.img", file.display());

    for kind in KINDS {
        make(&image, kind, None);
        assert!(look(&image), "{kind:?}: empty");
        change(&image, &write);
        assert!(!look(&image), "{kind:?}: a file");
        change(&image, "rm root-squashfs.img");
        assert!(look(&image), "{kind:?}: the file is gone");
        // Without `lost+found` as many inodes are in use as with it alone.
        change(&image, "rmdir lost+found");
        assert!(look(&image), "{kind:?}: no lost+found");
        change(&image, &write);
        assert!(!look(&image), "{kind:?}: a file in place of lost+found");
        change(&image, "symlink other root-squashfs.img");
        assert!(!look(&image), "{kind:?}: a file and a link");

        make(&image, kind, None);
        change(&image, "symlink root-squashfs.img elsewhere");
        assert!(!look(&image), "{kind:?}: a symbolic link");
        make(&image, kind, None);
        change(&image, "mkdir directory");
        assert!(!look(&image), "{kind:?}: a directory");
        make(&image, kind, None);
        change(&image, "mknod pipe p");
        assert!(!look(&image), "{kind:?}: a fifo");
    }

    // Files and directories in many groups.
    for number in 0..40 {
        fs::create_dir_all(content.join(format!("{number}"))).unwrap();
        fs::write(content.join(format!("{number}/file")), "x").unwrap();
    }
    for kind in KINDS {
        make(&image, kind, Some(&content));
        assert!(!look(&image), "{kind:?}: full");
    }
}

#[test]
fn what_was_not_unmounted_in_order_is_looked_at() {
    let Some(image) = image("empty-ext4-state") else { return };
    for change_of in [
        "set_super_value state 0",
        "set_super_value state 3",
        "set_super_value state 5",
        "feature needs_recovery",
        "set_super_value last_orphan 12",
        "set_super_value log_block_size 6",
        "set_super_value free_inodes_count 0xffffffff",
        "set_super_value free_inodes_count 0",
        "set_super_value first_ino 0",
    ] {
        make(&image, &["-t", "ext4", "-O", "^metadata_csum"], None);
        assert!(look(&image));
        change(&image, change_of);
        assert!(!look(&image), "{change_of}");
    }
}

#[test]
fn any_bytes_are_no_reason_to_panic() {
    for length in 0..HEAD {
        assert!(!is_empty(&vec![0; length]));
        assert!(!is_empty(&vec![0xff; length]));
    }
}

#[test]
fn features_that_call_for_a_module_are_seen() {
    let Some(image) = image("ext4-features") else { return };
    let none: &[&str] = &[];
    for (kind, wanted) in [
        (&["-t", "ext4"][..], none),
        (&["-t", "ext2"], none),
        (&["-t", "ext4", "-O", "quota"], &["quota_v2"]),
        (&["-t", "ext4", "-O", "casefold"], &["utf8data"]),
        (&["-t", "ext4", "-O", "quota,casefold,project", "-I", "256"], &["quota_v2", "utf8data"]),
    ] {
        make(&image, kind, None);
        let head = head(&image);
        assert_eq!(demands(&head).collect::<Vec<_>>(), wanted, "{kind:?}");
        for length in [0, 1024, 1124, 1127] {
            assert_eq!(demands(&head[..length]).count(), 0, "{length}");
        }
    }
}
