//! A dry run of a machine's next boot from a disk: init's own code, run on the disk's partitions with all changes kept in memory.
//! Nothing is written, and no root is needed.
//!
//! [`examine`] is the story. `block_reader`, `table` and `volume` go from a disk to its partitions; `ext4` (with `journal` and
//! `superblock`), `fat`, `squashfs`, `erofs` and `filesystem` read what is on them; `copy_on_write` and `overlayfs` keep what changes;
//! `machine` is the kernel that init believes to run on; `state` tells how far an update has come; `content` reads an image as a whole;
//! `blackbox` reads how the last boots ended.
//!
//! ```
//! use initramfs_overlay_doctor::{BootInput, Depth, Verdict, examine};
//!
//! // A machine without a disk ends in a failure card.
//! let input = BootInput { cmdline: "rd.timeout=0".to_owned(), ..BootInput::default() };
//! let diagnosis = examine(Vec::new(), &input, Depth::Names);
//! assert_eq!(diagnosis.verdict, Verdict::Fails);
//! assert_eq!(diagnosis.failure.expect("a card").code, "img-missing");
//! ```

pub mod blackbox;
pub mod block_reader;
pub mod content;
pub mod copy_on_write;
pub mod erofs;
mod error;
pub mod ext4;
pub mod fat;
pub mod filesystem;
mod input;
pub mod journal;
pub mod machine;
pub mod overlayfs;
pub mod squashfs;
pub mod state;
pub mod superblock;
pub mod table;
pub mod volume;

use std::io;

use contract::{failure::Role, hex, names, superblock::Format, tag::Volume};
use initramfs_overlay_init::{
    boot::{
        self,
        overlay::{
            config as overlay,
            device::{self, Found},
        },
    },
    config::Common,
    context::Context,
    kernel::{Kernel, read_file},
    media::{self, Resolved},
};
use serde::Serialize;
use serde_json::Value;

use content::Checked;
use copy_on_write::Source;
pub use error::{Error, Result};
pub use input::{BootInput, USUAL_PAGE};
use machine::Machine;
use state::{Places, State};
use volume::Device;

/// The end of the next boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It boots. Findings say what somebody should look at.
    Boots,
    /// It ends in a failure card.
    Fails,
    /// It depends on something that was not looked at: [`Diagnosis::unknown`] says on what.
    CannotTell,
}

/// The depth to which the image that boots is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Depth {
    /// Its names.
    Names,
    /// The digest of its file too.
    Digest,
    /// Every block of its content too.
    Content,
}

/// The image that would boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Image {
    /// Its file's name.
    pub name: String,
    /// The partition it is on.
    pub partition: String,
    /// `squashfs` or `erofs`.
    pub format: String,
    /// The file's size in bytes.
    pub size: u64,
    /// SHA-256 in hexadecimal, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The result of reading its content, where that was asked for and found no damage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checked: Option<Checked>,
}

/// The card that the boot would end in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its stable name, a section of `docs/failures.md`.
    pub code: String,
    /// The step that fails.
    pub step: String,
    /// The state that was wanted.
    pub wanted: String,
    /// The state that was seen instead, an item each.
    pub seen: Vec<String>,
    /// The next thing to try.
    pub next: String,
}

/// A block device as init would list it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its device node.
    pub device: String,
    /// Its part in the boot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// Its filesystem.
    pub filesystem: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// Its size in bytes.
    pub size: u64,
}

