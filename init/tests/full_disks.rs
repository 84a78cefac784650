//! Full disks: `overlay`, `img` and `newimg` are filled to a few free blocks or inodes, before a boot or before each of its operations,
//! on several kinds of filesystem, in boots with and without an update. Every boot reaches a root or ends in a card that names the
//! cause; where the boot could have freed the space, the next one does not end in the same card.
//!
//! A sample runs by default: `FULL_DISKS_SEED=N` repeats one, `FULL_DISKS=long` runs everything, and any other value runs the cases
//! whose title contains it.

#[allow(dead_code, reason = "each suite uses its part of the laboratory")]
mod media_lab;

use std::{path::Path, time::Duration};

use media_lab::{
    plan::{BootPlan, BootResult, Filling},
    suite::{self, Outcome, Suite},
    templates::Templates,
    workshop::{self, Ending, Medium, Workshop},
};
use serde::{Deserialize, Serialize};

const SUITE: Suite = Suite { name: "full disks", variable: "FULL_DISKS", sample: 400, time: Duration::from_secs(50) };

/// A medium that is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Role {
    Img,
    Overlay,
    NewImg,
}

impl Role {
    fn label(self) -> &'static str {
        match self {
            Self::Img => "img",
            Self::Overlay => "overlay",
            Self::NewImg => "newimg",
        }
    }
}

/// A boot's setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Scene {
    /// Nothing to do.
    Quiet,
    /// A factory reset.
    Reset,
    /// `rd.overlay.fallback=tmpfs`.
    Fallback,
    /// A good update.
    Update,
    /// A good update, on trial.
    Trial,
    /// A good update, with a key.
    Signed,
    /// A bad update.
    BadUpdate,
    /// A bad update on a removable medium.
    BadStick,
}

impl Scene {
    fn cmdline(self) -> &'static str {
        match self {
            Self::Reset => "quiet rd.overlay.reset",
            Self::Fallback => "quiet rd.overlay.fallback=tmpfs",
            Self::Trial => "quiet rd.newimg.tries=2",
            _ => "quiet",
        }
    }

    fn delivery(self) -> Option<&'static str> {
        match self {
            Self::Quiet | Self::Reset | Self::Fallback => None,
            Self::Update | Self::Trial | Self::Signed => Some("good"),
            Self::BadUpdate | Self::BadStick => Some("bad"),
        }
    }

    fn is_good_update(self) -> bool {
        self.delivery() == Some("good")
    }
}

/// The place that the filling goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Place {
    /// Into what the next boot throws away.
    Freeable,
    /// Into what is kept.
    Kept,
}

/// The moment at which a medium is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Time {
    /// Before the first boot of the disk.
    BeforeFirst,
    /// By the system that runs after a first boot.
    BeforeSecond,
    /// In the middle of the first boot, before this operation on the medium.
    Operation(usize),
}

/// A case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Case {
    filesystem: String,
    role: Role,
    scene: Scene,
    place: Place,
    time: Time,
    blocks: Option<u64>,
    inodes: Option<u64>,
}

impl Case {
    fn level(&self) -> String {
        let blocks = self.blocks.map(|left| format!("{left} blocks"));
        let inodes = self.inodes.map(|left| format!("{left} inodes"));
        blocks.or(inodes).unwrap_or_default()
    }
}

impl suite::Case for Case {
    fn title(&self) -> String {
        let Self { filesystem, role, scene, place, time, .. } = self;
        format!("{role:?} on {filesystem}, {scene:?}, {} free, {place:?}, {time:?}", self.level())
    }

    fn group(&self) -> String {
        format!("{:?} on {}", self.role, self.filesystem)
    }

    fn place(&self) -> String {
        let time = match self.time {
            Time::Operation(_) => "in the middle".into(),
            time => format!("{time:?}"),
        };
        format!("{:?}, {:?}, {:?}, {time}", self.role, self.scene, self.place)
    }

