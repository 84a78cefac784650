//! The writable side: `upper` and `work` are new at every boot, `persistent` stays. What was in them is renamed aside, which
//! takes the same time whatever it was, and deleted behind the boot. Then all layers become one root.

use crate::{
    boot::Boot,
    config::OverlayStore,
    device::{mount_error, mount_volume},
    error::{Error, IoContext, Result, Role},
    kernel::{Mount, exists},
    modules, names,
    tag::Volume,
};

/// Mounts the overlay partition, if it is not mounted yet: an image on trial needs it earlier than the layers do.
///
/// # Errors
/// The mount.
pub fn open(boot: &mut Boot<'_>, volume: &Volume) -> Result<()> {
    if !boot.store_open {
        mount_volume(boot, volume, names::OVERLAY_DIR, Role::Overlay, false)?;
        boot.store_open = true;
    }
    Ok(())
}

/// Mounts the writable store and makes its folders.
///
/// # Errors
/// The mount, unless a fallback was asked for, or a folder.
pub fn prepare(boot: &mut Boot<'_>, overlay: Option<&Volume>) -> Result<()> {
    let mut on_disk = false;
    if let Some(volume) = overlay {
        match open(boot, volume) {
            Ok(()) => on_disk = true,
            Err(error) if boot.config.overlay_fallback => {
                boot.notice(&format!("{}: booting on a tmpfs, nothing written will be kept", error.with_cause()));
                boot.report.degrade();
            }
            Err(error) => return Err(error),
        }
    }
    if on_disk {
        boot.report.fact("overlay", overlay.map(Volume::path).unwrap_or_default());
        clear(boot)?;
    } else {
        mount_tmpfs(boot)?;
    }
    for (name, mode) in [(names::UPPER, 0o755), (names::WORK, 0o700), (names::PERSISTENT, 0o755)] {
        let path = format!("{}/{name}", names::OVERLAY_DIR);
        if !exists(boot.kernel, &path) {
            boot.kernel.make_dir(&path, mode).at("create", &path)?;
        }
    }
    Ok(())
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
        no_suid_dev: false,
        data: &data,
    };
    boot.kernel.mount(&mount).map_err(|source| Error::Mount {
        what: "overlay",
        device: "tmpfs".into(),
        filesystem: "tmpfs".into(),
        source,
    })
}

/// Renames what earlier boots left aside, and has it deleted behind this one.
fn clear(boot: &mut Boot<'_>) -> Result<()> {
    let discarded = format!("{}/{}", names::OVERLAY_DIR, names::DISCARDED);
    let mut layers = vec![names::UPPER, names::WORK];
    if boot.config.overlay_reset {
        boot.notice("factory reset: persistent is emptied");
        layers.push(names::PERSISTENT);
    }
    let mut waiting = boot.kernel.list(&discarded).unwrap_or_default();
    // What overlayfs leaves in a scratch folder that was not used: with it gone there is nothing to delete behind the boot.
    // Where it is missing or in use, the folder is renamed aside as it is.
    let _ = boot.kernel.remove_dir(&format!("{}/{}/work", names::OVERLAY_DIR, names::WORK));
    for name in layers {
        let path = format!("{}/{name}", names::OVERLAY_DIR);
        // An empty one is as good as new; one that is no directory cannot be listed and goes too.
        if !exists(boot.kernel, &path) || boot.kernel.list(&path).is_ok_and(|names| names.is_empty()) {
            continue;
        }
        boot.make_dir(&discarded)?;
        let place = (0_u32..).map(|number| format!("{name}.{number}")).find(|place| !waiting.contains(place));
        let place = place.unwrap_or_default();
        boot.kernel.rename(&path, &format!("{discarded}/{place}")).at("rename", &path)?;
        waiting.push(place);
    }
    if !waiting.is_empty()
        && let Err(error) = boot.kernel.sweep(&discarded)
    {
        boot.notice(&format!("cannot delete {discarded}: {error}; the next boot tries again"));
    }
    Ok(())
}

/// Mounts all layers as one root at [`names::SYSROOT`], with the places that the api filesystems move to.
///
/// # Errors
/// overlayfs is not there, would not load or would not mount.
pub fn mount_root(boot: &mut Boot<'_>) -> Result<()> {
    let mut looked = Vec::new();
    let mut served = boot.modules.load_filesystem(boot.kernel, "overlay")?;
    if !served {
        looked = boot.modules.places();
        let release = boot.kernel.release();
        for place in ["lib/modules", "usr/lib/modules"] {
            let folder = format!("{}/{place}/{release}", names::IMAGE_DIR);
            served = served || modules::load_from(boot.kernel, &folder, "overlay")?;
            looked.push(format!("no module in the image's /{place}/{release}"));
        }
    }
    // Our own paths: nothing in them needs escaping.
    let store = names::OVERLAY_DIR;
    let mut data = format!(
        "lowerdir={store}/{}:{},upperdir={store}/{},workdir={store}/{}",
        names::PERSISTENT,
        names::IMAGE_DIR,
        names::UPPER,
        names::WORK
    );
    // An upper layer must not outlive its lower one by hidden ties; kernels without the option have no ties
    // (kernel, Documentation/filesystems/overlayfs.rst).
    for option in ["index", "metacopy"] {
        if exists(boot.kernel, &format!("/sys/module/overlay/parameters/{option}")) {
            data.push_str(&format!(",{option}=off"));
        }
    }
    boot.make_dir(names::SYSROOT)?;
    let mount = Mount {
        source: "overlay",
        target: names::SYSROOT,
        filesystem: "overlay",
        read_only: false,
        no_suid_dev: false,
        data: &data,
    };
    boot.kernel.mount(&mount).map_err(|source| mount_error(boot.kernel, "root", &mount, source, served, || looked))?;
    for folder in crate::switch_root::MOVED {
        boot.make_dir(&format!("{}{folder}", names::SYSROOT))?;
    }
    if boot.config.read_only {
        boot.kernel.remount(names::SYSROOT, true).at("make read-only", names::SYSROOT)?;
    }
    boot.report.fact("root", if boot.config.read_only { "ro" } else { "rw" });
    Ok(())
}
