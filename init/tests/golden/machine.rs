//! A machine as `machine.toml` describes it, and the record of its boot. `boots/README.md` lists the keys.

mod contents;
mod fat;

use std::{collections::BTreeMap, fmt, time::Duration};

use contents::{black_box, elf, image, module, protective, superblock};
use contract::{
    blackbox::{self, End, Ended},
    tag::Volume,
};
use initramfs_overlay_init::{
    boot,
    config::Abilities,
    kernel::{
        Power,
        recorder::{self, Device, Files, Node, Recorder},
    },
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A described machine.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    about: String,
    cmdline: String,
    baked: String,
    last: String,
    bare: bool,
    arguments: Vec<String>,
    kernel: String,
    processors: usize,
    free: Option<u64>,
    shell: bool,
    shell_ends: Vec<ShellEnd>,
    trust: bool,
    programs: BTreeMap<String, i32>,
    exit_status: Option<u8>,
    exec_fails: Option<i32>,
    fails: BTreeMap<String, i32>,
    shares: BTreeMap<String, Directory>,
    filesystems: Vec<String>,
    modules: String,
    modaliases: Vec<String>,
    module_fails: BTreeMap<String, i32>,
    module_needs: BTreeMap<String, String>,
    module_brings: BTreeMap<String, String>,
    module_cards: BTreeMap<String, String>,
    windows: BTreeMap<String, (u16, u16)>,
    keys: Vec<(u64, String, String)>,
    buttons: BTreeMap<String, Buttons>,
    mount_fails: BTreeMap<String, i32>,
    loop_fails: Option<i32>,
    files: Directory,
    device: Vec<Described>,
    images: BTreeMap<String, Directory>,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            about: String::new(),
            cmdline: String::new(),
            baked: String::new(),
            last: String::new(),
            bare: false,
            arguments: Vec::new(),
            kernel: "6.1.0".into(),
            processors: 1,
            free: None,
            shell: false,
            shell_ends: Vec::new(),
            trust: false,
            programs: BTreeMap::new(),
            exit_status: None,
            exec_fails: None,
            fails: BTreeMap::new(),
            shares: BTreeMap::new(),
            filesystems: ["ext4", "vfat", "squashfs", "erofs", "overlay", "virtiofs"].map(String::from).to_vec(),
            modules: String::new(),
            modaliases: Vec::new(),
            module_fails: BTreeMap::new(),
            module_needs: BTreeMap::new(),
            module_brings: BTreeMap::new(),
            module_cards: BTreeMap::new(),
            windows: BTreeMap::new(),
            keys: Vec::new(),
            buttons: BTreeMap::new(),
            mount_fails: BTreeMap::new(),
            loop_fails: None,
            files: BTreeMap::new(),
            device: Vec::new(),
            images: BTreeMap::new(),
        }
    }
}

/// An input device with keys: their codes, and the milliseconds between which they are held down.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Buttons {
    keys: Vec<u16>,
    held_ms: Option<(u64, u64)>,
}

/// A block device: the medium, its filesystem, and the faults of both.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    name: String,
    disk: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    label: Option<String>,
    uuid: Option<String>,
    part_label: Option<String>,
    part_uuid: Option<String>,
    #[serde(default)]
    appears_ms: u64,
    #[serde(default)]
    read_only: bool,
    #[serde(default)]
    forgetful: bool,
    #[serde(default)]
    unclean: bool,
    #[serde(default = "usual_sector")]
    sector: u64,
    #[serde(default = "usual_block")]
    block: u64,
    mount_fails: Option<i32>,
    free: Option<u64>,
    inodes: Option<usize>,
    #[serde(default)]
    fails: BTreeMap<String, i32>,
    #[serde(default)]
    unreadable: BTreeMap<String, u64>,
    #[serde(default)]
    files: Directory,
}

fn usual_sector() -> u64 {
    512
}

fn usual_block() -> u64 {
    4096
}