    fn variant(&self) -> String {
        format!("[{}]", self.level())
    }
}

/// A way in which a boot goes wrong.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// A boot did not come back.
    Hang,
    /// PID 1 panicked.
    Panic,
    /// A boot ended in a card though a root was possible.
    NeedsAHand,
    /// A boot ended in the same card as the one before, though it could have freed the space.
    CardAgain,
    /// A card does not name the cause.
    UntrueCard,
    /// A good update was not installed though space could be freed.
    UpdateBlocked,
    /// `persistent` was lost.
    Lost,
}

/// The kinds of filesystem: their names, type, and what mke2fs is told.
const FILESYSTEMS: [(&str, &str, &[&str]); 4] = [
    ("ext4", "ext4", &["-t", "ext4", "-b", "4096", "-m", "5"]),
    ("ext4-m0", "ext4", &["-t", "ext4", "-b", "4096", "-m", "0"]),
    ("ext3", "ext3", &["-t", "ext3", "-b", "4096", "-m", "5"]),
    ("ext4-1k", "ext4", &["-t", "ext4", "-b", "1024", "-m", "5"]),
];

/// The media that are filled, each with its settings.
const SETTINGS: [(Role, &[Scene]); 3] = [
    (Role::Overlay, &[Scene::Quiet, Scene::Fallback, Scene::Reset, Scene::Trial, Scene::BadStick]),
    (Role::Img, &[Scene::Quiet, Scene::Update, Scene::Trial, Scene::Signed, Scene::BadUpdate, Scene::BadStick]),
    (Role::NewImg, &[Scene::Update, Scene::BadUpdate]),
];

/// Operations of a boot on one medium that are tried; those beyond the last one of a boot are left out by [`all`].
const OPERATIONS: usize = 64;

fn main() {
    if media_lab::is_done(SUITE.name, run_case) {
        return;
    }
    let templates = make_templates();
    let (passed, failed) = SUITE.run(all(&templates), &templates);
    drop(templates);
    println!("{passed} passed, {failed} failed, 0 skipped");
    std::process::exit(i32::from(failed > 0));
}

/// Returns every case. How many operations a boot has on a medium is counted by one that is not disturbed.
fn all(templates: &Templates) -> Vec<Case> {
    let mut cases = Vec::new();
    for (role, scenes) in SETTINGS {
        for scene in scenes.iter().copied() {
            let operations = count_operations(templates, role, scene);
            let times = [Time::BeforeFirst, Time::BeforeSecond];
            let times = times.into_iter().chain((0..operations).map(Time::Operation));
            for time in times {
                for (filesystem, _, _) in FILESYSTEMS {
                    for (blocks, inodes) in levels(time) {
                        for place in [Place::Freeable, Place::Kept] {
                            let filesystem = filesystem.to_string();
                            // Only the overlay has something that every boot throws away.
                            if place == Place::Kept || role == Role::Overlay {
                                cases.push(Case { filesystem, role, scene, place, time, blocks, inodes });
                            }
                        }
                    }
                }
            }
        }
    }
    cases
}

/// Returns the free blocks and inodes that are tried at a time.
fn levels(time: Time) -> Vec<(Option<u64>, Option<u64>)> {
    let (blocks, inodes): (&[u64], &[u64]) = match time {
        Time::Operation(_) => (&[0, 1, 2], &[0, 1, 2]),
        _ => (&[0, 1, 2, 3, 4, 8, 16], &[0, 1, 2, 3, 4, 5]),
    };
    let blocks = blocks.iter().map(|left| (Some(*left), None));
    blocks.chain(inodes.iter().map(|left| (None, Some(*left)))).collect()
}

