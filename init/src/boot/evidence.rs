//! Evidence for the card of a failed boot: what the machine still says once the boot has failed. Looks, and changes nothing.

mod devices;

use contract::{
    card::Card,
    errno::{EACCES, ENOEXEC, EROFS},
    failure::Mounted,
    glob, names,
    program::{self, Program},
    report::{Fact, Report},
};

use crate::{
    config::HAS_OVERLAY,
    context::Context,
    error::Error,
    kernel::{Machine, read_text},
    modules::hardware,
    switch_root,
};

/// Devices that are disks, then those that may lead to one, by modalias (kernel, scripts/mod/file2alias.c; PCI Code and ID
/// Assignment, 1.2; USB Mass Storage Overview), with the words for them and the module that usually drives them.
const STORAGE: [(&str, &str, &str); 11] = [
    ("scsi:t-0x00*", "a SCSI disk", "sd_mod"),
    ("virtio:d00000002v*", "a virtio disk", "virtio_blk"),
    ("usb:*ic08isc*", "a USB disk", "usb_storage"),
    ("mmc:block*", "an SD card", "mmc_block"),
    ("pci:v00001AF4d*", "a virtio device", "virtio_pci"),
    ("pci:*bc01sc08i*", "an NVMe controller", "nvme"),
    ("pci:*bc01sc06i*", "a SATA controller", "ahci"),
    ("pci:*bc01sc01i*", "an IDE controller", "ata_piix"),
    ("pci:*bc08sc05i*", "an SD card controller", "sdhci_pci"),
    ("pci:*bc0Csc03i*", "a USB controller", "xhci_pci"),
    ("virtio:d00000008v*", "a virtio SCSI controller", "virtio_scsi"),
];

/// Number of those that are disks themselves.
const DISKS: usize = 4;

/// Directories of sysfs with an entry for each disk controller that has a driver.
const CONTROLLERS: [&str; 3] = ["/sys/class/scsi_host", "/sys/class/nvme", "/sys/class/mmc_host"];

/// Completes the card of a failed boot with what the machine says.
pub fn complete(card: &mut Card, error: &Error, context: &mut Context<'_>) {
    // Other builds know a disk by its path alone, if at all.
    if HAS_OVERLAY {
        if let Error::PartitionMissing { seen, .. } = error {
            look_for_controllers(card, seen.is_empty(), context);
        }
        devices::complete(card, error, context);
        look_for_write_protection(card, error, context.kernel);
        name_devices(card, error, &context.report);
    }
    if let (Error::ImageMissing { device, name, .. }, Some("failed" | "rejected")) =
        (error, context.report.chosen(Fact::Update))
    {
        card.next = ["deliver a good image on newimg again, or copy one to ", device, " as ", name].concat();
    }
    if let Error::Exec { path, source } = error
        && source.raw_os_error() == Some(ENOEXEC)
    {
        look_at_program(card, path, context.kernel);
    }
    if HAS_OVERLAY && context.config.layers.persistent {
        look_for_persistent(card, error, context);
    }
    let readable = |text: &str| names::readable(text, &media(&context.report));
    card.wanted = readable(&card.wanted);
    card.seen.iter_mut().for_each(|line| *line = readable(line));
    card.next = readable(&card.next);
    let start = u64::try_from(context.report.start().as_micros()).unwrap_or(u64::MAX);
    card.kernel =
        context.kernel.read(names::KERNEL_LOG, 0, usize::MAX).map(|log| complaints(&log, start)).unwrap_or_default();
    // Kernel, fs/squashfs/super.c, supported_squashfs_filesystem.
    if card.kernel.iter().any(|line| line.contains("compression. This is not supported")) {
        card.next = "make the image with a compressor that this kernel has (mksquashfs -comp gzip)".into();
    }
    let media = media(&context.report);
    let cause = error.with_cause();
    // A misspelt parameter explains more than what followed from it.
    for is_first in [true, false] {
        let lines = context.report.notices().iter().filter(|line| line.starts_with("parameter ") == is_first);
        card.notices.extend(lines.filter(|line| !line.contains(&cause)).map(|line| names::readable(line, &media)));
    }
}

