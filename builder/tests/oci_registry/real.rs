//! A real registry, at a port that it chooses itself.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use super::{Blobs, Place, push, tool};

/// Debian's docker-registry, stopped when it is dropped.
pub struct Registry {
    child: Child,
    pub address: String,
}

impl Registry {
    pub fn start(directory: &Path, more: &str) -> Self {
        let config = directory.join("config.yml");
        let storage = directory.join("storage");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: '127.0.0.1:0'\n{more}",
            storage.display()
        );
        fs::write(&config, text).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            said += &line;
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.chars().take_while(|c| c.is_ascii_digit() || b".:".contains(&(*c as u8))).collect::<String>())
        });
        std::thread::spawn(move || lines.for_each(drop));
        Self { address: address.unwrap_or_else(|| panic!("no address: {said}")), child }
    }
}

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

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
