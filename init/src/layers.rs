//! All layers become one root: the image, `persistent` over it, and `upper` on top, on a partition or in memory. Where the partition
//! cannot be used, whatever call found that out, it is repaired, then a fallback is taken if there is one, else the boot fails.

use crate::{
    boot::Boot,
    config::OverlayStore,
    device::mount_error,
    error::{Error, IoContext, Result},
    kernel::{Kernel, Limits, Mount, exists},
    media, modules,
    names::{self, store},
    repair,
    step::Step,
    store::{self, with_room},
    switch_root::{self, MOVED},
    tag::Volume,
    trust,
};

/// Why the layers did not become a root.
enum Failure {
    /// The writable partition cannot be used.
    Store(Error),
    /// Another store would not help.
    Root(Error),
}

/// Puts the layers together at [`names::SYSROOT`]. `overlay` is the writable partition, none for memory; `img` the partition whose image
/// may hold programs for its repair.
///
/// # Errors
/// [`Error::Store`] where the partition cannot be used and there is no fallback; overlayfs is not there, would not load or would not
/// mount.
pub fn assemble(boot: &mut Boot<'_>, overlay: Option<&Volume>, img: Option<&Volume>) -> Result<()> {
    boot.begin(Step::Layers);
    let Some(volume) = overlay else { return in_memory(boot) };
    let mut outcome = on_partition(boot, volume, img);
    if let (Err(Failure::Store(error)), Some(img)) = (&outcome, img) {
        boot.notice(&error.with_cause());
        for remedy in repair::remedies(boot.config.overlay_repair, error) {
            undo(boot);
            if repair::apply(boot, *remedy, volume, img) {
                boot.begin(Step::Layers);
                outcome = on_partition(boot, volume, Some(img));
            }
            if !matches!(outcome, Err(Failure::Store(_))) {
                break;
            }
        }
    }
    let error = match outcome {
        Ok(()) => return Ok(()),
        Err(Failure::Root(error)) => return Err(error),
        Err(Failure::Store(error)) => error,
    };
    if !boot.config.overlay_fallback {
        return Err(error);
    }
    undo(boot);
    boot.notice(&format!("{}: booting on a tmpfs, nothing written will be kept", error.with_cause()));
    boot.report.degrade();
    in_memory(boot)
}

/// Takes back what was mounted for a store that cannot be used.
fn undo(boot: &mut Boot<'_>) {
    // It may not have come that far.
    let _ = boot.kernel.unmount(names::SYSROOT);
    store::close(boot);
}

/// Puts the layers together on the writable partition.
fn on_partition(boot: &mut Boot<'_>, volume: &Volume, img: Option<&Volume>) -> Result<(), Failure> {
    let of_store = |error: Error| Failure::Store(error.of_store(&volume.path()));
    store::open(boot, volume).map_err(of_store)?;
    if let Some(img) = img {
        repair::restore(boot, volume, img);
    }
    boot.report.fact("overlay", volume.path());
    store::prepare(boot).map_err(of_store)?;
    take_attributes(boot);
    boot.kernel.lift_limits(names::OVERLAY_DIR).at("mount anew", names::OVERLAY_DIR).map_err(of_store)?;
    boot.begin(Step::Overlay);
    let served = load_overlayfs(boot).map_err(Failure::Root)?;
    mount_root(boot, &served).map_err(|error| match error {
        Error::Mount { .. } | Error::Io { .. } => of_store(error),
        error => Failure::Root(error),
    })?;
    store::sweep(boot);
    Ok(())
}

/// Puts the layers together in memory.
fn in_memory(boot: &mut Boot<'_>) -> Result<()> {
    mount_tmpfs(boot)?;
    for (name, mode) in [(names::UPPER, 0o755), (names::WORK, 0o700), (names::PERSISTENT, 0o755)] {
        let path = store(name);
        if !exists(boot.kernel, &path) {
            boot.kernel.make_dir(&path, mode).at("create", &path)?;
        }
    }
    take_attributes(boot);
    boot.begin(Step::Overlay);
    let served = load_overlayfs(boot)?;
    mount_root(boot, &served)
}

/// Gives the root of the writable layer what the root of the image has, as overlayfs does for every other directory that it copies up.
fn take_attributes(boot: &mut Boot<'_>) {
    if let Err(error) = boot.kernel.copy_attributes(names::IMAGE_DIR, &store(names::UPPER)) {
        boot.notice(&format!("the root has not all attributes of the image's /: {error}"));
    }
}

fn mount_tmpfs(boot: &mut Boot<'_>) -> Result<()> {
    let data = match &boot.config.overlay {
        OverlayStore::Tmpfs(Some(size)) => format!("mode=755,size={size}"),
        _ => "mode=755".into(),
    };
    boot.report.fact("overlay", "tmpfs");
    let mount = Mount {
        source: "tmpfs",
        target: names::OVERLAY_DIR,
        filesystem: "tmpfs",
        read_only: false,
        limits: Limits::None,
        data: &data,
    };
    boot.kernel.mount(&mount).map_err(|source| Error::Mount {
        what: "overlay",
        device: "tmpfs".into(),
        filesystem: "tmpfs".into(),
        source,
    })
}

