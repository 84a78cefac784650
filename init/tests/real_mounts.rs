//! The modules that act on disks, on real loop devices, ext4, squashfs and overlayfs, in a mount namespace and below a root of their own: the
//! machine that runs this sees nothing of it. Needs root, mkfs.ext4, mksquashfs and mkfs.erofs; without them the tests are skipped
//! and counted as that.
//!
//! This file has its own `main`: the sweeper is this very program under another name, which the usual harness would not know.

#[path = "media_lab/requirements.rs"]
#[allow(dead_code, reason = "each suite uses its part of it")]
mod requirements;
#[path = "real_mounts/workshop.rs"]
mod workshop;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use contract::tag::Volume;
use initramfs_overlay_init::{
    boot::{
        block::Probed,
        layers::{
            self,
            store::{self, Store},
        },
        overlay::{
            candidates,
            config::Config,
            device::{self, Found},
            update,
        },
        volumes,
    },
    config::{Abilities, OverlayStore},
    context::Context,
    kernel::{
        Kernel, Sources,
        linux::{self, Linux},
    },
};
use loopdev::{LoopControl, LoopDevice};
use nix::{
    mount::MsFlags,
    sched::CloneFlags,
    sys::statvfs::{FsFlags, statvfs},
};
use requirements::run;
use workshop::{Workshop, attach};

/// Unsigned images are taken here.
const ABILITIES: Abilities = Abilities { shell: false, trust: false };