impl Described {
    fn device(self) -> Device {
        let files = files(&self.files);
        let mut device = Device {
            volume: Volume {
                name: self.name,
                disk: self.disk,
                size: 1 << 30,
                kind: self.kind,
                label: self.label,
                uuid: self.uuid,
                part_label: self.part_label,
                part_uuid: self.part_uuid,
            },
            appears: Duration::from_millis(self.appears_ms),
            mount_fails: self.mount_fails,
            inodes: self.inodes,
            fails: self.fails,
            read_only: self.read_only,
            forgetful: self.forgetful,
            unclean: self.unclean,
            sector: self.sector,
            block: self.block,
            unreadable: self.unreadable,
            ..Device::default()
        };
        device.capacity = device.used(&files) + self.free.unwrap_or(1 << 40);
        device.files = files;
        device
    }
}

/// The files of a filesystem, by path.
type Directory = BTreeMap<String, Entry>;

/// A file: a text, or a table with the keys of one kind of file.
struct Entry(Node);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Serde's own `untagged` would not name the key that it does not know.
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or a table")
            }

            fn visit_str<E>(self, text: &str) -> Result<Entry, E> {
                Ok(Entry(Node::file(text, 0o644)))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Entry, A::Error> {
                let keys = Keys::deserialize(MapAccessDeserializer::new(map))?;
                keys.node().map(Entry).ok_or_else(|| A::Error::custom(KINDS))
            }
        }

        deserializer.deserialize_any(Entries)
    }
}

const KINDS: &str = "a file is a text, or one of { program = TEXT }, { elf = MACHINE } with loader = PATH or not, { link = PATH }, { directory = true }, { special = true }, \
                     { vermagic = VERSION }, { protective = true }, { ended = [WORDS, …] }, { text = true }, { parameters = TEXT }, { files = COUNT } with quota = true and casefold = true or not, { image = NAME, size = BYTES }, the last with claims = BYTES or not";

/// All keys that describe a file.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Keys {
    program: Option<String>,
    elf: Option<u16>,
    loader: Option<String>,
    link: Option<String>,
    directory: Option<bool>,
    special: Option<bool>,
    vermagic: Option<String>,
    files: Option<u32>,
    quota: Option<bool>,
    casefold: Option<bool>,
    protective: Option<bool>,
    image: Option<String>,
    size: Option<u64>,
    claims: Option<u64>,
    ended: Option<Vec<String>>,
    text: Option<bool>,
    parameters: Option<String>,
}

impl Keys {
    /// Returns the file; none if the keys are not those of exactly one kind.
    fn node(self) -> Option<Node> {
        let is_image = self.image.is_some();
        if self.elf.is_none() && self.loader.is_some() {
            return None;
        }
        if !is_image && (self.size.is_some() || self.claims.is_some()) {
            return None;
        }
        let nodes = [
            self.program.map(|program| Node::file(program, 0o755)),
            self.elf.map(|machine| Node::file(elf(machine, self.loader.as_deref()), 0o755)),
            self.link.map(Node::Symlink),
            self.directory.filter(|is_so| *is_so).map(|_| Node::Directory),
            self.special.filter(|is_so| *is_so).map(|_| Node::Special),
            self.vermagic.map(|vermagic| Node::file(module(&vermagic), 0o644)),
            self.files.map(|files| {
                Node::file(superblock(files, self.quota.unwrap_or(false), self.casefold.unwrap_or(false)), 0o600)
            }),
            self.ended.map(|ended| Node::file(black_box(&ended), 0o600)),
            self.text.filter(|is_so| *is_so).map(|_| Node::file(fat::boot_partition(None), 0o600)),
            self.parameters.map(|text| Node::file(fat::boot_partition(Some(&text)), 0o600)),
            self.protective.filter(|is_so| *is_so).map(|_| Node::file(protective(), 0o600)),
            self.image.zip(self.size).map(|(mark, size)| image(&mark, size, self.claims.unwrap_or(size))),
        ];
        let [node] = <[Node; 1]>::try_from(nodes.into_iter().flatten().collect::<Vec<_>>()).ok()?;
        Some(node)
    }
}

fn files(described: &Directory) -> Files {
    described.iter().map(|(path, entry)| (path.clone(), entry.0.clone())).collect()
}

fn directories(described: &BTreeMap<String, Directory>) -> BTreeMap<String, Files> {
    described.iter().map(|(name, directory)| (name.clone(), files(directory))).collect()
}

