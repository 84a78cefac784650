//! The copy of the black box on a stick: a new file, on a device of no disk that the machine boots from.

use std::{io, time::Duration};

use contract::{
    blackbox::{self, SIZE, SLOT},
    card::Card,
    failure::Role,
    names::{self, BOOT_DIR, OVERLAY_DIR, store},
    tag::{Choice, Volume, choose},
};

use crate::{
    boot::recover::{
        appliance::Appliance,
        mounts::{in_use, is_mounted},
    },
    boot::volumes::{Devices, load_on_demand, mount_error, mount_volume},
    context::Context,
    error::Result,
    kernel::{Kind, Limits, Mount, exists, read_text},
};

/// The time for somebody to put a stick in.
const WAIT: Duration = Duration::from_secs(30);
/// The most copies on one stick.
const MOST: u32 = 999;

/// Returns the devices that a copy may go to. Waits for one where there is none.
pub(super) fn wait(context: &mut Context<'_>, appliance: &Appliance) -> Vec<Volume> {
    let deadline = context.kernel.now().saturating_add(WAIT);
    let mut devices = Devices::default();
    loop {
        let volumes = devices.volumes(context.kernel, true);
        let mounts = read_text(context.kernel, "/proc/self/mounts");
        let sticks = sticks(&volumes, appliance, &mounts);
        if !sticks.is_empty() || !matches!(devices.wait_for_disks(context, deadline), Ok(true)) {
            return sticks;
        }
    }
}

/// Returns the devices with FAT or ext4 on disks of which no partition is the boot's, or mounted.
fn sticks(volumes: &[Volume], appliance: &Appliance, mounts: &str) -> Vec<Volume> {
    let is_used = |volume: &&Volume| {
        let path = volume.path();
        appliance.tags.iter().any(|(_, tag)| volume.matches(tag))
            || mounts.lines().any(|line| line.split(' ').next() == Some(path.as_str()))
    };
    let used: Vec<&str> = volumes.iter().filter(is_used).map(|volume| volume.disk.as_str()).collect();
    let is_stick = |volume: &&Volume| {
        matches!(volume.kind.as_deref(), Some("vfat" | "ext2" | "ext3" | "ext4"))
            && !used.contains(&volume.disk.as_str())
    };
    volumes.iter().filter(is_stick).cloned().collect()
}

/// Copies the black box to a device. Returns the line about it.
pub(super) fn copy(context: &mut Context<'_>, card: Option<&Card>, volume: &Volume) -> String {
    let device = volume.path();
    if is_mounted(context, &device) {
        return in_use(&device);
    }
    let text = text(context, card);
    if let Err(error) = mount(context, volume) {
        return error.with_cause();
    }
    let outcome = write(context, text.as_bytes());
    let unmounted = context.kernel.unmount(BOOT_DIR);
    match (outcome, unmounted) {
        (Ok(name), Ok(())) => ["written: ", &name, " on ", &device, "; the stick can be taken out"].concat(),
        (Err(error), _) | (_, Err(error)) => format!("cannot write to {device}: {error}"),
    }
}

fn mount(context: &mut Context<'_>, volume: &Volume) -> Result<()> {
    let (device, filesystem) = (volume.path(), volume.kind.as_deref().unwrap_or_default());
    context.make_dir(BOOT_DIR)?;
    let served = context.modules.load_filesystem(context.kernel, filesystem)?;
    load_on_demand(context, volume)?;
    let (target, limits) = (BOOT_DIR, Limits::Foreign);
    let mount = Mount { source: &device, target, filesystem, limits, ..Mount::default() };
    let outcome = context.kernel.mount(&mount);
    outcome.map_err(|source| {
        mount_error(context.kernel, Role::Boot.into(), &mount, source, served, || context.modules.places())
    })
}

/// Writes a file of a name that nothing has. Returns the name.
fn write(context: &mut Context<'_>, bytes: &[u8]) -> io::Result<String> {
    for number in 1..=MOST {
        let name = format!("initramfs-overlay-{number}.txt");
        let path = [BOOT_DIR, "/", &name].concat();
        if exists(context.kernel, &path) {
            continue;
        }
        // On a medium a file that is there is never opened, and a link never followed.
        let written = context.kernel.write(&path, bytes).and_then(|()| context.kernel.sync(&path));
        if let Err(error) = written {
            // A part of it tells nobody anything.
            let _ = context.kernel.remove(&path, Kind::File);
            return Err(error);
        }
        return context.kernel.sync(BOOT_DIR).map(|()| name);
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Returns the entries of the black box as text, the newest first; without one, the card and the end of the kernel's log.
fn text(context: &mut Context<'_>, card: Option<&Card>) -> String {
    let entries = entries(context);
    if entries.is_empty() {
        let records = context.kernel.read(names::KERNEL_LOG, 0, usize::MAX).unwrap_or_default();
        let card = card.map(ToString::to_string).unwrap_or_default();
        return format!("{card}\n{}", blackbox::kernel_log(&records, SLOT));
    }
    let mut text = String::from("The black box of this machine, the newest entry first.\n");
    for entry in entries {
        let blackbox::Ended { end, code, step } = &entry.ended;
        text.push_str(&format!("\n=== entry {}: {} {code} {step}\n", entry.sequence, end.name()));
        for part in [&entry.card, &entry.report, &entry.log] {
            text.push_str(part);
            text.push('\n');
        }
    }
    text
}

/// Reads the black box on the writable partition, which is mounted for it if need be: read-only.
fn entries(context: &mut Context<'_>) -> Vec<blackbox::Entry> {
    let is_there = context.blackbox.is_ready() && exists(context.kernel, &store(names::BLACKBOX));
    if !is_there {
        let volumes = Devices::default().volumes(context.kernel, true);
        let Some(tag) = context.blackbox.store.clone() else { return Vec::new() };
        let Choice::One(volume) = choose(&volumes, &tag, None) else { return Vec::new() };
        if mount_volume(context, volume, OVERLAY_DIR, Role::Overlay, true).is_err() {
            return Vec::new();
        }
    }
    let bytes = context.kernel.read(&store(names::BLACKBOX), 0, SIZE).unwrap_or_default();
    if !is_there {
        let _ = context.kernel.unmount(OVERLAY_DIR);
    }
    blackbox::read(&bytes).entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use contract::tag::Tag;

    #[test]
    fn disks_of_the_boot_are_no_sticks() {
        let volume = |name: &str, disk: &str, kind: &str, label: &str| Volume {
            name: name.into(),
            disk: disk.into(),
            kind: Some(kind.into()),
            label: Some(label.into()),
            ..Volume::default()
        };
        let volumes = [
            volume("vda1", "vda", "vfat", "data"),
            volume("vda2", "vda", "ext4", "img"),
            volume("sda1", "sda", "vfat", "STICK"),
            volume("sda2", "sda", "ntfs", "other"),
            volume("sdb", "sdb", "ext4", "mounted"),
            volume("sdc", "sdc", "ext4", "free"),
        ];
        let tags = vec![(Role::Img, Tag::Label("img".into()))];
        let appliance = Appliance { image: String::new(), tags };
        let found = sticks(&volumes, &appliance, "/dev/sdb /media ext4 rw 0 0\n");
        let names: Vec<&str> = found.iter().map(|volume| volume.name.as_str()).collect();
        assert_eq!(names, ["sda1", "sdc"]);
    }
}
