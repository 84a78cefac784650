//! The black box: how this boot ends, kept on the writable partition, and a failure on `boot` as well. `docs/blackbox.md` tells what is
//! written where. Nothing here can fail a boot, and what a good one does here takes a few system calls.

use std::io;

use contract::{
    blackbox::{self, End, Ended, FILL, HEAD, SIZE, SLOT, Survey, TEXT_SIZE},
    card::Card,
    errno::ENOSPC,
    failure::{Code, Role},
    names::{self, store},
    report::Fact,
    tag::{Choice, Tag, Volume, choose},
};

use super::volumes::{Devices, mount_volume};
use crate::{
    config::HAS_BLACKBOX,
    context::Context,
    kernel::{Kind, Limits, Machine, Mount},
};

/// Free bytes that the writable partition must have before the file is made: what is left after it is the system's.
const ROOM: u64 = 4 * SIZE as u64;

/// Records of a crash that are read, and bytes of each.
const MOST_RECORDS: usize = 64;
const RECORD: usize = 64 << 10;

fn is_wanted(context: &Context<'_>) -> bool {
    HAS_BLACKBOX && context.config.blackbox
}

/// Keeps the report of a boot that went well, unsynced: the kernel writes it behind the boot. The report then tells how the boots before
/// ended.
pub fn keep_good(context: &mut Context<'_>) {
    if !is_wanted(context) || !context.blackbox.is_ready() {
        return;
    }
    sweep_records(context);
    if let Err(error) = keep(context, &Ended::plain(End::Good), None, "") {
        context.notice(&format!("the black box on overlay keeps nothing: {error}"));
    }
}

/// Keeps the card of a boot that failed, durably, wherever that is possible.
pub fn keep_failure(context: &mut Context<'_>, card: &Card) {
    // Of copies of a disk nobody knows which one is meant.
    if !is_wanted(context) || matches!(card.code, Code::PartitionAmbiguous(_)) {
        return;
    }
    let records = context.kernel.read(names::KERNEL_LOG, 0, usize::MAX).unwrap_or_default();
    let log = blackbox::kernel_log(&records, SLOT);
    // The card was on the consoles before all this; a place that cannot be written to changes nothing.
    let volumes = if context.blackbox.store.is_some() || context.blackbox.boot.is_some() {
        Devices::default().volumes(context.kernel, true)
    } else {
        Vec::new()
    };
    let img_disk =
        context.report.chosen(Fact::Img).and_then(|path| volumes.iter().find(|volume| volume.path() == path));
    let img_disk = img_disk.map(|volume| volume.disk.as_str());
    let find = |tag: &Option<Tag>| match choose(&volumes, tag.as_ref()?, img_disk) {
        Choice::One(volume) => Some(volume.clone()),
        _ => None,
    };
    let (overlay, boot) = (find(&context.blackbox.store), find(&context.blackbox.boot));
    let was_open = context.blackbox.is_ready();
    if was_open || overlay.is_some_and(|volume| open(context, &volume)) {
        sweep_records(context);
        let _ = keep(context, &Ended::failed(card.code, card.step), Some(card), &log);
        if !was_open {
            let _ = context.kernel.unmount(names::OVERLAY_DIR);
        }
    }
    if let Some(volume) = boot.filter(|volume| volume.kind.as_deref() == Some("vfat")) {
        let _ = keep_text(context.kernel, &volume.path(), &card.to_string(), &log);
    }
}

/// Mounts the writable partition of a boot that failed before it did so. One that took a tmpfs instead leaves it alone.
fn open(context: &mut Context<'_>, volume: &Volume) -> bool {
    context.report.chosen(Fact::Overlay) != Some("tmpfs")
        && mount_volume(context, volume, names::OVERLAY_DIR, Role::Overlay, false).is_ok()
}

/// Keeps one entry; a failure and a crash are durable then.
fn keep(context: &mut Context<'_>, ended: &Ended, card: Option<&Card>, log: &str) -> io::Result<()> {
    let path = store(names::BLACKBOX);
    let is_durable = ended.end != End::Good;
    let survey = survey(context.kernel, &path, is_durable)?;
    let next = survey.next(ended.end);
    context.report.previous(survey.since);
    let report = if ended.end == End::Crashed { String::new() } else { context.report.to_json(card) };
    let card = card.map(Card::to_string).unwrap_or_default();
    let bytes = blackbox::encode(next, ended, &report, &card, log);
    context.kernel.write_at(&path, offset(next.slot), &bytes)?;
    if is_durable { context.kernel.sync(&path) } else { Ok(()) }
}

