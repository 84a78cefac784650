//! Small images in the OCI layout, made by hand.

use std::{fs, path::Path};

use initramfs_overlay::cache::digest;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

/// A layer in the making: every name root's.
pub struct Layer(Builder<Vec<u8>>);

impl Layer {
    /// An empty one.
    pub fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn header(kind: EntryType, mode: u32, size: usize) -> Header {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_000_000_000);
        header
    }

    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Self {
        let mut header = Self::header(EntryType::Regular, mode, content.len());
        self.0.append_data(&mut header, path, content).expect("a file");
        self
    }

    pub fn folder(mut self, path: &str, mode: u32) -> Self {
        self.0.append_data(&mut Self::header(EntryType::Directory, mode, 0), path, &[][..]).expect("a folder");
        self
    }

    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.0.append_link(&mut Self::header(EntryType::Symlink, 0o777, 0), path, target).expect("a link");
        self
    }

    /// An extended attribute of what comes next.
    pub fn attribute(mut self, name: &str, value: &[u8]) -> Self {
        self.0.append_pax_extensions([(format!("SCHILY.xattr.{name}").as_str(), value)]).expect("an attribute");
        self
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("a tar file")
    }
}

/// A layout with one image in `folder`. Returns how it is called.
pub fn layout(folder: &Path, architecture: &str, config: &Value, layers: Vec<Layer>) -> String {
    let blobs = folder.join("blobs/sha256");
    fs::create_dir_all(&blobs).expect("a folder");
    let blob = |bytes: &[u8]| -> Value {
        fs::write(blobs.join(digest(bytes)), bytes).expect("a blob");
        json!({ "digest": format!("sha256:{}", digest(bytes)), "size": bytes.len() })
    };
    let layers: Vec<Vec<u8>> = layers.into_iter().map(Layer::bytes).collect();
    let diff_ids: Vec<String> = layers.iter().map(|layer| format!("sha256:{}", digest(layer))).collect();
    let (architecture, variant) = match architecture.split_once('/') {
        Some((architecture, variant)) => (architecture, Some(variant)),
        None => (architecture, None),
    };
    let config = json!({ "os": "linux", "architecture": architecture, "variant": variant, "config": config,
        "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let config = blob(config.to_string().as_bytes());
    let layers: Vec<Value> = layers.iter().map(|layer| blob(layer)).collect();
    let manifest = blob(json!({ "schemaVersion": 2, "config": config, "layers": layers }).to_string().as_bytes());
    fs::write(folder.join("index.json"), json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string())
        .expect("a file");
    fs::write(folder.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("a file");
    format!("oci:{}", folder.display())
}
