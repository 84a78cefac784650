//! A writable partition that does not mount must not stop the machine for ever: it is checked, and where policy says so made anew,
//! with the programs of the image that is about to run. This is the one place where a boot waits for another program; a boot with
//! nothing to mend does not come here.

use crate::{
    boot::Boot,
    config::Repair,
    device::Found,
    error::{Error, IoContext, Result},
    kernel::{Kernel, Mount, exists},
    layers,
    names::{self, img},
    rotate::{make_writable, sync},
    switch_root,
    tag::Volume,
};

/// Where the image's programs find the two partitions: in `/dev`, where folders can be made though the image is read-only.
const OVERLAY: &str = "/dev/initramfs-overlay";
const IMG: &str = "/dev/initramfs-img";

/// Mounts the overlay partition; where that fails, mends it first. What is wrong for good, the layers will say.
pub fn open(boot: &mut Boot<'_>, found: &Found) {
    let Some(volume) = &found.overlay else { return };
    let mut outcome = layers::open(boot, volume);
    if let Err(error @ Error::Mount { .. }) = &outcome {
        boot.notice(&error.with_cause());
        if !mend(boot, volume, &found.img) {
            return;
        }
        outcome = layers::open(boot, volume);
    }
    if let Err(error) = outcome.and_then(|()| restore(boot, volume, &found.img)) {
        boot.notice(&error.with_cause());
    }
}

/// Mends the overlay partition as far as `rd.overlay.repair=` allows. False where it did not help.
fn mend(boot: &mut Boot<'_>, volume: &Volume, img_volume: &Volume) -> bool {
    let policy = boot.config.overlay_repair;
    let device = volume.path();
    if policy == Repair::No || !enter(boot) {
        return false;
    }
    // e2fsck(8): 0 nothing was wrong, 1 all was mended, 2 a reboot is advised, which for a partition not in use means nothing.
    let mut mended = run(boot, "e2fsck", &["-f", "-y", &device]).is_some_and(|status| status & !3 == 0);
    if !mended && policy == Repair::Remake {
        save(boot, volume, img_volume);
        let mut arguments = vec!["-q", "-F", "-t", "ext4"];
        if let Some(label) = &volume.label {
            arguments.extend(["-L", label]);
        }
        arguments.push(&device);
        if run(boot, "mke2fs", &arguments) == Some(0) {
            boot.notice(&format!("overlay, {device}, was damaged beyond repair and is made anew"));
            mended = true;
        }
    }
    leave(boot);
    mended
}

/// Puts back what [`save`] kept, where there is no `persistent`. Without anything kept it asks one question and goes.
fn restore(boot: &mut Boot<'_>, volume: &Volume, img_volume: &Volume) -> Result<()> {
    let persistent = format!("{}/{}", names::OVERLAY_DIR, names::PERSISTENT);
    let saved = img(names::SAVED);
    if exists(boot.kernel, &persistent) || !exists(boot.kernel, &saved) || !enter(boot) {
        return Ok(());
    }
    let outcome = copy_back(boot, volume, img_volume, &persistent);
    leave(boot);
    outcome
}

fn copy_back(boot: &mut Boot<'_>, volume: &Volume, img_volume: &Volume, persistent: &str) -> Result<()> {
    make_writable(boot.kernel, names::IMG_DIR)?;
    let part = format!("{persistent}.part");
    let (from, to) = (format!("{IMG}/{}", names::SAVED), format!("{OVERLAY}/{}.part", names::PERSISTENT));
    let copied = attach(boot, img_volume, IMG, false)
        && attach(boot, volume, OVERLAY, false)
        && run(boot, "rm", &["-rf", &to]) == Some(0)
        && run(boot, "cp", &["-a", &from, &to]) == Some(0);
    if copied {
        // Everything is on the disk before it gets its name, and has its name before the copy goes.
        flush(boot.kernel, names::OVERLAY_DIR)?;
        boot.kernel.rename(&part, persistent).at("rename", &part)?;
        sync(boot.kernel, names::OVERLAY_DIR)?;
        run(boot, "rm", &["-rf", &from]);
        boot.notice("persistent was saved from the damaged overlay and is back");
    }
    boot.kernel.remount(names::IMG_DIR, true).at("make read-only", names::IMG_DIR)
}

