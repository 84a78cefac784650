//! What a machine would do with a disk at its next boot: init's own code, run on the disk's partitions with everything that it
//! changes kept in memory. Nothing is written, no root is needed.
//!
//! [`examine`] is the story. `block_reader`, `table` and `volume` go from a disk to its partitions; `ext4` (with `journal` and
//! `superblock`), `fat`, `squashfs` and `filesystem` read what is on them; `copy_on_write` and `overlayfs` keep what changes; `machine` is the
//! kernel that init believes to run on; `state` tells how far an update has come.
//!
//! ```
//! use initramfs_overlay_doctor::{BootInput, Verdict, examine};
//!
//! // A machine without a disk ends in a failure card.
//! let input = BootInput { cmdline: "rd.timeout=0".to_owned(), ..BootInput::default() };
//! let diagnosis = examine(Vec::new(), &input, false);
//! assert_eq!(diagnosis.verdict, Verdict::Fails);
//! assert_eq!(diagnosis.failure.expect("a card").code, "img-missing");
//! ```

pub mod block_reader;
pub mod copy_on_write;
pub mod ext4;
pub mod fat;
pub mod filesystem;
pub mod journal;
pub mod machine;
pub mod overlayfs;
pub mod squashfs;
pub mod state;
pub mod superblock;
pub mod table;
pub mod volume;

use std::{collections::BTreeMap, io};

use contract::{hex, names, tag::Volume};
use initramfs_overlay_init::{
    boot::{
        self,
        overlay::{
            config as overlay,
            device::{self, Found},
        },
    },
    config::{Abilities, Common, Config},
    context::Context,
    kernel::{Kernel, read_file},
    media::{self, Resolved},
    progress,
};
use serde::Serialize;
use serde_json::Value;

use copy_on_write::Source;
use machine::Machine;
use state::{Places, State};
use volume::Device;

/// With what the machine would boot.
#[derive(Debug, Clone, Default)]
pub struct BootInput {
    /// Files that init reads of its initramfs, by path: the baked-in command lines, trusted keys.
    pub inits: BTreeMap<String, Vec<u8>>,
    /// The kernel's command line.
    pub cmdline: String,
    /// Whether the initramfs is of the debug variant.
    pub is_debug: bool,
}

impl BootInput {
    fn abilities(&self) -> Abilities {
        let keys = names::TRUST_DIR.trim_start_matches('/');
        Abilities { shell: self.is_debug, trust: self.inits.keys().any(|path| path.starts_with(keys)) }
    }

    /// The configuration that init reads from all command lines, as far as they can be read.
    pub fn config(&self) -> Config {
        let text = |path: &str| {
            let bytes = self.inits.get(path.trim_start_matches('/'));
            bytes.map(|bytes| String::from_utf8_lossy(bytes)).unwrap_or_default()
        };
        let (baked, last) = (text(names::BAKED_CMDLINE), text(names::FINAL_CMDLINE));
        Config::parse([&baked, &self.cmdline, &last], self.abilities(), false).0
    }
}

/// How the next boot ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It boots, and nothing needs a hand.
    Healthy,
    /// It boots, and somebody should look at something.
    Attention,
    /// It ends in a failure card.
    Fails,
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
}

/// The card that the boot would end in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Failure {
    /// Its stable name, a section of `docs/failures.md`.
    pub code: String,
    /// The step that fails.
    pub step: String,
    /// What was wanted.
    pub wanted: String,
    /// What was seen instead.
    pub seen: Vec<String>,
    /// What to try.
    pub next: String,
}

/// A block device as init would list it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its device node.
    pub device: String,
    /// What it would be used as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// Its filesystem.
    pub filesystem: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// Its size in bytes.
    pub size: u64,
}

/// What the examination found.
#[derive(Debug, Clone, Serialize)]
pub struct Diagnosis {
    /// How the next boot ends.
    pub verdict: Verdict,
    /// What boots; none where nothing does.
    pub image: Option<Image>,
    /// How far an update has come before that boot.
    pub update: State,
    /// What comes of it in that boot: `none`, `installed`, … as `docs/report.md` has it.
    pub outcome: String,
    /// What the boot would change on the disks, in order.
    pub changes: Vec<String>,
    /// What is not as it should be, a sentence each.
    pub findings: Vec<String>,
    /// What init would say in the kernel's log.
    pub log: Vec<String>,
    /// What could not be looked into.
    pub unseen: Vec<String>,
    /// The card, where the boot fails.
    pub failure: Option<Failure>,
    /// The block devices.
    pub partitions: Vec<Partition>,
}