fn offset(slot: usize) -> u64 {
    u64::try_from(slot.saturating_mul(SLOT)).unwrap_or(0)
}

/// Surveys the box, which is made first where it is missing or too short.
fn survey(kernel: &mut dyn Machine, path: &str, is_durable: bool) -> io::Result<Survey> {
    let mut first = Ok(());
    let survey = blackbox::survey(&mut |slot| {
        let head = match kernel.read(path, offset(slot), HEAD) {
            Ok(head) if head.len() < HEAD => Err(io::ErrorKind::NotFound.into()),
            outcome => outcome,
        };
        head.unwrap_or_else(|error| {
            if slot == 0 {
                first = Err(error);
            }
            Vec::new()
        })
    });
    match first {
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(kernel, path, is_durable)?,
        outcome => outcome?,
    }
    Ok(survey)
}

/// Makes the file, with all its blocks: later it is only overwritten, so that it also takes an entry when the partition is full.
fn make(kernel: &mut dyn Machine, path: &str, is_durable: bool) -> io::Result<()> {
    match kernel.stat(path) {
        Ok(stat) if stat.kind == Kind::Directory => return Err(io::ErrorKind::IsADirectory.into()),
        Ok(stat) => kernel.remove(path, stat.kind)?,
        Err(_) => {}
    }
    if kernel.space(names::OVERLAY_DIR)?.free < ROOM {
        return Err(io::Error::from_raw_os_error(ENOSPC));
    }
    if let Err(error) = kernel.write(path, &vec![FILL; SIZE]) {
        // A part of it would be in the way.
        let _ = kernel.remove(path, Kind::File);
        return Err(error);
    }
    if is_durable {
        kernel.sync(path)?;
        kernel.sync(names::OVERLAY_DIR)?;
    }
    Ok(())
}

/// Moves the records that the kernel or the firmware keeps of a crash into the box. They are removed once they are durable there.
fn sweep_records(context: &mut Context<'_>) {
    if matches!(context.text(names::PSTORE_BACKEND).trim_end(), "" | "(null)") {
        return;
    }
    let mount = Mount {
        source: "pstore",
        target: names::PSTORE,
        filesystem: "pstore",
        limits: Limits::NoSuidDev,
        ..Mount::default()
    };
    if context.kernel.mount(&mount).is_err() {
        return;
    }
    let mut records = context.kernel.list(names::PSTORE).unwrap_or_default();
    // Without one of these the machine did not crash: a console's record is there after every warm start.
    if !records.iter().any(|name| name.starts_with("dmesg-")) {
        records.clear();
    }
    records.truncate(MOST_RECORDS);
    let mut text = String::new();
    for name in &records {
        let bytes = context.kernel.read(&[names::PSTORE, "/", name].concat(), 0, RECORD).unwrap_or_default();
        let content: String = String::from_utf8_lossy(&bytes).into_owned();
        let share = SLOT.checked_div(records.len()).unwrap_or(0).saturating_sub(name.len());
        text.push_str(&[name, ":\n", blackbox::tail(&content, share), "\n"].concat());
    }
    if !records.is_empty() && keep(context, &Ended::plain(End::Crashed), None, &text).is_ok() {
        for name in &records {
            let _ = context.kernel.remove(&[names::PSTORE, "/", name].concat(), Kind::File);
        }
    }
    let _ = context.kernel.unmount(names::PSTORE);
}

/// Overwrites the text on `boot`, where one was made for it. The filesystem is not mounted: neither its tables nor its directories nor
/// the mark that it is in use are written.
fn keep_text(kernel: &mut dyn Machine, device: &str, card: &str, log: &str) -> io::Result<()> {
    let start = blackbox::locate(&mut |offset, most| kernel.read(device, offset, most).ok());
    let (Some(start), Some(window)) = (start, start.and_then(blackbox::window)) else { return Ok(()) };
    let content = kernel.read(device, start, TEXT_SIZE)?;
    if !blackbox::is_text(&content, window) {
        return Ok(());
    }
    kernel.write_at(device, start.saturating_add(window), &blackbox::render(card, log))?;
    kernel.sync(device)
}
