//! Images from registries, from outside: a real registry on loopback that skopeo fills, and servers that break every rule. A test whose
//! programs are not installed says so and is skipped.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Command, Output},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

mod cache;
mod credentials;
mod elsewhere;
#[path = "../oci_images/gzip.rs"]
mod gzip;
mod image;
mod mirrors;
mod place;
mod proxy;
mod real;
#[path = "../support/registry.rs"]
mod registry;
mod retries;
mod server;
#[path = "../support/mod.rs"]
mod support;

use image::{Blobs, INDEX, MANIFEST, digest_of, layer};
use place::{Place, errors};
use proxy::Proxy;
use registry::Registry;
use server::{Answer, Request, Server};
use support::{Numbers, installed, noise, tool};

/// Answers as a registry that holds `blobs` and calls the document `root` by every tag.
fn registry(blobs: &Blobs, root: &Value, request: &Request) -> Answer {
    let Some((_, last)) = request.path.rsplit_once('/') else { return Answer::new(404, "") };
    if request.path == "/v2/" {
        return Answer::new(200, "{}");
    }
    let digest = if last.starts_with("sha256:") { last.to_owned() } else { digest_of(root) };
    match blobs.0.get(&digest) {
        Some(bytes) if request.path.contains("/manifests/") => {
            let value: Value = serde_json::from_slice(bytes).unwrap_or_default();
            let media_type = value["mediaType"].as_str().unwrap_or(MANIFEST);
            Answer::new(200, bytes.clone()).with("Content-Type", media_type).with("Docker-Content-Digest", digest)
        }
        Some(bytes) => Answer::new(200, bytes.clone()),
        None => Answer::new(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest\u001b[31m unknown"}]}"#),
    }
}

fn push(layout: &Path, to: &str, more: &[&str]) {
    let from = format!("oci:{}", layout.display());
    let to = format!("docker://{to}");
    tool("skopeo", &[&["copy", "-q", "--all", "--dest-tls-verify=false"], more, &[&from, &to]].concat());
}

#[test]
fn a_real_registry_gives_what_a_layout_gives() {
    if !installed("docker-registry") || !installed("skopeo") {
        return;
    }
    let place = Place::new();
    let mut blobs = Blobs::default();
    let manifests = [blobs.image("arm64", "other").0, blobs.image("amd64", "first").0];
    let first = blobs.index(&manifests);
    let manifests = [blobs.image("amd64", "second").0];
    let second = blobs.index(&manifests);
    blobs.write_layout(&place.path("first"), &first);
    blobs.write_layout(&place.path("second"), &second);
    let registry = Registry::start(place.0.path(), "");
    let name = format!("{}/some/image:tag", registry.address);
    push(&place.path("first"), &name, &[]);

    let of_layout = |name: &str| place.succeed(&format!("oci:{}", place.path(name).display()), &[]);
    let lock = place.path("images.lock");
    let locked = ["--lock", lock.to_str().unwrap()];
    assert_eq!(place.succeed(&name, &locked), of_layout("first"));
    let text: Value = serde_json::from_slice(&fs::read(&lock).unwrap()).unwrap();
    assert_eq!(text, json!({ "images": { &name: digest_of(&first) } }));
    let said = place.fail(&name, &["--platform", "linux/riscv64"]);
    assert!(said.contains("no image for linux/riscv64; there is linux/arm64, linux/amd64"), "{said}");
    let said = place.fail(&format!("{}/some/image:no", registry.address), &[]);
    assert!(said.contains("HTTP 404: there is no such image or tag"), "{said}");

    // The tag moves: the lock keeps what it was.
    push(&place.path("second"), &name, &[]);
    assert_eq!(place.succeed(&name, &locked), of_layout("first"));
    assert_eq!(place.succeed(&name, &[]), of_layout("second"));
    let by_digest = format!("{}/some/image@{}", registry.address, digest_of(&first));
    let address = registry.address.clone();
    drop(registry);
    // What is known by its digest comes from the cache.
    assert_eq!(place.succeed(&name, &locked), of_layout("first"));
    assert_eq!(place.succeed(&by_digest, &[]), of_layout("first"));
    let said = place.fail(&name, &[]);
    assert!(said.contains(&format!("from {address}")) && said.contains("refused"), "{said}");
    // A cache that was damaged heals itself, or would with the registry there.
    let (_, layer) = Blobs::default().image("amd64", "first");
    let kept = place.path("cache/oci").join(layer.replace(':', "-")).join("blob");
    let mut bytes = fs::read(&kept).unwrap();
    bytes[1000] ^= 1;
    fs::write(&kept, bytes).unwrap();
    assert!(place.fail(&by_digest, &[]).contains("removed from the cache"));
    assert!(!place.is_kept(&layer) && place.fail(&by_digest, &[]).contains("cannot fetch anything"));
}

/// An image that is wrong: its name, what makes it, a part of the error.
type Wrong = (&'static str, fn(&mut Blobs) -> Value, &'static str);

const WRONG: [Wrong; 9] = [
    (
        "an index that is a manifest",
        |blobs| {
            let manifest = blobs.image("amd64", "x").0;
            let text = String::from_utf8(blobs.0[&digest_of(&manifest)].clone()).unwrap();
            let mut value: Value = serde_json::from_str(&text).unwrap();
            value["manifests"] = json!([]);
            blobs.document(MANIFEST, &value)
        },
        "an index and a manifest at once",
    ),
    (
        "an index that is called a manifest",
        |blobs| {
            let manifest = blobs.image("amd64", "x").0;
            blobs.document(MANIFEST, &json!({ "schemaVersion": 2, "mediaType": MANIFEST, "manifests": [manifest] }))
        },
        "has the form of an index",
    ),
    (
        "a wrong machine",
        |blobs| {
            let mut manifest = blobs.image("arm64", "x").0;
            manifest["platform"]["architecture"] = "amd64".into();
            blobs.index(&[manifest])
        },
        "linux/arm64",
    ),
    (
        "a path for a digest",
        |blobs| {
            let layer = json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "sha256:../../../etc/passwd", "size": 1 });
            blobs.manifest("amd64", b"", layer)
        },
        "is not a digest",
    ),
    (
        "a negative size",
        |blobs| {
            let mut manifest = blobs.image("amd64", "x").0;
            manifest["size"] = json!(-1);
            blobs.index(&[manifest])
        },
        "-1",
    ),
    (
        "a size beyond all disks",
        |blobs| {
            let plain = layer("x");
            let mut layer = blobs.add("application/vnd.oci.image.layer.v1.tar", &plain);
            layer["size"] = json!(u64::MAX);
            blobs.manifest("amd64", &plain, layer)
        },
        "--max-size",
    ),
    (
        "a document of many gigabytes",
        |blobs| {
            let mut manifest = blobs.image("amd64", "x").0;
            manifest["size"] = json!(1_u64 << 40);
            blobs.index(&[manifest])
        },
        "4194304 at most are read",
    ),
    ("no JSON", |blobs| blobs.add(INDEX, b"\xff\0nonsense"), "is damaged"),
    ("a long document", |blobs| blobs.add(INDEX, &vec![b' '; 5 << 20]), "more than 4194304 bytes"),
];