/// BootInput a machine with these devices, in memory, and says what comes of it. `with_digest`: also the digest of the image.
pub fn examine(devices: Vec<Device>, boots: &BootInput, with_digest: bool) -> Diagnosis {
    let config = boots.config();
    let overlay = config.mode.overlay().cloned().unwrap_or_default();
    let volumes: Vec<Volume> = devices.iter().map(|device| device.volume.clone()).collect();
    let mut machine = Machine::new(devices, &config.common.init, &boots.inits, &boots.cmdline);
    let found = find(&mut machine, config.common, &overlay, boots);
    let partitions = volumes.iter().map(|volume| describe(volume, found.as_ref())).collect();
    let mut findings = Vec::new();
    let update = match found.as_ref().map(|found| state(&mut machine, found, &overlay.image)) {
        Some(Ok(state)) => state,
        Some(Err(error)) => {
            findings.push(format!("the state of an update cannot be told: {error}"));
            State::None
        }
        None => State::None,
    };
    machine.forget_log();
    boot::run(&mut machine, &[], boots.abilities());
    let report: Value = read_file(&mut machine, names::REPORT)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default();
    let fact = |name: &str| report[name].as_str().unwrap_or_default().to_owned();
    let image = match fact("image") {
        name if name.is_empty() || !machine.has_booted() => None,
        name => Some(booted(&mut machine, name, fact("image_format"), fact("img"), with_digest)),
    };
    let strings = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    findings.extend(strings(&report["notices"]));
    let failure = report.get("failure").map(|card| Failure {
        code: card["code"].as_str().unwrap_or_default().to_owned(),
        step: card["step"].as_str().unwrap_or_default().to_owned(),
        wanted: card["wanted"].as_str().unwrap_or_default().to_owned(),
        seen: strings(&card["seen"]),
        next: card["next"].as_str().unwrap_or_default().to_owned(),
    });
    if update == State::Rejected {
        findings.push(format!(
            "newimg holds {}, refused by an earlier boot: the next one removes it",
            names::rejected_image(&overlay.image)
        ));
    }
    let verdict = match (machine.has_booted(), fact("status") == "ok" && findings.is_empty()) {
        (false, _) => Verdict::Fails,
        (true, true) => Verdict::Healthy,
        (true, false) => Verdict::Attention,
    };
    let Machine { changes, log, unseen, .. } = machine;
    Diagnosis { verdict, image, update, outcome: fact("update"), changes, findings, log, unseen, failure, partitions }
}

/// The partitions that the boot would take, if it gets as far.
fn find(machine: &mut Machine, common: Common, config: &overlay::Config, boots: &BootInput) -> Option<Found> {
    let mut context = Context::new(machine, boots.abilities());
    context.config = common;
    device::find(&mut context, config).ok()
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

fn booted(machine: &mut Machine, name: String, format: String, partition: String, with_digest: bool) -> Image {
    let path = match media::resolve(machine, &names::img(&name)) {
        Ok(Resolved::File(path)) => path,
        _ => names::img(&name),
    };
    let size = machine.stat(&path).map_or(0, |stat| stat.size);
    let digest = with_digest.then(|| progress::digest(machine, &path).ok()).flatten();
    let sha256 = digest.map(|digest| hex::encode(&digest));
    Image { name, partition, format, size, sha256 }
}

#[cfg(test)]
mod tests {
    use initramfs_overlay_init::config::OverlayStore;

    use super::*;

    #[test]
    fn the_lines_of_the_initramfs_hold_as_at_boot() {
        let file = |text: &str| text.as_bytes().to_vec();
        let inits =
            [("etc/cmdline", "rd.image=a.img rd.timeout=3s"), ("etc/cmdline.final", "rd.overlay=LABEL=overlay")];
        let boots = BootInput {
            inits: inits.into_iter().map(|(path, text)| (path.to_owned(), file(text))).collect(),
            cmdline: "rd.image=b.img rd.overlay=tmpfs".to_owned(),
            ..BootInput::default()
        };
        let config = boots.config();
        let image = config.mode.overlay().map(|own| own.image.as_str());
        assert_eq!((image, config.common.timeout.as_secs()), (Some("b.img"), 3));
        let overlay = config.common.layers.overlay;
        assert!(matches!(overlay, OverlayStore::Partition(_)), "{overlay:?}");
    }
}