type Case = (&'static str, fn(&Workshop));

const CASES: [Case; 10] = [
    ("the layers become one root", layers_become_one_root),
    ("an EROFS image is mounted", erofs_is_mounted),
    ("the root has the attributes of the image's", root_has_attributes),
    ("a factory reset deletes what is protected, and counts what stays", reset_counts_what_stays),
    ("what earlier boots wrote is swept away, persistent stays", leftovers_are_swept),
    ("clearing takes no longer for much than for little", clearing_does_not_depend_on_content),
    ("an update is rotated in and the old image kept", update_is_rotated),
    ("a wrong digest is deleted, its reason kept", wrong_digest_is_deleted),
    ("a tmpfs has the size asked for", tmpfs_has_its_size),
    ("devices are listed without loop devices, and listening ends in time", devices_are_listed),
];

fn main() {
    let name = std::env::args().next().unwrap_or_default();
    if linux::run_sweeper(&name) {
        return;
    }
    let tools = ["mkfs.ext4", "mksquashfs", "mkfs.erofs", "sfdisk"];
    if let Some(reason) = requirements::missing(&tools, &["ext4", "squashfs", "erofs", "overlay"]) {
        println!("real mounts skipped: {reason}");
        println!("0 passed, 0 failed, {} skipped", CASES.len());
        return;
    }
    let mut failed = 0;
    for (name, case) in CASES {
        // A thread of its own: namespace, root and working directory of the others stay as they are.
        let outcome = std::thread::spawn(move || case(&Workshop::new())).join();
        println!("real mounts: {name} ... {}", if outcome.is_ok() { "ok" } else { "FAILED" });
        failed += usize::from(outcome.is_err());
    }
    println!("{} passed, {failed} failed, 0 skipped", CASES.len() - failed);
    std::process::exit(i32::from(failed > 0));
}

fn boot_with(volumes: Found, act: impl FnOnce(&mut Context<'_>, &Found)) {
    let mut kernel = Linux::new();
    let mut context = Context::new(&mut kernel, ABILITIES);
    device::mount_img(&mut context, &volumes.img).unwrap();
    act(&mut context, &volumes);
}

fn mount_all(context: &mut Context<'_>, found: &Found) {
    candidates::start(context, &Config::default(), found).unwrap();
    layers::assemble(context, &mut Store::new(found.overlay.as_ref()), Some(&found.img)).unwrap();
}

/// Opens the writable partition and makes its directories ready, as a boot does before it mounts the layers.
fn prepare<'f>(context: &mut Context<'_>, found: &'f Found) -> Store<'f> {
    let mut store = Store::new(found.overlay.as_ref());
    store.open(context).unwrap();
    store::prepare(context).unwrap();
    store
}

fn found(img: Volume, overlay: Option<Volume>, newimg: Option<Volume>) -> Found {
    Found { img, overlay, newimg, boot: None, boot_tag: Config::default().boot }
}

fn install(context: &mut Context<'_>, found: &Found) {
    update::update(context, &Config::default(), found, &mut Store::new(found.overlay.as_ref()));
}

/// Has what was renamed aside deleted, and waits for that: the process is a child of this one, as those of earlier cases are.
fn sweep(context: &mut Context<'_>) {
    store::sweep(context);
    while nix::sys::wait::waitpid(None, None).is_ok() {}
}

fn layers_become_one_root(shop: &Workshop) {
    shop.squashfs("root-squashfs.img", "A");
    let img = shop.path("img.d");
    fs::create_dir(&img).unwrap();
    fs::rename(shop.path("root-squashfs.img"), img.join("root-squashfs.img")).unwrap();
    let overlay = shop.directory("overlay.d", &[("persistent/etc/kept", "kept"), ("persistent/etc/mark", "over")]);
    let (img, _img) = shop.ext4("img", &img);
    let (overlay, _overlay) = shop.ext4("overlay", &overlay);
    shop.enter();
    let found = found(img, Some(overlay), None);
    boot_with(found, mount_all);
    assert_eq!(fs::read_to_string("/sysroot/sbin/init").unwrap(), "A");
    assert_eq!(fs::read_to_string("/sysroot/etc/mark").unwrap(), "over", "persistent lies over the image");
    assert_eq!(fs::read_to_string("/sysroot/etc/kept").unwrap(), "kept");
    fs::write("/sysroot/etc/new", "new").unwrap();
    assert!(Path::new("/run/initramfs/overlay/upper/etc/new").exists(), "writes go to upper");
    assert!(!Path::new("/run/initramfs/overlay/persistent/etc/new").exists());
    assert_eq!(fs::metadata("/run/initramfs/overlay/work").unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::metadata("/run/initramfs/overlay/upper").unwrap().mode() & 0o777, 0o755);
    let mounts = fs::read_to_string("/proc/thread-self/mounts").unwrap();
    let root = mounts.lines().find(|line| line.contains(" /sysroot overlay ")).unwrap();
    assert!(
        root.contains(" rw,") && root.contains("lowerdir=/run/initramfs/overlay/persistent:/run/initramfs/image"),
        "{root}"
    );
    assert!(fs::write("/run/initramfs/image/etc/mark", "x").is_err(), "the image is read-only");
    assert!(fs::write("/run/initramfs/img/x", "x").is_err(), "img is read-only");
    let flags = |path: &str| {
        let line = mounts.lines().find(|line| line.contains(&format!(" {path} "))).unwrap();
        ["nosuid", "nodev", "nosymfollow"].map(|flag| line.contains(flag))
    };
    assert_eq!(flags("/run/initramfs/img"), [true; 3], "{mounts}");
    assert_eq!(
        flags("/run/initramfs/overlay"),
        [false; 3],
        "bind mounts of the running system would inherit them: {mounts}"
    );
}

fn root_has_attributes(shop: &Workshop) {
    let root = shop.directory("root", &[("sbin/init", "A")]);
    // Python's standard library has the calls, and the tests need it anyway.
    let python = |code: &str| {
        let output = Command::new("/usr/bin/env").args(["python3", "-c", code]).output().unwrap();
        assert!(output.status.success(), "{code}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim_end().to_string()
    };
    // Places that had to be made would change the time.
    for place in ["dev", "proc", "sys", "run"] {
        fs::create_dir(root.join(place)).unwrap();
    }
    fs::set_permissions(&root, fs::Permissions::from_mode(0o511)).unwrap();
    std::os::unix::fs::chown(&root, Some(12), Some(34)).unwrap();
    let img = shop.path("img.d");
    fs::create_dir(&img).unwrap();
    // Root may set these on every filesystem that has any.
    python(&format!("import os; os.setxattr('{}', 'trusted.label', b'of the image')", root.display()));
    run(Command::new("mksquashfs").arg(&root).arg(img.join("root-squashfs.img")).args(["-quiet", "-no-progress"]));
    let overlay = shop.directory("overlay.d", &[("upper/x", ""), ("persistent/y", "")]);
    let (img, _img) = shop.ext4("img", &img);
    let (overlay, _overlay) = shop.ext4("overlay", &overlay);
    shop.enter();
    boot_with(found(img, Some(overlay), None), |context, found| {
        let mut store = Store::new(found.overlay.as_ref());
        store.open(context).unwrap();
        fs::create_dir_all("/run/initramfs/overlay/spare/upper").unwrap();
        // What an earlier image's root had must not stay.
        for name in ["trusted.overlay.opaque", "trusted.other"] {
            python(&format!("import os; os.setxattr('/run/initramfs/overlay/spare/upper', '{name}', b'y')"));
        }
        store.close(context);
        mount_all(context, found);
    });
    for path in ["/sysroot", "/run/initramfs/overlay/upper", "/run/initramfs/image"] {
        let stat = fs::metadata(path).unwrap();
        assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (0o511, 12, 34), "{path}");
    }
    assert_eq!(
        fs::metadata("/run/initramfs/overlay/upper").unwrap().mtime(),
        fs::metadata("/run/initramfs/image").unwrap().mtime()
    );
    let seen = python("import os; print(sorted(os.listxattr('/run/initramfs/overlay/upper')))");
    assert!(!seen.contains("trusted.other") && !seen.contains("opaque"), "{seen}");
    let label = python("import os; print(os.getxattr('/run/initramfs/overlay/upper', 'trusted.label').decode())");
    assert_eq!(label, "of the image");
    assert_eq!(fs::read_to_string("/sysroot/sbin/init").unwrap(), "A", "the image is not hidden");
}

fn reset_counts_what_stays(shop: &Workshop) {
    let content =
        shop.directory("overlay.d", &[("persistent/etc/secret", "s"), ("persistent/etc/other", "o"), ("upper/x", "")]);
    std::os::unix::fs::symlink("nowhere", content.join("persistent/etc/link")).unwrap();
    let (img, _img) = shop.ext4("img", &shop.directory("img.d", &[]));
    let (overlay, _overlay) = shop.ext4("overlay", &content);
    // chattr(1) does that to files and directories, debugfs to links as well, whose attribute nothing takes off again.
    let device = overlay.path();
    for (path, mode) in [
        ("persistent/etc/secret", "0x80010"),
        ("persistent/etc/other", "0x80020"),
        ("persistent/etc", "0x80010"),
        ("persistent/etc/link", "0x10"),
    ] {
        run(Command::new("debugfs").args(["-w", "-R", &format!("set_inode_field {path} flags {mode}")]).arg(&device));
    }
    shop.enter();
    boot_with(found(img, Some(overlay), None), |context, found| {
        context.config.layers.reset = true;
        prepare(context, found);
        let report = context.report.to_json(None);
        assert!(report.contains("persistent is emptied, but") && report.contains("degraded"), "{report}");
        sweep(context);
    });
    let base = Path::new("/run/initramfs/overlay");
    assert_eq!(fs::read_dir(base.join("persistent")).unwrap().count(), 0);
    let left = fs::read_dir(base.join("discarded/persistent.0/etc")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(left.collect::<Vec<_>>(), ["link"], "all that can be deleted is");
}

fn erofs_is_mounted(shop: &Workshop) {
    let root = shop.directory("root", &[("sbin/init", "E")]);
    let img = shop.path("img.d");
    fs::create_dir(&img).unwrap();
    run(Command::new("mkfs.erofs").arg(img.join("root-squashfs.img")).arg(root));
    let (img, _img) = shop.ext4("img", &img);
    let (overlay, _overlay) = shop.ext4("overlay", &shop.directory("overlay.d", &[]));
    shop.enter();
    boot_with(found(img, Some(overlay), None), mount_all);
    assert_eq!(fs::read_to_string("/sysroot/sbin/init").unwrap(), "E");
}

fn overlay_only(shop: &Workshop, files: &[(&str, &str)], act: impl FnOnce(&mut Context<'_>, &Found)) -> LoopDevice {
    let (img, device) = shop.ext4("img", &shop.directory("img.d", &[]));
    let (overlay, other) = shop.ext4("overlay", &shop.directory("overlay.d", files));
    shop.enter();
    boot_with(found(img, Some(overlay), None), act);
    drop(other);
    device
}

fn leftovers_are_swept(shop: &Workshop) {
    let files = [("upper/a/b/c", "1"), ("work/work/d", "2"), ("persistent/e", "3"), ("discarded/upper.0/f", "4")];
    let _device = overlay_only(shop, &files, |context, found| {
        prepare(context, found);
        sweep(context);
    });
    let base = Path::new("/run/initramfs/overlay");
    assert_eq!(fs::read_dir(base.join("upper")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(base.join("work")).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(base.join("persistent/e")).unwrap(), "3");
    assert_eq!(fs::metadata(base.join("spare/reserve")).unwrap().len(), 64 << 10, "for the next boot");
    assert_eq!(fs::read_dir(base.join("spare/upper")).unwrap().count(), 0);
    assert_eq!(fs::read_dir(base.join("discarded")).unwrap().count(), 0, "all of it is deleted");
    assert!(Path::new("/dev/null").exists(), "and nothing else");
}

fn clearing_does_not_depend_on_content(shop: &Workshop) {
    let _device = overlay_only(shop, &[("upper/x", "")], |context, found| {
        let base = Path::new("/run/initramfs/overlay");
        let mut store = prepare(context, found);
        sweep(context);
        for number in 0..2000 {
            fs::write(base.join(format!("upper/{number}")), "").unwrap();
        }
        store.close(context);
        let start = Instant::now();
        prepare(context, found);
        println!("  clearing 2000 files took {:?}", start.elapsed());
        assert_eq!(fs::read_dir(base.join("upper")).unwrap().count(), 0);
        sweep(context);
    });
}

fn with_update(shop: &Workshop, sidecar: Option<&str>) -> (Found, [LoopDevice; 2]) {
    let image = shop.squashfs("a.img", "A");
    let update = shop.squashfs("b.img", "B");
    let (img_dir, new_dir) = (shop.directory("img.d", &[]), shop.directory("newimg.d", &[]));
    fs::rename(image, img_dir.join("root-squashfs.img")).unwrap();
    if let Some(sidecar) = sidecar {
        fs::write(new_dir.join("root-squashfs.img.sha256"), sidecar).unwrap();
    } else {
        let sum = Command::new("sha256sum").arg("b.img").current_dir(shop.path("")).output().unwrap().stdout;
        fs::write(new_dir.join("root-squashfs.img.sha256"), sum).unwrap();
    }
    fs::rename(update, new_dir.join("root-squashfs.img")).unwrap();
    let (img, device) = shop.ext4("img", &img_dir);
    let (newimg, other) = shop.ext4("newimg", &new_dir);
    (found(img, None, Some(newimg)), [device, other])
}

/// Mounts newimg once more, read-only.
fn mount_newimg(context: &mut Context<'_>, found: &Found) {
    let newimg = found.newimg.as_ref().unwrap();
    volumes::mount_volume(context, newimg, "/run/initramfs/newimg", contract::failure::Role::NewImg, true).unwrap();
}

fn update_is_rotated(shop: &Workshop) {
    let (found, _devices) = with_update(shop, None);
    let update = fs::read(shop.path("newimg.d/root-squashfs.img")).unwrap();
    let current = fs::read(shop.path("img.d/root-squashfs.img")).unwrap();
    shop.enter();
    boot_with(found.clone(), install);
    assert!(fs::read("/run/initramfs/img/root-squashfs.img").unwrap() == update, "the update is the current image");
    assert!(fs::read("/run/initramfs/img/root-squashfs-old.img").unwrap() == current, "the old image is kept");
    let mut kernel = Linux::new();
    let mut names = kernel.list("/run/initramfs/img").unwrap();
    names.retain(|name| name != "lost+found");
    assert_eq!(names, ["root-squashfs-old.img", "root-squashfs.img"]);
    assert!(fs::write("/run/initramfs/img/x", "").is_err(), "img is read-only again");
    let flags = statvfs("/run/initramfs/img").unwrap().flags();
    assert!(flags.contains(FsFlags::ST_NOSUID | FsFlags::ST_NODEV), "as it was mounted: {flags:?}");
    let mut context = Context::new(&mut kernel, ABILITIES);
    mount_newimg(&mut context, &found);
    let mut left = context.kernel.list("/run/initramfs/newimg").unwrap();
    left.retain(|name| name != "lost+found");
    assert!(left.is_empty(), "the source is gone: {left:?}");
}

fn wrong_digest_is_deleted(shop: &Workshop) {
    let (found, _devices) = with_update(shop, Some(&"0".repeat(64)));
    let current = fs::read(shop.path("img.d/root-squashfs.img")).unwrap();
    shop.enter();
    boot_with(found.clone(), |context, found| {
        install(context, found);
        let report = context.report.to_json(None);
        assert!(report.contains("\"update\": \"rejected\""), "{report}");
    });
    assert_eq!(fs::read("/run/initramfs/img/root-squashfs.img").unwrap(), current);
    let mut kernel = Linux::new();
    let mut context = Context::new(&mut kernel, ABILITIES);
    mount_newimg(&mut context, &found);
    for gone in ["root-squashfs.img", "root-squashfs.img.sha256", "root-squashfs-rejected.img"] {
        assert!(!Path::new("/run/initramfs/newimg").join(gone).exists(), "{gone}");
    }
    for reason in ["/run/initramfs/newimg/root-squashfs.img.txt", "/run/initramfs/img/updates.txt"] {
        let reason = fs::read_to_string(reason).unwrap();
        assert!(reason.contains("its digest is"), "{reason}");
    }
}

fn tmpfs_has_its_size(shop: &Workshop) {
    shop.enter();
    let mut kernel = Linux::new();
    let mut context = Context::new(&mut kernel, ABILITIES);
    context.config.layers.overlay = OverlayStore::Tmpfs(Some("3m".into()));
    // Without an image there is no root, but the store comes first.
    layers::assemble(&mut context, &mut Store::new(None), None).unwrap();
    let space = statvfs("/run/initramfs/overlay").unwrap();
    assert_eq!(space.blocks() * space.fragment_size(), 3 << 20);
}

fn devices_are_listed(shop: &Workshop) {
    // Loop devices are left out of what a boot sees, partitions on them too.
    let file = shop.path("disk");
    fs::File::create(&file).unwrap().set_len(64 << 20).unwrap();
    run(Command::new("sh").arg("-c").arg(format!(
        "printf 'label: gpt\\nsize=16M, name=one\\nsize=16M, name=two\\n' | sfdisk -q {}",
        file.display()
    )));
    let (_, _disk) = attach(&file, true);
    let mut kernel = Linux::new();
    let volumes = Probed::default().volumes(&mut kernel, true);
    assert!(volumes.iter().all(|volume| !volume.name.starts_with("loop")), "{volumes:?}");
    assert!(volumes.iter().all(|volume| volume.size > 0 && !volume.disk.is_empty()));
    kernel.listen(Sources::Devices).unwrap();
    let deadline = kernel.now() + Duration::from_millis(50);
    // The partitions that were just scanned have announced themselves, or will not: either way this comes back.
    while !kernel.next_events(Some(deadline)).unwrap().is_empty() {}
    assert!(kernel.now() >= deadline);
}
