//! A file that is larger than an initramfs or eleven octal digits can say, as GNU tar stores it with its holes.

use std::{fs, process::Command};

use serde_json::json;
use tar::{Builder, EntryType, Header};

#[path = "oci_images/layout.rs"]
mod made;
mod support;

/// More than the ustar header's 8 GiB.
const SIZE: u64 = (8 << 30) + 4096;

/// Returns a layer with a sparse file of [`SIZE`] and 4 KiB at its end; its stored size stands in a PAX record, as for any file of 8 GiB.
fn layer() -> Vec<u8> {
    let mut body = format!("1\n{}\n4096\n", SIZE - 4096).into_bytes();
    body.resize(512, 0);
    body.extend([b'x'; 4096]);
    let mut builder = Builder::new(Vec::new());
    let (stored, whole) = (body.len().to_string(), SIZE.to_string());
    let records = [
        ("GNU.sparse.major", "1"),
        ("GNU.sparse.minor", "0"),
        ("GNU.sparse.name", "disk.img"),
        ("GNU.sparse.realsize", &whole),
        ("size", &stored),
    ];
    builder.append_pax_extensions(records.iter().map(|(key, value)| (*key, value.as_bytes()))).unwrap();
    let mut header = Header::new_ustar();
    header.set_path("GNUSparseFile.0/disk.img").unwrap();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(0);
    header.set_cksum();
    builder.get_mut().extend(header.as_bytes());
    builder.get_mut().extend(body);
    let mut name = Header::new_ustar();
    name.set_size(0);
    name.set_mode(0o644);
    builder.append_data(&mut name, "TRAILER!!!", std::io::empty()).unwrap();
    builder.into_inner().unwrap()
}

#[test]
fn an_os_image_takes_files_that_an_initramfs_cannot() {
    if !["mksquashfs", "unsquashfs"].into_iter().all(support::installed) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let layer = layer();
    let image = made::layout(&directory.path().join("image"), "amd64", &json!({}), &[(layer.clone(), layer)]);
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
        command.args(["oci", &image, "--platform", "linux/amd64", "--max-size", "9000"]).args(more);
        let output = command.current_dir(directory.path()).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let (done, said) = run(&["-o", "initrd", "--own-init", "/bin/true"]);
    assert!(!done && said.contains("`TRAILER!!!` marks the end"), "{said}");
    let (done, said) =
        run(&["-o", "initrd", "--own-init", "/bin/true", "--exclude", "TRAILER!!!", "--squashfs", "root"]);
    assert!(!done && said.contains("`disk.img`") && said.contains("--squashfs or --erofs alone"), "{said}");
    assert!(!directory.path().join("root").exists() && !directory.path().join("initrd").exists());
    let (done, said) = run(&["--squashfs", "root"]);
    assert!(done, "{said}");
    let listed = Command::new("unsquashfs").args(["-lln", "root"]).current_dir(directory.path()).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.contains(&format!("{SIZE} ")) && listed.contains("squashfs-root/TRAILER!!!"), "{listed}");
    assert!(fs::metadata(directory.path().join("root")).unwrap().len() < 10 << 20);
}
