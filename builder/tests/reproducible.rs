//! The same sources give the same bytes: init for x86_64, with `BOOT_TARGETS=all` for every target, is compiled once more, in another
//! directory, from another home, with another time zone and umask and without what was compiled before, and the image with it must be the
//! one that `./build.sh` made. That takes minutes of processor time, so it runs where `BOOT_TESTS=required`, as `./test.sh` has it.

use std::{
    env, fs,
    io::{self, Write},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

/// The sources of init, and the files that the command needs besides.
const SOURCE: [&str; 7] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "contract", "init", "builder", "targets"];

/// The directories of the cache that hold downloads and nothing compiled, so they may be shared.
const FETCHED: [&str; 3] = ["tools", "download", "busybox"];

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        fs::copy(from, to).unwrap();
    }
}

fn skip(reason: &str) {
    // Goes past the capture of the test runner, so that it is seen.
    let _ = writeln!(io::stderr(), "skipped: the same sources give the same bytes: {reason}");
}

#[test]
fn another_directory_home_time_zone_and_umask_give_the_same_bytes() {
    if env::var_os("BOOT_TESTS").is_none_or(|wanted| wanted != "required") {
        return skip("BOOT_TESTS is not `required`");
    }
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let is_all = env::var_os("BOOT_TARGETS").is_some_and(|wanted| wanted == "all");
    let targets: Vec<&str> = sources::target::all().unwrap().iter().map(|target| target.name.as_str()).collect();
    let targets = if is_all { targets } else { vec!["x86_64"] };
    let artifacts = env::var_os("BOOT_ARTIFACTS").map_or_else(|| workspace.join("target"), PathBuf::from);
    // With every target also the debug variant, whose programs are compiled too; its BusyBox is the one that was fetched.
    let variants: &[&str] = if is_all { &["slim", "debug"] } else { &["slim"] };
    let mut names = Vec::new();
    for target in &targets {
        names.extend(variants.iter().map(|kind| format!("init-{}-{target}-{kind}.gz", env!("CARGO_PKG_VERSION"))));
    }
    for name in &names {
        let made = artifacts.join(name);
        assert!(made.exists(), "{} is not there; ./build.sh --variant standard,debug,slim", made.display());
    }

    let directory = tempfile::Builder::new().prefix("another place ").tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    fs::create_dir_all(at("a/clone")).unwrap();
    for part in SOURCE {
        copy(&workspace.join(part), &at("a/clone").join(part));
    }
    let cache = initramfs_overlay::cache::open().unwrap();
    fs::create_dir_all(at("cache")).unwrap();
    for room in FETCHED {
        symlink(cache.root().join(room), at("cache").join(room)).unwrap();
    }
    // The same crates and tool chain, by other names.
    let home = env::home_dir().unwrap();
    fs::create_dir(at("home")).unwrap();
    let mut command = Command::new("sh");
    command.args([
        "-c",
        "umask 077; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_initramfs-overlay"),
        "build",
        "--variant",
        &variants.join(","),
    ]);
    for (variable, directory) in [("CARGO_HOME", ".cargo"), ("RUSTUP_HOME", ".rustup")] {
        let real = env::var_os(variable).map_or_else(|| home.join(directory), PathBuf::from);
        if real.exists() {
            symlink(real, at("home").join(directory)).unwrap();
            command.env(variable, at("home").join(directory));
        }
    }
    command.args(["--target", &targets.join(","), "--output-dir"]).arg(at("out")).arg("--source").arg(at("a/clone"));
    command.current_dir(directory.path()).env("HOME", at("home")).env("INITRAMFS_OVERLAY_CACHE", at("cache"));
    command
        .env("TZ", "Asia/Kathmandu")
        .env("LANG", "tr_TR.UTF-8")
        .env("USER", "somebody")
        .env("RUSTFLAGS", "-Copt-level=1");
    command.env_remove("XDG_CACHE_HOME").env_remove("CARGO_TARGET_DIR");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in names {
        // Not assert_eq: nobody wants to read the bytes.
        let read = |directory: &Path| fs::read(directory.join(&name)).unwrap();
        assert!(read(&at("out")) == read(&artifacts), "{name} differs");
    }
}