#[test]
fn what_a_registry_says_wrong_is_refused() {
    for (what, make, expected) in WRONG {
        let place = Place::new();
        let mut blobs = Blobs::default();
        let root = make(&mut blobs);
        let server = Server::start(move |request| registry(&blobs, &root, request));
        let said = place.fail(&format!("{}/image", server.address), &[]);
        assert!(said.contains(expected), "{what}: {said}");
        assert!(said.len() < 2000 && !said.contains('\u{1b}'), "{what}: {said}");
    }

    // Another document than the one that was asked for; a text that would colour the terminal; a token that would be two headers.
    let place = Place::new();
    let mut blobs = Blobs::default();
    let (root, _) = blobs.image("amd64", "x");
    let wanted = digest_of(&root);
    let (other, _) = blobs.image("amd64", "y");
    let other = blobs.0[&digest_of(&other)].clone();
    let server = Server::start(move |request| match request.path.rsplit('/').nth(1) {
        Some("manifests") if request.path.contains("image") => Answer::new(200, other.clone()),
        _ => registry(&blobs, &root, request),
    });
    let said = place.fail(&format!("{}/image@{wanted}", server.address), &[]);
    assert!(said.contains("the received content has digest") && place.kept().is_empty(), "{said}");
    let said = place.fail(&format!("{}/no@sha256:{}", server.address, "0".repeat(64)), &[]);
    assert!(said.contains("manifest\\u{1b}[31m unknown"), "{said}");

    for answer in ["{\"token\":\"a\\r\\nX: y\"}", "{\"token\":\"\"}", "[1]", ""] {
        let tokens = Server::start(move |_| Answer::new(200, answer));
        let realm = format!("Bearer realm=\"http://{}/\"", tokens.address);
        let server = Server::start(move |_| Answer::new(401, "").with("WWW-Authenticate", realm.clone()));
        let said = place.fail(&format!("{}/image", server.address), &[]);
        assert!(said.contains("token"), "{said}");
    }
}

#[test]
fn inspect_fetches_no_layer() {
    let place = Place::new();
    let (blobs, root, layer) = Blobs::of_image("x");
    let server = Server::start(move |request| registry(&blobs, &root, request));
    let output = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
        .args(["oci", "inspect", &format!("{}/image", server.address), "--platform", "linux/amd64"])
        .env("INITRAMFS_OVERLAY_CACHE", place.path("cache"))
        .output()
        .unwrap();
    let mut told = String::new();
    output.stdout.as_slice().read_to_string(&mut told).unwrap();
    assert!(output.status.success() && told.contains(&layer), "{told}");
    assert!(!place.is_kept(&layer) && !server.requests().iter().any(|request| request.path.ends_with(&layer)));
}
