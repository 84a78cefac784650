//! The way of a virtual machine that boots from a folder: the root comes from the host over virtiofs, and so may other folders.
//! No disk is looked at unless a writable layer on one is asked for.

use std::{io::ErrorKind, time::Duration};

use super::Boot;
use crate::{
    config::{OverlayStore, virtiofs::Share},
    device,
    error::{Error, Result},
    kernel::{Limits, Mount, Node, exists},
    layers,
    modules::{self, Modules, unlisted, unlisted::Place},
    names,
    step::Step,
    switch_root,
};

/// Nodes that programs expect and that only drivers in use would make: path, permission bits, major and minor number (kernel,
/// Documentation/admin-guide/devices.txt; include/linux/miscdevice.h).
const NODES: [Node<'static>; 3] = [
    Node { path: "/dev/kvm", mode: 0o666, major: 10, minor: 232 },
    Node { path: "/dev/loop-control", mode: 0o660, major: 10, minor: 237 },
    Node { path: "/dev/fuse", mode: 0o666, major: 10, minor: 229 },
];

/// Links that programs expect: from, to.
const LINKS: [(&str, &str); 4] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
];

/// Puts the root together at [`names::SYSROOT`].
///
/// # Errors
/// The first thing the root cannot do without.
pub fn assemble(boot: &mut Boot<'_>) -> Result<()> {
    boot.moved = &switch_root::MOVED_WITH_TMP;
    complete_dev(boot);
    mount_tmp(boot)?;
    boot.begin(Step::Modules);
    load_modules(boot);
    boot.begin(Step::Root);
    let overlaid = boot.config.virtiofs.overlaid;
    mount_root(boot, overlaid)?;
    boot.begin(Step::Mounts);
    mount_shares(boot)?;
    if overlaid {
        boot.begin(Step::Devices);
        let store = match boot.config.overlay.clone() {
            OverlayStore::Partition(tag) => device::find_overlay(boot, &tag)?,
            OverlayStore::Tmpfs(_) => None,
        };
        layers::assemble(boot, store.as_ref(), None)?;
    }
    check_mount_points(boot, overlaid || boot.config.virtiofs.read_write)
}

/// Nodes and links in `/dev`. What cannot be made is said and does not matter to the boot.
fn complete_dev(boot: &mut Boot<'_>) {
    for node in &NODES {
        if let Err(error) = boot.kernel.make_node(node)
            && error.kind() != ErrorKind::AlreadyExists
        {
            boot.notice(&format!("cannot make {}: {error}", node.path));
        }
    }
    for (from, to) in LINKS {
        if let Err(error) = boot.kernel.symlink(to, from)
            && error.kind() != ErrorKind::AlreadyExists
        {
            boot.notice(&format!("cannot make {from}: {error}"));
        }
    }
}

fn mount_tmp(boot: &mut Boot<'_>) -> Result<()> {
    boot.make_dir("/tmp")?;
    let mount = Mount {
        source: "tmpfs",
        target: "/tmp",
        filesystem: "tmpfs",
        read_only: false,
        limits: Limits::NoSuidDev,
        data: "mode=1777",
    };
    boot.kernel.mount(&mount).map_err(|source| Error::Mount {
        what: "api",
        device: "tmpfs".into(),
        filesystem: "tmpfs".into(),
        source,
    })
}

/// Loads every module below `/usr/lib/modules`, in the order of their names: whoever numbered them knew why. Then those of the
/// usual place, for the hardware there is.
fn load_modules(boot: &mut Boot<'_>) {
    unlisted::load(boot.kernel, &[Place::Numbered], boot.config.debug);
    boot.modules = Modules::open(boot.kernel);
    if !boot.modules.is_listed() {
        unlisted::load(boot.kernel, &Place::USUAL, boot.config.debug);
    }
    boot.modules.load_always(boot.kernel);
    boot.modules.coldplug(boot.kernel, &["virtiofs", "overlay"]);
}

/// Mounts the root: as it is, or as the lower layer of one that is put over it.
fn mount_root(boot: &mut Boot<'_>, overlaid: bool) -> Result<()> {
    let tag = boot.config.virtiofs.tag().to_string();
    let read_only = overlaid || !boot.config.virtiofs.read_write;
    let target = if overlaid { names::IMAGE_DIR } else { names::SYSROOT };
    // Whatever served it before says so by mounting.
    boot.modules.load_named(boot.kernel, FILESYSTEM)?;
    boot.make_dir(target)?;
    boot.report.fact("tag", tag.as_str());
    boot.report.fact("root", if read_only { "ro" } else { "rw" });
    mount(boot, &Share { tag, read_only }, target)
}

