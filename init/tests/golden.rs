//! Golden boots: each folder beside this file describes a machine (`machine.toml`) and holds what a boot does on it
//! (`steps.expected`). No root, no virtual machine. `GOLDEN=write cargo test --test golden` writes what is seen instead of comparing
//! it; read the difference before you keep it.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use contract::tag::Volume;
use initramfs_overlay_init::{
    boot,
    config::Abilities,
    kernel::recorder::{Device, Files, Node, Recorder},
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Machine {
    about: String,
    cmdline: String,
    baked: String,
    last: String,
    /// The archive holds nothing but `/init` and the files named: none of the directories that `build` puts in.
    bare: bool,
    arguments: Vec<String>,
    kernel: String,
    processors: usize,
    shell: bool,
    trust: bool,
    programs: BTreeMap<String, i32>,
    exit_status: Option<u8>,
    shares: BTreeMap<String, BTreeMap<String, Content>>,
    filesystems: Vec<String>,
    modules: String,
    modaliases: Vec<String>,
    module_fails: BTreeMap<String, i32>,
    module_needs: BTreeMap<String, String>,
    module_brings: BTreeMap<String, String>,
    module_cards: BTreeMap<String, String>,
    files: BTreeMap<String, Content>,
    device: Vec<Described>,
    images: BTreeMap<String, BTreeMap<String, Content>>,
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
            shell: false,
            trust: false,
            programs: BTreeMap::new(),
            exit_status: None,
            shares: BTreeMap::new(),
            filesystems: ["ext4", "vfat", "squashfs", "erofs", "overlay", "virtiofs"].map(String::from).to_vec(),
            modules: String::new(),
            modaliases: Vec::new(),
            module_fails: BTreeMap::new(),
            module_needs: BTreeMap::new(),
            module_brings: BTreeMap::new(),
            module_cards: BTreeMap::new(),
            files: BTreeMap::new(),
            device: Vec::new(),
            images: BTreeMap::new(),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    name: String,
    disk: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    label: Option<String>,
    uuid: Option<String>,
    part_uuid: Option<String>,
    #[serde(default)]
    appears_ms: u64,
    mount_fails: Option<i32>,
    #[serde(default = "plenty")]
    free: u64,
    inodes: Option<usize>,
    #[serde(default)]
    fails: BTreeMap<String, i32>,
    #[serde(default)]
    files: BTreeMap<String, Content>,
}

fn plenty() -> u64 {
    1 << 40
}

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Content {
    Text(String),
    Program {
        program: String,
    },
    Link {
        link: String,
    },
    Directory {
        directory: bool,
    },
    Special {
        special: bool,
    },
    Module {
        vermagic: String,
    },
    /// The start of an ext4 filesystem with that many files beside `lost+found`.
    Filesystem {
        files: u32,
    },
    /// A squashfs superblock that claims `claims` bytes in a file of `size`.
    Image {
        image: String,
        size: u64,
        claims: Option<u64>,
    },
}

impl Content {
    fn node(&self) -> Node {
        match self {
            Self::Text(text) => Node::file(text.as_bytes(), 0o644),
            Self::Program { program } => Node::file(program.as_bytes(), 0o755),
            Self::Link { link } => Node::Symlink(link.clone()),
            Self::Directory { directory } => {
                assert!(directory);
                Node::Directory
            }
            Self::Special { special } => {
                assert!(special);
                Node::Special
            }
            Self::Module { vermagic } => Node::file(module(vermagic), 0o644),
            Self::Filesystem { files } => Node::file(superblock(*files), 0o600),
            Self::Image { image, size, claims } => {
                let mut bytes = vec![0; 48];
                bytes[..4].copy_from_slice(b"hsqs");
                bytes[40..48].copy_from_slice(&claims.unwrap_or(*size).to_le_bytes());
                bytes.extend(format!("[{image}]").bytes());
                Node::File(bytes, *size, 0o644)
            }
        }
    }
}

/// An ext4 superblock and its first group descriptor, as far as init reads them (kernel,
/// Documentation/filesystems/ext4/super.rst): clean, 100 inodes, the first of a file being 11.
fn superblock(files: u32) -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    let fields: [(usize, u32); 7] =
        [(0x0, 100), (0x10, 89 - files), (0x14, 1), (0x18, 0), (0x38, 0x0001_ef53), (0x4c, 1), (0x54, 11)];
    for (at, value) in fields {
        bytes[1024 + at..][..4].copy_from_slice(&value.to_le_bytes());
    }
    bytes[2048 + 0x10] = 2;
    bytes
}

