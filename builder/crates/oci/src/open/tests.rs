use std::{fs, path::Path};

use base::digest::digest;
use serde_json::{Value, json};

use super::*;
use crate::manifest::{CONFIGS, INDEXES, LAYERS, MANIFESTS};

mod odd;

const MANIFEST: &str = MANIFESTS[0];
const INDEX: &str = INDEXES[0];

/// A layout in the making.
struct Made(tempfile::TempDir);

impl Made {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
        fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(directory)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digits = digest(bytes);
        fs::write(self.path().join("blobs/sha256").join(&digits), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": format!("sha256:{digits}"), "size": bytes.len() })
    }

    fn document(&self, media_type: &str, value: &Value) -> Value {
        self.blob(media_type, value.to_string().as_bytes())
    }

    fn manifest(&self, architecture: &str, variant: Option<&str>) -> Value {
        let layer = self.layer();
        let diff_id = layer["digest"].clone();
        let config = json!({ "os": "linux", "architecture": architecture, "variant": variant, "rootfs": { "diff_ids": [diff_id] } });
        let config = self.document(CONFIGS[0], &config);
        self.document(
            MANIFEST,
            &json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] }),
        )
    }

    fn layer(&self) -> Value {
        self.blob(LAYERS[0], &[0; 1024])
    }

    /// Makes a manifest whose documents are changed on their way.
    fn changed(&self, config: impl Fn(&mut Value), manifest: impl Fn(&mut Value)) -> Value {
        let layer = self.layer();
        let mut value = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "diff_ids": [layer["digest"]] } });
        config(&mut value);
        let mut whole = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": self.document(CONFIGS[0], &value), "layers": [layer] });
        manifest(&mut whole);
        self.document(MANIFEST, &whole)
    }

    fn index(&self, manifests: &[Value]) {
        fs::write(self.path().join("index.json"), json!({ "schemaVersion": 2, "manifests": manifests }).to_string())
            .unwrap();
    }

    fn open(&self, tag: &str, platform: &str) -> Result<Image> {
        Image::open(&format!("oci:{}{tag}", self.path().display()), &Platform::parse(platform).unwrap())
    }

    fn refusal(&self) -> String {
        self.open("", "linux/amd64").unwrap_err().to_string()
    }
}

fn with(mut descriptor: Value, key: &str, value: Value) -> Value {
    descriptor[key] = value;
    descriptor
}

fn of(descriptor: Value, architecture: &str, variant: Option<&str>) -> Value {
    with(descriptor, "platform", json!({ "os": "linux", "architecture": architecture, "variant": variant }))
}

fn tagged(descriptor: Value, tag: &str) -> Value {
    with(descriptor, "annotations", json!({ "org.opencontainers.image.ref.name": tag }))
}

#[test]
fn the_image_of_the_platform_is_found_through_indexes() {
    let made = Made::new();
    let all = [("amd64", None), ("386", None), ("arm", Some("v5")), ("arm", Some("v6")), ("arm", Some("v7"))];
    let mut manifests: Vec<Value> =
        all.iter().map(|(name, variant)| of(made.manifest(name, *variant), name, *variant)).collect();
    manifests.push(of(made.blob(MANIFEST, b"not even JSON"), "unknown", None));
    manifests[5]["platform"]["os"] = "unknown".into();
    let inner = made.document(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }));
    let outer = made.document(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [inner] }));
    made.index(&[tagged(outer, "latest"), tagged(made.manifest("s390x", None), "other")]);
    for (platform, found) in [
        ("linux/amd64", "linux/amd64"),
        ("linux/386", "linux/386"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/v5", "linux/arm/v5"),
    ] {
        let image = made.open(":latest", platform).unwrap();
        assert_eq!(image.config.unwrap().platform.normal().to_string(), found);
        assert_eq!(image.platforms.len(), 5, "{:?}", image.platforms);
    }
    let error = made.open(":latest", "linux/arm64").unwrap_err().to_string();
    assert!(error.contains("no image for linux/arm64; there is linux/amd64, linux/386, linux/arm/v5"), "{error}");
    let error = made.open(":other", "linux/amd64").unwrap_err().to_string();
    assert!(error.contains("there is linux/s390x"), "{error}");
    assert!(made.open("", "linux/amd64").unwrap_err().to_string().contains("by its tag: latest, other"));
    assert!(made.open(":no", "linux/amd64").unwrap_err().to_string().contains("no tag `no`; its tags: latest, other"));
}

