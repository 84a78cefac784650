//! The working directory of a test: the command run with a cache of its own, and the files that it leaves.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// A directory with a cache, outputs and no passwords of anybody's.
pub struct Place(pub tempfile::TempDir);

impl Place {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, image: &str, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
        command.arg("oci").arg(image).args(more);
        for (option, value) in [("--platform", "linux/amd64".into()), ("-o", self.path("out"))] {
            if !more.contains(&option) {
                command.arg(option).arg(value);
            }
        }
        command.env("INITRAMFS_OVERLAY_CACHE", self.path("cache")).env("DOCKER_CONFIG", self.path("docker"));
        command.env("XDG_RUNTIME_DIR", self.path("runtime")).env("XDG_CONFIG_HOME", self.path("config"));
        command.env_remove("REGISTRY_AUTH_FILE").env("CONTAINERS_REGISTRIES_CONF", self.path("registries.conf"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the command with a name and a password.
    pub fn ask_with_password(&self, image: &str, password: &str) -> Output {
        let mut command = self.command(image, &["--username", "user", "--password-stdin"]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Runs the command, which has to succeed, and returns the file that it wrote.
    pub fn succeed(&self, image: &str, more: &[&str]) -> Vec<u8> {
        let output = self.command(image, more).output().unwrap();
        self.made(&output)
    }

    pub fn made(&self, output: &Output) -> Vec<u8> {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let made = fs::read(self.path("out")).unwrap();
        let _ = fs::remove_file(self.path("out"));
        made
    }

    /// Runs the command, which has to fail and leave no file behind, and returns its standard error.
    pub fn fail(&self, image: &str, more: &[&str]) -> String {
        let mut command = self.command(image, more);
        if !more.contains(&"--registry-timeout") {
            command.args(["--registry-timeout", "3s"]);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        let left: Vec<String> = names(self.0.path()).into_iter().filter(|name| !name.starts_with("cache")).collect();
        assert!(!left.iter().any(|name| name == "out" || name.ends_with(".part")), "{left:?}");
        let parts: Vec<String> =
            names(&self.path("cache/oci")).into_iter().filter(|name| name.ends_with(".part")).collect();
        assert!(parts.is_empty(), "{parts:?}");
        said
    }

    /// Returns the cache's whole blobs.
    pub fn kept(&self) -> Vec<String> {
        names(&self.path("cache/oci")).into_iter().filter(|name| !name.starts_with('.')).collect()
    }

    /// Returns entries of the cache whose blob is not what its name says.
    pub fn wrong(&self) -> Vec<String> {
        let is_right = |name: &String| {
            let blob = fs::read(self.path("cache/oci").join(name).join("blob")).unwrap();
            *name == format!("sha256-{}", base::digest::digest(&blob))
        };
        self.kept().into_iter().filter(|name| !is_right(name)).collect()
    }

    /// Returns the file of a blob that has not come whole.
    pub fn partial(&self, digest: &str) -> PathBuf {
        self.path("cache/oci").join(format!(".{}.partial", digest.replace(':', "-")))
    }

    pub fn is_kept(&self, digest: &str) -> bool {
        self.path("cache/oci").join(digest.replace(':', "-")).exists()
    }
}

/// Returns what a command has said.
pub fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
