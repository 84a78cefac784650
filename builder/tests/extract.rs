//! `inspect --extract` of what distributions boot, and of ours: everything as GNU cpio unpacks it as root, and sooner than `unmkinitramfs`.
//! Debian's own tools make the archives, once: `EXTRACT=long`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use base::cache::Check;

#[path = "support/described.rs"]
mod described;
#[path = "build_command/programs.rs"]
#[allow(dead_code, reason = "one of them is needed")]
mod programs;
mod support;

use described::described;

const COMMAND: &str = env!("CARGO_BIN_EXE_initramfs-overlay");
/// Each initramfs of a distribution, the compression of its last part, and names that are in it.
const MADE: [(&str, &str, &[&str]); 3] = [
    ("initramfs-tools.img", "zstd -dc", &["kernel/x86/microcode/GenuineIntel.bin", "scripts/local "]),
    ("dracut.img", "gzip -dc", &["usr/lib/dracut/dracut-0"]),
    ("mkinitcpio.img", "zstd -dc", &["kernel/x86/microcode/GenuineIntel.bin", "scripts/local "]),
];

/// Runs a script that must succeed.
fn sh(directory: &Path, script: &str) {
    support::run(Command::new("sh").args(["-euc", script]).current_dir(directory));
}

/// Returns the directory with what distributions boot, made once.
fn distributions() -> Result<PathBuf, String> {
    let cache = initramfs_overlay::cache::open().map_err(|error| error.to_string())?;
    let make = Path::new(env!("CARGO_MANIFEST_DIR")).join("../test-images/initramfs/make");
    let script = fs::read(&make).expect("the script");
    let key = format!("initramfs-bookworm-{}", &base::digest::digest(&script)[..16]);
    let made = cache.entry("test-roots", &key, Check::Sizes, |directory| {
        let output = Command::new(&make).arg("bookworm").arg(directory).output();
        let is_made = output.is_ok_and(|output| output.status.success());
        let failed = || base::Error::MissingPrograms { names: vec!["mmdebstrap".to_owned()], packages: Vec::new() };
        is_made.then_some(()).ok_or_else(failed)
    });
    made.map_err(|error| error.to_string())
}

/// Extracts with this command; returns the time that it took.
fn ours(archive: &Path, into: &Path) -> Duration {
    let started = Instant::now();
    support::run(Command::new(COMMAND).arg("inspect").arg(archive).arg("--extract").arg(into));
    started.elapsed()
}

/// Describes what is below a directory. The directory itself is as the archive says, as it is for the kernel; cpio passes over that entry.
fn below(directory: &Path) -> Vec<String> {
    described(directory).split_off(1)
}

#[test]
fn what_distributions_boot_is_as_cpio_unpacks_it() {
    if std::env::var("EXTRACT").as_deref() != Ok("long") {
        return support::skip("what distributions boot is unpacked with EXTRACT=long");
    }
    if !rustix::process::geteuid().is_root() {
        return support::skip("what distributions boot is made and unpacked by root");
    }
    let made = match distributions() {
        Ok(made) => made,
        Err(reason) => return support::skip(&reason),
    };
    let work = tempfile::tempdir().unwrap();
    let at = |name: &str| work.path().join(name);
    for (name, decompress, known) in MADE {
        for directory in ["cpio", "own", "theirs"] {
            let _ = fs::remove_dir_all(at(directory));
        }
        let archive = made.join(name);
        let script = format!(
            "umask 0; mkdir cpio; cd cpio
             case $(head -c 6 {archive}) in 070701) cpio -idm --quiet < {archive} ;; esac
             {made}/skipcpio {archive} | {decompress} | cpio -idm --quiet",
            archive = archive.display(),
            made = made.display()
        );
        sh(work.path(), &script);
        ours(&archive, &at("own"));
        let (cpio, own) = (below(&at("cpio")), below(&at("own")));
        for path in known {
            assert!(own.iter().any(|line| line.starts_with(path)), "{name} has no {path}");
        }
        assert!(own.len() > 300, "{name}: {} names", own.len());
        let differ = own.iter().zip(&cpio).find(|(own, cpio)| own != cpio);
        assert!(differ.is_none() && own.len() == cpio.len(), "{name}: {differ:?}");

        // The best of three, in turns.
        let (mut best, mut theirs) = (Duration::MAX, Duration::MAX);
        for _ in 0..3 {
            let _ = fs::remove_dir_all(at("own"));
            let _ = fs::remove_dir_all(at("theirs"));
            best = best.min(ours(&archive, &at("own")));
            let started = Instant::now();
            support::run(Command::new(made.join("unmkinitramfs")).arg(&archive).arg(at("theirs")));
            theirs = theirs.min(started.elapsed());
        }
        println!("{name}: {} names, ours {best:?}, unmkinitramfs {theirs:?}", own.len());
        assert!(best < theirs, "{name}: ours {best:?}, unmkinitramfs {theirs:?}");
    }
}

#[test]
fn our_own_images_are_as_cpio_unpacks_them() {
    if !rustix::process::geteuid().is_root() || !support::installed("cpio") {
        return support::skip("our own images are unpacked by root with cpio");
    }
    let work = tempfile::tempdir().unwrap();
    let at = |name: &str| work.path().join(name);
    fs::create_dir_all(at("own/etc")).unwrap();
    sh(
        work.path(),
        "echo hello > own/etc/motd; ln -s motd own/etc/link; printf '#!/bin/sh\n' > own/run; chmod 755 own/run",
    );
    let mut build = Command::new(COMMAND);
    build.args(["build", "--target", "x86_64", "--variant", "slim", "--include", "own", "--output-dir", "out"]);
    let init = at("init");
    fs::write(&init, programs::program(b"init")).unwrap();
    support::run(build.arg("--init-program").arg(&init).current_dir(work.path()));
    let name = format!("out/init-{}-x86_64-slim.gz", env!("CARGO_PKG_VERSION"));
    sh(work.path(), &format!("umask 0; mkdir cpio; cd cpio; gzip -dc ../{name} | cpio -idm --quiet"));
    ours(&at(&name), &at("unpacked"));
    let (cpio, own) = (below(&at("cpio")), below(&at("unpacked")));
    assert!(own.len() > 10 && own.iter().any(|line| line.starts_with("etc/link 12")), "{own:#?}");
    assert_eq!(own, cpio);
}
