use std::{fs, path::Path};

use serde_json::{Value, json};

use super::*;
use crate::cache::digest;

const MANIFEST: &str = MANIFESTS[0];
const INDEX: &str = INDEXES[0];

/// A layout in the making.
struct Made(tempfile::TempDir);

impl Made {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(folder)
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
        let layer = self.blob(LAYERS[0], &[0; 1024]);
        let diff_id = layer["digest"].clone();
        let config = json!({ "os": "linux", "architecture": architecture, "variant": variant, "rootfs": { "diff_ids": [diff_id] } });
        let config = self.document(CONFIGS[0], &config);
        self.document(
            MANIFEST,
            &json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [layer] }),
        )
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
        (Box::new(move |made| with(good(made), "size", json!(-1))), "index.json is damaged"),
        (Box::new(move |made| with(good(made), "size", json!(u64::MAX))), "descriptor says 18446744073709551615"),
        (Box::new(move |made| with(good(made), "size", json!(1e300))), "index.json is damaged"),
        (Box::new(move |made| with(good(made), "digest", json!("../../../etc/passwd"))), "is no digest"),
        (Box::new(move |made| with(good(made), "digest", json!("sha256:../../oci-layout"))), "is no digest"),
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
            "indexes are in each other",
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
fn a_folder_that_is_no_layout_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        Image::open(&format!("oci:{}", folder.path().display()), &Platform::of_this_machine()).unwrap_err().to_string()
    };
    assert!(open().contains("no file oci-layout"));
    fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    assert!(open().contains("version 1"));
    fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    assert!(open().contains("no file index.json"));
    fs::write(folder.path().join("index.json"), "{}").unwrap();
    assert!(open().contains("none at all"));
}
