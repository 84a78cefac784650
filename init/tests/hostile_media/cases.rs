//! The cases: a name on a medium, the object in its place, the setting; and the outcomes that are right for each.

use contract::names;

use super::objects::Object;

/// A medium of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Role {
    /// Holds the images.
    Img,
    /// Holds the writable layer.
    Overlay,
    /// Delivers updates.
    NewImg,
    /// Brings modules.
    Boot,
}

/// An update that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Update {
    /// There is no medium with one.
    None,
    /// A good one.
    Good,
    /// An update with a wrong digest; with a key, signed by another key.
    Bad,
}

/// The setting of a boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Scene {
    /// Only signed images are taken.
    pub trust: bool,
    /// An update that waits.
    pub update: Update,
    /// The update's medium is removable.
    pub removable: bool,
    /// `rd.newimg.tries=2`: new images are on trial.
    pub tries: bool,
    /// `rd.overlay.reset`: a factory reset.
    pub reset: bool,
    /// There is no image on `img` beside the current one.
    pub alone: bool,
    /// `overlay` holds `persistent` and nothing else, as before the first boot.
    pub fresh: bool,
}

/// A name on a medium, replaced by an object, in a setting.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Case {
    /// The medium.
    pub role: Role,
    /// Its filesystem.
    pub filesystem: String,
    /// The name, below the medium's root.
    pub name: String,
    /// The object in its place.
    pub object: Object,
    /// The setting.
    pub scene: Scene,
}

impl Case {
    /// Names the case.
    pub fn title(&self) -> String {
        let Scene { trust, update, removable, tries, reset, alone, fresh } = self.scene;
        let mut title = format!("{:?}/{} = {:?} ({}", self.role, self.name, self.object, self.filesystem);
        let flags = [
            (trust, "key"),
            (removable, "removable"),
            (tries, "tries"),
            (reset, "reset"),
            (alone, "no old image"),
            (fresh, "first boot"),
        ];
        for (is_set, text) in flags {
            if is_set {
                title.push_str(&format!(", {text}"));
            }
        }
        title.push_str(&match update {
            Update::None => ")".into(),
            update => format!(", {} update)", format!("{update:?}").to_lowercase()),
        });
        title
    }

    /// Returns true where the planted object is the update itself, or its signature or digest.
    pub fn hits_delivery(&self) -> bool {
        const DELIVERY: [&str; 3] = ["root-squashfs.img", "root-squashfs.img.sha256", "root-squashfs.img.minisig"];
        self.role == Role::NewImg && DELIVERY.contains(&self.name.as_str())
    }

    /// Returns true where a failure card is a right answer: the only module that reads the image was replaced, or the only image, or
    /// its signature.
    pub fn may_fail(&self) -> bool {
        let is_there = self.object.keeps_content();
        match self.role {
            Role::Boot => {
                let is_module = ["/squashfs.ko", "/squashfs.ko.minisig"].iter().any(|end| self.name.ends_with(end));
                is_module || self.name.split('/').count() <= 2
            }
            Role::Img => {
                let is_needed = self.scene.trust || !self.name.ends_with(".minisig");
                self.scene.alone && self.scene.update != Update::Good && is_needed && !is_there
            }
            _ => false,
        }
    }
}

/// Names on `img`.
const IMG: [&str; 19] = [
    "root-squashfs.img",
    "root-squashfs.img.minisig",
    "root-squashfs.img.sha256",
    "root-squashfs.img.txt",
    "root-squashfs-old.img",
    "root-squashfs-old.img.minisig",
    "root-squashfs-rejected.img",
    "root-squashfs-rejected.img.minisig",
    "root-squashfs-rejected.img.txt",
    "root-squashfs.img.new",
    "root-squashfs.img.new.minisig",
    "root-squash.img",
    "root-squash.img.minisig",
    "root-squash.img-old",
    "persistent-saved",
    "persistent-saved.part",
    names::UPDATES,
    names::SCRATCH,
    "lost+found",
];

