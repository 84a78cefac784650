//! A writable partition that cannot be used must not stop the machine for ever: it is checked, and where policy says so recreated, with
//! the programs of the image that is about to run. This is the one place where a boot waits for another program; a boot with nothing to
//! repair does not come here.

use std::io;

use contract::{
    names::{self, img, store},
    tag::Volume,
};

use super::store::is_full;
use crate::{
    config::Repair,
    context::Context,
    error::{Error, IoContext, Result},
    kernel::{Kind, Limits, Machine, Mount, exists},
    media::{self, make_writable, sync},
    switch_root,
};

/// Mount points of the two partitions for the image's programs: in `/dev`, where directories can be made though the image is read-only.
const OVERLAY: &str = "/dev/initramfs-overlay";
const IMG: &str = "/dev/initramfs-img";

/// A way to repair the overlay partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Its filesystem is checked.
    Check,
    /// It is recreated, `persistent` kept if it can be read.
    Remake,
}

/// Returns what may be done about an error of the overlay partition, in order. A full one is never recreated: what fills it is somebody's.
pub fn remedies(policy: Repair, error: &Error) -> &'static [Remedy] {
    match (policy, error) {
        (
            _,
            Error::NotFilesystem { .. }
            | Error::NotWritableLayer { .. }
            | Error::FilesystemUnsupported { .. }
            | Error::ModuleLoad { .. }
            | Error::ModuleKernel { .. },
        )
        | (Repair::No, _) => &[],
        (Repair::Remake, error) if !is_full(error) => &[Remedy::Check, Remedy::Remake],
        _ => &[Remedy::Check],
    }
}

/// Applies a remedy to the overlay partition, which is not mounted. False where it did not help.
pub fn apply(context: &mut Context<'_>, remedy: Remedy, volume: &Volume, img_volume: &Volume) -> bool {
    if let Err(error) = enter(context) {
        context.notice(&format!("the image's programs cannot be run: {}", error.with_cause()));
        return false;
    }
    let device = volume.path();
    let repaired = match remedy {
        // e2fsck(8): 0 nothing was wrong, 1 all was repaired, 2 a reboot is advised, which for a partition not in use means nothing.
        Remedy::Check => run(context, "e2fsck", &["-f", "-y", &device]).is_some_and(|status| status & !3 == 0),
        Remedy::Remake => remake(context, volume, img_volume),
    };
    leave(context);
    repaired
}

fn remake(context: &mut Context<'_>, volume: &Volume, img_volume: &Volume) -> bool {
    save(context, volume, img_volume);
    let device = volume.path();
    let mut arguments = vec!["-q", "-F", "-t", "ext4"];
    if let Some(label) = &volume.label {
        arguments.extend(["-L", label]);
    }
    arguments.push(&device);
    let is_made = run(context, "mke2fs", &arguments) == Some(0);
    if is_made {
        context.notice(&format!("overlay, {device}, was damaged beyond repair and is recreated"));
    }
    is_made
}

/// Puts back what an earlier repair saved, where there is no `persistent`. Without anything saved it asks one question and goes.
pub fn restore(context: &mut Context<'_>, volume: &Volume, img_volume: &Volume) {
    let persistent = store(names::PERSISTENT);
    if exists(context.kernel, &persistent) || !is_saved(context.kernel) {
        return;
    }
    let outcome = enter(context).and_then(|()| copy_back(context, volume, img_volume, &persistent));
    leave(context);
    if let Err(error) = outcome {
        context.notice(&error.with_cause());
    }
}

/// Returns true where `persistent` is saved on `img`: a directory, whatever else may stand there.
fn is_saved(kernel: &mut dyn Machine) -> bool {
    kernel.stat(&img(names::SAVED)).is_ok_and(|stat| stat.kind == Kind::Directory)
}

fn copy_back(context: &mut Context<'_>, volume: &Volume, img_volume: &Volume, persistent: &str) -> Result<()> {
    make_writable(context.kernel, names::IMG_DIR)?;
    let part = format!("{persistent}.part");
    let (from, to) = (format!("{IMG}/{}", names::SAVED), format!("{OVERLAY}/{}.part", names::PERSISTENT));
    let copied = attach(context, img_volume, IMG, false)
        && attach(context, volume, OVERLAY, false)
        && run(context, "rm", &["-rf", &to]) == Some(0)
        && run(context, "cp", &["-a", &from, &to]) == Some(0);
    if copied {
        // Everything is on the disk before it gets its name, and has its name before the copy goes.
        flush(context.kernel, names::OVERLAY_DIR)?;
        context.kernel.rename(&part, persistent).at("rename", &part)?;
        sync(context.kernel, names::OVERLAY_DIR)?;
        run(context, "rm", &["-rf", &from]);
        context.notice("persistent was saved from the damaged overlay and is back");
    }
    media::make_read_only(context.kernel, names::IMG_DIR)
}

