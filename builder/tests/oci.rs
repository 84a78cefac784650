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

#[path = "oci_images/gzip.rs"]
mod gzip;
#[path = "oci_images/layer.rs"]
mod layer;
#[path = "oci_images/layout.rs"]
mod made;
mod support;

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

/// An image for this machine whose config asks for something.
fn layout(folder: &Path, layers: &[(Vec<u8>, Vec<u8>)]) -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({ "Entrypoint": ["/init", "a b"], "Env": ["A=1"], "User": "nobody" });
    made::layout(folder, architecture, &config, layers)
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
    let folder = tempfile::tempdir().unwrap();
    let image = layout(folder.path(), &two_layers());
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
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
    let folder = tempfile::tempdir().unwrap();
    let image = layout(folder.path(), &two_layers());
    let (agent, output) = (folder.path().join("agent"), folder.path().join("out"));
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
fn an_os_image_keeps_long_names_and_attributes() {
    if !installed("unsquashfs") || !installed("mksquashfs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let deep = format!("{}/{}", "d".repeat(200), "größe".repeat(20));
    let mut builder = Builder::new(Vec::new());
    let mut header = Header::new_ustar();
    header.set_size(3);
    header.set_mode(0o644);
    header.set_uid(3_000_000);
    header.set_gid(0);
    header.set_mtime(5);
    builder.append_pax_extensions([("SCHILY.xattr.user.colour", &b"red"[..])]).unwrap();
    builder.append_data(&mut header, "plain", &b"abc"[..]).unwrap();
    builder.append_data(&mut header, &deep, &b"abc"[..]).unwrap();
    let bytes = builder.into_inner().unwrap();
    let image = layout(folder.path(), &[(bytes.clone(), bytes)]);
    let (file, unpacked) = (folder.path().join("root.squashfs"), folder.path().join("unpacked"));
    let value: Value = serde_json::from_str(&succeed(&[&image, "--squashfs", text(&file), "--json"])).unwrap();
    assert_eq!(value["squashfs"]["size"], fs::metadata(&file).unwrap().len());
    let listed = Command::new("unsquashfs").args(["-lln", text(&file)]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&listed.stdout).contains("3000000/0"),
        "{}",
        String::from_utf8_lossy(&listed.stdout)
    );
    tool("unsquashfs", &["-no-progress", "-no-xattrs", "-dest", text(&unpacked), text(&file)]);
    assert_eq!(fs::read(unpacked.join(&deep)).unwrap(), b"abc");
    // Where the filesystem of this test takes attributes, it is there; mksquashfs has it in any case.
    let shown = Command::new("unsquashfs").args(["-s", text(&file)]).output().unwrap();
    assert!(
        String::from_utf8_lossy(&shown.stdout).contains("Number of xattr ids 1"),
        "{}",
        String::from_utf8_lossy(&shown.stdout)
    );
}

/// Makes a layer whose root, and more, has all that it can have.
fn layer_of_the_root(attributes: usize) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let long = vec![b'v'; 200];
    let mut add = |path: &str, kind: EntryType, mode: u32, records: &[(&str, &[u8])]| {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_234_567_890);
        header.set_size(0);
        if !records.is_empty() {
            builder.append_pax_extensions(records.iter().copied()).unwrap();
        }
        builder.append_data(&mut header, path, io::empty()).unwrap();
    };
    add("./", EntryType::Directory, 0o1710, &[("SCHILY.xattr.user.root", b"yes"), ("SCHILY.xattr.trusted.b", &long)]);
    for number in 0..attributes {
        let value = format!("{number:0>40}");
        add(&format!("f{number:0>5}"), EntryType::Regular, 0o644, &[("SCHILY.xattr.user.n", value.as_bytes())]);
    }
    for number in 0..300 {
        add(&format!("d{number}/"), EntryType::Directory, 0o755, &[]);
    }
    builder.into_inner().unwrap()
}

