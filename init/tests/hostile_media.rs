//! Hostile media: every name that init touches on `img`, `overlay`, `newimg` and `boot` is replaced by each kind of object, one at a
//! time, with and without a trusted key, and the machine boots twice from it. Nothing outside the media may change, no boot may hang or
//! panic, and while a good image is there every boot reaches a root.
//!
//! A sample runs by default: `HOSTILE_MEDIA_SEED=N` repeats one, `HOSTILE_MEDIA=long` runs everything, and any other value runs the
//! cases whose title contains it.

#[path = "hostile_media/cases.rs"]
mod cases;
mod media_lab;
#[path = "hostile_media/objects.rs"]
mod objects;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use cases::{Case, Role, Update};
use media_lab::{
    machine::MODULE,
    plan::{BootPlan, BootResult},
    suite::{self, Outcome, Suite},
    templates::Templates,
    workshop::{Ending, Medium, Workshop},
};
use objects::Targets;

const SUITE: Suite =
    Suite { name: "hostile media", variable: "HOSTILE_MEDIA", sample: 400, time: Duration::from_secs(50) };

/// A way in which a boot goes wrong.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// Something outside the media changed.
    Outside,
    /// A boot did not come back.
    Hang,
    /// PID 1 panicked.
    Panic,
    /// A boot ended in a failure card though a good image is there.
    NeedsAHand,
    /// A good update was not installed at the second boot.
    UpdateBlocked,
    /// A removable medium was changed.
    MediumChanged,
    /// An update was installed twice.
    InstalledTwice,
    /// A bad image or an unsigned module was used.
    Untrusted,
    /// `persistent` was lost.
    Lost,
}

impl suite::Case for Case {
    fn title(&self) -> String {
        Case::title(self)
    }

    fn group(&self) -> String {
        format!("{:?} on {}", self.role, self.filesystem)
    }

    fn place(&self) -> String {
        format!("{:?}/{}", self.role, self.name)
    }

    fn variant(&self) -> String {
        format!("{:?}", self.object)
    }
}

fn main() {
    if media_lab::is_done(SUITE.name, run_case) {
        return;
    }
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    let has_fat = media_lab::requirements::knows("vfat");
    if !has_fat {
        println!("skipped: hostile media: Boot on vfat, which this kernel does not have");
    }
    let templates = make_templates(&release);
    let (passed, failed) = SUITE.run(cases::all(&release, has_fat), &templates);
    drop(templates);
    println!("{passed} passed, {failed} failed, 0 skipped");
    std::process::exit(i32::from(failed > 0));
}

/// Size of a medium, in bytes.
const SIZE: u64 = 8 << 20;

fn make_templates(release: &str) -> Templates {
    const EXT4: [&str; 2] = ["-t", "ext4"];
    let templates = Templates::new("hostile-media");
    let write = |name: &str, text: &str| std::fs::write(templates.path(name), text).unwrap();
    write("text", "text\n");
    write("module", MODULE);
    write("squashfs.dep", "squashfs.ko:\n");
    write("wrong.sha256", &format!("{}  root-squashfs.img\n", "0".repeat(64)));
    templates.sign("module");
    let images = [
        ("root-squashfs.img", "A"),
        ("root-squashfs.img.minisig", "A.minisig"),
        ("root-squashfs-old.img", "Z"),
        ("root-squashfs-old.img.minisig", "Z.minisig"),
    ];
    templates.filesystem("img", "img", &EXT4, SIZE, &images);
    templates.filesystem("img-alone", "img", &EXT4, SIZE, &images[..2]);
    let overlay = [
        ("upper/etc/written", "text"),
        ("work/work", ""),
        ("persistent/etc/kept", "text"),
        ("discarded/upper.0/file", "text"),
    ];
    templates.filesystem("overlay", "overlay", &EXT4, SIZE, &overlay);
    templates.filesystem("overlay-fresh", "overlay", &EXT4, SIZE, &[("persistent/etc/kept", "text")]);
    for (name, digest, signature) in [
        ("newimg-good", "B.sha256", "B.minisig"),
        ("newimg-bad", "wrong.sha256", "B.minisig"),
        ("newimg-foreign", "B.sha256", "B.foreign"),
    ] {
        let files = [
            ("root-squashfs.img", "B"),
            ("root-squashfs.img.sha256", digest),
            ("root-squashfs.img.minisig", signature),
        ];
        templates.filesystem(name, "newimg", &EXT4, SIZE, &files);
    }
    let directory = format!("modules/{release}");
    let boot = [
        (format!("{directory}/squashfs.ko"), "module"),
        (format!("{directory}/squashfs.ko.minisig"), "module.minisig"),
        (format!("{directory}/modules.dep"), "squashfs.dep"),
    ];
    let boot: Vec<(&str, &str)> = boot.iter().map(|(path, template)| (path.as_str(), *template)).collect();
    templates.filesystem("boot-ext4", "boot", &EXT4, SIZE, &boot);
    if media_lab::requirements::knows("vfat") {
        let image = templates.path("boot-vfat");
        std::fs::File::create(&image).unwrap().set_len(SIZE).unwrap();
        let mut mkfs = std::process::Command::new("mkfs.vfat");
        media_lab::requirements::run(mkfs.args(["-n", "BOOT"]).arg(&image));
    }
    templates
}

