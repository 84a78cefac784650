//! Images in the OCI layout, made by hand.

use std::{fs, path::Path};

use base::digest::digest;
use serde_json::{Value, json};

/// Returns a layout in `directory` with one image for `platform` (`amd64`, `arm/v6`) of these layers, each as it is stored and as it is unpacked.
/// Returns how it is called.
pub fn layout(directory: &Path, platform: &str, config: &Value, layers: &[(Vec<u8>, Vec<u8>)]) -> String {
    let blobs = directory.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let blob = |media_type: &str, bytes: &[u8]| -> Value {
        fs::write(blobs.join(digest(bytes)), bytes).unwrap();
        let media_type = format!("application/vnd.oci.image.{media_type}");
        json!({ "mediaType": media_type, "digest": format!("sha256:{}", digest(bytes)), "size": bytes.len() })
    };
    let layer_type = |stored: &[u8]| match stored {
        [0x1f, 0x8b, ..] => "layer.v1.tar+gzip",
        [0x28, 0xb5, ..] => "layer.v1.tar+zstd",
        _ => "layer.v1.tar",
    };
    let diff_ids: Vec<String> = layers.iter().map(|(_, plain)| format!("sha256:{}", digest(plain))).collect();
    let (architecture, variant) = match platform.split_once('/') {
        Some((architecture, variant)) => (architecture, Some(variant)),
        None => (platform, None),
    };
    let config = json!({ "os": "linux", "architecture": architecture, "variant": variant, "config": config,
        "rootfs": { "type": "layers", "diff_ids": diff_ids } });
    let config = blob("config.v1+json", config.to_string().as_bytes());
    let layers: Vec<Value> = layers.iter().map(|(stored, _)| blob(layer_type(stored), stored)).collect();
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
    let manifest = blob("manifest.v1+json", manifest.to_string().as_bytes());
    fs::write(directory.join("index.json"), json!({ "schemaVersion": 2, "manifests": [manifest] }).to_string())
        .unwrap();
    fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    format!("oci:{}", directory.display())
}