#[test]
fn documents_that_contradict_themselves_are_refused() {
    let good = |made: &Made| made.manifest("amd64", None);
    let digits = "0".repeat(64);
    type Change = Box<dyn Fn(&Made) -> Value>;
    let manifest_with = |key: &'static str, value: Value| -> Change {
        Box::new(move |made: &Made| {
            let path = made.manifest("amd64", None)["digest"].as_str().unwrap().replace(':', "/");
            let manifest: Value =
                serde_json::from_slice(&fs::read(made.path().join("blobs").join(path)).unwrap()).unwrap();
            made.document(MANIFEST, &with(manifest, key, value.clone()))
        })
    };
    let cases: Vec<(Change, &str)> = vec![
        (Box::new(move |made| with(good(made), "size", json!(3))), "descriptor says 3"),
        (Box::new(move |made| with(good(made), "size", json!(-1))), "of its index is damaged"),
        (Box::new(move |made| with(good(made), "size", json!(u64::MAX))), "descriptor says 18446744073709551615"),
        (Box::new(move |made| with(good(made), "size", json!(1e300))), "of its index is damaged"),
        (Box::new(move |made| with(good(made), "digest", json!("../../../etc/passwd"))), "is not a digest"),
        (Box::new(move |made| with(good(made), "digest", json!("sha256:../../oci-layout"))), "is not a digest"),
        (Box::new(move |made| with(good(made), "digest", json!(format!("sha256:{digits}")))), "is not there"),
        (Box::new(move |made| with(good(made), "mediaType", json!(INDEX))), "and its descriptor says"),
        (manifest_with("manifests", json!([])), "an index and a manifest at once"),
        (manifest_with("mediaType", json!("text/plain")), "and its descriptor says"),
        (manifest_with("layers", json!([])), "it has 0 layers, and its config names 1"),
        (manifest_with("config", Value::Null), "neither an index nor a manifest"),
        (manifest_with("schemaVersion", json!(1)), "schema 1"),
        (
            Box::new(|made| made.document(MANIFEST, &json!({ "schemaVersion": 2, "manifests": [] }))),
            "has the form of an index",
        ),
        (Box::new(|made| made.blob(MANIFEST, b"{")), "is damaged"),
        (
            Box::new(|made| {
                let mut inner = made.manifest("amd64", None);
                for _ in 0..6 {
                    inner = made.document(INDEX, &json!({ "schemaVersion": 2, "manifests": [inner] }));
                }
                inner
            }),
            "indexes are nested",
        ),
    ];
    for (change, part) in cases {
        let made = Made::new();
        made.index(&[change(&made)]);
        let error = made.refusal();
        assert!(error.contains(part), "{part}: {error}");
    }
    let made = Made::new();
    let manifest = made.manifest("amd64", None);
    let path = made.path().join("blobs").join(manifest["digest"].as_str().unwrap().replace(':', "/"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[20] ^= 1;
    fs::write(&path, bytes).unwrap();
    made.index(&[manifest]);
    assert!(made.refusal().contains("damaged"), "{}", made.refusal());
}

#[test]
fn a_directory_that_is_no_layout_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        Image::open(&format!("oci:{}", directory.path().display()), &Platform::of_this_machine())
            .unwrap_err()
            .to_string()
    };
    assert!(open().contains("no file oci-layout"));
    fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert!(open().contains("version 1"));
    fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    assert!(open().contains("no file index.json"));
    fs::write(directory.path().join("index.json"), "{}").unwrap();
    assert!(open().contains("none at all"));
}

