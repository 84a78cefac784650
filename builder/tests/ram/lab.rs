//! Fixtures of the boots from memory: images around a BusyBox, and `oci run` of them.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use base::progress::Progress;
use initramfs_overlay::busybox_image;
use serde_json::{Value, json};
use sources::{
    kernel_package::{self, Kernel},
    target,
};
use tempfile::TempDir;
use vm::qemu::{Guest, Machine};

use crate::{
    ended::{Ended, need, run},
    image::{Layer, layout},
};

/// BusyBox's applets in the images.
const APPLETS: [&str; 19] = [
    "cat", "echo", "env", "grep", "hostname", "id", "ifconfig", "kill", "ls", "mount", "ps", "pwd", "sh", "sleep",
    "stat", "touch", "true", "usleep", "wc",
];

/// Everything for these boots.
pub struct Lab {
    work: TempDir,
}

impl Lab {
    /// Looks whether all is there.
    pub fn open() -> Result<Self, String> {
        need(&["qemu-system-x86_64", "qemu-system-i386", "qemu-system-arm"])?;
        Ok(Self { work: TempDir::new().map_err(|error| error.to_string())? })
    }

    /// Returns a new directory for one test.
    pub fn directory(&self) -> PathBuf {
        tempfile::Builder::new().tempdir_in(self.work.path()).expect("a directory").keep()
    }

    /// Returns BusyBox for a target.
    pub fn busybox(&self, name: &str) -> Vec<u8> {
        let cache = initramfs_overlay::cache::open().expect("the cache");
        let target = target::named(name).expect("a target");
        busybox_image::get(target, None, &cache, sources::Substitute::Allow, &Progress::none()).expect("BusyBox").bytes
    }

    /// Returns the layer of a small distribution: a shell with its tools, users and groups.
    pub fn base(&self) -> Layer {
        let mut layer = Layer::new().directory("bin/", 0o755).file("bin/busybox", 0o755, &self.busybox("x86_64"));
        for applet in APPLETS {
            layer = layer.link(&format!("bin/{applet}"), "busybox");
        }
        layer
            .directory("etc/", 0o755)
            .file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:www:/srv/www:/bin/sh\n")
            .file("etc/group", 0o644, b"root:x:0:root\nlog:x:4:web\nweb:x:34:\n")
            .directory("tmp/", 0o1777)
    }

    /// Returns an image of that layer which runs a shell.
    pub fn image(&self) -> String {
        self.image_with(&json!({ "Entrypoint": ["/bin/sh", "-c"] }), vec![self.base()])
    }

    /// Returns an image for x86_64.
    pub fn image_with(&self, config: &Value, layers: Vec<Layer>) -> String {
        layout(&self.directory(), "amd64", config, layers)
    }

    /// Runs a subcommand with these arguments to its end.
    pub fn finish(&self, subcommand: &str, arguments: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
        run(command.arg(subcommand).args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null()))
    }

    /// Returns `oci` with these arguments.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
        command.arg("oci").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).stdin(Stdio::null());
        command
    }

    /// Runs `oci run` of an image: options, then what follows `--`.
    pub fn run(&self, image: &str, options: &[&str], arguments: &[&str]) -> Ended {
        let mut command = self.command(&["run", image, "--accel", "tcg", "--timeout", "300s"]);
        command.args(options).arg("--").args(arguments);
        run(&mut command)
    }

    /// Makes an archive of an image, with `--json`, and returns it with what was told.
    pub fn pack(&self, image: &str, options: &[&str]) -> (PathBuf, Value) {
        let file = self.directory().join("initrd");
        let mut command = self.command(&[image, "--json", "-o", file.to_str().expect("UTF-8")]);
        let ended = run(command.args(options));
        ended.expect(0);
        (file, serde_json::from_str(&ended.output).expect("JSON"))
    }

    /// Returns Debian's kernel for a target.
    pub fn kernel(&self, name: &str) -> Kernel {
        let target = target::named(name).expect("a target");
        let cache = initramfs_overlay::cache::open().expect("the cache");
        kernel_package::debian(target, &cache, sources::Substitute::Allow, &Progress::none()).expect("a kernel")
    }

    /// Boots an archive of one's own for a target. Returns what the console showed.
    pub fn boot(&self, name: &str, initrd: &Path, append: &str) -> String {
        let target = target::named(name).expect("a target");
        let mut machine = Machine::new(target, &self.kernel(name));
        machine.initrd = Some(initrd.to_owned());
        machine.append.push(format!("panic=-1 {append}"));
        let mut guest = Guest::start(&machine).expect("QEMU");
        guest.finish(Some(Duration::from_secs(300))).expect("the end");
        guest.console()
    }
}
