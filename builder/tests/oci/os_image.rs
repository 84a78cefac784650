//! `oci --squashfs`: names, attributes and the root itself as they are in the layers, the same at any time.

use super::*;

#[test]
fn an_os_image_keeps_long_names_and_attributes() {
    if !installed("unsquashfs") || !installed("mksquashfs") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
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
    let image = layout(directory.path(), &[(bytes.clone(), bytes)]);
    let (file, unpacked) = (directory.path().join("root.squashfs"), directory.path().join("unpacked"));
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
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
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
            Command::new("unshare").args(["-m", "sh", "-ec", script]).current_dir(directory.path()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let expected = format!("{}\nyes\n{}\n{attributes}\n", "v".repeat(200), 300 + attributes);
        assert_eq!(said, expected, "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn an_os_image_obeys_no_layer() {
    if !installed("unsquashfs") || !installed("mksquashfs") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
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
        &[
            ("SCHILY.xattr.com.apple.provenance", b"\x01"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.system.posix_acl_access", b"\x02\0\0\0"),
        ],
    );
    add("etc/passwd", EntryType::Char, &[("comment", b"x")]);
    let layer = builder.into_inner().unwrap();
    let image = layout(&directory.path().join("image"), &[(layer.clone(), layer)]);
    let file = directory.path().join("root");
    let made = oci(&[&image, "--squashfs", text(&file)]);
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(
        made.status.success() && said.contains("would obey `etc/passwd` (a device 0:0 hides a name) and 1 more"),
        "{said}"
    );
    let lost = "squashfs cannot hold these extended attributes: `com.apple.provenance` (of `etc`), `system.posix_acl_access` (of `etc`)";
    assert!(said.contains(lost) && said.contains("use --erofs"), "{said}");
    let listed = Command::new("unsquashfs").args(["-lln", text(&file)]).output().unwrap();
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("passwd"));
    let shown = Command::new("unsquashfs").args(["-s", text(&file)]).output().unwrap();
    assert!(String::from_utf8_lossy(&shown.stdout).contains("Number of xattr ids 0"));
    let made = oci(&[&image, "--erofs", text(&file)]);
    let said = String::from_utf8_lossy(&made.stderr).into_owned();
    let lost = "EROFS cannot hold these extended attributes: `com.apple.provenance` (of `etc`); left out of it\n";
    assert!(made.status.success() && said.contains(lost), "{said}");
}
