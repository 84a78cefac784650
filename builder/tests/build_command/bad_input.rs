//! Builds that must fail: one clear error, the right exit status, and nothing half-written.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use super::{Workshop, image, keep_busybox, programs, said, skip};

/// Checks that this build fails with this status, says so in one error, and leaves the directory `out` as it was.
fn refused(workshop: &Workshop, arguments: &[&str], status: i32, parts: &[&str]) {
    let before = workshop.files();
    let output = workshop.build(arguments);
    fails(&output, status, parts);
    assert!(output.stdout.is_empty());
    assert!(workshop.files() == before, "{arguments:?} left something behind");
}

/// Checks the status of a build and what it said.
fn fails(output: &Output, status: i32, parts: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(status), "{said}");
    for part in parts {
        assert!(said.contains(part), "no `{part}` in: {said}");
    }
}

#[test]
fn names_that_do_not_exist_are_told_with_the_nearest() {
    let workshop = Workshop::new();
    let own = |arguments: &[&str], parts: &[&str]| fails(&workshop.command(arguments).output().unwrap(), 2, parts);
    own(
        &["--target", "x86_46"],
        &["there is no target `x86_46` (did you mean `x86_64`?).", "aarch64, armv6l, armv7l, i686, riscv64, x86_64"],
    );
    own(&["--target", "amd46"], &["did you mean `x86_64`?"]);
    own(&["--variant", "debgu"], &["debgu", "standard, debug, slim", "'debug'"]);
    own(&["--compress", "gzp"], &["gzp", "gzip, zstd, xz, lz4, none", "'gzip'"]);
    own(&["--init-program", "init"], &["--init-program gives one program", "name it with --target"]);
    own(&["--source", "own"], &["own", "source tree"]);
    assert!(!workshop.path("target").exists() && !workshop.path("cache").exists());
}

#[test]
fn an_init_with_a_shell_goes_into_the_debug_variant_alone() {
    let workshop = Workshop::new();
    fs::write(workshop.path("shelled"), programs::program(b"..initramfs-overlay:\\w# ..")).unwrap();
    let output = workshop.command(&["--target", "x86_64", "--init-program", "shelled", "--variant", "slim"]).output();
    fails(&output.unwrap(), 2, &["--init-program shelled has a shell, which only the debug variant may have"]);
}

#[test]
fn a_program_that_is_none_for_the_target_is_refused() {
    let workshop = Workshop::new();
    fs::write(workshop.path("script"), "#!/bin/sh\n").unwrap();
    let whole = programs::program(&[7; 500]);
    fs::write(workshop.path("cut"), &whole[..whole.len() - 1]).unwrap();
    for (file, target, status, part) in [
        ("script", "x86_64", 1, "script cannot be used as init for x86_64: it is not an ELF program"),
        ("init", "armv6l", 1, "it is a program for 64-bit x86, not for 32-bit ARM"),
        ("cut", "x86_64", 1, "it is cut off"),
        ("absent", "x86_64", 2, "cannot read absent"),
    ] {
        let arguments = ["--target", target, "--init-program", file, "--variant", "slim", "--output-dir", "out"];
        fails(&workshop.command(&arguments).output().unwrap(), status, &[part]);
    }
    assert!(workshop.files().is_empty());

    for (bytes, part) in [
        (whole.clone(), "it has no list of applets"),
        (b"text".to_vec(), "cannot be used as BusyBox for x86_64: it is not an ELF program"),
    ] {
        fs::write(workshop.path("busybox/busybox-x86_64"), bytes).unwrap();
        refused(&workshop, &[], 1, &["busybox-x86_64", part]);
    }
    fs::remove_file(workshop.path("busybox/busybox-x86_64")).unwrap();
    refused(&workshop, &[], 1, &["busybox-x86_64 is not there", "What to do"]);
}

