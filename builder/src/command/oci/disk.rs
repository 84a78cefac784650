//! `oci run --disk`: the image's root as a disk, made once and kept in the cache.

use std::{fs::File, os::fd::OwnedFd};

use base::{IoContext, cleanup::TempDir, progress::Progress};
use contract::workload::Workload;
use oci::{
    disk::{self, Disk, Parts},
    erofs::Draft,
    image::Image,
    lost::Output,
    merge::Merge,
    network::{self, Busybox},
};
use sources::busybox;

use super::{
    ram::{RunArgs, make_volumes},
    root::{RootArgs, warn_of_attributes, warn_of_orders},
};
use crate::{Error, Result};

/// The disk's name in the guest: the first on virtio.
pub(super) const DEVICE: &str = "/dev/vda";
/// The modules that a guest needs to have its root on such a disk.
pub(super) const MODULES: [&str; 4] = ["virtio_pci", "virtio_blk", "erofs", "overlay"];

/// A root on a disk.
pub(super) struct Prepared {
    /// The image, open.
    pub file: OwnedFd,
    /// The workload that runs on it.
    pub workload: Workload,
}

/// Finds the disk of an image in the cache, or makes it; what has no digest is made in `work`.
pub(super) fn prepare(
    root: &RootArgs,
    run: &RunArgs,
    image: &Image,
    arguments: &[String],
    busybox: Option<&busybox::Busybox>,
    work: &TempDir,
    progress: Progress,
) -> Result<Prepared> {
    let injects = root.injects()?;
    let network = busybox.map(|busybox| busybox.bytes.as_slice());
    let key = disk::key(image, &Parts { exclude: root.excluded(), inject: &injects, network })?;
    let busybox = busybox.map(|busybox| Busybox { program: &busybox.bytes, applets: &busybox.applets });
    let cache = crate::cache::open()?;
    let disk = match key.as_deref().and_then(|key| disk::find(&cache, key)) {
        Some(disk) => disk,
        None => {
            let mut step = None;
            let merge = |draft: &mut Draft| {
                let (mut merge, _) = root.merge(image, false, Some(draft), progress)?;
                warn_of_attributes(&image.name, &merge, Output::Erofs, progress);
                make_volumes(image, &mut merge)?;
                if let Some(busybox) = busybox {
                    network::put(&mut merge, busybox)?;
                }
                step = Some(progress.step(format!("{}: writing the disk", image.name)));
                Ok::<_, Error>(merge)
            };
            let disk = match &key {
                Some(key) => disk::keep(&cache, key, image, merge)?,
                None => disk::make(image, work.path(), merge)?,
            };
            if let Some(step) = step {
                step.finish("");
            }
            disk
        }
    };
    let Disk { file, names, taken, is_kept } = disk;
    warn_of_orders(&image.name, &taken, progress);
    if is_kept {
        oci::write_lock(image)?;
    }
    let mut workload = run.workload(image, &names, arguments)?;
    DEVICE.clone_into(&mut workload.disk);
    if let Some(busybox) = busybox {
        // It lies on the disk; here is only said what starts it.
        workload.start = network::put(&mut Merge::default(), busybox)?;
        workload.switches_on = true;
    }
    Ok(Prepared { file: File::open(&file).at("open", &file)?.into(), workload })
}