/// Returns the mount points of media with their words for people.
fn media(report: &Report) -> [(&'static str, String); 6] {
    let words = |role: &str, fact| match report.chosen(fact) {
        Some(device) => format!("{role} ({device})"),
        None => role.to_owned(),
    };
    let image = match (report.chosen(Fact::Image), report.chosen(Fact::Img)) {
        (Some(image), Some(device)) => ["the image (", image, " on ", device, ")"].concat(),
        _ => "the image".into(),
    };
    [
        (names::IMG_DIR, words("img", Fact::Img)),
        (names::OVERLAY_DIR, words("overlay", Fact::Overlay)),
        (names::RAM_DIR, words("memory, a copy from img", Fact::Img)),
        (names::NEWIMG_DIR, "newimg".into()),
        (names::IMAGE_DIR, image),
        (names::SYSROOT, "the new root".into()),
    ]
}

/// Tells a machine without a disk from one whose controller, or whose layer above it, has no driver, and from a slow disk. Many
/// machines have a controller that nothing is attached to: the lack of its driver proves nothing.
fn look_for_controllers(card: &mut Card, is_without_disk: bool, context: &mut Context<'_>) {
    let (mut disks, mut controllers) = (Vec::new(), Vec::new());
    for alias in hardware::modaliases(context.kernel, &[]) {
        let mut known = STORAGE.into_iter().enumerate();
        let Some((number, (_, words, module))) = known.find(|(_, (pattern, ..))| glob::matches(pattern, &alias)) else {
            continue;
        };
        let wanted = if number < DISKS { &mut disks } else { &mut controllers };
        if !wanted.contains(&module) {
            wanted.push(module);
            card.seen.push(format!("{words} has no driver ({module})"));
        }
    }
    if !is_without_disk {
        return;
    }
    if !disks.is_empty() {
        card.next = format!("bake its driver in: build this initramfs with --modules {}", disks.join(","));
        return;
    }
    let mut classes = CONTROLLERS.into_iter();
    let check = if let Some(class) = classes.find(|path| context.kernel.list(path).is_ok_and(|names| !names.is_empty()))
    {
        let kind = class.rsplit('/').next().unwrap_or_default();
        card.seen.push(format!("there is a controller ({kind}), but no disk answers behind it"));
        "check the disk, its cable and its power; one that starts slowly needs rd.timeout=30s"
    } else if controllers.is_empty() {
        card.seen.push("there is no disk controller either".into());
        return;
    } else {
        "check the disk and its cable"
    };
    card.next = match controllers.is_empty() {
        true => check.into(),
        false => {
            format!(
                "if the disk is behind that, build this initramfs with --modules {}; else {check}",
                controllers.join(",")
            )
        }
    };
}

/// Names the devices that the root is made of, where the failure is about their content. Layers that do not mount though the writable one
/// is in memory are the kernel's doing: the next step is another kernel.
fn name_devices(card: &mut Card, error: &Error, report: &Report) {
    let image = report.chosen(Fact::Image).zip(report.chosen(Fact::Img));
    let image = image.map(|(image, device)| ["the image is ", image, " on ", device].concat());
    let layer = report.chosen(Fact::Overlay).map(|layer| ["the writable layer is ", layer].concat());
    if let (Error::Mount { what: Mounted::Root, .. }, Some("tmpfs")) = (error, report.chosen(Fact::Overlay)) {
        card.next = "boot the kernel that this initramfs was built for: this one refuses these layers".into();
    }
    match error {
        Error::InitMissing { .. } | Error::InitUnusable { .. } | Error::Exec { .. } => card.seen.extend(image),
        Error::Mount { what: Mounted::Root, .. }
        | Error::RootUnreadable { .. }
        | Error::FilesystemUnsupported { .. } => {
            let places: Vec<String> = [image, layer].into_iter().flatten().collect();
            if !places.is_empty() {
                card.seen.insert(0, places.join(", "));
            }
        }
        _ => {}
    }
}

/// Tells a program for another processor from a file that is none.
fn look_at_program(card: &mut Card, path: &str, kernel: &mut dyn Machine) {
    match kernel.read(path, 0, program::HEAD).map(|head| Program::read(&head)) {
        Ok(Program::Elf { machine, .. }) => {
            let name = program::processor(machine);
            card.seen.extend(name.map(|name| ["it is a program for ", name].concat()));
        }
        Ok(Program::Unknown) => {
            card.seen.push("it is neither an ELF program nor a script with a #! line".into());
            card.next = "put an image in place whose init is a program, or boot with another init=".into();
        }
        _ => {}
    }
}

/// Tells an init that `persistent` hides or replaces from one that the image lacks.
fn look_for_persistent(card: &mut Card, error: &Error, context: &mut Context<'_>) {
    if !matches!(
        error,
        Error::InitMissing { .. } | Error::InitUnusable { .. } | Error::RootUnreadable { .. } | Error::Exec { .. }
    ) {
        return;
    }
    let Ok(own) = switch_root::check_init(context.kernel, names::IMAGE_DIR, &context.config.init) else { return };
    let may_be_hidden = matches!(error, Error::InitMissing { .. } | Error::InitUnusable { .. });
    if !may_be_hidden && switch_root::shadowed(context.kernel, &own).is_empty() {
        return;
    }
    let device = context.report.chosen(Fact::Overlay).unwrap_or("the overlay partition");
    let line =
        [&context.config.init, " comes from persistent/ on ", device, ", or is hidden by it; the image has a good one"];
    card.seen.insert(0, line.concat());
    card.next = ["boot with rd.persistent=no, then remove what replaces it from persistent/ on ", device].concat();
}

/// Tells write protection, of a switch or of a card that is worn out, from a damaged filesystem.
fn look_for_write_protection(card: &mut Card, error: &Error, kernel: &mut dyn Machine) {
    let (Some(EROFS | EACCES), Some(device)) = (error.number(), error.device()) else { return };
    let file = ["/sys/class/block/", device.trim_start_matches("/dev/"), "/ro"].concat();
    if read_text(kernel, &file).starts_with('1') {
        card.seen.push([device, " is write-protected: by its switch, or because it is worn out"].concat());
        card.next =
            ["take the write protection off ", device, ", or replace the disk; until then rd.overlay=tmpfs"].concat();
    }
}

/// Returns the kernel's errors in the records of its log since `start`, in microseconds, the last ones. What init itself and others wrote
/// there is left out.
fn complaints(log: &[u8], start: u64) -> Vec<String> {
    /// The most lines that a card shows.
    const MOST: usize = 3;
    /// Kernel, include/linux/kern_levels.h, KERN_ERR: that and what is worse.
    const ERROR: u32 = 3;
    let text = String::from_utf8_lossy(log);
    let mut lines: Vec<String> = text
        .lines()
        .filter_map(|record| {
            let (head, message) = record.split_once(';')?;
            let mut fields = head.split(',');
            // The facility, eight times as much, is 0 for the kernel's own.
            let priority: u32 = fields.next()?.parse().ok()?;
            let time: u64 = fields.nth(1)?.parse().ok()?;
            (priority <= ERROR && time >= start).then(|| message.to_owned())
        })
        .collect();
    lines.dedup();
    lines.drain(..lines.len().saturating_sub(MOST));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_errors_are_told_from_the_rest() {
        let log = "3,1,50,-;before init\n3,2,100,-;disk fails\n SUBSYSTEM=block\n3,3,101,-;disk fails\n6,4,102,-;loaded\n11,5,103,-;a program\n\
                   2,6,104,c;a;b\nnonsense\n";
        assert_eq!(complaints(log.as_bytes(), 100), ["disk fails", "a;b"]);
        let many: String = (0..9).map(|number| format!("3,{number},200,-;line {number}\n")).collect();
        assert_eq!(complaints(many.as_bytes(), 100), ["line 6", "line 7", "line 8"]);
    }
}