/// Boots twice from hostile media and judges.
fn run_case(case: &Case, templates: &Path) -> Outcome {
    let mut shop = Workshop::new(templates);
    let scene = case.scene;
    let img = if scene.alone { "img-alone" } else { "img" };
    let overlay = if scene.fresh { "overlay-fresh" } else { "overlay" };
    let mut media = vec![
        (Role::Img, shop.medium(img, "ext4", "img", false)),
        (Role::Overlay, shop.medium(overlay, "ext4", "overlay", false)),
    ];
    let delivery = match (scene.update, scene.trust) {
        (Update::None, _) => None,
        (Update::Good, _) => Some("newimg-good"),
        (Update::Bad, false) => Some("newimg-bad"),
        (Update::Bad, true) => Some("newimg-foreign"),
    };
    if let Some(template) = delivery {
        media.push((Role::NewImg, shop.medium(template, "ext4", "newimg", scene.removable)));
    }
    let mut modular = Vec::new();
    if case.role == Role::Boot {
        let template = format!("boot-{}", case.filesystem);
        let medium = shop.medium(&template, &case.filesystem, "boot", false);
        if case.filesystem == "vfat" {
            shop.change(&medium, |root| fill_fat(root, templates));
        }
        media.push((Role::Boot, medium));
        modular.push("squashfs".to_string());
    }
    if scene.trust {
        shop.trust();
    }
    let planted = &media.iter().find(|(role, _)| *role == case.role).unwrap().1;
    let targets = targets(case, &shop);
    shop.change(planted, |root| objects::plant(case.object, &root.join(&case.name), &targets));

    let mut cmdline = "quiet".to_string();
    for (is_set, parameter) in [(scene.tries, "rd.newimg.tries=2"), (scene.reset, "rd.overlay.reset")] {
        if is_set {
            cmdline.push_str(&format!(" {parameter}"));
        }
    }
    let plan = BootPlan {
        root: shop.root().to_str().unwrap().into(),
        cmdline,
        trust: scene.trust,
        devices: media.iter().map(|(_, medium)| medium.device.clone()).collect(),
        modular,
        filling: None,
    };
    let removable = media.iter().find(|(role, _)| *role == Role::NewImg && scene.removable).map(|(_, medium)| medium);
    judge(case, &mut shop, &plan, removable)
}

/// Puts on a FAT filesystem what mke2fs puts on others.
fn fill_fat(root: &Path, templates: &Path) {
    let release = nix::sys::utsname::uname().unwrap().release().to_string_lossy().into_owned();
    let directory: PathBuf = root.join("modules").join(release);
    std::fs::create_dir_all(&directory).unwrap();
    for (name, template) in
        [("squashfs.ko", "module"), ("squashfs.ko.minisig", "module.minisig"), ("modules.dep", "squashfs.dep")]
    {
        std::fs::copy(templates.join(template), directory.join(name)).unwrap();
    }
}

