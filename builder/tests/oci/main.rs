//! `initramfs-overlay oci` from outside: what it makes of images that are made here by hand, and of one that umoci makes and unpacks
//! itself. A test whose programs are not installed says so and is skipped.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use archive::{
    listing,
    manifest::{Record, Type},
};
use base::digest::{digest, file_digest};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

#[path = "../oci_images/gzip.rs"]
mod gzip;
#[path = "../oci_images/layer.rs"]
mod layer;
#[path = "../oci_images/layout.rs"]
mod made;
mod os_image;
#[path = "../support/mod.rs"]
mod support;
mod umoci;

use gzip::gzip;
use layer::{FILE, layer};
use support::{installed, tool};

fn oci(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
    command.arg("oci").args(arguments);
    // What is put beside an image that runs by itself, and compiled for that, is the matter of `ram.rs`.
    if arguments.contains(&"-o") && !arguments.contains(&"--init") {
        command.arg("--image-init");
    }
    command.output().unwrap()
}

fn succeed(arguments: &[&str]) -> String {
    let output = oci(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn fail(arguments: &[&str]) -> (Option<i32>, String) {
    let output = oci(arguments);
    assert!(!output.status.success() && output.stdout.is_empty(), "{arguments:?}");
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// Returns an image for this machine whose config asks for something.
fn layout(directory: &Path, layers: &[(Vec<u8>, Vec<u8>)]) -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({ "Entrypoint": ["/init", "a b"], "Env": ["A=1"], "User": "nobody" });
    made::layout(directory, architecture, &config, layers)
}

fn two_layers() -> [(Vec<u8>, Vec<u8>); 2] {
    let lower = layer(&[
        ("bin/", EntryType::Directory, b"", 0o755),
        ("bin/big", FILE, &[7; 100_000], 0o4755),
        ("bin/alias", EntryType::Link, b"bin/big", 0o755),
        ("init", FILE, b"old", 0o755),
        ("gone", FILE, b"x", 0o644),
        ("lib", EntryType::Symlink, b"../../usr/lib", 0o777),
    ]);
    let upper =
        layer(&[("init", FILE, b"#!/bin/sh\n", 0o755), (".wh.gone", FILE, b"", 0), ("lib/x", FILE, b"abc", 0o600)]);
    // Two gzip members make one stream; the other layer is Zstandard.
    let (first, second) = lower.split_at(3000);
    [([gzip(first), gzip(second)].concat(), lower), (zstd::encode_all(upper.as_slice(), 3).unwrap(), upper)]
}

fn records(path: &Path) -> Vec<Record> {
    let contents = listing::read(fs::File::open(path).unwrap(), path).unwrap();
    assert!(contents.problems.is_empty() && contents.notes.is_empty(), "{:?} {:?}", contents.problems, contents.notes);
    contents.files.into_iter().map(|listed| listed.record).collect()
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = records(path).into_iter().map(|record| record.path.text).collect();
    names.sort();
    names
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn layers_become_one_archive_the_same_every_time() {
    let directory = tempfile::tempdir().unwrap();
    let image = layout(directory.path(), &two_layers());
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    let told = succeed(&[&image, "-o", text(&one)]);
    assert!(told.contains("8 names, 3 files with 97.67 KiB") && told.contains("of memory"), "{told}");
    succeed(&[&image, "-o", text(&two), "--json"]);
    assert_eq!(fs::read(&one).unwrap(), fs::read(&two).unwrap());
    assert_eq!(names(&one), ["bin", "bin/alias", "bin/big", "init", "lib", "usr", "usr/lib", "usr/lib/x"]);
    let all = records(&one);
    let of = |name: &str| all.iter().find(|record| record.path.text == name).unwrap();
    assert_eq!(
        (of("init").sha256.as_deref(), of("init").mtime),
        (Some(digest(b"#!/bin/sh\n").as_str()), 1_000_000_000)
    );
    // The first name in the archive has the content.
    assert_eq!((of("bin/alias").mode, of("bin/alias").size), (0o4755, Some(100_000)));
    assert_eq!(of("bin/big").hard_link.as_ref().unwrap().text, "bin/alias");
    assert_eq!(of("lib").target.as_ref().unwrap().text, "../../usr/lib");
    assert_eq!((of("usr/lib/x").mode, of("usr/lib/x").kind), (0o600, Type::File));
}

#[test]
fn what_is_put_in_and_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let image = layout(directory.path(), &two_layers());
    let (agent, output) = (directory.path().join("agent"), directory.path().join("out"));
    fs::write(&agent, "agent").unwrap();
    let inject = format!("{}:/lib/agent:750", agent.display());
    succeed(&[&image, "-o", text(&output), "--inject", &inject, "--exclude", "alias", "--compress", "zstd"]);
    assert_eq!(names(&output), ["bin", "bin/big", "init", "lib", "usr", "usr/lib", "usr/lib/agent", "usr/lib/x"]);
    assert!(records(&output).iter().any(|record| record.path.text == "bin/big" && record.size == Some(100_000)));
    assert!(records(&output).iter().any(|record| record.path.text == "usr/lib/agent" && record.mode == 0o750));

    let split = |content: &str| {
        fs::write(&agent, content).unwrap();
        succeed(&[&image, "-o", text(&output), "--inject", &inject, "--split"]);
        let contents = listing::read(fs::File::open(&output).unwrap(), &output).unwrap();
        assert!(contents.problems.is_empty(), "{:?}", contents.problems);
        let second: Vec<String> = contents
            .files
            .iter()
            .filter(|listed| listed.segment == 1)
            .map(|listed| listed.record.path.text.clone())
            .collect();
        assert_eq!(second, ["usr", "usr/lib", "usr/lib/agent"]);
        fs::read(&output).unwrap()[..contents.segments[1].offset as usize].to_vec()
    };
    assert_eq!(split("one"), split("another"), "the image's part changes with what is put in");
}

#[test]
fn a_directory_with_sockets_and_what_is_left_out_unread() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir_all(root.join("run/secret")).unwrap();
    fs::write(root.join("init"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("init"), PermissionsExt::from_mode(0o755)).unwrap();
    let _sockets =
        ["run/a.sock", "b.sock"].map(|name| std::os::unix::net::UnixListener::bind(root.join(name)).unwrap());
    // Larger than an initramfs takes, and than the bound for all.
    fs::File::create(root.join("run/secret/huge")).unwrap().set_len(1 << 40).unwrap();
    let output = directory.path().join("out");
    let image = format!("dir:{}", root.display());
    let made = oci(&[&image, "-o", text(&output), "--exclude", "secret"]);
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(made.status.success() && said.contains("2 sockets are left out (`b.sock`, …)"), "{said}");
    assert!(said.contains("left out: 1 names"), "{said}");
    assert_eq!(names(&output), [".", "init", "run"]);
    let (_, said) = fail(&[&image, "-o", text(&output)]);
    assert!(said.contains("run/secret/huge") && said.contains("--max-size"), "{said}");
}

#[test]
fn what_cannot_be_leaves_no_file() {
    let directory = tempfile::tempdir().unwrap();
    let output = directory.path().join("out");
    let build = |image: &str, more: &[&str]| {
        let (code, said) = fail(&[&[image, "-o", text(&output)], more].concat());
        assert!(!output.exists(), "{said}");
        let left: Vec<PathBuf> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!left.iter().any(|path| path.extension().is_some_and(|extension| extension == "part")), "{left:?}");
        (code, said)
    };
    let image = |name: &str, layers: &[(Vec<u8>, Vec<u8>)]| layout(&directory.path().join(name), layers);
    let good = image("good", &two_layers());
    assert!(build(&good, &["--platform", "linux/riscv64"]).1.contains("no image for linux/riscv64"));
    assert!(build(&good, &["--max-size", "0"]).1.contains("layer 1 (sha256:"));
    assert_eq!(build(&good, &["--exclude", "["]).0, Some(2));
    assert!(build(&good, &["--exclude", "/init"]).1.contains("--own-init FILE"));
    assert_eq!(build("./alpine", &[]).0, Some(2));
    assert_eq!(build(&good, &["--lock", "lock"]).0, Some(2));

    let evil = layer(&[("ok", FILE, b"", 0o644), ("a/../../etc/passwd", FILE, b"x", 0o644)]);
    let [lower, _] = two_layers();
    let (_, said) = build(&image("evil", &[lower.clone(), (evil.clone(), evil)]), &[]);
    assert!(
        said.contains("layer 2 (sha256:") && said.contains("entry `a/../../etc/passwd`: its path has a `..`"),
        "{said}"
    );

    let mut stored = lower.0.clone();
    let name = image("damaged", std::slice::from_ref(&lower));
    stored[1000] ^= 1;
    fs::write(directory.path().join("damaged/blobs/sha256").join(digest(&lower.0)), &stored).unwrap();
    let (_, said) = build(&name, &[]);
    assert!(said.contains("layer 1 (sha256:") && said.contains("it is damaged"), "{said}");

    let (_, said) = build(&image("other", &[(lower.0.clone(), b"else".to_vec())]), &[]);
    assert!(said.contains("it unpacks to sha256:") && said.contains("config expects sha256:"), "{said}");

    // 64 MiB of nothing in a few kilobytes.
    let bomb = layer(&[("zeros", FILE, &vec![0; 64 << 20], 0o644)]);
    let (_, said) = build(&image("bomb", &[(gzip(&bomb), bomb)]), &["--max-size", "16"]);
    assert!(said.contains("more than the 16777216 bytes left of --max-size"), "{said}");
}

#[test]
fn an_image_tells_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let image = layout(directory.path(), &two_layers());
    let told = succeed(&["inspect", &image]);
    for part in ["entrypoint  \"/init\" \"a b\"", "user        nobody", "environment A=1", "layer 2     sha256:"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let value: Value = serde_json::from_str(&succeed(&["inspect", "--json", &image])).unwrap();
    assert_eq!(value["config"]["Entrypoint"], json!(["/init", "a b"]));
    assert_eq!(value["layers"].as_array().unwrap().len(), 2);
}

#[test]
fn zeros_behind_the_gzip_of_a_root_are_no_part_of_it() {
    let directory = tempfile::tempdir().unwrap();
    let root = layer(&[("init", FILE, b"#!/bin/sh\n", 0o755)]);
    let packed = gzip(&root);
    let tar = directory.path().join("root.tar.gz");
    let image = format!("tar:{}", tar.display());
    let output = directory.path().join("out");
    fs::write(&tar, [packed.as_slice(), &[0; 10_240]].concat()).unwrap();
    succeed(&[&image, "-o", text(&output)]);
    assert_eq!(names(&output), ["init"]);
    fs::write(&tar, [packed.as_slice(), b"garbage"].concat()).unwrap();
    let (_, said) = fail(&[&image, "-o", text(&output)]);
    assert!(said.contains("layer 1 (") && said.contains("bytes that are not gzip follow the end"), "{said}");
    // Neither umoci nor skopeo takes such a layer.
    let padded = [packed.as_slice(), &[0; 512]].concat();
    let image = layout(&directory.path().join("image"), &[(padded, root)]);
    let (_, said) = fail(&[&image, "-o", text(&output)]);
    assert!(said.contains("bytes that are not gzip follow the end"), "{said}");
}

#[test]
fn names_that_are_no_text_are_shown_escaped() {
    use std::os::unix::ffi::OsStrExt;
    let directory = tempfile::tempdir().unwrap();
    let image = layout(&directory.path().join("image"), &two_layers());
    let output = directory.path().join(std::ffi::OsStr::from_bytes(b"ou\xfft"));
    for option in ["-o", "--erofs"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
        command.args(["oci", &image, option]).arg(&output);
        if option == "-o" {
            command.arg("--image-init");
        }
        let made = command.output().unwrap();
        let said = [made.stdout, made.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(made.status.success() && said.contains(r"ou\xfft: ") && !said.contains('\u{fffd}'), "{said}");
    }
    // Where it cannot be written as well.
    fs::remove_file(&output).unwrap();
    fs::create_dir(&output).unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
        .args(["oci", &image, "--image-init", "-o"])
        .arg(&output)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&made.stderr);
    assert!(!made.status.success() && said.contains(r"ou\xfft") && !said.contains('\u{fffd}'), "{said}");
}