fn count_operations(templates: &Templates, role: Role, scene: Scene) -> usize {
    let case = Case {
        filesystem: "ext4".into(),
        role,
        scene,
        place: Place::Kept,
        time: Time::Operation(usize::MAX),
        blocks: None,
        inodes: None,
    };
    let counted = std::sync::Mutex::new(0);
    let texts = [serde_json::to_string(&case).unwrap()];
    media_lab::runner::run_cases(&texts, &templates.dir, media_lab::deadline(), Duration::MAX, |_, printed| {
        let outcome: Outcome = serde_json::from_str(&printed.unwrap_or_default()).unwrap_or_default();
        *counted.lock().unwrap() = outcome.operations;
    });
    let counted = counted.into_inner().unwrap();
    assert!(counted > 0, "a boot without any operation on {role:?}");
    counted.min(OPERATIONS)
}

/// Size of a medium, in bytes: room for the smallest journal in blocks of 4 KiB.
const SIZE: u64 = 16 << 20;

fn make_templates() -> Templates {
    let templates = Templates::new("full-disks");
    std::fs::write(templates.path("text"), "text\n").unwrap();
    std::fs::write(templates.path("wrong.sha256"), format!("{}  root-squashfs.img\n", "0".repeat(64))).unwrap();
    for (name, _, mkfs) in FILESYSTEMS {
        let mut mkfs = mkfs.to_vec();
        // Few inodes: they are soon used up.
        mkfs.extend(["-N", "64"]);
        let images = [
            ("root-squashfs.img", "A"),
            ("root-squashfs.img.minisig", "A.minisig"),
            ("root-squashfs-old.img", "Z"),
            ("root-squashfs-old.img.minisig", "Z.minisig"),
        ];
        templates.filesystem(&format!("img-{name}"), "img", &mkfs, SIZE, &images);
        let overlay = [("upper/etc/written", "text"), ("work/work", ""), ("persistent/etc/kept", "text")];
        templates.filesystem(&format!("overlay-{name}"), "overlay", &mkfs, SIZE, &overlay);
        for (kind, digest) in [("good", "B.sha256"), ("bad", "wrong.sha256")] {
            let files = [
                ("root-squashfs.img", "B"),
                ("root-squashfs.img.sha256", digest),
                ("root-squashfs.img.minisig", "B.minisig"),
            ];
            templates.filesystem(&format!("newimg-{kind}-{name}"), "newimg", &mkfs, SIZE, &files);
        }
    }
    templates
}

fn run_case(case: &Case, templates: &Path) -> Outcome {
    let mut shop = Workshop::new(templates);
    // The media that are not filled are of the usual kind.
    let choose = |role: Role| {
        let name = if role == case.role { case.filesystem.as_str() } else { "ext4" };
        FILESYSTEMS.iter().find(|(other, _, _)| *other == name).map(|(name, kind, _)| (*name, *kind)).unwrap()
    };
    let mut media = Vec::new();
    for role in [Role::Img, Role::Overlay] {
        let (name, kind) = choose(role);
        media.push((role, shop.medium(&format!("{}-{name}", role.label()), kind, role.label(), false)));
    }
    if let Some(delivery) = case.scene.delivery() {
        let (name, kind) = choose(Role::NewImg);
        let template = format!("newimg-{delivery}-{name}");
        media.push((Role::NewImg, shop.medium(&template, kind, "newimg", case.scene == Scene::BadStick)));
    }
    let trust = case.scene == Scene::Signed;
    if trust {
        shop.trust();
    }
    let mut plan = BootPlan {
        root: shop.root().to_str().unwrap().into(),
        cmdline: case.scene.cmdline().into(),
        trust,
        devices: media.iter().map(|(_, medium)| medium.device.clone()).collect(),
        modular: Vec::new(),
        filling: None,
    };
    let filled = &media.iter().find(|(role, _)| *role == case.role).unwrap().1;
    let mut outcome = Outcome::default();
    match case.time {
        Time::BeforeFirst => fill_now(&shop, filled, case),
        Time::BeforeSecond => {
            // Updates come with the second boot.
            let mut first = plan.clone();
            first.devices.retain(|device| device.label != "newimg");
            first.cmdline = "quiet".into();
            outcome.boots += 1;
            let _ = shop.boot(&first, media_lab::deadline());
            fill_now(&shop, filled, case);
        }
        Time::Operation(number) => plan.filling = Some(filling(case, number)),
    }
    judge(case, &mut shop, plan, &mut outcome);
    outcome
}

