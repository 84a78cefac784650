//! `initramfs-overlay build` from outside: which files it makes, with which bytes, and what it says to bad input. Init is
//! given, so no compiler is needed; BusyBox is given or in the cache, so no network.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use base::{
    cache::{Cache, Check},
    digest::digest,
};
use serde_json::{Value, json};
use sources::{busybox, target};

mod bad_input;
mod busybox_image;
mod diskless;
mod programs;

const COMMAND: &str = env!("CARGO_BIN_EXE_initramfs-overlay");

/// Options of the usual build.
const GIVEN: [&str; 10] =
    ["--target", "x86_64", "--init-program", "init", "--busybox", "busybox", "--include", "own", "--output-dir", "out"];

/// A directory with all that a build takes: an init, a BusyBox, some files of the user's.
struct Workshop {
    directory: tempfile::TempDir,
}

impl Workshop {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        fs::write(path.join("init"), programs::program(b"init")).unwrap();
        fs::create_dir_all(path.join("busybox")).unwrap();
        fs::write(path.join("busybox/busybox-x86_64"), programs::busybox()).unwrap();
        fs::create_dir_all(path.join("own/etc")).unwrap();
        fs::write(path.join("own/etc/motd"), "hello\n").unwrap();
        fs::write(path.join("own/etc/script"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(path.join("own/etc/script"), fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/proc/mounts", path.join("own/etc/mtab")).unwrap();
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns a build in the directory, with the given init and nothing of this machine's settings.
    fn command(&self, arguments: &[&str]) -> Command {
        self.subcommand("build", arguments)
    }

    fn subcommand(&self, name: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(COMMAND);
        command.current_dir(self.directory.path()).arg(name);
        for name in ["SOURCE_DATE_EPOCH", "INITRAMFS_OVERLAY_BUSYBOX", "INITRAMFS_OVERLAY_SOURCE"] {
            command.env_remove(name);
        }
        command.env("INITRAMFS_OVERLAY_CACHE", self.path("cache"));
        command.args(arguments);
        command
    }

    fn build(&self, arguments: &[&str]) -> Output {
        self.command(&[&GIVEN[..], arguments].concat()).output().unwrap()
    }

    /// Returns the build of a variant without BusyBox and files of the user's, with these words more.
    fn bare(&self, variant: &str, more: &[&str]) -> Command {
        let given = ["--target", "x86_64", "--init-program", "init", "--output-dir", "out", "--variant", variant];
        self.command(&[&given[..], more].concat())
    }

    /// Runs a build that has to succeed and returns its report (`--json`).
    fn built(&self, arguments: &[&str]) -> Value {
        let output = self.build(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Returns the files in the directory `out`.
    fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let Ok(entries) = fs::read_dir(self.path("out")) else { return BTreeMap::new() };
        entries
            .map(|entry| entry.unwrap())
            .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
            .collect()
    }

    fn inspect(&self, file: &str) -> Value {
        let output =
            Command::new(COMMAND).args(["inspect", "--json"]).arg(self.path("out").join(file)).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn manifest(&self, file: &str) -> Value {
        serde_json::from_slice(&fs::read(self.path("out").join(format!("{file}.manifest.json"))).unwrap()).unwrap()
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the name of an image of this version.
fn image(rest: &str) -> String {
    format!("init-{}-x86_64{rest}", env!("CARGO_PKG_VERSION"))
}

fn said(output: &Output) -> String {
    text(&output.stderr)
}

fn paths(listing: &Value) -> Vec<&str> {
    listing["files"].as_array().unwrap().iter().map(|record| record["path"].as_str().unwrap()).collect()
}

#[test]
fn init_alone_is_a_file_like_the_images() {
    let workshop = Workshop::new();
    let summary = workshop.built(&["--variant", "slim,standard,debug", "--bare-init"]);
    let made: Vec<_> =
        summary["artifacts"].as_array().unwrap().iter().map(|one| one["file"].as_str().unwrap()).collect();
    assert_eq!(made, [image("-slim.gz"), image(".gz"), image("-debug.gz"), image(".elf"), image("-debug.elf")]);
    let files = workshop.files();
    let init = fs::read(workshop.path("init")).unwrap();
    let sums = text(&files["SHA256SUMS"]);
    for name in [image(".elf"), image("-debug.elf")] {
        assert_eq!(files[&name], init);
        let mode = fs::metadata(workshop.path("out").join(&name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o755);
        for file in [name.clone(), format!("{name}.manifest.json"), format!("{name}.spdx.json")] {
            assert!(sums.contains(&format!("{}  {file}\n", digest(&files[&file]))), "{file}:\n{sums}");
        }
        assert_eq!(workshop.manifest(&name)["image"]["sha256"], digest(&init));
    }
    let again = workshop.built(&["--variant", "slim", "--bare-init=ram"]);
    assert_eq!(again["artifacts"][1]["unchanged"], true);
    assert_eq!(workshop.files(), files);
}

#[test]
fn the_same_inputs_give_the_same_bytes_for_everyone() {
    let build = |umask: &str, zone: &str, user: &str| {
        let workshop = Workshop::new();
        // As another user's checkout would have it.
        let mode = if umask == "077" { 0o600 } else { 0o664 };
        fs::set_permissions(workshop.path("own/etc/motd"), fs::Permissions::from_mode(mode)).unwrap();
        let command = workshop.command(&["--target", "x86_64", "--init-program", "init", "--busybox", "busybox"]);
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("umask {umask} && exec \"$@\""), "sh"]).arg(command.get_program());
        shell.args(command.get_args()).args(["--include", "own", "--output-dir", "out", "--cmdline", "quiet"]);
        shell.current_dir(workshop.directory.path()).env("TZ", zone).env("USER", user).env("LOGNAME", user);
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let directory = workshop.directory.path().to_str().unwrap().to_owned();
        (workshop.files(), directory)
    };
    let (first, directory) = build("022", "UTC", "anna");
    let (second, _) = build("077", "Asia/Tokyo", "otto");
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    assert_eq!(first.len(), 7);
    for (name, bytes) in &first {
        assert!(*bytes == second[name], "{name} differs");
        let readable = text(bytes);
        assert!(!readable.contains(&directory) && !readable.contains("anna"), "{name} tells where it was made");
    }
}

#[test]
fn the_manifest_is_what_inspect_finds() {
    let workshop = Workshop::new();
    workshop.built(&["--variant", "standard,debug,slim", "--cmdline", "quiet rd.timeout=5s"]);
    for (rest, variant) in [(".gz", "standard"), ("-debug.gz", "debug"), ("-slim.gz", "slim")] {
        let name = image(rest);
        let (mut found, manifest) = (workshop.inspect(&name), workshop.manifest(&name));
        for record in found["files"].as_array_mut().unwrap() {
            record.as_object_mut().unwrap().remove("segment");
        }
        assert_eq!(found["files"], manifest["files"], "{name}");
        let bytes = fs::read(workshop.path("out").join(&name)).unwrap();
        assert_eq!(manifest["image"]["sha256"], digest(&bytes));
        assert_eq!(manifest["image"]["size"], bytes.len());
        assert_eq!(manifest["image"]["variant"], variant);
        let release = &found["release"]["fields"];
        for (key, value) in [
            ("ID", "initramfs-overlay"),
            ("VARIANT", variant),
            ("ARCH", "x86_64"),
            ("VERSION", env!("CARGO_PKG_VERSION")),
        ] {
            assert_eq!(release[key], value, "{key}");
        }
        let paths = paths(&found);
        for path in ["init", "dev/console", "dev/null", "tmp", "etc/cmdline", "etc/motd", "etc/mtab", "etc/script"] {
            assert!(paths.contains(&path), "{path} is missing in {name}");
        }
        for applet in programs::APPLETS {
            assert_eq!(paths.contains(&&*format!("bin/{applet}")), variant != "slim", "{applet} in {name}");
        }
        let record =
            |path: &str| manifest["files"].as_array().unwrap().iter().find(|record| record["path"] == path).unwrap();
        assert_eq!(record("init")["mode"], "0755");
        assert_eq!(record("init")["sha256"], digest(&programs::program(b"init")));
        assert_eq!((&record("dev/console")["mode"], &record("dev/console")["device"]), (&json!("0600"), &json!("5:1")));
        assert_eq!(record("etc/motd")["mode"], "0644");
        assert_eq!(record("etc/script")["mode"], "0755");
    }
}

#[test]
fn every_file_is_in_sha256sums() {
    let workshop = Workshop::new();
    workshop.built(&["--variant", "standard"]);
    workshop.built(&["--variant", "slim", "--compress", "xz"]);
    let mut files = workshop.files();
    let sums = text(&files.remove("SHA256SUMS").unwrap());
    let expected: String = files.iter().map(|(name, bytes)| format!("{}  {name}\n", digest(bytes))).collect();
    assert_eq!(sums, expected);
    assert_eq!(files.len(), 6);
}

#[test]
fn the_name_follows_the_compression_and_every_one_unpacks_to_the_same() {
    let workshop = Workshop::new();
    let mut listings = Vec::new();
    for (compression, suffix) in [("gzip", "gz"), ("zstd", "zst"), ("xz", "xz"), ("lz4", "lz4"), ("none", "cpio")] {
        workshop.built(&["--variant", "standard", "--compress", compression]);
        let found = workshop.inspect(&image(&format!(".{suffix}")));
        assert_eq!(found["segments"][0]["compression"], compression);
        listings.push(found["files"].clone());
    }
    assert!(listings.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn what_has_not_changed_is_left_alone_and_what_has_is_not() {
    let workshop = Workshop::new();
    let unchanged = |value: &Value| value["artifacts"][0]["unchanged"].as_bool().unwrap();
    let build = || unchanged(&workshop.built(&["--variant", "standard"]));
    let name = image(".gz");
    let inode = || std::os::unix::fs::MetadataExt::ino(&fs::metadata(workshop.path("out").join(&name)).unwrap());
    assert!(!build());
    let (files, first) = (workshop.files(), inode());
    assert!(build());
    assert_eq!(inode(), first, "it was written again");

    // Damaged, or without what belongs to it: made again, as it was.
    for (name, bytes) in [
        (name.clone(), Some("short")),
        (format!("{name}.manifest.json"), None),
        (format!("{name}.spdx.json"), Some("{}")),
    ] {
        let path = workshop.path("out").join(&name);
        match bytes {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert!(!build(), "{name}");
        assert_eq!(workshop.files(), files);
    }
    fs::remove_file(workshop.path("out/SHA256SUMS")).unwrap();
    assert!(build());
    assert_eq!(workshop.files(), files);

    // Every input counts.
    let changes: [(&str, &[u8]); 3] = [
        ("own/etc/motd", b"hello!"),
        ("busybox/busybox-x86_64", &programs::program(b"\0[\0[[\0a\0b\0c\0d\0e\0sh\0\0")),
        ("init", &programs::program(b"another init")),
    ];
    for (path, bytes) in changes {
        fs::write(workshop.path(path), bytes).unwrap();
        assert!(!build(), "{path}");
        assert!(build(), "{path}");
    }
    assert!(!unchanged(&workshop.built(&["--variant", "standard", "--cmdline", "quiet"])));
}

#[test]
fn the_time_is_fixed_or_the_one_asked_for() {
    let workshop = Workshop::new();
    workshop.built(&["--variant", "slim"]);
    let name = image("-slim.gz");
    assert_eq!(workshop.inspect(&name)["files"][0]["mtime"], 0);
    let status = workshop.bare("slim", &[]).env("SOURCE_DATE_EPOCH", "1700000000").output().unwrap().status;
    assert!(status.success());
    assert_eq!(workshop.inspect(&name)["files"][0]["mtime"], 1_700_000_000);
    let bill: Value =
        serde_json::from_slice(&fs::read(workshop.path("out").join(format!("{name}.spdx.json"))).unwrap()).unwrap();
    assert_eq!(bill["creationInfo"]["created"], "2023-11-14T22:13:20Z");
}

#[test]
fn modules_go_in_with_what_they_need_and_in_order() {
    let workshop = Workshop::new();
    for (name, depends) in [("upper", "lower"), ("lower", ""), ("unused", "")] {
        fs::create_dir_all(workshop.path("modules")).unwrap();
        fs::write(workshop.path(&format!("modules/{name}.ko")), programs::module(name, depends)).unwrap();
    }
    let directory = "lib/modules/6.1.0-1-test";
    let modules = |listing: &Value| {
        let files = paths(listing).into_iter().filter(|path| path.ends_with(".ko")).map(str::to_owned);
        files.collect::<Vec<_>>()
    };
    let name = image("-slim.gz");
    workshop.built(&["--variant", "slim", "--module-tree", "modules", "--modules", "upper"]);
    let found = workshop.inspect(&name);
    assert_eq!(modules(&found), [format!("{directory}/lower.ko"), format!("{directory}/upper.ko")]);
    assert!(paths(&found).contains(&&*format!("{directory}/initramfs.modules")));
    let facts = workshop.manifest(&name)["image"]["modules"].clone();
    assert_eq!((&facts["kernel"], &facts["stripped"]), (&json!("6.1.0-1-test"), &json!(false)));
    assert_eq!((&facts["files"][0]["name"], &facts["files"][0]["removed"]["sections"]), (&json!("lower"), &json!(0)));

    // No driver, no filesystem: such a module has to be asked for.
    for (option, is_told) in [("--modules", true), ("--load-modules", false)] {
        let output = workshop.bare("slim", &["--module-tree", "modules", option, "upper"]).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        let words = "nothing would ever load upper, as it serves no device";
        assert_eq!(said(&output).contains(words), is_told, "{}", said(&output));
    }

    workshop.built(&["--variant", "slim", "--modules", "modules", "--strip-modules"]);
    assert_eq!(modules(&workshop.inspect(&name)).len(), 3);
    let facts = workshop.manifest(&name)["image"]["modules"].clone();
    assert_eq!(facts["stripped"], true);
    assert!(facts["files"][0]["removed"]["sections"].as_u64().unwrap() > 0, "{facts:#}");
}

#[test]
fn a_busybox_of_another_version_is_used_with_a_warning() {
    let workshop = Workshop::new();
    keep_busybox(&workshop, "-substitute");
    let output = workshop.bare("standard", &["--allow-substitute"]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let warning = "warning: x86_64: BusyBox 9.9 is used, SHA-256 of its package aa,";
    assert!(said(&output).contains(warning), "{}", said(&output));
    let facts = workshop.manifest(&image(".gz"))["image"]["busybox"].clone();
    assert_eq!((&facts["package"]["version"], &facts["sha256"]), (&json!("9.9"), &json!(digest(&programs::busybox()))));
}

/// Puts a BusyBox that claims to be Debian's 9.9 into the workshop's cache; gives its file.
fn keep_busybox(workshop: &Workshop, kind: &str) -> PathBuf {
    let package = &target::named("x86_64").unwrap().busybox;
    let key = format!("x86_64-{}-{}{kind}", package.version, &package.sha256[..16]);
    let origin = json!({
        "architecture": "amd64", "package": "busybox-static", "version": "9.9", "sha256": "aa",
        "source": "busybox", "source_version": "9.9", "built_using": [],
    });
    let entry = Cache::at(workshop.path("cache")).entry("busybox", &key, Check::Digests, |directory| {
        fs::write(directory.join("busybox"), programs::busybox()).unwrap();
        fs::write(directory.join("package.json"), origin.to_string()).unwrap();
        Ok::<_, base::Error>(())
    });
    entry.unwrap().join("busybox")
}

/// Skips a BusyBox that is not in this machine's cache: nothing is downloaded for a test.
#[test]
fn the_applets_of_the_real_busyboxes_are_found() {
    let cache = initramfs_overlay::cache::open().unwrap();
    for target in target::all().unwrap() {
        let Some(entry) = busybox::kept(target, &cache) else {
            skip(&format!("the applets of BusyBox for {}: it is not in the cache yet", target.name));
            continue;
        };
        let got = initramfs_overlay::busybox_image::get(
            target,
            None,
            &cache,
            sources::Substitute::Allow,
            &base::progress::Progress::none(),
        )
        .unwrap();
        assert_eq!(got.sha256, digest(&fs::read(entry.join("busybox")).unwrap()));
        assert_eq!(got.applets[..2], ["[", "[["], "{}", target.name);
        for applet in ["ash", "cat", "mount", "sh", "switch_root", "udhcpc", "zcat"] {
            assert!(got.applets.iter().any(|name| name == applet), "{applet} for {}", target.name);
        }
        let package = got.origin.as_ref().and_then(busybox::Origin::package);
        if package.is_some_and(|package| package.version == "1:1.35.0-4+deb12u1+b1") {
            assert_eq!(got.applets.len(), 269, "{}", target.name);
        }
    }
}

/// Writes past the test's captured output, so that it is seen.
fn skip(why: &str) {
    io::stderr().write_all(format!("skipped: {why}\n").as_bytes()).unwrap();
}

#[test]
fn completions_and_manual_pages_are_written() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(COMMAND).args(["completions", shell]).output().unwrap();
        assert!(output.status.success() && text(&output.stdout).contains("variant"), "{shell}");
    }
    let output = Command::new(COMMAND).arg("completions").arg("tcsh").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let pages = directory.path().join("man1");
    assert!(Command::new(COMMAND).arg("man").arg(&pages).status().unwrap().success());
    let page = |name: &str| fs::read_to_string(Path::new(&pages).join(name)).unwrap();
    assert!(page("initramfs-overlay.1").contains("initramfs\\-overlay"));
    for (name, part) in [("build", "strip\\-modules"), ("disk", "newimg"), ("inspect", "files"), ("man", "directory")] {
        let text = page(&format!("initramfs-overlay-{name}.1"));
        assert!(text.to_lowercase().contains(part), "{name}");
    }
}