fn targets(case: &Case, shop: &Workshop) -> Targets {
    let is = |name: &str| case.name == name;
    let sibling = match case.role {
        Role::Img if is("root-squashfs-old.img") || case.scene.alone => "root-squashfs.img",
        Role::Img => "root-squashfs-old.img",
        Role::Overlay if is("persistent") => "upper",
        Role::Overlay if case.name.contains('/') => "sibling",
        Role::Overlay => "persistent",
        Role::NewImg if is("root-squashfs.img") => "sibling",
        Role::NewImg => "root-squashfs.img",
        Role::Boot if case.name.ends_with("squashfs.ko") => "modules.dep",
        Role::Boot => "squashfs.ko",
    };
    let medium = match case.role {
        Role::Img => "/run/initramfs/overlay/persistent",
        Role::Overlay | Role::NewImg | Role::Boot => "/run/initramfs/img/root-squashfs.img",
    };
    Targets { device: shop.canary(), number: shop.canary_number(), sibling: sibling.into(), medium: medium.into() }
}

fn judge(case: &Case, shop: &mut Workshop, plan: &BootPlan, removable: Option<&Medium>) -> Outcome {
    let mut outcome = Outcome::default();
    let before = shop.look_outside();
    let delivered = removable.map(|medium| shop.look(medium));
    let mut installed = 0;
    for round in 1..=2 {
        outcome.boots += 1;
        let result = match shop.boot(plan, media_lab::deadline()) {
            Ending::Came(result) => result,
            Ending::Hung(operation) => {
                outcome.fault(Fault::Hang, format!("boot {round}, in {operation}"));
                // The next would hang as well.
                break;
            }
        };
        installed += usize::from(result.update == "installed");
        judge_boot(case, &result, round, &mut outcome);
    }
    let changes = shop.changes(&before);
    if !changes.is_empty() {
        outcome.fault(Fault::Outside, changes.join("; "));
    }
    if let (Some(medium), Some(delivered)) = (removable, delivered) {
        let changes = media_lab::outside::differences(&delivered, &shop.look(medium));
        if !changes.is_empty() {
            outcome.fault(Fault::MediumChanged, changes.join("; "));
        }
    }
    if installed > 1 {
        outcome.fault(Fault::InstalledTwice, "at both boots");
    }
    outcome
}

fn judge_boot(case: &Case, result: &BootResult, round: usize, outcome: &mut Outcome) {
    let mut fault = |fault: Fault, line: String| outcome.fault(fault, format!("boot {round}: {line}"));
    if let Some(message) = &result.panic {
        fault(Fault::Panic, message.clone());
    }
    if !result.outside.is_empty() {
        fault(Fault::Outside, format!("/run/{}", result.outside.join("; /run/")));
    }
    if !result.root && result.panic.is_none() {
        let card = result.card.clone().unwrap_or_else(|| "no card".into());
        let seen = result.announced.iter().flat_map(|text| text.lines()).find(|line| line.contains("  seen "));
        if case.may_fail() {
            outcome.cards.push(card);
        } else {
            fault(Fault::NeedsAHand, format!("{card}: {}", seen.unwrap_or_default().trim()));
        }
        return;
    }
    if let Some(reason) = &result.unwritable {
        fault(Fault::NeedsAHand, format!("the root cannot be written to: {reason}"));
    }
    let scene = case.scene;
    // With a key a medium's module needs its signature, over the very bytes that are loaded.
    let has_signature = !case.name.ends_with(".ko.minisig") || case.object.keeps_content();
    let is_unsigned =
        |path: &&String| path.contains("/boot/") && (!has_signature || result.foreign_modules.contains(path));
    if let Some(module) = result.modules.iter().find(is_unsigned).filter(|_| scene.trust) {
        fault(Fault::Untrusted, format!("loaded {module}"));
    }
    if scene.update == Update::Bad && !case.hits_delivery() && result.mark == "B" {
        fault(Fault::Untrusted, "booted the bad update".into());
    }
    if round == 2 && scene.update == Update::Good && !case.hits_delivery() && result.mark != "B" {
        let reason = result.log.iter().rev().find(|line| line.contains("update") || line.contains("cannot"));
        fault(Fault::UpdateBlocked, format!("{}, {}", result.update, reason.cloned().unwrap_or_default()));
    }
    let is_replaced = case.role == Role::Overlay && case.name == "persistent" && !case.object.keeps_content();
    if !result.kept && !scene.reset && !is_replaced {
        fault(Fault::Lost, "persistent/etc/kept is not in the root".into());
    }
}
