//! A real registry, at a port that it chooses itself.

use std::path::PathBuf;

use super::{Blobs, Place, push, registry::Registry, tool};

/// Starts a registry that speaks TLS with a certificate of its own for `host`, and has one image at `/image:tag`. The place's `layout`
/// has the same image. Returns the certificate as well.
pub fn with_tls(place: &Place, host: &str) -> (Registry, PathBuf) {
    let (key, certificate) = (place.path("key.pem"), place.path("certificate.pem"));
    let (subject, name) = (format!("/CN={host}"), format!("subjectAltName=DNS:{host}"));
    let options = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &subject, "-addext", &name];
    let files = ["-keyout", key.to_str().unwrap(), "-out", certificate.to_str().unwrap()];
    tool("openssl", &[&options[..], &["-addext", "basicConstraints=critical,CA:FALSE"], &files].concat());
    let (blobs, root, _) = Blobs::of_image("x");
    blobs.write_layout(&place.path("layout"), &root);
    // Filled without a certificate, asked with one.
    let plain = Registry::start(place.0.path(), "");
    push(&place.path("layout"), &format!("{}/image:tag", plain.address), &[]);
    drop(plain);
    let tls = format!("  tls: {{certificate: {}, key: {}}}\n", certificate.display(), key.display());
    (Registry::start(place.0.path(), &tls), certificate)
}