/// The result of an examination.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// The end of the next boot.
    pub verdict: Verdict,
    /// Reasons why that cannot be told, a sentence each.
    pub unknown: Vec<String>,
    /// The image that boots, if one does.
    pub image: Option<Image>,
    /// The progress of an update before that boot.
    pub update: State,
    /// Its fate in that boot: `none`, `installed`, … as `docs/report.md` has it.
    pub outcome: String,
    /// Changes that the boot would make on the disks, in order.
    pub changes: Vec<String>,
    /// Things that are not as they should be, a sentence each.
    pub findings: Vec<String>,
    /// Lines that init would write to the kernel's log.
    pub log: Vec<String>,
    /// The card, where the boot fails.
    pub failure: Option<Failure>,
    /// The block devices.
    pub partitions: Vec<Partition>,
    /// Bytes in a memory page of the kernel, as it was said or assumed.
    pub page_size: u64,
    /// The ends of the last boots, the newest first.
    pub boots: Vec<blackbox::Boot>,
}

impl Diagnosis {
    /// Returns true if it boots and nothing needs a hand.
    pub fn is_well(&self) -> bool {
        self.verdict == Verdict::Boots && self.findings.is_empty()
    }
}

/// Boots a machine with these devices, in memory, and returns what comes of it. The image that boots is read to that depth.
pub fn examine(devices: Vec<Device>, input: &BootInput, depth: Depth) -> Diagnosis {
    let config = input.config();
    let overlay = config.mode.overlay().cloned().unwrap_or_default();
    let volumes: Vec<Volume> = devices.iter().map(|device| device.volume.clone()).collect();
    let unread: Vec<String> =
        devices.iter().filter(|device| device.has_unread_label).map(|device| device.volume.to_string()).collect();
    let boots = blackbox::read(&devices, &config).boots();
    let mut machine = Machine::new(devices, &config.common.init, input);
    let found = find(&mut machine, config.common, &overlay, input);
    let partitions = volumes.iter().map(|volume| describe(volume, found.as_ref())).collect();
    let mut findings = Vec::new();
    let update = match found.as_ref().map(|found| state(&mut machine, found, &overlay.image)) {
        Some(Ok(state)) => state,
        Some(Err(error)) => {
            findings.push(format!("cannot tell the state of an update: {error}"));
            State::None
        }
        None => State::None,
    };
    machine.forget_log();
    boot::run(&mut machine, &[], input.abilities());
    let report: Value = read_file(&mut machine, names::REPORT)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let fact = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
    let mut failure = report.get("failure").map(card);
    let is_missing = |role: Role| failure.as_ref().is_some_and(|card| card.code == format!("{}-missing", role.name()));
    if is_missing(Role::Img) || is_missing(Role::Overlay) {
        let reason =
            |volume| format!("the doctor does not read the label of {volume}, which may be the one that is missing");
        machine.unknown.extend(unread.iter().map(reason));
    }
    let mut image = match fact("image") {
        name if name.is_empty() || !machine.has_booted() || !machine.unknown.is_empty() => None,
        name => Some((name, fact("image_format"), fact("img"))),
    }
    .map(|(name, format, img)| booted(&mut machine, name, format, img, depth, &mut findings));
    let mut outcome = fact("update");
    findings.append(&mut machine.details);
    findings.extend(strings(&report["notices"]));
    if update == State::Rejected {
        findings.push(format!(
            "newimg holds {}, refused by an earlier boot: the next one removes it",
            names::rejected_image(&overlay.image)
        ));
    }
    if fact("status") != "ok" && machine.has_booted() && findings.is_empty() {
        findings.push(format!("the boot's status is {}", fact("status")));
    }
    let Machine { mut changes, mut log, unknown, .. } = machine;
    let verdict = match (failure.is_some() || image.is_none(), unknown.is_empty()) {
        (_, false) => Verdict::CannotTell,
        (true, true) => Verdict::Fails,
        (false, true) => Verdict::Boots,
    };
    if verdict == Verdict::CannotTell {
        // What init did on what stands for the unknown says nothing.
        (image, failure, outcome) = (image.filter(|image| image.checked.is_none()), None, String::new());
        (changes, log, findings) = Default::default();
    }
    let page_size = input.page.unwrap_or(USUAL_PAGE);
    Diagnosis {
        verdict,
        unknown,
        image,
        update,
        outcome,
        changes,
        findings,
        log,
        failure,
        partitions,
        page_size,
        boots,
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn card(card: &Value) -> Failure {
    let field = |name: &str| card[name].as_str().unwrap_or_default().to_owned();
    Failure {
        code: field("code"),
        step: field("step"),
        wanted: field("wanted"),
        seen: strings(&card["seen"]),
        next: field("next"),
    }
}

/// Returns the partitions that the boot would take, if it gets as far.
fn find(machine: &mut Machine, common: Common, config: &overlay::Config, boots: &BootInput) -> Option<Found> {
    let mut context = Context::new(machine, boots.abilities());
    context.config = common;
    let mut search = device::Search::default();
    let mut found = device::find(&mut context, config, &mut search).ok()?;
    device::find_newimg(&mut context, config, &mut search, &mut found).ok()?;
    Some(found)
}

fn describe(volume: &Volume, found: Option<&Found>) -> Partition {
    let roles = found.map(|found| {
        [
            ("img", Some(&found.img)),
            ("overlay", found.overlay.as_ref()),
            ("newimg", found.newimg.as_ref()),
            ("boot", found.boot.as_ref()),
        ]
    });
    let is_it = |other: &Option<&Volume>| other.is_some_and(|other| other.name == volume.name);
    Partition {
        device: volume.path(),
        role: roles.and_then(|roles| roles.iter().find(|(_, other)| is_it(other)).map(|(role, _)| *role)),
        filesystem: volume.kind.clone(),
        label: volume.label.clone(),
        size: volume.size,
    }
}

fn state(machine: &mut Machine, found: &Found, name: &str) -> io::Result<State> {
    // A partition that cannot be mounted holds no update; that it cannot is the boot's to say.
    let mut open = |volume: Option<&Volume>| volume.and_then(|volume| machine.layer(&volume.path()).ok());
    let (Some(img), newimg, overlay) =
        (open(Some(&found.img)), open(found.newimg.as_ref()), open(found.overlay.as_ref()))
    else {
        return Ok(State::None);
    };
    let (newimg, overlay) = (newimg.as_ref().map(|layer| layer.borrow()), overlay.as_ref().map(|layer| layer.borrow()));
    let img = img.borrow();
    let places = Places { img: &img, newimg: newimg.as_deref(), overlay: overlay.as_deref(), name };
    places.state(&mut |source: &Source| machine.sum(source))
}

/// Describes the image that booted. Damage in its content is a finding; a content that cannot be checked makes the verdict unknown.
fn booted(
    machine: &mut Machine,
    name: String,
    format: String,
    partition: String,
    depth: Depth,
    findings: &mut Vec<String>,
) -> Image {
    let path = match media::resolve(machine, &names::img(&name)) {
        Ok(Resolved::File(path)) => path,
        _ => names::img(&name),
    };
    let size = machine.stat(&path).map_or(0, |stat| stat.size);
    let mut image = Image { name, partition, format, size, sha256: None, checked: None };
    if depth == Depth::Names {
        return image;
    }
    let file = path.rsplit('/').next().unwrap_or_default();
    let outcome = machine.image(&image.partition, file).and_then(|(img, source)| {
        let digest = machine.sum(&source)?;
        image.sha256 = Some(hex::encode(&digest));
        if depth < Depth::Content {
            return Ok(None);
        }
        let format = [Format::Squashfs, Format::Erofs].into_iter().find(|format| format.name() == image.format);
        let img = img.borrow();
        content::check(&source, format.unwrap_or(Format::Squashfs), &img, file, &digest).map(Some)
    });
    match outcome {
        Ok(checked) => image.checked = checked,
        Err(Error::Unreadable(reason)) => machine.unknown.push(reason),
        Err(Error::Damaged(part)) => findings.push(format!("the content of {file} is damaged: {part}")),
        Err(error) => findings.push(format!("{file} cannot be read: {error}")),
    }
    image
}