/// Describes a machine by the text of a `machine.toml`.
pub fn parse(text: &str) -> Result<Machine, String> {
    let machine: Machine = toml::from_str(text).map_err(|error| error.to_string())?;
    if machine.about.is_empty() {
        Err("the key about is missing: a case says what it shows".into())
    } else {
        Ok(machine)
    }
}

/// Boots a machine; returns the record, a line or more for each operation.
pub fn record(machine: Machine) -> String {
    let mut described = build(machine);
    described.boot();
    described.recorder.record.join("\n") + "\n"
}

/// The way in which a shell is left.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum ShellEnd {
    Exit,
    Halt,
    PowerOff,
    Reboot,
    Recover,
}

impl From<ShellEnd> for recorder::ShellEnd {
    fn from(end: ShellEnd) -> Self {
        match end {
            ShellEnd::Exit => Self::Exit,
            ShellEnd::Halt => Self::Power(Power::Halt),
            ShellEnd::PowerOff => Self::Power(Power::Off),
            ShellEnd::Reboot => Self::Power(Power::Reboot),
            ShellEnd::Recover => Self::Recover,
        }
    }
}

/// A machine that can boot.
pub struct Ready {
    pub recorder: Recorder,
    arguments: Vec<String>,
    abilities: Abilities,
}

impl Ready {
    /// Boots it.
    pub fn boot(&mut self) {
        boot::run(&mut self.recorder, &self.arguments, self.abilities);
    }
}

/// Builds a machine.
pub fn build(machine: Machine) -> Ready {
    let abilities = Abilities { shell: machine.shell, trust: machine.trust };
    let mut initramfs = files(&machine.files);
    if !machine.bare {
        for directory in ["dev", "proc", "run", "sys"] {
            initramfs.entry(directory.into()).or_insert(Node::Directory);
        }
        for tag in machine.shares.keys() {
            initramfs.insert(format!("sys/fs/virtiofs/{tag}/tag"), Node::file(tag.as_str(), 0o444));
        }
    }
    for path in machine.buttons.keys() {
        initramfs.insert(path.trim_start_matches('/').into(), Node::Special);
    }
    for (number, alias) in machine.modaliases.iter().enumerate() {
        let bus = alias.split(':').next().unwrap_or_default();
        initramfs.insert(format!("sys/bus/{bus}/devices/{number}/modalias"), Node::file(alias.as_str(), 0o444));
    }
    initramfs.insert("proc/cmdline".into(), Node::file(machine.cmdline, 0o444));
    let modules = format!("lib/modules/{}/initramfs.modules", machine.kernel);
    for (path, text) in
        [("etc/cmdline", machine.baked), ("etc/cmdline.final", machine.last), (modules.as_str(), machine.modules)]
    {
        if !text.is_empty() {
            initramfs.insert(path.into(), Node::file(text, 0o644));
        }
    }
    let recorder = Recorder {
        release: machine.kernel,
        processors: machine.processors,
        files: initramfs,
        filesystems: machine.filesystems,
        devices: machine.device.into_iter().map(Described::device).collect(),
        free: machine.free,
        mount_fails: machine.mount_fails,
        loop_fails: machine.loop_fails,
        images: directories(&machine.images),
        module_fails: machine.module_fails,
        module_needs: machine.module_needs,
        module_brings: machine.module_brings,
        module_cards: machine.module_cards,
        windows: machine.windows,
        keys: machine
            .keys
            .into_iter()
            .map(|(second, terminal, keys)| (Duration::from_secs(second), terminal, keys.into_bytes()))
            .collect(),
        buttons: machine
            .buttons
            .into_iter()
            .map(|(path, Buttons { keys, held_ms })| {
                let held = held_ms.map(|(from, to)| (Duration::from_millis(from), Duration::from_millis(to)));
                (path, recorder::Buttons { keys, held })
            })
            .collect(),
        has_shell: machine.shell,
        shell_ends: machine.shell_ends.into_iter().map(Into::into).collect(),
        programs: machine.programs,
        shares: directories(&machine.shares),
        exit_status: machine.exit_status,
        exec_fails: machine.exec_fails,
        fails: machine.fails,
        ..Recorder::default()
    };
    Ready { recorder, arguments: machine.arguments, abilities }
}
