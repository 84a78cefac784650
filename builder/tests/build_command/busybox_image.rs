//! A BusyBox out of an OCI image: the one of the target's platform, whatever links lead to it, and checked like any other.

use std::{fs, path::Path};

use base::{cache::Cache, digest::digest, progress::Progress};
use initramfs_overlay::busybox_image;
use serde_json::{Value, json};
use sources::{
    busybox::{Origin, SourceImage},
    target,
};
use tar::{Builder, EntryType, Header};

use super::programs;

/// Returns a layer in which `/bin` is a link and so is the program.
fn layer(program: &[u8]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, content) in [
        ("bin", EntryType::Symlink, &b"usr/bin"[..]),
        ("usr/bin/busybox", EntryType::Symlink, b"../../opt/./real"),
        ("opt/real", EntryType::Regular, program),
    ] {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        if kind == EntryType::Symlink {
            header.set_size(0);
            builder.append_link(&mut header, path, str::from_utf8(content).unwrap()).unwrap();
        } else {
            header.set_size(content.len() as u64);
            builder.append_data(&mut header, path, content).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn layout(directory: &Path, programs: &[(&str, Option<&str>, Vec<u8>)]) {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |bytes: &[u8]| -> Value {
        fs::write(blobs.join(digest(bytes)), bytes).unwrap();
        json!({ "digest": format!("sha256:{}", digest(bytes)), "size": bytes.len() })
    };
    let manifests: Vec<Value> = programs
        .iter()
        .map(|(architecture, variant, program)| {
            let layer = blob(&layer(program));
            let platform = json!({ "os": "linux", "architecture": architecture, "variant": variant });
            let mut config = platform.clone();
            config["rootfs"] = json!({ "diff_ids": [layer["digest"]] });
            let config = blob(config.to_string().as_bytes());
            let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
            let mut manifest = blob(manifest.to_string().as_bytes());
            manifest["platform"] = platform;
            manifest
        })
        .collect();
    fs::write(directory.join("index.json"), json!({ "schemaVersion": 2, "manifests": manifests }).to_string()).unwrap();
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
}

#[test]
fn the_program_of_the_platform_is_taken_and_checked() {
    let directory = tempfile::tempdir().unwrap();
    let images = [("amd64", None, programs::busybox()), ("arm", Some("v6"), programs::busybox())];
    layout(directory.path(), &images);
    let name = format!("oci:{}", directory.path().display());
    let cache = Cache::at(directory.path().join("cache"));
    let get = |target: &str| {
        busybox_image::get(
            target::named(target).unwrap(),
            Some(Path::new(&name)),
            &cache,
            sources::Substitute::Allow,
            &Progress::none(),
        )
    };
    let got = get("x86_64").unwrap();
    let index: Value = serde_json::from_slice(&fs::read(directory.path().join("index.json")).unwrap()).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().map(str::to_owned);
    assert_eq!(got.origin, Some(Origin::Image(SourceImage { name: None, digest })));
    assert_eq!(got.bytes, programs::busybox());
    assert_eq!(got.applets, programs::APPLETS);
    // A program for another machine under the right platform's name, and no image at all.
    let said = get("armv6l").unwrap_err().to_string();
    assert!(said.contains("BusyBox for armv6l") && said.contains("64-bit x86"), "{said}");
    assert!(get("i686").unwrap_err().to_string().contains("no image for linux/386"));

    layout(directory.path(), &[("amd64", None, b"#!/bin/sh\n".to_vec())]);
    assert!(get("x86_64").unwrap_err().to_string().contains("not an ELF program"));
}
