//! All layers become one root: the image, `persistent` over it, and `upper` on top, on a partition or in memory. Where the partition
//! cannot be used, whatever call found that out, it is repaired, then a fallback is taken if there is one, else the boot fails.

pub mod repair;
pub mod store;

use contract::{
    errno::EROFS,
    failure::Mounted,
    names::{self, store},
    report::Fact,
    step::Step,
    superblock,
    tag::Volume,
};

use super::volumes::mount_error;
use crate::{
    config::OverlayStore,
    context::Context,
    error::{Error, IoContext, Result},
    kernel::{Action, Machine, Mount, exists, release},
    media, modules,
    switch_root::{self, MOVED},
    trust,
};
use store::{Store, with_room};

/// A reason why the layers did not become a root.
enum Failure {
    /// The writable partition cannot be used.
    Store(Error),
    /// Another store would not help.
    Root(Error),
}

/// Puts the layers together at [`names::SYSROOT`]: on `store`, or in memory without one. The image on the partition `img` may hold
/// programs for its repair.
///
/// # Errors
/// [`Error::Unusable`] where the partition cannot be used and there is no fallback; overlayfs is not there, would not load or would not
/// mount.
pub fn assemble(context: &mut Context<'_>, store: &mut Store<'_>, img: Option<&Volume>) -> Result<()> {
    context.begin(Step::Layers);
    let Some(volume) = store.volume() else { return in_memory(context) };
    let mut outcome = on_partition(context, store, volume, img);
    if let (Err(Failure::Store(error)), Some(img)) = (&outcome, img) {
        context.notice(&error.with_cause());
        for remedy in repair::remedies(context.config.layers.repair, error) {
            undo(context, store);
            if repair::apply(context, *remedy, volume, img) {
                context.begin(Step::Layers);
                outcome = on_partition(context, store, volume, Some(img));
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
    if !context.config.layers.fallback {
        return Err(error);
    }
    undo(context, store);
    context.notice(&format!("{}: booting on a tmpfs, nothing written will be kept", error.with_cause()));
    context.report.degrade();
    in_memory(context)
}

/// Takes back what was mounted for a store that cannot be used.
fn undo(context: &mut Context<'_>, store: &mut Store<'_>) {
    // It may not have come that far.
    let _ = context.kernel.unmount(names::SYSROOT);
    store.close(context);
}

/// Puts the layers together on the writable partition.
fn on_partition(
    context: &mut Context<'_>,
    store: &mut Store<'_>,
    volume: &Volume,
    img: Option<&Volume>,
) -> Result<(), Failure> {
    let of_store = |error: Error| Failure::Store(error.of_store(&volume.path()));
    store.open(context).map_err(of_store)?;
    if let Some(img) = img {
        repair::restore(context, volume, img);
    }
    context.report.fact(Fact::Overlay, volume.path());
    store::prepare(context).map_err(of_store)?;
    take_attributes(context);
    // From here on it is the running system's.
    let lift = Mount { action: Action::Bind, target: names::OVERLAY_DIR, ..Mount::default() };
    context.kernel.mount(&lift).at("remount", names::OVERLAY_DIR).map_err(of_store)?;
    context.begin(Step::Overlay);
    let served = load_overlayfs(context).map_err(Failure::Root)?;
    mount_root(context, &served).map_err(|error| match error {
        Error::Mount { .. } if folds_case(context.kernel, volume) => of_store(Error::NotWritableLayer {
            device: volume.path(),
            filesystem: volume.kind.clone().unwrap_or_default(),
            reason: "it folds the case of names (feature casefold)",
        }),
        Error::Mount { .. } | Error::Io { .. } => of_store(error),
        error => Failure::Root(error),
    })?;
    store::sweep(context);
    Ok(())
}

/// Returns true for a filesystem that can have directories without regard to case. Kernels before 6.18 have none of it below overlayfs.
fn folds_case(kernel: &mut dyn Machine, volume: &Volume) -> bool {
    kernel.read(&volume.path(), 0, superblock::HEAD_OF_FEATURES).is_ok_and(|head| superblock::folds_case(&head))
}

/// Puts the layers together in memory.
fn in_memory(context: &mut Context<'_>) -> Result<()> {
    mount_tmpfs(context)?;
    for (name, mode) in [(names::UPPER, 0o755), (names::WORK, 0o700), (names::PERSISTENT, 0o755)] {
        let path = store(name);
        if !exists(context.kernel, &path) {
            context.kernel.make_dir(&path, mode).at("create", &path)?;
        }
    }
    take_attributes(context);
    context.begin(Step::Overlay);
    let served = load_overlayfs(context)?;
    mount_root(context, &served)
}

/// Gives the root of the writable layer what the root of the image has, as overlayfs does for every other directory that it copies up.
fn take_attributes(context: &mut Context<'_>) {
    if let Err(error) = context.kernel.copy_attributes(names::IMAGE_DIR, &store(names::UPPER)) {
        context.notice(&format!("the root lacks attributes of the image's /: {error}"));
    }
}

fn mount_tmpfs(context: &mut Context<'_>) -> Result<()> {
    let data = match &context.config.layers.overlay {
        OverlayStore::Tmpfs(Some(size)) => format!("mode=755,size={size}"),
        _ => "mode=755".into(),
    };
    context.report.fact(Fact::Overlay, "tmpfs");
    let mount =
        Mount { source: "tmpfs", target: names::OVERLAY_DIR, filesystem: "tmpfs", data: &data, ..Mount::default() };
    context.kernel.mount(&mount).map_err(|source| Error::Mount {
        what: Mounted::Overlay,
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
fn load_overlayfs(context: &mut Context<'_>) -> Result<Overlayfs> {
    let mut looked = Vec::new();
    let mut served = context.modules.load_filesystem(context.kernel, "overlay")?;
    if !served {
        looked = context.modules.places();
        let release = release(context.kernel);
        for place in ["lib/modules", "usr/lib/modules"] {
            // A link in the image, `lib` to `usr/lib` say, leads somewhere in the image.
            let mut line = format!("no module in the image's /{place}/{release}");
            match switch_root::resolve(context.kernel, names::IMAGE_DIR, &format!("/{place}/{release}")) {
                Ok(directory) if !served => {
                    served = modules::load_from(context.kernel, &context.config.modules, &directory, "overlay")?;
                }
                Ok(_) => {}
                Err(end) => {
                    if let Some(reason) = end.failure() {
                        line = format!("the image's /{place}/{release} cannot be read: {reason}");
                    }
                }
            }
            looked.push(line);
        }
    }
    Ok(Overlayfs { served, looked })
}

/// Mounts all layers as one root at [`names::SYSROOT`], with the places that the api filesystems move to.
fn mount_root(context: &mut Context<'_>, overlayfs: &Overlayfs) -> Result<()> {
    // Our own paths: nothing in them needs escaping.
    let persistent = if context.config.layers.persistent { store(names::PERSISTENT) + ":" } else { String::new() };
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
        if exists(context.kernel, &format!("/sys/module/overlay/parameters/{parameter}")) {
            data.push_str(&format!(",{option}=off"));
        }
    }
    context.make_dir(names::SYSROOT)?;
    with_room(context, &[names::DISCARDED], &mut |kernel| mount_overlay(kernel, &data, overlayfs))?;
    for directory in MOVED {
        with_room(context, &[names::DISCARDED], &mut |kernel| make_place(kernel, directory))?;
    }
    if context.config.layers.read_only {
        media::make_read_only(context.kernel, names::SYSROOT)?;
    }
    context.report.fact(Fact::Root, if context.config.layers.read_only { "ro" } else { "rw" });
    report_persistent(context);
    Ok(())
}

/// Makes the place in the root that one of the api filesystems moves to. A link there would lead the mount elsewhere.
fn make_place(kernel: &mut dyn Machine, directory: &str) -> Result<()> {
    media::make_dir(kernel, &[names::SYSROOT, directory].concat(), 0o755).map_err(|error| match error {
        Error::Io { action: "read", source, .. } => Error::RootUnreadable { path: directory.into(), source },
        error => error,
    })
}

/// Mounts the layers. overlayfs that cannot write mounts all the same, read-only, and says so in the kernel's log alone.
fn mount_overlay(kernel: &mut dyn Machine, data: &str, overlayfs: &Overlayfs) -> Result<()> {
    let mount = Mount { source: "overlay", target: names::SYSROOT, filesystem: "overlay", data, ..Mount::default() };
    let mount_once = |kernel: &mut dyn Machine| -> Result<bool> {
        kernel.mount(&mount).map_err(|source| {
            mount_error(kernel, Mounted::Root, &mount, source, overlayfs.served, || overlayfs.looked.clone())
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
    Err(Error::Mount { what: Mounted::Root, device: "overlay".into(), filesystem: "overlay".into(), source })
}

/// Reports whether the persistent layer is one of the root's. No signature covers it, which matters where only signed images boot.
fn report_persistent(context: &mut Context<'_>) {
    let mut word = if context.config.layers.persistent { "yes" } else { "no" };
    let is_empty =
        |kernel: &mut dyn Machine| kernel.list(&store(names::PERSISTENT)).is_ok_and(|names| names.is_empty());
    if context.config.layers.persistent && trust::required(context.abilities) && !is_empty(context.kernel) {
        context.notice("persistent is unsigned and lies over the image (rd.persistent=no leaves it out)");
        word = "unsigned";
    }
    context.report.fact(Fact::Persistent, word);
}