/// The time of day is not in an OS image, and the root's own mode, owner, time and attributes are.
#[test]
fn an_os_image_keeps_its_root_and_is_the_same_at_any_time() {
    if !["unsquashfs", "mksquashfs", "cc"].into_iter().all(installed) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(
        at("clock.c"),
        "#include <time.h>\ntime_t time(time_t *t) { if (t) *t = 4000000000; return 4000000000; }\n",
    )
    .unwrap();
    tool("cc", &["-shared", "-fPIC", "-o", text(&at("clock.so")), text(&at("clock.c"))]);
    for (number, attributes) in [0, 1, 2000].into_iter().enumerate() {
        let layer = layer_of_the_root(attributes);
        let image = layout(&at(&number.to_string()), &[(layer.clone(), layer)]);
        let (now, then) = (at("now.squashfs"), at("then.squashfs"));
        succeed(&[&image, "--squashfs", text(&now)]);
        let status = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
            .args(["oci", &image, "--squashfs"])
            .arg(&then)
            .env("LD_PRELOAD", at("clock.so"))
            .stdout(std::process::Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        assert_eq!(digest(&fs::read(&now).unwrap()), digest(&fs::read(&then).unwrap()), "{attributes}");
        let list = |options: &[&str]| {
            let output = Command::new("unsquashfs").args(options).arg(&now).env("TZ", "UTC").output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).unwrap()
        };
        let listed = list(&["-lln"]);
        let root = listed.lines().find(|line| line.ends_with(" squashfs-root")).unwrap();
        assert!(root.starts_with("drwx--x--T 7/8") && root.contains("2009-02-13 23:31"), "{root}");
        let ids = attributes + 1;
        assert!(list(&["-s"]).contains(&format!("Number of xattr ids {ids}")), "{}", list(&["-s"]));
        if !rustix::process::geteuid().is_root() {
            continue;
        }
        // The kernel reads it too.
        let script = "mkdir mnt && mount -t squashfs -o loop,ro now.squashfs mnt && \
            python3 -c 'import os; [print(os.getxattr(\"mnt\", n).decode()) for n in sorted(os.listxattr(\"mnt\"))]; \
            print(len(os.listdir(\"mnt\"))); \
            print(sum(os.getxattr(\"mnt/\" + n, \"user.n\").decode() == n[1:].zfill(40) for n in os.listdir(\"mnt\") if n[0] == \"f\"))'; \
            umount mnt && rmdir mnt";
        let output =
            Command::new("unshare").args(["-m", "sh", "-ec", script]).current_dir(folder.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = format!("{}\nyes\n{}\n{attributes}\n", "v".repeat(200), 300 + attributes);
        assert_eq!(said, expected, "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_folder_with_sockets_and_what_is_left_out_unread() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir_all(root.join("run/secret")).unwrap();
    fs::write(root.join("init"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("init"), PermissionsExt::from_mode(0o755)).unwrap();
    let _sockets =
        ["run/a.sock", "b.sock"].map(|name| std::os::unix::net::UnixListener::bind(root.join(name)).unwrap());
    // Larger than an initramfs takes, and than the bound for all.
    fs::File::create(root.join("run/secret/huge")).unwrap().set_len(1 << 40).unwrap();
    let output = folder.path().join("out");
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
fn an_os_image_obeys_no_layer() {
    if !installed("unsquashfs") || !installed("mksquashfs") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut builder = Builder::new(Vec::new());
    let mut add = |path: &str, kind: EntryType, records: &[(&str, &[u8])]| {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_mode(0o755);
        header.set_device_major(0).unwrap();
        header.set_device_minor(0).unwrap();
        builder.append_pax_extensions(records.iter().copied()).unwrap();
        builder.append_data(&mut header, path, io::empty()).unwrap();
    };
    add(
        "etc/",
        EntryType::Directory,
        &[("SCHILY.xattr.trusted.overlay.opaque", b"y"), ("SCHILY.xattr.system.posix_acl_access", b"\x02\0\0\0")],
    );
    add("etc/passwd", EntryType::Char, &[("comment", b"x")]);
    let layer = builder.into_inner().unwrap();
    let image = layout(&folder.path().join("image"), &[(layer.clone(), layer)]);
    let file = folder.path().join("root");
    let made = oci(&[&image, "--squashfs", text(&file)]);
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(
        made.status.success() && said.contains("would obey `etc/passwd` (a device 0:0 hides a name) and 1 more"),
        "{said}"
    );
    assert!(said.contains("1 names have access control lists") && said.contains("--erofs"), "{said}");
    let listed = Command::new("unsquashfs").args(["-lln", text(&file)]).output().unwrap();
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("passwd"));
    let shown = Command::new("unsquashfs").args(["-s", text(&file)]).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("Number of xattr ids 0"));
}

#[test]
fn what_cannot_be_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out");
    let build = |image: &str, more: &[&str]| {
        let (code, said) = fail(&[&[image, "-o", text(&output)], more].concat());
        assert!(!output.exists(), "{said}");
        let left: Vec<PathBuf> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(!left.iter().any(|path| path.extension().is_some_and(|extension| extension == "part")), "{left:?}");
        (code, said)
    };
    let image = |name: &str, layers: &[(Vec<u8>, Vec<u8>)]| layout(&folder.path().join(name), layers);
    let good = image("good", &two_layers());
    assert!(build(&good, &["--platform", "linux/riscv64"]).1.contains("no image for linux/riscv64"));
    assert!(build(&good, &["--max-size", "0"]).1.contains("layer 1 (sha256:"));
    assert_eq!(build(&good, &["--exclude", "["]).0, Some(2));
    assert!(build(&good, &["--exclude", "/init"]).1.contains("--init FILE"));
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
    fs::write(folder.path().join("damaged/blobs/sha256").join(digest(&lower.0)), &stored).unwrap();
    let (_, said) = build(&name, &[]);
    assert!(said.contains("layer 1 (sha256:") && said.contains("it is damaged"), "{said}");

    let (_, said) = build(&image("other", &[(lower.0.clone(), b"else".to_vec())]), &[]);
    assert!(said.contains("it unpacks to sha256:") && said.contains("config wants sha256:"), "{said}");

    // 64 MiB of nothing in a few kilobytes.
    let bomb = layer(&[("zeros", FILE, &vec![0; 64 << 20], 0o644)]);
    let (_, said) = build(&image("bomb", &[(gzip(&bomb), bomb)]), &["--max-size", "16"]);
    assert!(said.contains("more than the 16777216 bytes left of --max-size"), "{said}");
}

#[test]
fn an_image_tells_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let image = layout(folder.path(), &two_layers());
    let told = succeed(&["inspect", &image]);
    for part in ["entrypoint  \"/init\" \"a b\"", "user        nobody", "environment A=1", "layer 2     sha256:"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let value: Value = serde_json::from_str(&succeed(&["inspect", "--json", &image])).unwrap();
    assert_eq!(value["config"]["Entrypoint"], json!(["/init", "a b"]));
    assert_eq!(value["layers"].as_array().unwrap().len(), 2);
}

/// Everything that umoci and we both keep, one line a name.
fn lines_of_folder(root: &Path) -> Vec<String> {
    let mut firsts: BTreeMap<u64, String> = BTreeMap::new();
    let found = walkdir::WalkDir::new(root).sort_by_file_name();
    let mut lines: Vec<(String, fs::Metadata, PathBuf)> = found
        .into_iter()
        .map(|entry| {
            let path = entry.unwrap().into_path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            let name = if name.is_empty() { ".".to_owned() } else { name };
            (name, fs::symlink_metadata(&path).unwrap(), path)
        })
        .collect();
    lines.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
    let line = |(name, metadata, path): (String, fs::Metadata, PathBuf)| {
        let first = firsts.entry(metadata.ino()).or_insert_with(|| name.clone()).clone();
        let what = if metadata.is_file() {
            format!("{} {} as {first}", metadata.len(), file_digest(&path).unwrap())
        } else if metadata.is_symlink() {
            format!("to {}", fs::read_link(&path).unwrap().display())
        } else {
            format!("{:o} {:x}", metadata.mode() & 0o170_000, metadata.rdev())
        };
        let mode = if metadata.is_symlink() { 0o777 } else { metadata.mode() & 0o7777 };
        format!("{name} {mode:o} {}:{} {} {what}", metadata.uid(), metadata.gid(), metadata.mtime())
    };
    lines.into_iter().map(line).collect()
}

fn lines_of_archive(path: &Path) -> Vec<String> {
    let mut all = records(path);
    all.sort_by_key(|record| record.path.bytes());
    let contents: BTreeMap<String, (u64, String)> = all
        .iter()
        .filter_map(|record| Some((record.path.text.clone(), (record.size?, record.sha256.clone()?))))
        .collect();
    let line = |record: &Record| {
        let what = match record.kind {
            Type::File => {
                let first = record.hard_link.as_ref().map_or(&record.path.text, |first| &first.text);
                let (size, sha256) = &contents[first];
                format!("{size} {sha256} as {first}")
            }
            Type::Symlink => format!("to {}", record.target.as_ref().unwrap().text),
            kind => {
                let format = match kind {
                    Type::Directory => 0o040_000,
                    Type::CharDevice => 0o020_000,
                    Type::BlockDevice => 0o060_000,
                    _ => 0o010_000,
                };
                let (major, minor) = record.device.map_or((0, 0), |device| (device.major, device.minor));
                format!("{format:o} {:x}", rustix::fs::makedev(major, minor))
            }
        };
        format!("{} {:o} {}:{} {} {what}", record.path.text, record.mode, record.uid, record.gid, record.mtime)
    };
    all.iter().map(line).collect()
}

/// Root is needed: umoci makes devices and gives files away.
#[test]
fn the_root_is_the_one_that_umoci_unpacks() {
    if !installed("umoci") || !installed("skopeo") {
        return;
    }
    if !rustix::process::geteuid().is_root() {
        let _ = writeln!(io::stderr(), "SKIPPED: umoci needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let image = at("layout:image");
    tool("umoci", &["init", "--layout", &at("layout")]);
    tool("umoci", &["new", "--image", &image]);
    tool("umoci", &["unpack", "--image", &image, &at("first")]);
    let root = PathBuf::from(at("first/rootfs"));
    for name in ["usr/bin", "usr/lib/deep/er", "etc", "home/user"] {
        fs::create_dir_all(root.join(name)).unwrap();
    }
    for number in 0..40_usize {
        fs::write(root.join(format!("usr/lib/deep/{number}")), vec![number as u8; number * 1000]).unwrap();
    }
    fs::write(root.join("usr/bin/su"), "suid").unwrap();
    fs::set_permissions(root.join("usr/bin/su"), PermissionsExt::from_mode(0o4711)).unwrap();
    fs::hard_link(root.join("usr/lib/deep/7"), root.join("etc/seven")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    symlink("/absolute/../nowhere", root.join("etc/dangling")).unwrap();
    fs::write(root.join("home/user/größe"), "x").unwrap();
    std::os::unix::fs::chown(root.join("home/user"), Some(1000), Some(100)).unwrap();
    tool("mknod", &[&at("first/rootfs/null"), "c", "1", "3"]);
    tool("mkfifo", &[&at("first/rootfs/pipe")]);
    fs::write(root.join("init"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("init"), PermissionsExt::from_mode(0o755)).unwrap();
    tool("umoci", &["repack", "--image", &image, &at("first")]);

    tool("umoci", &["unpack", "--image", &image, &at("second")]);
    let root = PathBuf::from(at("second/rootfs"));
    fs::remove_file(root.join("usr/lib/deep/3")).unwrap();
    fs::remove_dir_all(root.join("home")).unwrap();
    fs::write(root.join("home"), "now a file").unwrap();
    fs::remove_file(root.join("bin")).unwrap();
    fs::create_dir(root.join("bin")).unwrap();
    fs::write(root.join("bin/new"), "new").unwrap();
    fs::write(root.join("usr/lib/deep/5"), "changed").unwrap();
    fs::set_permissions(root.join("usr/lib/deep/er"), PermissionsExt::from_mode(0o1777)).unwrap();
    tool("umoci", &["repack", "--image", &image, &at("second")]);

    tool("umoci", &["unpack", "--image", &image, &at("third")]);
    let output = PathBuf::from(at("out"));
    succeed(&[&format!("oci:{image}"), "-o", text(&output)]);
    let (ours, theirs) = (lines_of_archive(&output), lines_of_folder(Path::new(&at("third/rootfs"))));
    assert!(theirs.len() > 45, "{theirs:#?}");
    assert_eq!(ours, theirs);

    // The same image in its other forms is the same archive.
    let same = |source: &str| {
        let other = PathBuf::from(at("other"));
        succeed(&[source, "-o", text(&other)]);
        fs::read(other).unwrap() == fs::read(&output).unwrap()
    };
    tool("skopeo", &["copy", "--insecure-policy", &format!("oci:{image}"), &format!("oci-archive:{}", at("oci.tar"))]);
    assert!(same(&format!("oci-archive:{}", at("oci.tar"))));
    tool(
        "skopeo",
        &[
            "copy",
            "--insecure-policy",
            &format!("oci:{image}"),
            &format!("docker-archive:{}:image:1", at("docker.tar")),
        ],
    );
    assert!(same(&format!("docker-archive:{}", at("docker.tar"))));
    assert!(same(&format!("docker-archive:{}:image:1", at("docker.tar"))));
    // As a squashfs image it is the same root once more.
    if installed("unsquashfs") {
        succeed(&[&format!("oci:{image}"), "--squashfs", &at("root.squashfs")]);
        succeed(&[&format!("oci:{image}"), "--squashfs", &at("again.squashfs")]);
        assert_eq!(fs::read(at("root.squashfs")).unwrap(), fs::read(at("again.squashfs")).unwrap());
        tool("unsquashfs", &["-no-progress", "-dest", &at("unpacked"), &at("root.squashfs")]);
        assert_eq!(lines_of_folder(Path::new(&at("unpacked"))), theirs);
        assert_eq!(fs::metadata(at("unpacked")).unwrap().mode() & 0o7777, 0o755);
    }
    // A folder has the same names; the order of the archive is another.
    succeed(&[&format!("dir:{}", at("third/rootfs")), "-o", text(&output)]);
    assert_eq!(lines_of_archive(&output), theirs);
}
