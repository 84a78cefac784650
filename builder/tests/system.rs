//! The commands of docs/system.md, each of them, as root of a Debian system whose root is put together as init does it: an image, a
//! persistent and a writable layer on an ext4 of its own, and an ext4 `newimg`. In a mount namespace; without root or loop devices it is
//! skipped, visibly.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::{Command, Output},
};

use base::cache::Check;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/system.md");

/// Mounts in the directory that it runs in, then the commands in the new root, then what came of them.
const AROUND: &str = r#"
mkdir image img.mnt new.mnt root store
mount -t tmpfs tmpfs image
tar -C image -xf "$ROOT" --exclude=./dev/* --exclude=./usr/share/doc/* --exclude=./usr/share/locale/* --exclude=./usr/share/man/*
mkfs.ext4 -q -L overlay store.img 64M
mkfs.ext4 -q -L newimg newimg.img 64M
mount -o loop store.img store
mkdir store/upper store/work store/persistent
echo 2 > store/trial
mount -t overlay overlay -o lowerdir=store/persistent:image,upperdir=store/upper,workdir=store/work root
mount -t tmpfs tmpfs root/run
mount -t proc proc root/proc
mkdir -p root/run/initramfs/overlay root/dev
# No other name of the store: it is to become read-only.
mount --move store root/run/initramfs/overlay
echo '{}' > root/run/initramfs/report.json
mkdir root/tmp/newimg
mount -o loop newimg.img root/tmp/newimg
: > root/dev/null
mount --bind /dev/null root/dev/null
head -c 100000 /dev/urandom > root/tmp/update.img
cp root/tmp/update.img sent.img
# A chroot has no udev that knows labels.
printf 'mount() { if [ "$1" = LABEL=newimg ]; then command mount --bind /tmp/newimg "$2"; else command mount "$@"; fi; }\n' > script
cat commands >> script
chroot root sh -eu < script
cp -a root/tmp/newimg delivered
cp -a root/run/initramfs/overlay kept
dumpe2fs -h store.img 2>/dev/null > superblock
"#;

fn skip(reason: &str) {
    let _ = writeln!(io::stderr(), "skipped: the commands of docs/system.md: {reason}");
}

/// Returns the page's commands.
fn commands() -> String {
    let page = fs::read_to_string(PAGE).unwrap();
    let blocks: Vec<&str> = page.split("```sh\n").skip(1).filter_map(|part| part.split("```").next()).collect();
    assert!(blocks.len() >= 10, "{} blocks", blocks.len());
    assert_eq!(page.matches("\n```\n").count(), blocks.len(), "a block that no test runs");
    blocks.concat()
}

/// Returns the archive of a Debian root, made once.
fn debian() -> Option<std::path::PathBuf> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let suite = release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or("stable");
    let cache = initramfs_overlay::cache::open().ok()?;
    let made = cache.entry("test-roots", &format!("debian-systemd-{suite}"), Check::Sizes, |directory| {
        let options = ["--variant=minbase", "--include=systemd-sysv,dbus", "--format=tar", suite];
        let mut command = Command::new("mmdebstrap");
        let output = command.args(options).arg(directory.join("root.tar")).output();
        let is_made = output.is_ok_and(|output| output.status.success());
        let failed = || base::Error::MissingPrograms { names: vec!["mmdebstrap".to_owned()], packages: Vec::new() };
        is_made.then_some(()).ok_or_else(failed)
    });
    made.ok().map(|directory| directory.join("root.tar"))
}

fn run(directory: &Path, script: &str, root: &Path) -> Output {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-euc", script]).current_dir(directory);
    command.env("ROOT", root).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap()
}

#[test]
fn every_command_of_the_page_works_on_a_debian_root() {
    let commands = commands();
    if !rustix::process::geteuid().is_root() || !Path::new("/dev/loop-control").exists() {
        return skip("they need root and loop devices");
    }
    let Some(root) = debian() else { return skip("there is no Debian root, and mmdebstrap cannot make one") };
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    fs::write(at("commands"), commands).unwrap();
    let output = run(directory.path(), AROUND, &root);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");

    assert_eq!(fs::read(at("delivered/root-squashfs.img")).unwrap(), fs::read(at("sent.img")).unwrap());
    let digest = fs::read_to_string(at("delivered/root-squashfs.img.sha256")).unwrap();
    let mut check = Command::new("sha256sum");
    check.args(["-c", "--strict", "root-squashfs.img.sha256"]).current_dir(at("delivered"));
    assert!(check.output().unwrap().status.success(), "{digest}");
    assert!(!at("delivered/root-squashfs.img.part").exists() && !at("kept/trial").exists());
    assert_eq!(fs::read_to_string(at("kept/persistent/etc/hostname")).unwrap(), "device-42\n");
    let id = fs::read_to_string(at("kept/persistent/etc/machine-id")).unwrap();
    assert!(id.trim().len() == 32 && id.trim().bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
    for name in ["app", "docker", "containers", "timesync", "journal", "report.json"] {
        assert!(at("kept/data").join(name).exists(), "{name}");
    }
    let superblock = fs::read_to_string(at("superblock")).unwrap();
    assert!(superblock.contains("has_journal") && !superblock.contains("needs_recovery"), "{superblock}");
}
