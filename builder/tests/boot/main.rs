//! Real boots: the artifacts of `build.sh`, disks made by `disk`, Debian's kernels and their modules, in QEMU. What the root's
//! init found is read from the console (`test-images/`).
//!
//! `cargo test --test boot -- [NAME PART …]` runs those whose name contains a part; see `cases/`.

#[path = "../cases/bare.rs"]
mod bare;
mod blackbox;
mod button;
#[path = "../cases/mod.rs"]
mod cases;
mod debug;
mod errors;
mod faults;
mod filesystems;
#[path = "../../../test-images/image.rs"]
mod image;
mod lab;
mod make;
mod media;
mod recover;
mod repair;
mod repairs;
mod screen;
#[path = "../support/mod.rs"]
mod support;
mod toram;
mod trial;
mod update;
mod watchdog;
mod ways;

use std::process::ExitCode;

use lab::Lab;
use sources::target;

/// A boot test: its name, the target it runs on, what it does.
type Case = (&'static str, &'static str, fn(&Lab));

/// A boot on x86_64: its name, what it does.
type Boot = (&'static str, fn(&Lab));

/// Targets that every run boots in each of the usual ways; the others boot once, and so too with `BOOT_TARGETS=all`.
const USUAL: [&str; 3] = ["x86_64", "i686", "armv6l"];

/// Faults that golden boots stand for otherwise: booted as well with `BOOT_FAULTS=all`.
const FURTHER_FAULTS: [Boot; 31] = [
    ("fault: no disk", faults::disks::no_disk),
    ("fault: an NVMe controller without a driver", faults::disks::nvme_without_driver),
    ("fault: a SATA controller without a driver", faults::disks::sata_without_driver),
    ("fault: a SATA disk without a driver", faults::disks::sata_without_disk_driver),
    ("fault: a controller behind which no disk answers", faults::disks::no_disk_answers),
    ("fault: a disk that cannot be read", faults::disks::unreadable),
    ("fault: a disk that is smaller than its table says", faults::disks::table_cut),
    ("fault: a table for other sectors", faults::disks::other_sectors),
    ("fault: a label that differs by case", faults::disks::label_case),
    ("fault: a misspelt label", faults::disks::label_misspelt),
    ("fault: no label", faults::disks::label_none),
    ("fault: two disks with the same labels", faults::disks::two_disks),
    ("fault: an empty image", faults::images::empty),
    ("fault: an image that is none", faults::images::no_image),
    ("fault: an image without padding", faults::images::unpadded),
    ("fault: an unknown compressor", faults::images::compressor),
    ("fault: a signed image that is damaged", faults::images::damaged_with_signature),
    ("fault: init without its interpreter", faults::images::interpreter_missing),
    ("fault: init that is no program", faults::images::no_program),
    ("fault: persistent hides the loader", faults::images::persistent_hides_loader),
    ("fault: squashfs is not baked in", faults::images::squashfs_missing),
    ("fault: squashfs is forbidden", faults::images::squashfs_forbidden),
    ("fault: the overlay partition folds case", faults::layers::casefold),
    ("fault: the overlay partition is encrypted", faults::layers::encrypted),
    ("fault: Windows encrypted the overlay partition", faults::layers::encrypted_by_windows),
    ("fault: the overlay partition has no free block", faults::layers::full),
    ("fault: the overlay partition has no free inode", faults::layers::without_inodes),
    ("fault: nothing can be written", faults::layers::write_error),
    ("fault: the overlay partition lost its superblock", faults::layers::superblock_lost),
    ("fault: img is damaged", faults::layers::img_damaged),
    ("fault: the root directory of img cannot be read", faults::layers::img_root_unreadable),
];

/// Repairs that a technician types: those that `debug::repairs` does not stand for, with `BOOT_REPAIRS=all`.
const REPAIRS: [Boot; 13] = [
    ("repair: a label, from the menu", repairs::label_in_menu),
    ("repair: a filesystem is checked, from the shell", repairs::check_in_shell),
    ("repair: a filesystem is checked, from the menu", repairs::check_in_menu),
    ("repair: an image from a stick, from the shell", repairs::image_in_shell),
    ("repair: an image from a stick, from the menu", repairs::image_in_menu),
    ("repair: a customisation is undone, from the shell", repairs::customisation_in_shell),
    ("repair: a customisation is undone, from the menu", repairs::customisation_in_menu),
    ("repair: the old image, from the shell", repairs::old_image_in_shell),
    ("repair: the old image, from the menu", repairs::old_image_in_menu),
    ("repair: the black box is copied to a stick", repairs::copy_in_menu),
    ("repair: a check in the menu that the system asked for", repairs::check_on_request),
    ("repair: a held key opens the menu", button::menu),
    ("repair: a key that is held for long resets", button::reset),
];

/// Boots of one target, which stands for all.
const ON_X86_64: [Boot; 69] = [
    ("slim boots", ways::slim),
    ("boot and newimg may be absent", ways::few_partitions),
    ("squashfs from boot, overlayfs from the image", ways::modules_from_disk),
    ("EROFS boots", ways::erofs),
    ("an archive of /init and modules, nothing else", ways::bare),
    ("a tmpfs as writable layer, the root read-only", ways::tmpfs_read_only),
    ("a fallback tmpfs says degraded", ways::fallback),
    ("a factory reset empties persistent", ways::reset),
    ("init= and its arguments", ways::init_arguments),
    ("final parameters that the kernel's line cannot override", ways::final_parameters),
    ("partitions by PARTLABEL and path", ways::tags),
    ("two processors load modules side by side", ways::two_processors),
    ("stripped modules load", ways::stripped),
    ("every compression is unpacked by the kernel", ways::compressions),
    ("an update on a stick that is late", ways::late_stick),
    ("bad updates are refused with their reason", update::bad_images),
    ("a stick is copied from once, and not changed", update::stick),
    ("a writable partition without a free inode boots", media::full_overlay),
    ("a writable partition that is damaged inside", media::damaged_inside),
    ("an image behind a link, obstacles under names of ours", media::links_and_obstacles),
    ("a factory reset and protected files", media::reset_of_protected_files),
    ("the hardened recipe", media::hardened),
    ("an update on FAT", update::fat),
    ("an update that is no image is refused", update::no_images),
    ("signed updates are installed, others never", update::signatures),
    ("a key is baked in: modules on boot are loaded with its signature only", update::signed_modules),
    ("update media that cannot be written, or fail half way", update::bad_media),
    ("an image on trial is put back, or stays", trial::tries),
    ("a damaged image: the old one boots", trial::fallback),
    ("a damaged overlay partition is repaired by e2fsck", repair::checked),
    ("an overlay partition beyond repair is recreated", repair::remade),
    ("what an earlier repair saved comes back", repair::saved_before),
    ("no programs to repair the overlay partition", repair::without_programs),
    ("an armed watchdog is fed and handed over armed", watchdog::fed),
    ("rd.watchdog arms the watchdog", watchdog::armed_by_parameter),
    ("an armed watchdog is fed during a repair", watchdog::fed_while_mending),
    ("an image in memory, and the disk pulled", toram::pulled),
    ("an image too large for the memory", toram::short),
    ("a medium that fails while its image is copied to memory", toram::failing),
    ("no img partition: the card lists what there is", errors::img_missing),
    ("img without an image: the card lists its files", errors::image_missing),
    ("a truncated squashfs", errors::image_truncated),
    ("an overlay partition that does not mount", errors::overlay_damaged),
    ("modules for another kernel", errors::other_kernel),
    ("a root without init", errors::init_missing),
    ("a bad value is an error, an unknown parameter a warning", errors::parameters),
    ("the debug variant gives a shell on an error", errors::debug_shell),
    ("repairs are typed in the debug shell, and last", debug::repairs),
    ("rd.onerror=reboot reboots", errors::reboot),
    ("the card stays on the screen, a key holds it, its QR code is read", screen::card),
    ("card and QR code side by side on a wide display", screen::wide),
    ("the menu of a failed boot, with its password", recover::password),
    ("the menu from the debug variant's shell", recover::old_image),
    ("Enter holds the card on a serial line, noise does not", screen::line),
    ("fault: the labels of img and overlay are swapped", faults::labels_swapped),
    ("fault: the partition table is gone", faults::table_gone),
    ("fault: the image is damaged inside", faults::image_flipped),
    ("fault: the image is for another processor", faults::other_processor),
    ("fault: init is a broken link", faults::init_link_broken),
    ("fault: init without its loader", faults::loader_missing),
    ("fault: an empty init in persistent", faults::persistent_init),
    ("fault: a disk and its copy", faults::cloned_disks),
    ("fault: the overlay partition has FAT", faults::overlay_vfat),
    ("fault: a write-protected disk with a journal to replay", faults::read_only_disk),
    ("a failure is read from the disk, and told by the next boot", blackbox::kept),
    ("parameters from a file on boot, once", ways::parameters_on_boot),
    ("image, update and writable layer on XFS", filesystems::xfs),
    ("image, update and writable layer on Btrfs", filesystems::btrfs),
    ("image, update and writable layer on F2FS", filesystems::f2fs),
];

fn all_cases() -> Vec<Case> {
    let mut all: Vec<Case> = Vec::new();
    for target in target::all().expect("the targets") {
        let target = target.name.as_str();
        if !cases::all_targets() && !USUAL.contains(&target) {
            all.push(("standard boots", target, ways::once));
            continue;
        }
        all.push(("standard boots twice, upper is cleared", target, ways::standard));
        all.push(("debug stops with a shell, exit boots on", target, ways::debug));
        all.push(("an update is put in, the old image kept", target, ways::update));
        all.push(("an image in memory, the medium free", target, toram::free_medium));
        all.push(("no overlay partition: the card, in time, no prompt", target, errors::overlay_missing));
    }
    all.extend(ON_X86_64.map(|(name, case)| (name, "x86_64", case)));
    if std::env::var_os("BOOT_FAULTS").is_some_and(|wish| wish == "all") {
        all.extend(FURTHER_FAULTS.map(|(name, case)| (name, "x86_64", case)));
    }
    if repairs::are_wanted() {
        all.extend(REPAIRS.map(|(name, case)| (name, "x86_64", case)));
    }
    all
}

fn main() -> ExitCode {
    let cases =
        all_cases().into_iter().map(|(name, target, case)| (format!("{target}: {name}"), (target, case))).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    let open = || {
        let targets = target::all().map_err(|error| error.to_string())?;
        targets.iter().map(|target| Lab::open(&target.name)).collect::<Result<Vec<_>, _>>()
    };
    cases::run("boot", workers, cases, open, |labs, (target, case)| {
        case(labs.iter().find(|lab| lab.target.name == *target).expect("every target has a lab"));
    })
}
