//! `initramfs-overlay diskless`: which files it makes, and that what lies beside the image is true of it.

use std::fs;

use base::digest::digest;
use serde_json::Value;

use super::{GIVEN, Workshop, said, text};

fn name(rest: &str) -> String {
    format!("diskless-{}-x86_64.gz{rest}", env!("CARGO_PKG_VERSION"))
}

#[test]
fn the_files_beside_a_system_are_true_of_it() {
    let workshop = Workshop::new();
    let output = workshop.subcommand("diskless", &[&GIVEN[..], &["--json"]].concat()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    let files = workshop.files();
    let names = [".manifest.json", ".spdx.json"].map(name);
    assert_eq!(files.keys().collect::<Vec<_>>(), ["SHA256SUMS", &name(""), &names[0], &names[1]]);
    let image = &files[&name("")];
    let (mut found, manifest) = (workshop.inspect(&name("")), workshop.manifest(&name("")));
    for record in found["files"].as_array_mut().unwrap() {
        record.as_object_mut().unwrap().remove("segment");
    }
    assert_eq!(found["files"], manifest["files"]);
    let paths = super::paths(&manifest);
    for path in ["init", "etc/motd", ".initramfs/workload", ".initramfs/inventory"] {
        assert!(paths.contains(&path), "{path}");
    }
    assert_eq!(manifest["image"]["variant"], "diskless");
    for digest in [&manifest["image"]["sha256"], &told[0]["sha256"]] {
        assert_eq!(*digest, super::digest(image));
    }
    let bill: Value = serde_json::from_slice(&files[&names[1]]).unwrap();
    assert_eq!(bill["packages"][0]["checksums"][0]["checksumValue"], digest(image));
    assert!(text(&files[&names[1]]).contains("files added with --include"));
    let sums: String = files.iter().skip(1).map(|(name, bytes)| format!("{}  {name}\n", digest(bytes))).collect();
    assert_eq!(text(&files["SHA256SUMS"]), sums);
}

#[test]
fn a_system_that_cannot_be_made_leaves_nothing() {
    let workshop = Workshop::new();
    fs::write(
        workshop.path("busybox/busybox-x86_64"),
        super::programs::program(b"\0[\0ash\0cat\0cp\0dd\0ls\0sh\0tar\0\0"),
    )
    .unwrap();
    let output = workshop.subcommand("diskless", &GIVEN).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("this BusyBox has no awk"), "{}", said(&output));
    assert!(workshop.files().is_empty());
    let output = workshop.subcommand("diskless", &["--init-program", "init"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--init-program gives one program"), "{}", said(&output));
    let output = workshop.subcommand("diskless", &["--hostname", "a b"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(said(&output).contains("--hostname a b: expected letters"), "{}", said(&output));
}
