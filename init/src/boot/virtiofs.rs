//! The boot of a virtual machine from a directory: the root comes from the host over virtiofs, and so may other directories.
//! No disk is looked at unless a writable layer on one is asked for.

pub mod config;
mod tags;

use std::io::ErrorKind;

use contract::{errno::EINVAL, failure::Mounted, names, report::Fact, step::Step};

use super::{
    layers::{self, store::Store},
    root::Root,
    volumes::{Devices, find_overlay, mount_error},
};
use crate::{
    config::OverlayStore,
    context::Context,
    error::{Error, Result},
    kernel::{Limits, Mount, exists, supervisor::Node},
    modules::{
        self, Modules,
        unlisted::{self, Place},
    },
    switch_root,
};
use config::{Config, Share};

/// Nodes that programs expect and that only drivers in use would make: path, permission bits, major and minor number (kernel,
/// Documentation/admin-guide/devices.txt; include/linux/miscdevice.h).
const NODES: [(&str, u32, u32, u32); 3] =
    [("/dev/kvm", 0o666, 10, 232), ("/dev/loop-control", 0o660, 10, 237), ("/dev/fuse", 0o666, 10, 229)];

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
pub fn assemble(context: &mut Context<'_>, config: &Config) -> Result<Root> {
    let mut devices = Devices::default();
    complete_dev(context);
    mount_tmp(context)?;
    context.begin(Step::Modules);
    load_modules(context);
    context.begin(Step::Root);
    mount_root(context, config, &mut devices)?;
    context.begin(Step::Mounts);
    mount_shares(context, &config.shares, &mut devices)?;
    if config.overlaid {
        context.begin(Step::Devices);
        let partition = match context.config.layers.overlay.clone() {
            OverlayStore::Partition(tag) => find_overlay(context, &mut devices, &tag)?,
            OverlayStore::Tmpfs(_) => None,
        };
        layers::assemble(context, &mut Store::new(partition.as_ref()), None)?;
    }
    check_mount_points(context, config.overlaid || config.read_write)
}

/// Nodes and links in `/dev`. What cannot be made is said and does not matter to the boot.
fn complete_dev(context: &mut Context<'_>) {
    let devices = NODES.map(|(path, mode, major, minor)| (path, Node::Device { mode, major, minor }));
    let links = LINKS.map(|(path, target)| (path, Node::Link(target)));
    for (path, node) in devices.into_iter().chain(links) {
        if let Err(error) = context.kernel.make_node(path, node)
            && error.kind() != ErrorKind::AlreadyExists
        {
            context.notice(&format!("cannot make {path}: {error}"));
        }
    }
}

fn mount_tmp(context: &mut Context<'_>) -> Result<()> {
    context.make_dir("/tmp")?;
    let mount = Mount {
        source: "tmpfs",
        target: "/tmp",
        filesystem: "tmpfs",
        limits: Limits::NoSuidDev,
        data: "mode=1777",
        ..Mount::default()
    };
    context.kernel.mount(&mount).map_err(|source| Error::Mount {
        what: Mounted::Api,
        device: "tmpfs".into(),
        filesystem: "tmpfs".into(),
        source,
    })
}

/// Loads every module below `/usr/lib/modules`, in the order of their names: whoever numbered them knew why. Then those of the
/// usual place, for the hardware there is.
fn load_modules(context: &mut Context<'_>) {
    unlisted::load(context.kernel, &context.config.modules, &[Place::Numbered], context.config.debug);
    context.modules = Modules::open(context.kernel, &context.config.modules);
    if !context.modules.is_listed() {
        unlisted::load(context.kernel, &context.config.modules, &Place::USUAL, context.config.debug);
    }
    context.modules.load_always(context.kernel);
    context.modules.coldplug(context.kernel, &["virtiofs", "overlay"]);
}

