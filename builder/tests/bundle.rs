//! Finished inits instead of a compiler: found by their features, beside the command or where a variable says, refused when they were
//! changed. Every command runs with an empty `PATH` and an empty home. `BUNDLE=long` makes a real bundle, and makes and boots images out of it; `BUNDLE=FILE` boots out of a finished one.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use base::{
    cache::{Cache, Check},
    digest::digest,
};
use serde_json::json;
use sources::{target, toolchain::repair};

#[path = "oci_images/layout.rs"]
mod layout;
#[path = "build_command/programs.rs"]
#[allow(dead_code, reason = "modules are of no use here")]
mod programs;
#[path = "bundle/real.rs"]
mod real;
mod support;

const COMMAND: &str = env!("CARGO_BIN_EXE_initramfs-overlay");
const SETS: [&str; 13] = [
    "overlay",
    "overlay,trust",
    "overlay,blackbox,button,parameters,qr",
    "overlay,blackbox,button,parameters,qr,trust",
    "overlay,blackbox,button,parameters,qr,recover",
    "overlay,blackbox,button,parameters,qr,recover,shell",
    "overlay,blackbox,button,parameters,qr,recover,trust",
    "overlay,blackbox,button,parameters,qr,recover,shell,trust",
    "overlay,virtiofs,blackbox",
    "overlay,virtiofs,blackbox,shell",
    "ram",
    "ram,lower,virtiofs",
    "virtiofs",
];

/// A directory of inits for x86_64, each of which says what it was compiled with.
struct Inits {
    directory: tempfile::TempDir,
}

impl Inits {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let inits = directory.path().join("inits");
        fs::create_dir(&inits).unwrap();
        let list = SETS.map(|set| {
            let bytes = programs::program(set.as_bytes());
            fs::write(inits.join(format!("init-x86_64-{}", set.replace(',', "+"))), &bytes).unwrap();
            json!({ "target": "x86_64", "features": set, "size": bytes.len(), "sha256": digest(&bytes), "crates": [] })
        });
        let version = env!("CARGO_PKG_VERSION");
        let manifest =
            json!({ "format": 1, "version": version, "rust_release": "1.2.3", "rust_commit": "c0ffee", "inits": list });
        fs::write(inits.join("manifest.json"), manifest.to_string()).unwrap();
        fs::create_dir(directory.path().join("busybox")).unwrap();
        fs::write(directory.path().join("busybox/busybox-x86_64"), programs::busybox()).unwrap();
        let (target, cache) = (target::named("x86_64").unwrap(), Cache::at(&inits));
        for package in repair::PACKAGES {
            let make = |directory: &Path| {
                let write = |name| fs::write(directory.join(name), programs::program(b"tool")).unwrap();
                package.programs().iter().for_each(|program| write(program.name));
                Ok::<_, base::Error>(())
            };
            cache.entry(repair::ROOM, &package.key(target), Check::Digests, make).unwrap();
        }
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the command on a machine that has nothing.
    fn bare(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "").env("HOME", self.path("home")).current_dir(self.directory.path());
        command.args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.bare(Path::new(COMMAND), arguments).env("INITRAMFS_OVERLAY_INITS", self.path("inits")).output().unwrap()
    }

    /// Runs a command that has to succeed.
    fn made(&self, arguments: &[&str]) {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    }

    /// Returns the features of the init in an initramfs.
    fn init_of(&self, image: &str) -> String {
        let output = self.run(&["inspect", image, "--cat", "init"]);
        assert!(output.status.success(), "{}", said(&output));
        features_of(&output.stdout)
    }
}