/// The smallest ELF file with a `.modinfo`: a file header, the sections' names and contents, three section headers.
fn module(vermagic: &str) -> Vec<u8> {
    let names = b"\0.modinfo\0.shstrtab\0";
    let info = format!("vermagic={vermagic} SMP mod_unload\0");
    let (names_at, info_at) = (64_u64, 64 + names.len() as u64);
    let table = info_at + info.len() as u64;
    let mut elf = vec![0_u8; 64];
    elf[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    elf[0x28..0x30].copy_from_slice(&table.to_le_bytes());
    elf[0x3a..0x3c].copy_from_slice(&64_u16.to_le_bytes());
    elf[0x3c..0x3e].copy_from_slice(&3_u16.to_le_bytes());
    elf[0x3e..0x40].copy_from_slice(&2_u16.to_le_bytes());
    elf.extend_from_slice(names);
    elf.extend_from_slice(info.as_bytes());
    for (name, at, size) in [(0_u32, 0, 0), (1, info_at, info.len() as u64), (10, names_at, names.len() as u64)] {
        let mut header = [0_u8; 64];
        header[..4].copy_from_slice(&name.to_le_bytes());
        header[0x18..0x20].copy_from_slice(&u64::to_le_bytes(at));
        header[0x20..0x28].copy_from_slice(&u64::to_le_bytes(size));
        elf.extend_from_slice(&header);
    }
    elf
}

fn files(described: &BTreeMap<String, Content>) -> Files {
    described.iter().map(|(path, content)| (path.clone(), content.node())).collect()
}

fn record(machine: Machine) -> Vec<String> {
    assert!(!machine.about.is_empty(), "a case says what it is about");
    let mut initramfs = files(&machine.files);
    if !machine.bare {
        for folder in ["dev", "proc", "run", "sys"] {
            initramfs.entry(folder.into()).or_insert(Node::Directory);
        }
    }
    initramfs.insert("proc/cmdline".into(), Node::file(machine.cmdline, 0o444));
    if !machine.baked.is_empty() {
        initramfs.insert("etc/cmdline".into(), Node::file(machine.baked, 0o644));
    }
    if !machine.last.is_empty() {
        initramfs.insert("etc/cmdline.final".into(), Node::file(machine.last, 0o644));
    }
    if !machine.modules.is_empty() {
        let path = format!("lib/modules/{}/initramfs.modules", machine.kernel);
        initramfs.insert(path, Node::file(machine.modules, 0o644));
    }
    let devices = machine.device.into_iter().map(|described| Device {
        volume: Volume {
            name: described.name.clone(),
            disk: described.disk.clone(),
            size: 1 << 30,
            kind: described.kind.clone(),
            label: described.label.clone(),
            uuid: described.uuid.clone(),
            part_label: None,
            part_uuid: described.part_uuid.clone(),
        },
        files: files(&described.files),
        appears: Duration::from_millis(described.appears_ms),
        mount_fails: described.mount_fails,
        free: described.free,
        inodes: described.inodes,
        fails: described.fails,
    });
    let mut recorder = Recorder {
        release: machine.kernel,
        processors: machine.processors,
        files: initramfs,
        filesystems: machine.filesystems,
        devices: devices.collect(),
        modaliases: machine.modaliases,
        images: machine.images.iter().map(|(name, content)| (name.clone(), files(content))).collect(),
        module_fails: machine.module_fails,
        module_needs: machine.module_needs,
        module_brings: machine.module_brings,
        module_cards: machine.module_cards,
        has_shell: machine.shell,
        programs: machine.programs,
        shares: machine.shares.iter().map(|(tag, content)| (tag.clone(), files(content))).collect(),
        exit_status: machine.exit_status,
        ..Recorder::default()
    };
    boot::run(&mut recorder, &machine.arguments, Abilities { shell: machine.shell, trust: machine.trust });
    recorder.record
}

#[test]
fn boots_do_what_is_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let write = std::env::var_os("GOLDEN").is_some_and(|value| value == "write");
    let mut cases: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("machine.toml").exists())
        .collect();
    cases.sort();
    assert!(cases.len() > 30, "only {} cases found", cases.len());
    let mut different = Vec::new();
    for case in &cases {
        let text = fs::read_to_string(case.join("machine.toml")).unwrap();
        let machine: Machine = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", case.display()));
        let seen = record(machine).join("\n") + "\n";
        let expected = case.join("steps.expected");
        if write {
            fs::write(&expected, &seen).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != seen {
            different.push(format!("{}:\n{seen}", case.display()));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {} boots differ; what was seen:\n{}",
        different.len(),
        cases.len(),
        different.join("\n")
    );
}
