//! The demonstration: a disk with a little system on it, made on the spot, that says how it was booted and gives a shell.
//! Its files lie in `demo/`; nothing else of the builder depends on them.

use std::path::Path;

use base::{IoContext, cleanup::TempDir, progress::Progress};
use contract::names;
use disk::{
    self, Boot, Disk, Owner, Report, Source,
    image::Format,
    layout::{Extent, Role, Table},
    size::{self, MIB},
};

use crate::{
    Result,
    busybox_rootfs::{self, RootFile},
};

/// The files of the demonstration's root.
const FILES: [RootFile<'static>; 4] = [
    RootFile { path: "etc/inittab", mode: 0o644, content: include_bytes!("demo/inittab") },
    RootFile { path: "etc/rc", mode: 0o755, content: include_bytes!("demo/rc") },
    RootFile { path: "etc/profile", mode: 0o644, content: include_bytes!("demo/profile") },
    RootFile { path: "etc/hostname", mode: 0o644, content: b"demo\n" },
];

/// Makes the disk `output`; `sd` makes it one for an SD slot. `busybox` is one for the machine that will boot it.
///
/// # Errors
/// Whatever making a [disk] can say.
pub fn make(output: &Path, busybox: &[u8], sd: bool, progress: &Progress) -> Result<Report> {
    let directory = TempDir::new("initramfs-overlay-demo-", None)?;
    let root = directory.path().join("root");
    let persistent = directory.path().join("persistent");
    for path in [&root, &persistent] {
        std::fs::create_dir(path).at("create", path)?;
    }
    busybox_rootfs::make(&root, busybox, &FILES)?;
    let init = root.join("sbin/init");
    std::os::unix::fs::symlink("../bin/busybox", &init).at("create", &init)?;
    let kept = RootFile { path: "etc/motd", mode: 0o644, content: include_bytes!("demo/motd") };
    busybox_rootfs::put(&persistent, &kept)?;
    let disk = Disk {
        source: Source::Root(root),
        image_name: names::IMAGE.to_owned(),
        format: Format::Squashfs,
        compression: None,
        owner: Owner::Root,
        boot: Some(Boot::default()),
        newimg: Some(None),
        overlay: Some(Some(persistent)),
        update_room: true,
        table: if sd { Table::Mbr } else { Table::Gpt },
        sizes: [(Role::Boot, 16 * MIB), (Role::Overlay, 64 * MIB)].into(),
        extent: Extent { power_of_two: sd, ..Extent::default() },
        time: 0,
        page: None,
    };
    let step = progress.step("making a demonstration disk");
    let report = disk::make(&disk, output, true, &Progress::none())?;
    step.finish(&size::show(report.size));
    Ok(report)
}
