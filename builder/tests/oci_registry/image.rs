//! Images made by hand, as the documents and blobs that a registry hands out.

use std::{collections::BTreeMap, fs, path::Path};

use base::digest::digest;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::gzip::gzip;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// Blobs by digest.
#[derive(Debug, Clone, Default)]
pub struct Blobs(pub BTreeMap<String, Vec<u8>>);

impl Blobs {
    /// Adds bytes; the descriptor that names them.
    pub fn add(&mut self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = format!("sha256:{}", digest(bytes));
        self.0.insert(digest.clone(), bytes.to_vec());
        json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() })
    }

    pub fn document(&mut self, media_type: &str, value: &Value) -> Value {
        self.add(media_type, value.to_string().as_bytes())
    }

    /// Returns one image for amd64 whose `/init` says `text`, as [`Self::image`].
    pub fn of_image(text: &str) -> (Self, Value, String) {
        let mut blobs = Self::default();
        let (root, layer) = blobs.image("amd64", text);
        (blobs, root, layer)
    }

    /// Returns an image of one layer whose `/init` says `text`; its manifest's descriptor and its layer's digest.
    pub fn image(&mut self, architecture: &str, text: &str) -> (Value, String) {
        let plain = layer(text);
        let layer = self.add("application/vnd.oci.image.layer.v1.tar+gzip", &gzip(&plain));
        let name = layer["digest"].as_str().unwrap().to_owned();
        (self.manifest(architecture, &plain, layer), name)
    }

    /// Returns an image of several layers, each with a file of its name; its manifest's descriptor and its layers' digests.
    pub fn image_of_layers(&mut self, architecture: &str, texts: &[&str]) -> (Value, Vec<String>) {
        let plain: Vec<Vec<u8>> = texts.iter().map(|text| layer(text)).collect();
        let layers: Vec<Value> =
            plain.iter().map(|plain| self.add("application/vnd.oci.image.layer.v1.tar+gzip", &gzip(plain))).collect();
        let digests = layers.iter().map(digest_of).collect();
        let diff_ids: Vec<String> = plain.iter().map(|plain| format!("sha256:{}", digest(plain))).collect();
        (self.manifest_of(architecture, &diff_ids, &layers), digests)
    }

    /// Returns a manifest of one layer, whatever its descriptor says.
    pub fn manifest(&mut self, architecture: &str, plain: &[u8], layer: Value) -> Value {
        self.manifest_of(architecture, &[format!("sha256:{}", digest(plain))], &[layer])
    }

    fn manifest_of(&mut self, architecture: &str, diff_ids: &[String], layers: &[Value]) -> Value {
        let config = json!({ "os": "linux", "architecture": architecture, "rootfs": { "type": "layers", "diff_ids": diff_ids } });
        let config = self.document("application/vnd.oci.image.config.v1+json", &config);
        let value = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        let mut manifest = self.document(MANIFEST, &value);
        manifest["platform"] = json!({ "os": "linux", "architecture": architecture });
        manifest
    }

    pub fn index(&mut self, manifests: &[Value]) -> Value {
        self.document(INDEX, &json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests }))
    }

    /// Writes it as an OCI layout, for skopeo.
    pub fn write_layout(&self, directory: &Path, root: &Value) {
        let blobs = directory.join("blobs/sha256");
        fs::create_dir_all(&blobs).unwrap();
        for (digest, bytes) in &self.0 {
            fs::write(blobs.join(digest.strip_prefix("sha256:").unwrap()), bytes).unwrap();
        }
        let index = json!({ "schemaVersion": 2, "manifests": [root] });
        fs::write(directory.join("index.json"), index.to_string()).unwrap();
        fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    }
}

pub fn digest_of(descriptor: &Value) -> String {
    descriptor["digest"].as_str().unwrap().to_owned()
}

/// Returns a layer with an `/init` that says `text`, and something that does not compress.
pub fn layer(text: &str) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, mode, content) in [("init", 0o755, text.as_bytes()), ("noise", 0o644, &super::noise(200_000))] {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, content).unwrap();
    }
    builder.into_inner().unwrap()
}