/// Mounts the root: as it is, or as the lower layer of one that is put over it.
fn mount_root(context: &mut Context<'_>, config: &Config, devices: &mut Devices) -> Result<()> {
    let tag = config.tag().to_string();
    let read_only = config.overlaid || !config.read_write;
    let target = if config.overlaid { names::IMAGE_DIR } else { names::SYSROOT };
    // Whatever served it before says so by mounting.
    context.modules.load_named(context.kernel, FILESYSTEM)?;
    context.make_dir(target)?;
    context.report.fact(Fact::Tag, tag.as_str());
    context.report.fact(Fact::Root, if read_only { "ro" } else { "rw" });
    mount(context, &Share { tag, read_only }, target, devices)
}

/// Mounts the other directories where they stay: `/run` moves with all that is below it.
fn mount_shares(context: &mut Context<'_>, shares: &[Share], devices: &mut Devices) -> Result<()> {
    for share in shares {
        for directory in [names::SHARES_DIR, names::SHARES_LINKS_DIR] {
            context.make_dir(directory)?;
        }
        let target = format!("{}/{}", names::SHARES_DIR, share.tag);
        context.make_dir(&target)?;
        mount(context, share, &target, devices)?;
        let link = format!("{}/{}", names::SHARES_LINKS_DIR, share.tag);
        if let Err(source) = context.kernel.make_node(&link, Node::Link(&target)) {
            return Err(Error::Io { action: "create", path: link, source });
        }
    }
    Ok(())
}

const FILESYSTEM: &str = "virtiofs";

/// Mounts a tag, and waits for it if it is not there yet.
///
/// # Errors
/// It does not come within `rd.timeout`, or does not mount.
pub fn mount(context: &mut Context<'_>, share: &Share, target: &str, devices: &mut Devices) -> Result<()> {
    let deadline = context.kernel.now().saturating_add(context.config.timeout);
    let mount =
        Mount { source: &share.tag, target, filesystem: FILESYSTEM, read_only: share.read_only, ..Mount::default() };
    loop {
        if context.config.debug {
            context.say(&format!("mounting {} at {target}", share.tag));
        }
        let Err(source) = context.kernel.mount(&mount) else { return Ok(()) };
        // virtiofs answers EINVAL for a tag that it does not know (kernel, fs/fuse/virtio_fs.c, virtio_fs_get_tree).
        if source.raw_os_error() != Some(EINVAL) {
            let served = modules::knows_filesystem(context.kernel, FILESYSTEM);
            let looked = || {
                let mut looked = context.modules.places();
                looked.push(format!("nor one that loads in {}", names::NUMBERED_MODULES_DIR));
                looked
            };
            return Err(mount_error(context.kernel, Mounted::Virtiofs, &mount, source, served, looked));
        }
        let seen = tags::tags(context.kernel);
        if seen.contains(&share.tag) {
            return Err(Error::Mount {
                what: Mounted::Virtiofs,
                device: share.tag.clone(),
                filesystem: FILESYSTEM.into(),
                source,
            });
        }
        if !devices.wait_for_virtio(context, deadline) {
            return Err(Error::TagMissing { tag: share.tag.clone(), waited: context.config.timeout, seen });
        }
    }
}

/// Makes sure that the mounts that move have a place in the root, and returns those that do.
fn check_mount_points(context: &mut Context<'_>, writable: bool) -> Result<Root> {
    let mut absent = Vec::new();
    for directory in switch_root::MOVED_WITH_TMP {
        let path = [names::SYSROOT, directory].concat();
        if exists(context.kernel, &path) {
            continue;
        }
        if writable {
            context.make_dir(&path)?;
        } else {
            absent.push(directory.to_string());
        }
    }
    match absent.as_slice() {
        [] => Ok(Root { moved: &switch_root::MOVED_WITH_TMP }),
        // Programs can live without it.
        [tmp] if tmp == "/tmp" => {
            context.notice("the root has no /tmp");
            Ok(Root { moved: &switch_root::MOVED })
        }
        _ => Err(Error::MountPointMissing { absent }),
    }
}
