//! Documents and names of images: an error or a value.

use std::path::Path;

use oci::{
    blob::Digest, config::Config, exclude::Exclude, image::Image, inject::Inject, platform::Platform,
    reference::Reference, registry::name::Name,
};
use serde_json::{Value, json};

use super::numbered;

/// Reads the config alone, a layout whose index it is, and every name that a user can write.
pub fn run(data: &[u8]) {
    let _ = Config::parse(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = Platform::parse(text).map(Platform::normal);
    let _ = (Reference::parse(text), Inject::parse(text), Exclude::new(&[text.to_owned()]));
    if let Some(digest) = Digest::parse(text) {
        assert!(!digest.digits().contains(['/', '.']));
    }
    if let Ok(name) = Name::parse(text) {
        assert!(!name.host().is_empty());
        let _ = (name.login(), name.is_local());
        let again = Name::parse(&name.to_string()).expect("a whole name is a name");
        assert_eq!(again, name);
    }
    // Documents that belong together: an index, and below it what its lines are.
    if let Ok(Value::Object(documents)) = serde_json::from_str(text) {
        let directory = tempfile::tempdir().expect("a directory");
        if lay_out(directory.path(), &documents.into_iter().map(|(_, document)| document).collect::<Vec<_>>()).is_some()
        {
            let name = format!("oci:{}", directory.path().display());
            let _ = Image::open(&name, &Platform::parse("linux/amd64").expect("a platform"));
        }
    }
}

/// Writes each document as a blob; where one says `$N` in the place of a digest and a size, that is blob N.
fn lay_out(directory: &Path, documents: &[Value]) -> Option<()> {
    let blobs = directory.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).ok()?;
    std::fs::write(directory.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).ok()?;
    let mut known: Vec<(String, usize)> = Vec::new();
    for document in documents.iter().take(16) {
        let mut text = document.to_string();
        for (number, (digest, size)) in known.iter().enumerate() {
            text = text.replace(&format!("\"${number}\""), &format!("\"sha256:{digest}\""));
            text = text.replace(&format!("\"#{number}\""), &size.to_string());
        }
        let digest = base::digest::digest(text.as_bytes());
        std::fs::write(blobs.join(&digest), &text).ok()?;
        known.push((digest, text.len()));
        // The last is the index.
        std::fs::write(directory.join("index.json"), text).ok()?;
    }
    Some(())
}

/// Returns an image with an index in an index, its config alone, and names.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let manifest = "application/vnd.oci.image.manifest.v1+json";
    let config = json!({ "os": "linux", "architecture": "arm", "variant": "v6",
        "config": { "Entrypoint": ["/a"], "Cmd": ["b"], "Env": ["A=1"], "WorkingDir": "/", "User": "1:2", "StopSignal": "SIGTERM", "Hostname": "h" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", "0".repeat(64))] } });
    let small = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "diff_ids": ["$0"] } });
    let index = json!({ "schemaVersion": 2, "manifests": [
        { "mediaType": manifest, "digest": "$2", "size": "#2", "platform": { "os": "linux", "architecture": "amd64" } }] });
    let outer = json!({ "schemaVersion": 2, "manifests": [{ "digest": "$3", "size": "#3",
        "annotations": { "org.opencontainers.image.ref.name": "latest" } }] });
    let layout = json!({ "0": {}, "1": small,
        "2": { "schemaVersion": 2, "mediaType": manifest, "config": { "digest": "$1", "size": "#1" },
            "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": "$0", "size": "#0" }] },
        "3": index, "4": outer });
    numbered([
        config.to_string(),
        layout.to_string(),
        "linux/arm/v6".to_owned(),
        "registry.example.com:5000/a/b.c:1.4".to_owned(),
        format!("alpine@sha256:{}", "0".repeat(64)),
        format!("sha256:{}", "a".repeat(64)),
        "docker-archive:x.tar:a/b:1".to_owned(),
        "oci:a/b:tag".to_owned(),
        "a:/b/c:755".to_owned(),
        "usr/**/[ab]{c,d}*.?".to_owned(),
        "[::1]:5000/x".to_owned(),
    ])
}