#[test]
fn an_image_is_not_packed_as_a_root() {
    let made = Made::new();
    made.index(&[made.manifest("amd64", None)]);
    let open = |reference: String| Image::open(&reference, &Platform::of_this_machine());
    let said = |error: crate::Error| error.to_string();
    let place = made.path().display().to_string();
    assert!(said(open(format!("dir:{place}")).unwrap_err()).contains(&format!("write oci:{place}")));
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("version"), "Directory Transport Version: 1.1\n").unwrap();
    let place = directory.path().display().to_string();
    open(format!("dir:{place}")).unwrap();
    fs::write(directory.path().join("manifest.json"), "{}").unwrap();
    assert!(said(open(format!("dir:{place}")).unwrap_err()).contains("skopeo copy dir:"));
    for (names, scheme) in [
        (&["oci-layout", "index.json", "blobs/sha256/x"][..], Some("oci-archive")),
        (&["manifest.json", "a/layer.tar"], Some("docker-archive")),
        (&["manifest.json", "repositories"], Some("docker-archive")),
        (&["manifest.json", "etc/passwd"], None),
    ] {
        let mut builder = tar::Builder::new(Vec::new());
        for name in names {
            let mut header = tar::Header::new_ustar();
            header.set_size(1);
            builder.append_data(&mut header, name, &b"x"[..]).unwrap();
        }
        let path = directory.path().join("a.tar");
        fs::write(&path, builder.into_inner().unwrap()).unwrap();
        let image = open(format!("tar:{}", path.display())).unwrap();
        let merged = crate::merge(&image, &Default::default(), 1 << 20, base::progress::Progress::none());
        match scheme {
            None => assert!(merged.is_ok()),
            Some(scheme) => {
                let said = said(merged.unwrap_err());
                assert!(said.contains(&format!("write {scheme}:{}", path.display())), "{said}");
            }
        }
    }
}

#[test]
fn nulls_and_what_nobody_says_are_as_go_reads_them() {
    let empty = |made: &Made, key: &str| {
        let manifest = made.changed(
            |config| match key {
                "rootfs" => config["rootfs"] = Value::Null,
                "diff_ids" => config["rootfs"]["diff_ids"] = Value::Null,
                _ => config["rootfs"]["diff_ids"] = json!([]),
            },
            |manifest| manifest["layers"] = if key == "layers" { Value::Null } else { json!([]) },
        );
        with(with(manifest, "annotations", Value::Null), "platform", Value::Null)
    };
    for key in ["rootfs", "diff_ids", "layers", ""] {
        let made = Made::new();
        made.index(&[empty(&made, key)]);
        assert_eq!(made.open("", "linux/amd64").unwrap().layers().len(), 0, "{key}");
    }
    // A config that does not say for which machine it is goes by what its descriptor says, else it fits.
    for (platform, fits) in [
        (Value::Null, true),
        (json!({ "os": "linux", "architecture": "386" }), false),
        (json!({ "os": "", "architecture": "" }), true),
    ] {
        let made = Made::new();
        let manifest = made.changed(
            |config| {
                config.as_object_mut().unwrap().remove("os");
                config["architecture"] = json!("");
            },
            |_| {},
        );
        made.index(&[with(manifest, "platform", platform.clone())]);
        assert_eq!(made.open("", "linux/amd64").is_ok(), fits, "{platform}");
    }
    let made = Made::new();
    made.index(&[with(made.manifest("amd64", None), "annotations", json!({ "a": null }))]);
    made.open("", "linux/amd64").unwrap();
}

#[test]
fn two_tags_of_one_image_are_one_image() {
    let made = Made::new();
    let manifest = made.manifest("amd64", None);
    made.index(&[tagged(manifest.clone(), "1.2"), tagged(manifest.clone(), "latest")]);
    for tag in ["", ":latest", ":1.2"] {
        assert_eq!(made.open(tag, "linux/amd64").unwrap().layers().len(), 1, "{tag}");
    }
    // The same two images under two tags as well.
    let other = made.manifest("386", None);
    made.index(&["a", "b"].map(|tag| [tagged(manifest.clone(), tag), tagged(other.clone(), tag)]).concat());
    made.open("", "linux/386").unwrap();
    made.index(&[tagged(manifest, "a"), tagged(other, "b")]);
    assert!(made.refusal().contains("by its tag: a, b"));
}