/// Directories that the filling may go to. None is made: a boot that runs may just be making it.
fn directories(case: &Case) -> &'static [&'static str] {
    match (case.role, case.place, case.time) {
        (Role::Overlay, Place::Freeable, Time::Operation(_)) => &["discarded", "upper"],
        (Role::Overlay, Place::Freeable, _) => &["upper"],
        _ => &["."],
    }
}

fn filling(case: &Case, before: usize) -> Filling {
    Filling {
        mount: format!("/run/initramfs/{}", case.role.label()),
        before,
        blocks: case.blocks,
        inodes: case.inodes,
        places: directories(case).iter().map(|place| (*place).to_string()).collect(),
    }
}

fn fill_now(shop: &Workshop, medium: &Medium, case: &Case) {
    shop.change(medium, |root| {
        let mount = root.to_str().unwrap().into();
        workshop::fill(&Filling { mount, ..filling(case, 0) });
    });
}

fn judge(case: &Case, shop: &mut Workshop, mut plan: BootPlan, outcome: &mut Outcome) {
    const BOOTS: usize = 2;
    let mut before: Option<String> = None;
    for round in 1..=BOOTS {
        outcome.boots += 1;
        let result = match shop.boot(&plan, media_lab::deadline()) {
            Ending::Came(result) => result,
            Ending::Hung(operation) => return outcome.fault(Fault::Hang, format!("boot {round}, in {operation}")),
        };
        plan.filling = None;
        outcome.operations = outcome.operations.max(result.operations);
        if let Some(message) = &result.panic {
            outcome.fault(Fault::Panic, format!("boot {round}: {message}"));
        } else if !result.root {
            judge_card(case, &result, round, before.as_deref(), outcome);
        } else if !result.kept && case.scene != Scene::Reset && result.status != "degraded" {
            outcome.fault(Fault::Lost, format!("boot {round}: persistent/etc/kept is not in the root"));
        }
        before = result.card.clone().filter(|_| !result.root);
        if round == BOOTS && case.scene.is_good_update() && result.mark != "B" && could_install(case) {
            let reason = result.log.iter().rev().find(|line| line.contains("update") || line.contains("cannot"));
            outcome.fault(Fault::UpdateBlocked, format!("{}, {}", result.update, reason.cloned().unwrap_or_default()));
        }
    }
}

/// Returns true where an update fits once the old image is removed, or where its own medium alone is full.
fn could_install(case: &Case) -> bool {
    match case.role {
        Role::Img => !matches!(case.time, Time::Operation(_)),
        Role::NewImg => true,
        Role::Overlay => case.place == Place::Freeable || case.scene != Scene::Trial,
    }
}

fn judge_card(case: &Case, result: &BootResult, round: usize, before: Option<&str>, outcome: &mut Outcome) {
    let card = result.card.clone().unwrap_or_else(|| "no card".into());
    let text = result.announced.join("\n");
    let seen = text.lines().find(|line| line.contains("  seen ")).unwrap_or_default().trim().to_string();
    let line = format!("boot {round}: {card}: {seen}");
    // Only the writable layer is needed to write, and with a fallback not even that.
    if case.role != Role::Overlay || case.scene == Scene::Fallback {
        return outcome.fault(Fault::NeedsAHand, line);
    }
    if case.place == Place::Freeable && before == Some(card.as_str()) {
        outcome.fault(Fault::CardAgain, line.clone());
    }
    let is_about_space = ["No space left", "inode", "free", "full"].iter().any(|word| text.contains(word));
    if is_about_space && text.contains("overlay") {
        outcome.cards.push(format!("{card} ({:?}, boot {round})", case.place));
    } else {
        outcome.fault(Fault::UntrueCard, line);
    }
}