/// Copies `persistent` to `img`, if it can still be read and there is room.
fn save(context: &mut Context<'_>, volume: &Volume, img_volume: &Volume) {
    let saved = img(names::SAVED);
    // What a cut in an earlier repair left is better than what is on the partition now.
    if is_saved(context.kernel) || !attach(context, volume, OVERLAY, true) {
        return;
    }
    let (from, to) = (format!("{OVERLAY}/{}", names::PERSISTENT), format!("{IMG}/{}.part", names::SAVED));
    let copied = media::remount(context.kernel, names::IMG_DIR, false).is_ok()
        && attach(context, img_volume, IMG, false)
        && run(context, "rm", &["-rf", &to]) == Some(0)
        && run(context, "cp", &["-a", &from, &to]) == Some(0);
    let kernel = &mut *context.kernel;
    let kept = copied
        && flush(kernel, names::IMG_DIR).is_ok()
        && kernel.rename(&format!("{saved}.part"), &saved).is_ok()
        && kernel.sync(names::IMG_DIR).is_ok();
    context.notice(if kept { "persistent is saved on img" } else { "persistent could not be saved" });
    // The partition must not be in use when it is recreated; a failure shows there.
    let _ = context.kernel.unmount(&inside(OVERLAY));
    let _ = media::remount(context.kernel, names::IMG_DIR, true);
}

/// Writes out all of a filesystem: one that becomes read-only is written out first.
fn flush(kernel: &mut dyn Machine, target: &str) -> Result<()> {
    media::remount(kernel, target, true).at("flush", target)?;
    make_writable(kernel, target)
}

/// Returns the path by which init reaches `path` of the image's programs.
fn inside(path: &str) -> String {
    format!("{}{path}", names::IMAGE_DIR)
}

fn attach(context: &mut Context<'_>, volume: &Volume, path: &str, read_only: bool) -> bool {
    let (device, target) = (volume.path(), inside(path));
    let limits = Limits::Medium;
    let mount = Mount { source: &device, target: &target, filesystem: "ext4", read_only, limits, ..Mount::default() };
    // The image's `/dev` is the same filesystem as ours.
    let outcome = context.make_dir(path).and_then(|()| context.kernel.mount(&mount).at("mount", &device));
    outcome.is_ok()
}

/// Gives the image's programs the devices and processes they look for.
fn enter(context: &mut Context<'_>) -> Result<()> {
    mount_inside(context, "proc", "/proc")?;
    mount_inside(context, "devtmpfs", "/dev").inspect_err(|_| {
        let _ = context.kernel.unmount(&inside("/proc"));
    })
}

fn mount_inside(context: &mut Context<'_>, filesystem: &str, directory: &str) -> Result<()> {
    let target = inside(directory);
    // A link in the image would lead the mount out of it.
    if context.kernel.stat(&target).at("read", &target)?.kind != Kind::Directory {
        return Err(io::Error::from(io::ErrorKind::NotADirectory)).at("mount", &target);
    }
    let mount = Mount { source: filesystem, target: &target, filesystem, ..Mount::default() };
    context.kernel.mount(&mount).at("mount", &target)
}

fn leave(context: &mut Context<'_>) {
    // Some of them were not mounted, or made.
    for directory in [IMG, OVERLAY, "/proc"] {
        let _ = context.kernel.unmount(&inside(directory));
    }
    for directory in [IMG, OVERLAY] {
        let _ = context.kernel.remove(directory, Kind::Directory);
    }
    let _ = context.kernel.unmount(&inside("/dev"));
}

/// Runs a program of the image and says how it ended. None where the image has no such program.
fn run(context: &mut Context<'_>, program: &str, arguments: &[&str]) -> Option<i32> {
    let mut outcome = format!("{program} is not in the image");
    let path = ["/sbin", "/usr/sbin", "/bin", "/usr/bin"]
        .into_iter()
        .map(|directory| format!("{directory}/{program}"))
        .find(|path| match switch_root::resolve(context.kernel, names::IMAGE_DIR, path) {
            Ok(_) => true,
            Err(end) => {
                if let Some(reason) = end.failure() {
                    outcome = format!("cannot read {}{path}: {reason}", names::IMAGE_DIR);
                }
                false
            }
        });
    let status = match path.map(|path| context.kernel.run(names::IMAGE_DIR, &path, arguments)) {
        Some(Ok(status)) => {
            outcome = format!("{program} exited with status {status}");
            Some(status)
        }
        Some(Err(error)) => {
            outcome = format!("{program} would not start: {error}");
            None
        }
        None => None,
    };
    context.notice(&outcome);
    status
}