#[test]
fn what_is_no_image_is_passed_by() {
    type Other = (&'static str, fn(&Made) -> Value);
    let others: [Other; 8] = [
        ("application/spdx+json", |made| made.blob("application/spdx+json", b"{}")),
        ("application/vnd.cncf.helm.config.v1+json", |made| {
            made.changed(
                |_| {},
                |manifest| manifest["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json"),
            )
        }),
        ("application/vnd.dev.cosign.simplesigning.v1+json", |made| {
            made.changed(
                |config| config["os"] = json!(""),
                |manifest| {
                    manifest["layers"][0]["mediaType"] = json!("application/vnd.dev.cosign.simplesigning.v1+json");
                },
            )
        }),
        ("application/vnd.in-toto+json", |made| {
            made.changed(|_| {}, |manifest| manifest["layers"][0]["mediaType"] = json!("application/vnd.in-toto+json"))
        }),
        ("application/vnd.example.artifact", |made| {
            made.changed(|_| {}, |manifest| manifest["artifactType"] = json!("application/vnd.example.artifact"))
        }),
        ("application/vnd.example.listed", |made| {
            with(made.manifest("amd64", None), "artifactType", json!("application/vnd.example.listed"))
        }),
        ("neither an index nor a manifest", |made| made.document(MANIFEST, &json!({ "schemaVersion": 2 }))),
        ("layer.v1.tar+encrypted", |made| {
            made.changed(
                |_| {},
                |manifest| {
                    manifest["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+encrypted")
                },
            )
        }),
    ];
    for (name, other) in others {
        let made = Made::new();
        let first = other(&made);
        let good = made.changed(|config| config["variant"] = json!("v1"), |_| {});
        for first in [first.clone(), of(first.clone(), "amd64", None)] {
            made.index(&[first, good.clone()]);
            assert_eq!(made.open("", "linux/amd64").unwrap().digest.unwrap().to_string(), good["digest"], "{name}");
        }
        made.index(std::slice::from_ref(&first));
        assert!(made.refusal().contains(name), "{name}: {}", made.refusal());
        made.index(&[first, made.blob("text/plain", b""), made.manifest("386", None)]);
        let said = made.refusal();
        assert!(said.contains(name) && said.contains("`text/plain`") && said.contains("there is linux/386"), "{said}");
    }
    // What is broken is no reason to look for something else.
    let made = Made::new();
    let broken = with(made.manifest("amd64", None), "size", json!(3));
    made.index(&[of(broken, "amd64", None), made.manifest("amd64", None)]);
    assert!(made.refusal().contains("descriptor says 3"));
}

#[test]
fn layers_have_the_types_of_all_writers() {
    for media_type in [
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.docker.image.rootfs.diff.tar.zstd",
        "application/vnd.docker.image.rootfs.diff.tar+zstd",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        "application/vnd.oci.image.layer.v1.tar",
        "",
    ] {
        let made = Made::new();
        made.index(&[made.changed(|_| {}, |manifest| manifest["layers"][0]["mediaType"] = json!(media_type))]);
        made.open("", "linux/amd64").unwrap_or_else(|error| panic!("{media_type}: {error}"));
    }
}

#[test]
fn a_layer_to_be_fetched_elsewhere_is_told_where_nothing_is_fetched() {
    let made = Made::new();
    let absent = format!("sha256:{}", "0a".repeat(32));
    made.index(&[made.changed(
        |_| {},
        |manifest| {
            manifest["layers"][0]["digest"] = json!(absent);
            manifest["layers"][0]["URLs"] = json!(["https://a.test/layer", "https://b.test/\u{1b}"]);
        },
    )]);
    let said = made.refusal();
    let urls = "https://a.test/layer or https://b.test/\\u{1b}";
    for part in [&format!("its layer 1 of 1 ({absent}) is not there"), urls, "name the image in its registry"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // One that is there needs nobody.
    made.index(&[made.changed(|_| {}, |manifest| manifest["layers"][0]["urls"] = json!(["https://a.test/layer"]))]);
    made.open("", "linux/amd64").unwrap();
}

mod saved;