/// The source of overlayfs.
struct Overlayfs {
    /// Something served it: what is baked in, the image, or the kernel itself.
    served: bool,
    /// Places where a module was looked for, a line each.
    looked: Vec<String>,
}

/// Loads overlayfs: from what is baked in, else from the image.
fn load_overlayfs(boot: &mut Boot<'_>) -> Result<Overlayfs> {
    let mut looked = Vec::new();
    let mut served = boot.modules.load_filesystem(boot.kernel, "overlay")?;
    if !served {
        looked = boot.modules.places();
        let release = boot.kernel.release();
        for place in ["lib/modules", "usr/lib/modules"] {
            // A link in the image, `lib` to `usr/lib` say, leads somewhere in the image.
            let folder = switch_root::resolve(boot.kernel, names::IMAGE_DIR, &format!("/{place}/{release}"));
            if let (false, Some(folder)) = (served, folder) {
                served = modules::load_from(boot.kernel, &folder, "overlay")?;
            }
            looked.push(format!("no module in the image's /{place}/{release}"));
        }
    }
    Ok(Overlayfs { served, looked })
}

/// Mounts all layers as one root at [`names::SYSROOT`], with the places that the api filesystems move to.
fn mount_root(boot: &mut Boot<'_>, overlayfs: &Overlayfs) -> Result<()> {
    // Our own paths: nothing in them needs escaping.
    let persistent = if boot.config.persistent { store(names::PERSISTENT) + ":" } else { String::new() };
    let mut data = format!(
        "lowerdir={persistent}{},upperdir={},workdir={}",
        names::IMAGE_DIR,
        store(names::UPPER),
        store(names::WORK)
    );
    // An upper layer must not outlive its lower one by hidden ties, and lower layers change between boots. Kernels without the parameter
    // have no such tie (kernel, Documentation/filesystems/overlayfs.rst; fs/overlayfs/super.c for the names).
    for (parameter, option) in
        [("index", "index"), ("metacopy", "metacopy"), ("redirect_dir", "redirect_dir"), ("xino_auto", "xino")]
    {
        if exists(boot.kernel, &format!("/sys/module/overlay/parameters/{parameter}")) {
            data.push_str(&format!(",{option}=off"));
        }
    }
    boot.make_dir(names::SYSROOT)?;
    with_room(boot, &[names::DISCARDED], &mut |kernel| mount_overlay(kernel, &data, overlayfs))?;
    for folder in MOVED {
        with_room(boot, &[names::DISCARDED], &mut |kernel| make_place(kernel, folder))?;
    }
    if boot.config.read_only {
        boot.kernel.remount(names::SYSROOT, true).at("make read-only", names::SYSROOT)?;
    }
    boot.report.fact("root", if boot.config.read_only { "ro" } else { "rw" });
    report_persistent(boot);
    Ok(())
}

/// Makes the place in the root that one of the api filesystems moves to. A link there would lead the mount elsewhere.
fn make_place(kernel: &mut dyn Kernel, folder: &str) -> Result<()> {
    media::make_dir(kernel, &[names::SYSROOT, folder].concat(), 0o755)
}

/// Mounts the layers. overlayfs that cannot write mounts all the same, read-only, and says so in the kernel's log alone.
fn mount_overlay(kernel: &mut dyn Kernel, data: &str, overlayfs: &Overlayfs) -> Result<()> {
    const EROFS: i32 = 30;
    let mount = Mount {
        source: "overlay",
        target: names::SYSROOT,
        filesystem: "overlay",
        read_only: false,
        limits: Limits::None,
        data,
    };
    let mount_once = |kernel: &mut dyn Kernel| -> Result<bool> {
        kernel.mount(&mount).map_err(|source| {
            mount_error(kernel, "root", &mount, source, overlayfs.served, || overlayfs.looked.clone())
        })?;
        Ok(!kernel.space(names::SYSROOT).is_ok_and(|space| space.read_only))
    };
    if mount_once(kernel)? {
        return Ok(());
    }
    let _ = kernel.unmount(names::SYSROOT);
    // It lacks one directory in `work`: making it here tells why, or does what is in the way of it.
    let probe = format!("{}/{}", store(names::WORK), names::WORKDIR);
    let outcome = kernel.make_dir(&probe, 0o700);
    if outcome.is_ok() && mount_once(kernel)? {
        return Ok(());
    }
    let _ = kernel.unmount(names::SYSROOT);
    let source = outcome.err().unwrap_or_else(|| std::io::Error::from_raw_os_error(EROFS));
    Err(Error::Mount { what: "root", device: "overlay".into(), filesystem: "overlay".into(), source })
}

/// Reports whether the persistent layer is one of the root's. No signature covers it, which matters where only signed images boot.
fn report_persistent(boot: &mut Boot<'_>) {
    let mut word = if boot.config.persistent { "yes" } else { "no" };
    let is_empty = |kernel: &mut dyn Kernel| kernel.list(&store(names::PERSISTENT)).is_ok_and(|names| names.is_empty());
    if boot.config.persistent && trust::required(boot) && !is_empty(boot.kernel) {
        boot.notice("persistent, which nobody signed, lies over the image (rd.persistent=no leaves it out)");
        word = "unsigned";
    }
    boot.report.fact("persistent", word);
}
