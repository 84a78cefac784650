//! `rd.toram`: the image is copied to memory and read back there, so that the medium is free and can be taken out. Where that cannot
//! be, the boot goes on from the medium, and why is said with numbers.

use std::io;

use contract::{names, report::Fact, step::Step, text::Size};

use super::{device::Found, image::Image};
use crate::{
    config::OverlayStore,
    context::Context,
    error::{Error, IoContext, Result},
    kernel::{Limits, Machine, Mount, read_file},
    progress, trust,
};

/// Memory left to the system besides the image, in bytes: enough for a small one to start.
const RESERVE: u64 = 32 << 20;

/// Space that the copy's tmpfs has beyond the size of the copy, in bytes: enough for a last, partial page of any page size.
const SLACK: u64 = 64 << 10;

/// Copies the image to memory and returns it as it is to be mounted from now on. `copied` says that a better image was copied before.
///
/// # Errors
/// [`Error::ImageUntrusted`]: what came to memory is not what was signed.
pub fn replace(context: &mut Context<'_>, image: Image, copied: &mut bool) -> Result<Image> {
    context.begin(Step::ToRam);
    if std::mem::take(copied) {
        // It is there and would not mount; where it cannot be unmounted it only takes up memory.
        let _ = context.kernel.unmount(names::RAM_DIR);
    }
    match bring(context, &image) {
        Ok(path) => {
            context.report.fact(Fact::ToRam, "yes");
            *copied = true;
            Ok(Image { path, in_memory: true, ..image })
        }
        Err(error @ Error::ImageUntrusted { .. }) => Err(error),
        Err(error) => {
            let line = format!("rd.toram: {}: booting from the medium", error.with_cause());
            context.notice(&line);
            context.report.fact(Fact::ToRam, "no");
            context.report.degrade();
            Ok(image)
        }
    }
}

/// Returns the path of the copy, which is whole. On an error nothing of it is left.
fn bring(context: &mut Context<'_>, image: &Image) -> Result<String> {
    let size = context.kernel.stat(&image.path).at("read", &image.path)?.size;
    let available = available(context.kernel)?;
    let needed = size.saturating_add(RESERVE);
    if available < needed {
        let reason = format!(
            "in memory it takes {} and the system at least {}, but {} are available",
            Size(size),
            Size(RESERVE),
            Size(available)
        );
        return Err(io::Error::other(reason)).at("copy", &image.path);
    }
    context.make_dir(names::RAM_DIR)?;
    let data = format!("mode=700,size={}", size.saturating_add(SLACK));
    let mount = Mount {
        source: "tmpfs",
        target: names::RAM_DIR,
        filesystem: "tmpfs",
        limits: Limits::NoSuidDev,
        data: &data,
        ..Mount::default()
    };
    context.kernel.mount(&mount).at("mount a tmpfs on", names::RAM_DIR)?;
    let copy = format!("{}/{}", names::RAM_DIR, image.path.rsplit('/').next().unwrap_or(names::IMAGE));
    context.say(&format!("rd.toram: copying {} to memory", Size(size)));
    let outcome = fill(context, &image.path, &copy);
    if outcome.is_err() {
        // What is left would only take up memory; that it is unmounted changes nothing for this boot.
        let _ = context.kernel.unmount(names::RAM_DIR);
    }
    outcome.map(|()| copy)
}

/// Copies, reads back, and has the signature checked on what the system will run from.
fn fill(context: &mut Context<'_>, from: &str, copy: &str) -> Result<()> {
    let digest = progress::copy(context.kernel, from, copy).at("copy", from)?;
    if trust::required(context.abilities) {
        return trust::check_copy(context.kernel, copy, from);
    }
    if progress::digest(context.kernel, copy).at("read back", copy)? != digest {
        return Err(io::Error::other("what was read back differs from what was copied")).at("check", copy);
    }
    Ok(())
}

/// Returns the memory that can be had without swapping, in bytes (kernel, Documentation/filesystems/proc.rst, `MemAvailable`).
fn available(kernel: &mut dyn Machine) -> Result<u64> {
    const LIST: &str = "/proc/meminfo";
    let text = read_file(kernel, LIST).at("read", LIST)?;
    let text = String::from_utf8_lossy(&text);
    let value = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kib: u64 = value.and_then(|value| value.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0);
    Ok(kib.saturating_mul(1024))
}

/// Releases the medium of an image in memory: nothing of `img` is needed any more.
pub fn release(context: &mut Context<'_>, found: &Found, image: &Image) {
    if !image.in_memory {
        return;
    }
    if let Err(error) = context.kernel.unmount(names::IMG_DIR) {
        return context.notice(&format!("rd.toram: {} stays mounted: {error}", names::IMG_DIR));
    }
    let line = match (&context.config.layers.overlay, &found.overlay) {
        (OverlayStore::Partition(_), Some(overlay)) => {
            format!("rd.toram: {} is free; the writable layer is on {}", found.img.path(), overlay.path())
        }
        _ => format!("rd.toram: the system runs from memory alone, and {} can be taken out", found.img.path()),
    };
    context.say(&line);
}
