//! Command lines that are wrong, and files that are not what they should be: the exit status, and the words that help. Status 2 is for a
//! command line that cannot be, or that names a file that is not there, in every command; 1 is for everything else.

mod support;

use std::{fs, os::unix::ffi::OsStringExt as _, path::Path, process::Command};

fn command() -> Command {
    Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
}

/// Runs `line` in `directory`, without a network; its status and what it said.
fn run(directory: &Path, line: &str) -> (Option<i32>, String) {
    let mut command = command();
    command
        .args(line.split_whitespace())
        .current_dir(directory)
        .env("INITRAMFS_OVERLAY_CACHE", directory.join("cache"));
    let output = command.env("https_proxy", "http://127.0.0.1:9").output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Returns a directory with a root, a disk and files of other kinds.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::create_dir_all(at("root/bin")).unwrap();
    fs::write(at("root/bin/sh"), "x").unwrap();
    fs::write(at("text"), "hello\n").unwrap();
    fs::write(at("disk"), [vec![0; 440], vec![1; 70], b"\x55\xaa".to_vec(), vec![0; 4096]].concat()).unwrap();
    fs::write(at("a\nb"), "x").unwrap();
    fs::create_dir_all(at("tree")).unwrap();
    directory
}

#[test]
fn a_wrong_command_line_is_status_2_in_every_command() {
    let directory = directory();
    for (line, words) in [
        ("build --target sparc,m68k", &["no target `sparc`, no target `m68k`", "aarch64"][..]),
        ("build --target x86_64 --module-tree nowhere --modules ext4", &["--module-tree: ", "nowhere"]),
        ("build --variant thick", &["--variant"]),
        ("disk o.img", &["--root <DIR>|--image <FILE>"]),
        ("disk o.img --root nowhere", &["--root: cannot read nowhere: No such file or directory\n"]),
        ("disk o.img --image nowhere", &["--image: cannot open nowhere: "]),
        ("disk o.img --root root --boot-file nowhere:k", &["--boot-file: "]),
        ("disk o.img --root text", &["--root: text is not a directory", "--image"]),
        ("disk nowhere/o.img --root root", &["cannot find the directory nowhere: No such file"]),
        ("disk o.img/ --root root", &["not a file name for a disk"]),
        ("disk disk --image disk --force", &["--image reads the same file"]),
        ("build --target x86_64 --include nowhere", &["--include: cannot read nowhere: No such file"]),
        ("diskless --target x86_64 --include text", &["--include: cannot read text: Not a directory"]),
        ("explain img-mising", &["did you mean `img-missing`?"]),
        ("diskless --hostname a_b!", &["--hostname"]),
        ("diskless --target sparc", &["no target `sparc`"]),
        ("oci oci:nothere -o o", &["cannot read nothere: No such file"]),
        ("oci inspect oci:nothere", &["cannot read nothere: No such file"]),
        ("oci dir:nothere -o o", &["cannot read nothere: No such file"]),
        ("doctor nowhere", &["cannot read nowhere: "]),
        ("doctor --img-dir nowhere", &["--img-dir: cannot read nowhere: "]),
        ("doctor --img-dir text", &["--img-dir text"]),
        ("inspect nowhere", &["cannot read nowhere: No such file"]),
        ("inspect root", &["cannot read root: Is a directory"]),
        ("man", &["<DIR>"]),
        ("completions tcl", &["tcl"]),
        ("oci tar:nowhere -o x", &["cannot read nowhere: "]),
        ("oci oci:root -o x --platform sparc", &["no target `sparc`"]),
        ("oci dir:root --squashfs a --erofs ./a", &["--squashfs a: --erofs writes the same file"]),
        ("oci dir:root --squashfs root/o", &["--squashfs root/o: it is in ", "name a file outside of it"]),
        ("disk root/o.img --root root", &["which --root includes whole"]),
        ("oci tar:text --squashfs text", &["the argument reads the same file"]),
        ("oci dir:root --squashfs new/", &["--squashfs: cannot write new/: is a directory"]),
        ("oci dir:root --squashfs nowhere/x", &["--squashfs: cannot create nowhere/x: No such file or directory\n"]),
        ("oci dir:root --entrypoint sh --env =x -o x", &["initramfs-overlay: --env =x: expected NAME=VALUE"]),
        ("oci containers-storage:a -o x", &["skopeo copy containers-storage:IMAGE oci:DIR"]),
        ("oci text -o x", &["tar:text or oci-archive:text"]),
        ("oci ./root -o x", &["dir:./root or oci:./root"]),
        ("oci inspect ./text", &["tar:./text"]),
        ("oci prune --keep much", &["--keep"]),
        ("oci run tar:nowhere", &["cannot read nowhere: "]),
        ("oci run dir:root --mount nowhere:/a --target arm64", &["--mount nowhere:/a"]),
        ("run nowhere", &["cannot open nowhere: "]),
        ("run text nowhere", &["cannot open nowhere: "]),
        ("run --target sparc", &["no target `sparc`"]),
        ("run root", &["cannot read root: is a directory"]),
        ("run text text --memory 1T", &["--memory"]),
        ("virtiofs -o x --module-tree nowhere", &["--module-tree: cannot read nowhere: "]),
        ("virtiofs -o x --target sparc", &["no target `sparc`"]),
        ("vm nowhere", &["cannot read nowhere: "]),
        ("vm root --share a nowhere", &["--share a", "nowhere"]),
        ("vm text", &["text is not a directory"]),
    ] {
        let (status, said) = run(directory.path(), line);
        assert_eq!(status, Some(2), "{line}: {said}");
        for word in words {
            assert!(said.contains(word), "{line}: {word}: {said}");
        }
        assert!(!said.contains("os error"), "{line}: {said}");
    }
}