/// Returns what follows the headers of [`programs::program`].
fn features_of(program: &[u8]) -> String {
    String::from_utf8_lossy(&program[120..]).into_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn every_command_takes_the_init_that_it_needs() {
    let inits = Inits::new();
    let version = env!("CARGO_PKG_VERSION");
    let build = ["build", "--target", "amd64", "--busybox", "busybox", "--output-dir"];
    inits.made(&[&build[..], &["out", "--variant", "standard,debug,slim", "--bare-init"]].concat());
    let image = |rest: &str| format!("out/init-{version}-x86_64{rest}");
    for (rest, features) in [
        (".gz", "overlay,blackbox,button,parameters,qr"),
        ("-slim.gz", "overlay"),
        ("-debug.gz", "overlay,blackbox,button,parameters,qr,recover,shell"),
    ] {
        assert_eq!(inits.init_of(&image(rest)), features, "{rest}");
    }
    for (rest, features) in [(".elf", "overlay,virtiofs,blackbox"), ("-debug.elf", "overlay,virtiofs,blackbox,shell")] {
        assert_eq!(features_of(&fs::read(inits.path(&image(rest))).unwrap()), features, "{rest}");
    }
    let manifest = fs::read_to_string(inits.path(&image(".gz.manifest.json"))).unwrap();
    assert!(manifest.contains(r#""rust_commit": "c0ffee""#), "{manifest}");

    let key = "untrusted comment: minisign public key\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";
    fs::write(inits.path("key.pub"), key).unwrap();
    inits.made(&[&build[..], &["signed", "--variant", "slim,debug", "--trust", "key.pub"]].concat());
    for (rest, features) in
        [("-slim.gz", "overlay,trust"), ("-debug.gz", "overlay,blackbox,button,parameters,qr,recover,shell,trust")]
    {
        assert_eq!(inits.init_of(&image(rest).replace("out/", "signed/")), features, "{rest}");
    }

    fs::write(inits.path("hash"), "$5$salt$kpa26zwgX83BPSR8d7w93OIXbFt/d3UOTZaAu5vsTM6\n").unwrap();
    let menu = ["menu", "--variant", "standard", "--recover-password", "hash", "--cmdline", "rd.recover"];
    inits.made(&[&build[..], &menu].concat());
    assert_eq!(inits.init_of(&image(".gz").replace("out/", "menu/")), "overlay,blackbox,button,parameters,qr,recover");
    let none = inits.run(&[&build[..], &["none", "--variant", "standard", "--cmdline-final", "rd.recover"]].concat());
    assert_eq!(none.status.code(), Some(2), "{}", said(&none));
    assert!(said(&none).contains("give its hash with --recover-password"), "{}", said(&none));

    inits.made(&["diskless", "--target", "x86_64", "--busybox", "busybox", "--output-dir", "out"]);
    assert_eq!(inits.init_of(&format!("out/diskless-{version}-x86_64.gz")), "ram");
    inits.made(&["virtiofs", "--no-modules", "--target", "x86_64", "-o", "virtiofs.gz"]);
    assert_eq!(inits.init_of("virtiofs.gz"), "virtiofs");
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o755);
    header.set_size(4);
    tar.append_data(&mut header, "app", &b"#!/x"[..]).unwrap();
    let layer = tar.into_inner().unwrap();
    let config = json!({ "Entrypoint": ["/app"] });
    let image = layout::layout(&inits.path("image"), "amd64", &config, &[(layer.clone(), layer)]);
    inits.made(&["oci", &image, "-o", "oci.gz"]);
    assert_eq!(inits.init_of("oci.gz"), "ram");
}

#[test]
fn inits_beside_the_command_are_found() {
    let inits = Inits::new();
    let command = inits.path("initramfs-overlay");
    if fs::hard_link(COMMAND, &command).is_err() {
        fs::copy(COMMAND, &command).unwrap();
    }
    let make = ["virtiofs", "--no-modules", "--target", "x86_64", "-o", "a.gz"];
    let output = inits.bare(&command, &make).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(inits.init_of("a.gz"), "virtiofs");
    // One that is named comes first, a source tree that is named before all.
    let output = inits.bare(&command, &make).env("INITRAMFS_OVERLAY_INITS", "/nowhere").output().unwrap();
    assert!(said(&output).contains("/nowhere/manifest.json"), "{}", said(&output));
    let output = inits.bare(&command, &[&make[..], &["--source", "/nowhere"]].concat()).output().unwrap();
    assert!(said(&output).contains("is not the source tree"), "{}", said(&output));
    fs::write(inits.path("own"), programs::program(b"own")).unwrap();
    let output = inits.bare(&command, &[&make[..], &["--init-program", "own"]].concat()).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(inits.init_of("a.gz"), "own");
}

#[test]
fn an_init_that_is_missing_or_changed_is_told() {
    let inits = Inits::new();
    let refused = |arguments: &[&str], words: &[&str]| {
        let output = inits.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output));
        for word in words {
            assert!(said(&output).contains(word), "{word}: {}", said(&output));
        }
    };
    refused(
        &["virtiofs", "--no-modules", "--target", "i386", "-o", "a.gz"],
        &["cannot get init for i686 with virtiofs", "only for x86_64", "./build.sh --bundle --target i686"],
    );
    refused(
        &["build", "--target", "x86_64", "--variant", "slim", "--bare-init=ram,overlay", "--output-dir", "out"],
        &["init for x86_64 with overlay,ram", "--source TREE", "--init-program"],
    );
    assert!(!inits.path("out").exists());
    fs::write(inits.path("inits/init-x86_64-virtiofs"), programs::program(b"changed")).unwrap();
    refused(&["virtiofs", "--no-modules", "--target", "x86_64", "-o", "a.gz"], &["init-x86_64-virtiofs has SHA-256"]);
    assert!(!inits.path("a.gz").exists());
}