#[test]
fn files_that_cannot_go_in_are_refused() {
    let workshop = Workshop::new();
    // There is an image already: it must stay as it is.
    workshop.built(&[]);
    refused(&workshop, &["--include", "absent"], 2, &["--include: cannot read absent"]);
    refused(&workshop, &["--include", "init"], 2, &["init", "directory"]);
    fs::create_dir(workshop.path("hollow")).unwrap();
    refused(&workshop, &["--include", "hollow"], 1, &["hollow is empty"]);
    fs::write(workshop.path("own/init"), "mine").unwrap();
    refused(&workshop, &[], 1, &["own/init would replace /init"]);
    fs::remove_file(workshop.path("own/init")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(workshop.path("own/socket")).unwrap();
    refused(&workshop, &[], 1, &["socket"]);
}

#[test]
fn a_directory_that_may_not_be_read_is_refused() {
    let workshop = Workshop::new();
    fs::set_permissions(workshop.path("own/etc/motd"), fs::Permissions::from_mode(0o0)).unwrap();
    let command = workshop.bare("slim", &["--include", "own"]);
    // Root may read everything; in a user namespace of its own it may not.
    let mut unshared = Command::new("unshare");
    unshared.arg("--user").arg(command.get_program()).args(command.get_args());
    unshared.current_dir(workshop.directory.path());
    if !Command::new("unshare").args(["--user", "true"]).output().is_ok_and(|output| output.status.success()) {
        return skip("an unreadable directory: there are no user namespaces here");
    }
    fails(&unshared.output().unwrap(), 1, &["--include: cannot read own/etc/motd: Permission denied"]);
    assert!(workshop.files().is_empty());
}

#[test]
fn parameters_and_modules_that_do_not_fit_are_refused() {
    let workshop = Workshop::new();
    fs::create_dir(workshop.path("modules")).unwrap();
    fs::write(workshop.path("modules/ext4.ko"), programs::module("ext4", "")).unwrap();
    refused(&workshop, &["--cmdline", "rd.overlay=nonsense"], 2, &["--cmdline", "rd.overlay"]);
    refused(&workshop, &["--modules", "ext4"], 2, &["--module-tree"]);
    refused(&workshop, &["--strip-modules"], 2, &["--strip-modules"]);
    let tree = ["--module-tree", "modules", "--modules"];
    refused(&workshop, &[&tree[..], &["ext5"]].concat(), 2, &["has no module ext5", "Did you mean ext4?"]);
    let strip = ["ext4", "--strip-modules", "--cmdline", "module.sig_enforce"];
    refused(&workshop, &[&tree[..], &strip].concat(), 2, &["module.sig_enforce makes the kernel refuse"]);
    let output = workshop.command(&["--module-tree", "modules", "--modules", "ext4"]).output().unwrap();
    fails(&output, 2, &["name it with --target"]);
    let output = workshop.command(&["--target", "armv6l", "--modules", "modules"]).output().unwrap();
    fails(&output, 2, &["are for 64-bit x86, and the image is for 32-bit ARM"]);
}

#[test]
fn a_busybox_that_is_not_the_pinned_one_is_refused() {
    for kind in ["", "-substitute"] {
        let workshop = Workshop::new();
        // Whole by the list that lies beside it.
        keep_busybox(&workshop, kind);
        let output = workshop.bare("standard", &[]).env("PATH", "/nonexistent").output().unwrap();
        fails(&output, 1, &["cannot get BusyBox for x86_64", "apt is not installed here", "--allow-substitute"]);
        assert_eq!(said(&output).contains("is damaged"), kind.is_empty(), "{}", said(&output));
    }
}

#[test]
fn a_cache_that_others_may_write_to_is_refused() {
    let workshop = Workshop::new();
    let cache = workshop.path("cache");
    fs::create_dir(&cache).unwrap();
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
    refused(&workshop, &[], 2, &["others may write to", "mode 0777", "chmod -R go-w ", "INITRAMFS_OVERLAY_CACHE"]);
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o755)).unwrap();
    workshop.built(&[]);
}

#[test]
fn a_truncated_busybox_in_the_cache_is_noticed_and_not_used() {
    let workshop = Workshop::new();
    let kept = keep_busybox(&workshop, "-substitute");
    // Without apt nothing can be fetched.
    let build = || workshop.bare("standard", &["--allow-substitute"]).env("PATH", "/nonexistent").output().unwrap();
    assert!(build().status.success());
    let whole = workshop.files();
    let bytes = fs::read(&kept).unwrap();
    fs::write(&kept, &bytes[..bytes.len() / 2]).unwrap();
    let parts =
        ["is damaged; it is fetched again", "cannot get BusyBox for x86_64", "apt is not installed here", "--busybox"];
    fails(&build(), 1, &parts);
    assert!(workshop.files() == whole);
}

#[test]
fn a_full_disk_leaves_nothing_half_written() {
    let workshop = Workshop::new();
    fs::write(workshop.path("own/large"), vec![1; 100_000]).unwrap();
    fs::create_dir(workshop.path("out")).unwrap();
    let command = workshop.bare("slim", &["--include", "own", "--compress", "none"]);
    let script = "mount -t tmpfs -o size=64k none out || exit 99; printf old > out/kept; \"$@\"; status=$?; \
                  [ \"$(ls -A out)\" = kept ] || exit 98; exit $status";
    let mut unshared = Command::new("unshare");
    unshared.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    unshared.arg(command.get_program()).args(command.get_args()).current_dir(workshop.directory.path());
    let Ok(output) = unshared.output() else { return skip("a full disk: unshare is not installed") };
    if output.status.code() == Some(99) || said(&output).starts_with("unshare:") {
        return skip("a full disk: there are no user namespaces with mounts here");
    }
    fails(&output, 1, &[&image("-slim.cpio"), "No space left on device"]);
}