/// Mounts the other folders where they stay: `/run` moves with all that is below it.
fn mount_shares(boot: &mut Boot<'_>) -> Result<()> {
    for share in boot.config.virtiofs.shares.clone() {
        for folder in [names::SHARES_DIR, names::SHARES_LINKS_DIR] {
            boot.make_dir(folder)?;
        }
        let target = format!("{}/{}", names::SHARES_DIR, share.tag);
        boot.make_dir(&target)?;
        mount(boot, &share, &target)?;
        let link = format!("{}/{}", names::SHARES_LINKS_DIR, share.tag);
        if let Err(source) = boot.kernel.symlink(&target, &link) {
            return Err(Error::Io { action: "create", path: link, source });
        }
    }
    Ok(())
}

const FILESYSTEM: &str = "virtiofs";

/// Mounts a tag, and waits for it if it is not there yet.
fn mount(boot: &mut Boot<'_>, share: &Share, target: &str) -> Result<()> {
    // What virtiofs says of a tag that it does not know (kernel, fs/fuse/virtio_fs.c, virtio_fs_get_tree).
    const EINVAL: i32 = 22;
    let deadline = boot.kernel.now().saturating_add(boot.config.timeout);
    let mount = Mount {
        source: &share.tag,
        target,
        filesystem: FILESYSTEM,
        read_only: share.read_only,
        limits: Limits::None,
        data: "",
    };
    loop {
        if boot.config.debug {
            boot.say(&format!("mounting {} at {target}", share.tag));
        }
        let Err(source) = boot.kernel.mount(&mount) else { return Ok(()) };
        if source.raw_os_error() != Some(EINVAL) {
            let served = modules::knows_filesystem(boot.kernel, FILESYSTEM);
            let looked = || {
                let mut looked = boot.modules.places();
                looked.push(format!("nor one that loads in {}", names::NUMBERED_MODULES_DIR));
                looked
            };
            return Err(device::mount_error(boot.kernel, FILESYSTEM, &mount, source, served, looked));
        }
        let seen = boot.kernel.virtiofs_tags();
        if seen.contains(&share.tag) {
            return Err(Error::Mount {
                what: FILESYSTEM,
                device: share.tag.clone(),
                filesystem: FILESYSTEM.into(),
                source,
            });
        }
        if !wait(boot, deadline) {
            return Err(Error::TagMissing { tag: share.tag.clone(), waited: boot.config.timeout, seen });
        }
    }
}

/// Waits until a virtio device may have come, loading drivers for what appears. False at the deadline.
fn wait(boot: &mut Boot<'_>, deadline: Duration) -> bool {
    // A kernel without uevents cannot say that something came, so there is nothing to wait for.
    match boot.starts_to_listen() {
        Ok(true) => return true,
        Ok(false) => {}
        Err(_) => return false,
    }
    while let Ok(Some(uevent)) = boot.kernel.next_uevent(deadline) {
        if let (Some(modalias), "add" | "change") = (uevent.modalias, uevent.action.as_str()) {
            boot.modules.serve(boot.kernel, &[modalias]);
        }
        if uevent.subsystem == "virtio" {
            return true;
        }
    }
    false
}

/// Makes sure that the mounts that move have a place in the root.
fn check_mount_points(boot: &mut Boot<'_>, writable: bool) -> Result<()> {
    let mut absent = Vec::new();
    for folder in boot.moved {
        let path = [names::SYSROOT, *folder].concat();
        if exists(boot.kernel, &path) {
            continue;
        }
        if writable {
            boot.make_dir(&path)?;
        } else {
            absent.push((*folder).to_string());
        }
    }
    match absent.as_slice() {
        [] => Ok(()),
        // Programs can live without it.
        [tmp] if tmp == "/tmp" => {
            boot.moved = &switch_root::MOVED;
            boot.notice("the root has no /tmp");
            Ok(())
        }
        _ => Err(Error::MountPointMissing { absent }),
    }
}