/// Names on `overlay`.
const OVERLAY: [&str; 18] = [
    "upper",
    "work",
    "work/work",
    "persistent",
    "persistent.part",
    "discarded",
    "discarded/upper.0",
    "discarded/work.0",
    "discarded/persistent.0",
    "spare",
    "spare/upper",
    "spare/work",
    "spare/work/work",
    "spare/reserve",
    names::TRIAL,
    names::UPDATES,
    names::SCRATCH,
    "lost+found",
];

/// Names on `newimg`.
const NEWIMG: [&str; 12] = [
    "root-squashfs.img",
    "root-squashfs.img.sha256",
    "root-squashfs.img.minisig",
    "root-squashfs.img.txt",
    "root-squashfs-rejected.img",
    "root-squashfs-rejected.img.txt",
    "root-squashfs-rejected.img.sha256",
    "root-squashfs-rejected.img.minisig",
    "root-squash.img",
    "root-squash.img.sha256",
    names::SCRATCH,
    "lost+found",
];

/// Names on `boot`; `R` stands for the kernel's release.
const BOOT: [&str; 7] = [
    "modules", "modules/R", "modules/R/squashfs.ko", "modules/R/squashfs.ko.xz", "modules/R/squashfs.ko.zst",
    "modules/R/squashfs.ko.minisig", "modules/R/modules.dep",
];

const QUIET: Scene = Scene {
    trust: false,
    update: Update::None,
    removable: false,
    tries: false,
    reset: false,
    alone: false,
    fresh: false,
};

/// Names on `img` that are also replaced where no other image is there.
const ONLY_IMAGE: [&str; 2] = ["root-squashfs.img", "root-squashfs.img.minisig"];

/// Returns the settings in which a medium is replaced, without and with a key.
fn scenes(role: Role) -> Vec<Scene> {
    let good = Scene { update: Update::Good, ..QUIET };
    let bad = Scene { update: Update::Bad, ..QUIET };
    let stick = |scene| Scene { removable: true, ..scene };
    let plain = match role {
        Role::Img => vec![QUIET, good, bad, stick(good), stick(bad), Scene { tries: true, ..good }],
        Role::Overlay => {
            let (reset, fresh) = (Scene { reset: true, ..QUIET }, Scene { fresh: true, ..QUIET });
            vec![QUIET, reset, fresh, Scene { tries: true, ..good }, stick(bad)]
        }
        Role::NewImg => vec![good, bad, stick(good), stick(bad)],
        Role::Boot => vec![QUIET],
    };
    let signed = plain.iter().map(|scene| Scene { trust: true, ..*scene });
    plain.iter().copied().chain(signed).collect()
}

/// Returns every case that a machine can run: FAT only where the kernel knows it.
pub fn all(release: &str, has_fat: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    let media: [(Role, &str, &[&str]); 5] = [
        (Role::Img, "ext4", &IMG),
        (Role::Overlay, "ext4", &OVERLAY),
        (Role::NewImg, "ext4", &NEWIMG),
        (Role::Boot, "ext4", &BOOT),
        (Role::Boot, "vfat", &BOOT),
    ];
    for (role, filesystem, names) in media {
        if filesystem == "vfat" && !has_fat {
            continue;
        }
        for name in names {
            for object in Object::ALL {
                if filesystem == "vfat" && !object.fits_fat() {
                    continue;
                }
                let mut scenes = scenes(role);
                if role == Role::Img && ONLY_IMAGE.contains(name) {
                    let alone: Vec<Scene> = scenes.iter().map(|scene| Scene { alone: true, ..*scene }).collect();
                    scenes.extend(alone);
                }
                for scene in scenes {
                    let name = name.replace("/R", &format!("/{release}"));
                    cases.push(Case { role, filesystem: filesystem.into(), name, object, scene });
                }
            }
        }
    }
    cases
}