/// Copies `persistent` to `img`, if it can still be read and there is room.
fn save(boot: &mut Boot<'_>, volume: &Volume, img_volume: &Volume) {
    let saved = img(names::SAVED);
    // What a cut in an earlier repair left is better than what is on the partition now.
    if exists(boot.kernel, &saved) || !attach(boot, volume, OVERLAY, true) {
        return;
    }
    let (from, to) = (format!("{OVERLAY}/{}", names::PERSISTENT), format!("{IMG}/{}.part", names::SAVED));
    let copied = boot.kernel.remount(names::IMG_DIR, false).is_ok()
        && attach(boot, img_volume, IMG, false)
        && run(boot, "rm", &["-rf", &to]) == Some(0)
        && run(boot, "cp", &["-a", &from, &to]) == Some(0);
    let kernel = &mut *boot.kernel;
    let kept = copied
        && flush(kernel, names::IMG_DIR).is_ok()
        && kernel.rename(&format!("{saved}.part"), &saved).is_ok()
        && kernel.sync(names::IMG_DIR).is_ok();
    boot.notice(if kept { "persistent is saved on img" } else { "persistent could not be saved" });
    // The partition must not be in use when it is made anew; a failure shows there.
    let _ = boot.kernel.unmount(&inside(OVERLAY));
    let _ = boot.kernel.remount(names::IMG_DIR, true);
}

/// A filesystem that becomes read-only is written out first, all of it.
fn flush(kernel: &mut dyn Kernel, target: &str) -> Result<()> {
    kernel.remount(target, true).at("write out", target)?;
    make_writable(kernel, target)
}

/// Where a path of the image's programs is for init.
fn inside(path: &str) -> String {
    format!("{}{path}", names::IMAGE_DIR)
}

fn attach(boot: &mut Boot<'_>, volume: &Volume, path: &str, read_only: bool) -> bool {
    let (device, target) = (volume.path(), inside(path));
    let mount = Mount { source: &device, target: &target, filesystem: "ext4", read_only, no_suid_dev: true, data: "" };
    let outcome = boot.make_dir(&target).and_then(|()| boot.kernel.mount(&mount).at("mount", &device));
    outcome.is_ok()
}

/// Gives the image's programs the devices and processes they look for.
fn enter(boot: &mut Boot<'_>) -> bool {
    let mut there = true;
    for (source, folder) in [("proc", "/proc"), ("devtmpfs", "/dev")] {
        let target = inside(folder);
        let mount =
            Mount { source, target: &target, filesystem: source, read_only: false, no_suid_dev: false, data: "" };
        there = boot.kernel.mount(&mount).is_ok();
    }
    there
}

fn leave(boot: &mut Boot<'_>) {
    // Some of them were not mounted, or made.
    for folder in [IMG, OVERLAY, "/proc"] {
        let _ = boot.kernel.unmount(&inside(folder));
    }
    for folder in [IMG, OVERLAY] {
        let _ = boot.kernel.remove_dir(&inside(folder));
    }
    let _ = boot.kernel.unmount(&inside("/dev"));
}

/// Runs a program of the image and says how it ended. None where the image has no such program.
fn run(boot: &mut Boot<'_>, program: &str, arguments: &[&str]) -> Option<i32> {
    let path = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"]
        .into_iter()
        .map(|folder| format!("{folder}/{program}"))
        .find(|path| switch_root::resolve(boot.kernel, names::IMAGE_DIR, path).is_some());
    let status = match path {
        Some(path) => boot.kernel.run(names::IMAGE_DIR, &path, arguments).ok(),
        None => None,
    };
    let outcome = status.map_or("is not in the image".into(), |status| format!("ended with status {status}"));
    boot.notice(&format!("{program} {outcome}"));
    status
}
