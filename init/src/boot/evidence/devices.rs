//! Evidence on the block devices themselves: which cannot be read, which are copies of each other, where the image really is.

use std::io::ErrorKind;

use contract::{
    card::Card,
    container,
    failure::Role,
    filesystem, names,
    partitions::{self, Disk},
    report::Fact,
    tag::{Tag, Volume},
};

use crate::{
    boot::{block::Probed, overlay::candidates::candidates},
    context::Context,
    error::Error,
    kernel::{Kind, Limits, Machine, Mount, read_text},
};

/// Bytes at the start of a device in which superblocks are.
const HEAD: usize = 68 << 10;

/// The most devices that the image is looked for on.
const MOST: usize = 16;

/// Completes the card of a failed boot with what its block devices are.
pub fn complete(card: &mut Card, error: &Error, context: &mut Context<'_>) {
    match error {
        Error::PartitionMissing { role, tag, seen, .. } => {
            look_for_tables(card, seen, context.kernel);
            look_at_unknown(card, seen, context.kernel);
            if *role == Role::Img {
                look_for_image(card, names::IMAGE, tag, None, context);
            }
        }
        Error::PartitionAmbiguous { found, .. } => look_for_copies(card, found, context.kernel),
        Error::ImageMissing { name, device, .. } => {
            look_for_image(card, name, &Tag::Label("img".into()), Some(device), context);
        }
        _ => {}
    }
}

/// Tells a disk that fails, and one with something else than a filesystem, from one that is empty.
fn look_at_unknown(card: &mut Card, seen: &[Volume], kernel: &mut dyn Machine) {
    for volume in seen.iter().filter(|volume| volume.kind.is_none()) {
        let path = volume.path();
        match kernel.read(&path, 0, HEAD) {
            Ok(head) => {
                let Some(content) = container::recognize(&head) else { continue };
                card.seen.insert(0, [&path, " is ", content.words].concat());
                if let Some(remedy) = content.remedy {
                    card.next = remedy.into();
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                card.seen.insert(0, format!("{path} cannot be read: {error}"));
                card.next = ["replace the disk ", &volume.disk, ": it fails"].concat();
            }
        }
    }
}

/// Tells a disk whose partition table the kernel does not take from an empty one.
fn look_for_tables(card: &mut Card, seen: &[Volume], kernel: &mut dyn Machine) {
    let is_whole = |volume: &&Volume| volume.kind.is_none() && volume.name == volume.disk;
    for volume in seen.iter().filter(is_whole) {
        let path = volume.path();
        let sector = read_text(kernel, &["/sys/class/block/", &volume.name, "/queue/logical_block_size"].concat());
        let sector = sector.trim().parse().unwrap_or(512);
        let mut read = |offset, buffer: &mut [u8]| match kernel.read(&path, offset, buffer.len()) {
            Ok(bytes) if bytes.len() == buffer.len() => {
                buffer.copy_from_slice(&bytes);
                true
            }
            _ => false,
        };
        if let Some(fault) = partitions::fault(&mut Disk { read: &mut read, size: volume.size, sector }) {
            let (words, remedy) = fault.words();
            card.seen.insert(0, [&path, ": ", words].concat());
            card.next = remedy.into();
        }
    }
}

/// Tells disks by model and serial number (kernel, Documentation/ABI/testing/sysfs-block, `serial`; SCSI, NVMe and MMC have theirs below
/// `device`), and copies of a disk, which share their UUIDs, from two that have the same label.
fn look_for_copies(card: &mut Card, found: &[Volume], kernel: &mut dyn Machine) {
    let mut disks: Vec<&str> = found.iter().map(|volume| volume.disk.as_str()).collect();
    disks.dedup();
    for disk in disks {
        let mut line = ["/dev/", disk, ":"].concat();
        let length = line.len();
        for (file, word) in [
            ("/device/model", " "),
            ("/device/name", " "),
            ("/serial", " serial number "),
            ("/device/serial", " serial number "),
        ] {
            let text = read_text(kernel, &["/sys/class/block/", disk, file].concat());
            if !text.trim().is_empty() {
                line.push_str(word);
                line.push_str(text.trim());
            }
        }
        if line.len() > length {
            card.seen.push(line);
        }
    }
    let all = Probed::default().volumes(kernel, true);
    let uuids: Vec<Option<String>> =
        found.iter().map(|one| all.iter().find(|other| other.name == one.name)?.uuid.clone()).collect();
    if let [Some(first), rest @ ..] = uuids.as_slice()
        && rest.iter().any(|uuid| uuid.as_ref() == Some(first))
    {
        card.seen.push(["they share the UUID ", first, ": one is a copy of the other"].concat());
        card.next = "remove the copy, or name the partition by a path below /dev".into();
    }
}

/// Looks for the image on the other partitions: labels may be misspelt, or swapped.
fn look_for_image(card: &mut Card, name: &str, tag: &Tag, except: Option<&str>, context: &mut Context<'_>) {
    let volumes = Probed::default().volumes(context.kernel, true);
    let others = volumes.iter().filter(|volume| {
        let is_mountable = volume.kind.as_deref().is_some_and(|kind| container::describe(kind).is_none());
        // What is on an update medium is not installed yet.
        is_mountable && Some(volume.path().as_str()) != except && volume.label.as_deref() != Some("newimg")
    });
    for volume in others.take(MOST) {
        let Some(image) = image_on(context, volume, name) else { continue };
        let path = volume.path();
        card.seen.insert(0, [&image, " is on ", &path].concat());
        let labeller = filesystem::labeller(volume.kind.as_deref().unwrap_or_default());
        let path = path.as_str();
        card.next = match (except, volume.label.as_deref(), tag, labeller) {
            (Some(other), Some("overlay"), ..) => [
                "the labels of ",
                other,
                " and ",
                path,
                " are swapped: correct them, or boot with rd.img=",
                path,
                " rd.overlay=",
                other,
            ]
            .concat(),
            (None, _, Tag::Label(label), Some(program)) => {
                ["label it (", program, " ", path, " ", label, "), or boot with rd.img=", path].concat()
            }
            _ => ["boot with rd.img=", path, ", or move the image"].concat(),
        };
        return;
    }
}

/// Returns the name of the image on a partition, if there is one. The partition is mounted for the look, without a replay of its journal.
fn image_on(context: &mut Context<'_>, volume: &Volume, name: &str) -> Option<String> {
    let path = volume.path();
    let filesystem = volume.kind.as_deref()?;
    if context.report.chosen(Fact::Overlay) == Some(path.as_str()) {
        return None;
    }
    context.make_dir(names::BOOT_DIR).ok()?;
    context.modules.load_filesystem(context.kernel, filesystem).ok()?;
    let data = filesystem::without_replay(filesystem).unwrap_or_default();
    let (target, limits) = (names::BOOT_DIR, Limits::Medium);
    let mount = Mount { source: &path, target, filesystem, read_only: true, limits, data, ..Mount::default() };
    context.kernel.mount(&mount).ok()?;
    let is_file = |kernel: &mut dyn Machine, name: &str| {
        kernel.stat(&[names::BOOT_DIR, "/", name].concat()).is_ok_and(|stat| stat.kind == Kind::File && stat.size > 0)
    };
    let found = candidates(name).into_iter().map(|(name, _)| name).find(|name| is_file(context.kernel, name));
    let _ = context.kernel.unmount(names::BOOT_DIR);
    found
}
