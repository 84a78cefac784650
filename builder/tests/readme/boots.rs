//! The commands of the pages that boot, build or ask a registry: in order, page by page, in an empty directory, by a user who is not root,
//! into a pipe and on a terminal of 60 columns. `README=long`; as root, who makes the user's directory and becomes that user.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use base::progress::Progress;
use initramfs_overlay::{busybox_image, busybox_rootfs, busybox_rootfs::RootFile};
use serde_json::{Value, json};
use sources::{
    Substitute,
    kernel_package::{self, Kernel},
    target,
};
use vm::share::{Daemon, Kind};

use super::{layout, pages, registry::Registry, support, workspace};

/// The user: nobody, as Debian numbers it.
const USER: u32 = 65534;
/// Pages with commands that boot, build or ask a registry.
const BOOTED: [&str; 11] = [
    "README.md", "docs/diskless.md", "docs/oci.md", "docs/parameters.md", "docs/ram.md", "docs/run.md",
    "docs/threat-model.md", "docs/tutorial.md", "docs/update.md", "docs/virtiofs.md", "docs/vm.md",
];
/// Keys that end QEMU, once the demonstration is up.
const QUIT: &str = "(sleep 120; printf '\\001x') | ";
/// Words that the demonstration's shell is told until its machine is off.
const POWER_OFF: &str = "(while sleep 5 && echo poweroff; do :; done) 2>/dev/null | ";

/// Everything that is the same for all pages.
struct Lab {
    work: tempfile::TempDir,
    kernel: Kernel,
    busybox: Vec<u8>,
    _registry: Registry,
}

impl Lab {
    fn new() -> Self {
        let work = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir();
        let work = work.unwrap();
        let cache = initramfs_overlay::cache::open().unwrap();
        let (x86_64, none) = (target::named("x86_64").unwrap(), Progress::none());
        let mut kernel = kernel_package::debian(x86_64, &cache, Substitute::Refuse, &none).unwrap();
        kernel_package::debian(target::named("armv6l").unwrap(), &cache, Substitute::Refuse, &none).unwrap();
        let busybox = busybox_image::get(x86_64, None, &cache, Substitute::Refuse, &none).unwrap().bytes;
        busybox_image::get(target::named("armv6l").unwrap(), None, &cache, Substitute::Refuse, &none).unwrap();

        // What root fetched is root's, and nobody else may write to it; the cache itself is the user's.
        let own = work.path().join("home/.cache/initramfs-overlay");
        fs::create_dir_all(&own).unwrap();
        for room in ["busybox", "kernel"] {
            let from = cache.root().join(room);
            support::tool("cp", &["-al", from.to_str().unwrap(), own.to_str().unwrap()]);
        }
        for path in [&mut kernel.vmlinuz, &mut kernel.modules] {
            *path = own.join(path.strip_prefix(cache.root()).unwrap());
        }
        unpack_bundle(&work.path().join("bin"));
        let registry = Registry::start(work.path(), "");
        let mirrors = ["docker.io", "ghcr.io"].map(|name| {
            format!(
                "[[registry]]\nlocation = \"{name}\"\n[[registry.mirror]]\nlocation = \"{}\"\ninsecure = true\n",
                registry.address
            )
        });
        fs::write(work.path().join("registries.conf"), mirrors.concat()).unwrap();
        let lab = Self { work, kernel, busybox, _registry: registry };
        let images = lab.work.path().join("images");
        lab.images(&images);
        for name in ["library/alpine:3.22", "me/app:1.4"] {
            let to = format!("docker://{}/{name}", lab._registry.address);
            let from = format!("oci:{}:debian", images.display());
            support::tool("skopeo", &["copy", "-q", "--dest-tls-verify=false", &from, &to]);
        }
        support::tool("chown", &["-R", &format!("{USER}:{USER}"), lab.work.path().join("home").to_str().unwrap()]);
        lab
    }

    /// Makes a root directory that boots, with a kernel in it.
    fn root(&self, root: &Path) {
        let init = fs::read(workspace().join("test-images/root/sbin/init")).unwrap();
        let check = b"#!/bin/sh\necho checked $*\n";
        let files = [
            RootFile { path: "sbin/init", mode: 0o755, content: &init },
            RootFile { path: "usr/bin/check", mode: 0o755, content: check },
            RootFile { path: "etc/os-release", mode: 0o644, content: b"ID=made\n" },
            RootFile { path: "etc/image-id", mode: 0o644, content: b"A\n" },
        ];
        fs::create_dir_all(root).unwrap();
        busybox_rootfs::make(root, &self.busybox, &files).unwrap();
        symlink("busybox", root.join("bin/cat")).unwrap();
    }

