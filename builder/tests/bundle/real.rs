//! A real bundle: the same bytes from two copies of the source tree, and images and boots out of it on a machine with nothing else.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use base::progress::Progress;
use initramfs_overlay::{busybox_image, busybox_rootfs};
use serde_json::{Value, json};
use sources::{kernel_package, target};

use super::{layout, said, support};

const COMMAND: &str = env!("CARGO_BIN_EXE_initramfs-overlay");
/// Parts of the source tree that a copy needs.
const TREE: [&str; 11] = [
    "Cargo.lock", "Cargo.toml", "LICENSE-APACHE", "LICENSE-MIT", "builder", "contract", "docs", "init",
    "rust-toolchain.toml", "targets", "README.md",
];
/// The `PATH` of a machine with QEMU and virtiofsd; rustup's cargo is below the home, which is empty.
const SYSTEM: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes a bundle for x86_64 from the source tree `source`; returns its path.
fn bundle(source: &Path, output: &Path) -> PathBuf {
    let mut command = Command::new(COMMAND);
    command.args(["bundle", "--target", "x86_64", "--json", "--output-dir"]).arg(output).arg("--source").arg(source);
    let made = command.current_dir("/").output().unwrap();
    assert!(made.status.success(), "{}", said(&made));
    let told: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(told["inits"], 9);
    PathBuf::from(told["file"].as_str().unwrap())
}

/// Returns the files of a directory with their contents.
fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())).collect()
}

/// A machine with the bundle, QEMU and virtiofsd, and nothing else: no compiler, no cache, no network where this test may take it away.
struct Machine {
    directory: tempfile::TempDir,
    command: PathBuf,
}

impl Machine {
    fn new(bundle: &Path) -> Self {
        let directory = tempfile::tempdir().unwrap();
        support::tool("tar", &["-xzf", bundle.to_str().unwrap(), "-C", directory.path().to_str().unwrap()]);
        let top = fs::read_dir(directory.path()).unwrap().next().unwrap().unwrap().path();
        Self { command: top.join("initramfs-overlay"), directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self) -> Command {
        let mut command = match rustix::process::geteuid().is_root() {
            true => {
                let mut command = Command::new("/usr/bin/unshare");
                command.arg("--net").arg(&self.command);
                command
            }
            false => Command::new(&self.command),
        };
        command.env_clear().env("PATH", SYSTEM).env("HOME", self.path("home"));
        command.current_dir(self.directory.path());
        command
    }

    /// Runs a command line that has to succeed; returns its output.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command().args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

#[test]
fn a_bundle_does_without_compiler_cache_and_network() {
    match std::env::var("BUNDLE").as_deref() {
        Ok("long") => {}
        Ok(finished) => return boots(&Machine::new(Path::new(finished))),
        Err(_) => return support::skip("a real bundle is made with BUNDLE=long"),
    }
    let work = tempfile::tempdir().unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let first = bundle(source, &work.path().join("first"));
    let copy = work.path().join("a copy");
    fs::create_dir(&copy).unwrap();
    for name in TREE {
        support::tool("cp", &["-a", source.join(name).to_str().unwrap(), copy.to_str().unwrap()]);
    }
    let second = bundle(&copy, &work.path().join("second"));
    assert!(fs::read(&first).unwrap() == fs::read(second).unwrap(), "another copy of the tree makes another bundle");

    let machine = Machine::new(&first);
    images(&machine, &copy, work.path());
    boots(&machine);
}

/// Compares what is built out of the bundle with what is built with a compiler: bytes, manifests and bills of materials.
fn images(machine: &Machine, source: &Path, work: &Path) {
    let build = ["build", "--target", "x86_64", "--variant", "standard,debug,slim", "--bare-init", "--output-dir"];
    let diskless = ["diskless", "--target", "x86_64", "--output-dir"];
    for arguments in [&build[..], &diskless] {
        machine.run(&[arguments, &["out"]].concat());
        let empty = work.join("empty");
        fs::create_dir_all(&empty).unwrap();
        let mut command = Command::new(COMMAND);
        command.args(arguments).arg(work.join("compiled")).arg("--source").arg(source).current_dir(&empty);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
    }
    let (bundled, compiled) = (files(&machine.path("out")), files(&work.join("compiled")));
    assert_eq!(bundled.keys().collect::<Vec<_>>(), compiled.keys().collect::<Vec<_>>());
    for (name, bytes) in &bundled {
        assert!(compiled[name] == *bytes, "{name} differs from the one that was compiled");
    }
}

/// Boots a directory and an image.
fn boots(machine: &Machine) {
    let cache = initramfs_overlay::cache::open().unwrap();
    let (target, none) = (target::named("x86_64").unwrap(), Progress::none());
    let kernel = kernel_package::debian(target, &cache, sources::Substitute::Refuse, &none).unwrap();
    let busybox = busybox_image::get(target, None, &cache, sources::Substitute::Refuse, &none).unwrap().bytes;
    let root = machine.path("root");
    fs::create_dir(&root).unwrap();
    busybox_rootfs::make(&root, &busybox, &[]).unwrap();
    let (vmlinuz, modules) = (kernel.vmlinuz.to_str().unwrap(), kernel.modules.to_str().unwrap());
    let boot = ["--kernel", vmlinuz, "--module-tree", modules, "--accel", "tcg", "--timeout", "300s"];
    let said = machine.run(&[&["vm", "root"], &boot[..], &["--", "-c", "echo from a directory"]].concat());
    assert!(said.contains("from a directory"), "{said}");

    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(busybox.len() as u64);
    tar.append_data(&mut header, "bin/busybox", &*busybox).unwrap();
    let layer = tar.into_inner().unwrap();
    let config = json!({ "Entrypoint": ["/bin/busybox", "echo", "from an image"] });
    let image = layout::layout(&machine.path("image"), "amd64", &config, &[(layer.clone(), layer)]);
    let boot = ["--kernel", vmlinuz, "--accel", "tcg", "--timeout", "300s"];
    let said = machine.run(&[&["oci", "run", &image], &boot[..]].concat());
    assert!(said.contains("from an image"), "{said}");
    let share = [&boot[..], &["--module-tree", modules, "--mount", "root:/srv:ro"]].concat();
    let said = machine.run(&[&["oci", "run", &image], &share[..]].concat());
    assert!(said.contains("from an image"), "{said}");
}
