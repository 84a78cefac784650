//! The size of an archive compared with those that the usual programs make of the same root, and that nothing of the machine is in it.
//! The root is as large as Alpine's: programs and libraries of this machine, links, scripts.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

mod support;

use support::{installed, tool};

/// As large as Alpine's minirootfs unpacks to, in bytes.
const ROOT: u64 = 8 << 20;

/// Returns a root of this machine's programs.
fn root(directory: &Path) -> PathBuf {
    let root = directory.join("root");
    for name in ["bin", "etc", "usr/share/scripts", "lib"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    let mut programs: Vec<PathBuf> = fs::read_dir("/usr/bin").unwrap().map(|entry| entry.unwrap().path()).collect();
    programs.sort();
    let mut left = ROOT;
    for path in programs {
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_file() && metadata.len() > 20_000 && metadata.len() <= left {
            fs::copy(&path, root.join("bin").join(path.file_name().unwrap())).unwrap();
            left -= metadata.len();
        }
    }
    for number in 0..300 {
        symlink("/bin/busybox", root.join(format!("bin/applet-{number}"))).unwrap();
        let text = format!("#!/bin/sh\n# {number}\nexec /bin/applet-{number} \"$@\"\n");
        fs::write(root.join(format!("usr/share/scripts/{number}")), text).unwrap();
    }
    fs::write(root.join("init"), "#!/bin/sh\n").unwrap();
    tool("chmod", &["0755", root.join("init").to_str().unwrap()]);
    root
}

#[test]
fn an_archive_is_as_small_as_what_the_usual_programs_make() {
    if !installed("cpio") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = root(directory.path());
    let make = |name: &str, environment: &str| {
        let output = directory.path().join(name);
        let program = env!("CARGO_BIN_EXE_initramfs-overlay");
        let script =
            format!("{environment} exec {program} oci dir:{} --image-init -o {}", root.display(), output.display());
        tool("sh", &["-c", &script]);
        fs::read(output).unwrap()
    };
    let ours = make("one", "");
    // Another umask, clock, directory and language.
    assert_eq!(ours, make("two", "umask 077; cd /; TZ=Asia/Tokyo LC_ALL=C.UTF-8"), "something of the machine is in it");
    let theirs = |script: &str| {
        let output = Command::new("sh").args(["-c", script]).current_dir(&root).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        output.stdout.len()
    };
    let cpio = theirs("find . | LC_ALL=C sort | cpio -o -H newc --quiet | gzip -9n");
    let tar = theirs("tar --sort=name --owner=0 --group=0 --numeric-owner -c . | gzip -9n");
    // What is compressed on all processors starts over every half a mebibyte, which costs some hundred bytes each time: how many, the
    // programs that this machine happens to have decide.
    let beginnings = usize::try_from(ROOT >> 19).unwrap() + 2;
    let most = cpio.min(tar) + beginnings * 500;
    assert!(ours.len() <= most, "ours {}, cpio {cpio}, tar {tar} bytes", ours.len());
}
