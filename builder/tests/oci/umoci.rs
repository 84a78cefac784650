//! The merged root against the one that umoci unpacks from the same image.

use super::*;

/// Lists everything that umoci and we both keep, one line a name.
fn lines_of_directory(root: &Path) -> Vec<String> {
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

/// Makes an image of two layers with umoci, the second of changes to the first.
fn make(at: &dyn Fn(&str) -> String, image: &str) {
    tool("umoci", &["init", "--layout", &at("layout")]);
    tool("umoci", &["new", "--image", image]);
    tool("umoci", &["unpack", "--image", image, &at("first")]);
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
    tool("umoci", &["repack", "--image", image, &at("first")]);

    tool("umoci", &["unpack", "--image", image, &at("second")]);
    let root = PathBuf::from(at("second/rootfs"));
    fs::remove_file(root.join("usr/lib/deep/3")).unwrap();
    fs::remove_dir_all(root.join("home")).unwrap();
    fs::write(root.join("home"), "now a file").unwrap();
    fs::remove_file(root.join("bin")).unwrap();
    fs::create_dir(root.join("bin")).unwrap();
    fs::write(root.join("bin/new"), "new").unwrap();
    fs::write(root.join("usr/lib/deep/5"), "changed").unwrap();
    fs::set_permissions(root.join("usr/lib/deep/er"), PermissionsExt::from_mode(0o1777)).unwrap();
    tool("umoci", &["repack", "--image", image, &at("second")]);
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
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let image = at("layout:image");
    make(&at, &image);
    tool("umoci", &["unpack", "--image", &image, &at("third")]);
    let output = PathBuf::from(at("out"));
    succeed(&[&format!("oci:{image}"), "-o", text(&output)]);
    let (ours, theirs) = (lines_of_archive(&output), lines_of_directory(Path::new(&at("third/rootfs"))));
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
        assert_eq!(lines_of_directory(Path::new(&at("unpacked"))), theirs);
        assert_eq!(fs::metadata(at("unpacked")).unwrap().mode() & 0o7777, 0o755);
    }
    // A directory has the same names; the order of the archive is another.
    succeed(&[&format!("dir:{}", at("third/rootfs")), "-o", text(&output)]);
    assert_eq!(lines_of_archive(&output), theirs);
}