#[test]
fn a_wrong_file_is_status_1_and_the_command_for_it_is_named() {
    let directory = directory();
    for (line, words) in [
        ("inspect disk", "`initramfs-overlay doctor` reads it"),
        ("inspect text", "it is text"),
        ("disk o.img --image text", "--image: text is not a squashfs or EROFS image"),
        ("build --target x86_64 --variant slim --init-program text", "--init-program: text cannot be used as init"),
        ("oci oci:root -o x", "oci-layout"),
        (
            "build --target x86_64 --variant slim --init-program /dev/zero",
            "--init-program: cannot read /dev/zero: it has more than 268435456 bytes",
        ),
        (
            "build --target x86_64 --recover-password /dev/zero",
            "cannot read /dev/zero: it has more than 16777216 bytes",
        ),
        ("inspect /dev/zero", "cannot read /dev/zero: it is a character device"),
        ("run /dev/zero", "/dev/zero: it is a character device"),
        ("oci localhost:1/a -o x --lock /dev/zero", "cannot read /dev/zero: it has more than 16777216 bytes"),
        ("report text", "text is not a report: expected value at line 1 column 1; expected report.json"),
        ("oci tar:text --squashfs x", "it does not begin as a tar archive does"),
    ] {
        let (status, said) = run(directory.path(), line);
        assert_eq!(status, Some(1), "{line}: {said}");
        assert!(said.contains(words), "{line}: {words}: {said}");
    }
}

#[test]
fn names_are_escaped() {
    let directory = directory();
    for arguments in [&["inspect"][..], &["disk", "o.img", "--root"], &["disk", "o.img", "--image"], &["vm"]] {
        for name in [b"a\nb".to_vec(), b"\x1b[31m\xff".to_vec()] {
            let output = command()
                .args(arguments)
                .arg(std::ffi::OsString::from_vec(name))
                .current_dir(directory.path())
                .output();
            let said = output.unwrap().stderr;
            let lines = said.split(|byte| *byte == b'\n').count();
            assert!(lines == 2 && !said.contains(&0x1b), "{}", String::from_utf8_lossy(&said));
        }
    }
}

/// Nobody reads on, as behind `head`: the command goes on and ends as it would.
#[test]
fn a_reader_that_is_gone_stops_nothing() {
    let directory = directory();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir_all(at("tree/etc")).unwrap();
    for (line, status) in [("disk o.img --root tree", 0), ("inspect nothing", 2), ("oci oci:tree -o x", 1)] {
        if line.starts_with("disk") && !support::all_installed(&["mksquashfs", "mke2fs"]) {
            continue;
        }
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command();
        command.args(line.split(' ')).current_dir(directory.path()).stderr(writer);
        assert_eq!(command.output().unwrap().status.code(), Some(status), "{line}");
    }
}

#[test]
fn a_disk_is_told_whatever_is_asked_of_an_initramfs() {
    let directory = directory();
    let mut disk = vec![0; 4096];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    std::fs::write(directory.path().join("a.img"), disk).unwrap();
    for more in [&[][..], &["--extract", "into"], &["--cat", "init"], &["--files"]] {
        let output = command().args(["inspect", "a.img"]).args(more).current_dir(directory.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains("is not an initramfs") && said.contains("doctor"), "{more:?}: {said}");
        assert!(!directory.path().join("into").exists(), "{more:?}");
    }
}