    /// Makes a layout with the images of the pages: a shell and its tools.
    fn images(&self, directory: &Path) {
        let root = self.work.path().join("image-root");
        self.root(&root);
        let mut layer = tar::Builder::new(Vec::new());
        layer.follow_symlinks(false);
        layer.append_dir_all(".", &root).unwrap();
        let layer = layer.into_inner().unwrap();
        layout::layout(
            directory,
            "amd64",
            &json!({ "Cmd": ["/bin/cat", "/etc/os-release"] }),
            &[(layer.clone(), layer)],
        );
        let index = directory.join("index.json");
        let mut value: Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
        let named = |name: &str| {
            let mut manifest = value["manifests"][0].clone();
            manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
            manifest
        };
        let manifests = [named("debian"), named("large")];
        value["manifests"] = json!(manifests);
        fs::write(index, value.to_string()).unwrap();
    }

    /// Makes the empty directory of a page, with the files that it speaks of.
    fn prepare(&self, page: &str) -> PathBuf {
        let directory = tempfile::Builder::new().tempdir_in(self.work.path()).unwrap().keep();
        if ["docs/run.md", "docs/tutorial.md"].contains(&page) {
            self.root(&directory.join("rootfs"));
            self.root(&directory.join("rootfs-new"));
        }
        if page == "docs/vm.md" || page == "docs/virtiofs.md" {
            let (root, kernel) = (directory.join("root"), &self.kernel);
            self.root(&root);
            fs::create_dir_all(root.join("boot")).unwrap();
            fs::copy(&kernel.vmlinuz, root.join(format!("boot/vmlinuz-{}", kernel.version))).unwrap();
            fs::create_dir_all(root.join("usr/lib/modules")).unwrap();
            let into = root.join("usr/lib/modules").join(&kernel.version);
            support::tool("cp", &["-a", kernel.modules.to_str().unwrap(), into.to_str().unwrap()]);
            fs::remove_dir(root.join("lib")).unwrap();
            symlink("usr/lib", root.join("lib")).unwrap();
        }
        fs::write(directory.join("Makefile"), "test:\n\t@echo tested\n").unwrap();
        fs::write(directory.join("token"), "secret\n").unwrap();
        fs::create_dir(directory.join("rescue")).unwrap();
        fs::write(directory.join("rescue/note"), "a file\n").unwrap();
        let key = "untrusted comment: minisign public key\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";
        fs::write(directory.join("vendor.pub"), key).unwrap();
        let images = self.work.path().join("images");
        support::tool("cp", &["-a", images.to_str().unwrap(), directory.to_str().unwrap()]);
        let (from, to) = (format!("oci:{}/images:debian", directory.display()), directory.join("saved.tar"));
        support::tool("skopeo", &["copy", "-q", &from, &format!("docker-archive:{}:saved:1", to.display())]);
        support::tool("chown", &["-R", &format!("{USER}:{USER}"), directory.to_str().unwrap()]);
        if ["README.md", "docs/run.md", "docs/tutorial.md"].contains(&page) {
            // What ./build.sh leaves.
            let line = "initramfs-overlay build --target x86_64,armv6l --variant standard";
            let built = self.run(&directory, line, false, false);
            assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        }
        directory
    }

    /// Runs a shell command as the user, or as root.
    fn run(&self, directory: &Path, script: &str, on_terminal: bool, as_root: bool) -> Output {
        let mut command = Command::new("setpriv");
        let user = if as_root { "0".to_owned() } else { USER.to_string() };
        command.args(["--reuid", &user, "--regid", &user, "--clear-groups", "sh", "-c"]);
        command.arg(if on_terminal { "exec script -qec \"$INNER\" /dev/null" } else { script });
        let bin = self.work.path().join("bin");
        command.env_clear().env("PATH", format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", bin.display()));
        command.env("INNER", format!("stty cols 60 rows 24; {script}")).env("HOME", self.work.path().join("home"));
        command.env("CONTAINERS_REGISTRIES_CONF", self.work.path().join("registries.conf"));
        if as_root {
            // A cache of somebody else's is none of root's.
            let cache = initramfs_overlay::cache::open().unwrap();
            command.env("INITRAMFS_OVERLAY_CACHE", cache.root());
        }
        command.current_dir(directory).stdin(Stdio::null()).output().unwrap()
    }
}

/// Unpacks the command with finished inits into the directory `bin`, as `./build.sh --bundle` makes it.
fn unpack_bundle(bin: &Path) {
    let made = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
    command.args(["bundle", "--target", "x86_64,armv6l", "--output-dir"]).arg(made.path());
    let bundled = command.current_dir(workspace()).output().unwrap();
    assert!(bundled.status.success(), "{}", String::from_utf8_lossy(&bundled.stderr));
    let mut names = fs::read_dir(made.path()).unwrap().map(|entry| entry.unwrap().path());
    let archive = names.find(|path| path.extension() == Some("gz".as_ref())).unwrap();
    fs::create_dir_all(bin).unwrap();
    let (archive, bin) = (archive.to_str().unwrap(), bin.to_str().unwrap());
    support::tool("tar", &["-xf", archive, "-C", bin, "--strip-components=1", "--no-same-owner"]);
}

/// Returns a page's command as it can be run here, and the status that it ends with.
fn adapted(line: &str, kernel: &Kernel) -> (String, i32) {
    let tree = kernel.modules.display();
    // Synopses: what may be left out is left out.
    let line = line.split(" [").next().unwrap().replace("/lib/modules/$(uname -r)", &tree.to_string());
    let mut line = line.replace("/lib/modules/<kernel-version>", &tree.to_string()).replace("6.12.5", &kernel.version);
    let (mut before, mut status) = (String::new(), 0);
    let first = line.split(' ').next().unwrap_or_default().to_owned();
    let place = line.find(" -- ").unwrap_or(line.len());
    match &*first {
        "run" => {
            // This board's machine cannot power off: Ctrl-A X, as the screen says.
            before = if line.contains("armv6l") { QUIT } else { POWER_OFF }.to_owned();
            line.push_str(" --accel tcg --timeout 400s");
        }
        "vm" if line.starts_with("vm / ") => line.insert_str(place, " --kernel debian --accel tcg --timeout 400s"),
        "vm" => line.insert_str(place, " --accel tcg --timeout 400s"),
        "oci" if line.starts_with("oci run") => line.insert_str(place, " --accel tcg --timeout 400s"),
        "virtiofs" if !line.contains("--module-tree") => line.push_str(&format!(" --module-tree {tree}")),
        "build" if !line.contains("--target") => line.push_str(" --target x86_64"),
        _ => {}
    }
    if line.contains("pc.img --accel")
        || line.contains("broken.img") && !line.contains("rd.overlay=tmpfs") && first == "run"
    {
        // The page shows the card of a boot that failed.
        status = 1;
    }
    (format!("{before}initramfs-overlay {line}"), status)
}

#[test]
fn commands_that_boot_do_what_the_pages_say() {
    if std::env::var("README").as_deref() != Ok("long") {
        return support::skip("the pages' boots are run with README=long");
    }
    if !rustix::process::geteuid().is_root() {
        return support::skip("the pages' boots are prepared by root");
    }
    let programs = ["docker-registry", "skopeo", "setpriv", "script", "qemu-system-x86_64", "qemu-system-arm", "make"];
    if !support::all_installed(&programs) {
        return;
    }
    let lab = Lab::new();
    // QEMU's own virtiofsd, in C, runs as root only.
    let needs_root = Daemon::find(None).is_ok_and(|daemon| daemon.kind == Kind::Qemu);
    let booted: BTreeSet<&str> = BOOTED.into();
    let (mut failed, mut count) = (Vec::new(), 0);
    for (page, commands) in pages().into_iter().filter(|(page, _)| booted.contains(page.as_str())) {
        for on_terminal in [false, true] {
            let directory = lab.prepare(&page);
            for line in &commands {
                if page != "docs/tutorial.md" && ["doctor ", "report "].iter().any(|other| line.starts_with(other)) {
                    // Of disks and reports of the reader's; the short run has them.
                    continue;
                }
                if line.starts_with("disk ") {
                    let _ = fs::remove_file(directory.join(line.split(' ').nth(1).unwrap()));
                }
                let (script, status) = adapted(line, &lab.kernel);
                let output = lab.run(&directory, &script, on_terminal, needs_root && line.starts_with("vm "));
                let said = [&output.stdout[..], &output.stderr].concat();
                let said = String::from_utf8_lossy(&said);
                println!("{page} (terminal: {on_terminal}): {script}: {}", output.status);
                if output.status.code() != Some(status) {
                    let end: Vec<&str> = said.lines().rev().take(12).collect();
                    let end: Vec<&str> = end.into_iter().rev().collect();
                    failed.push(format!(
                        "{page} (terminal: {on_terminal}): {script}: {}\n{}",
                        output.status,
                        end.join("\n")
                    ));
                }
                count += 1;
            }
            fs::remove_dir_all(directory).unwrap();
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
    assert!(count > 40, "{count}");
}
