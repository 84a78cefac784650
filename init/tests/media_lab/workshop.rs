//! The place of one case: a tmpfs of its own with the machine's root directory, its canaries and its media on loop devices.

use std::{
    fs,
    io::Read,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use loopdev::{LoopControl, LoopDevice};
use nix::{
    mount::{MntFlags, MsFlags},
    sched::CloneFlags,
    sys::stat::{Mode, SFlag, makedev, mknod},
};

use super::{
    BOOT,
    outside::{self, Picture},
    plan::{BootPlan, BootResult, Device, Filling},
    runner,
    templates::copy_sparse,
};

/// Bytes of the canary device.
const CANARY_SIZE: usize = 256 << 10;

/// Name of a medium in the machine, before the number of its loop device.
const MEDIUM: &str = "disk";
/// Major number of loop devices.
const LOOP_MAJOR: u64 = 7;

/// The end of a boot.
pub enum Ending {
    /// The boot came back with a result.
    Came(Box<BootResult>),
    /// The boot was killed at its deadline, in this operation.
    Hung(String),
}

/// A block device of the case.
pub struct Medium {
    /// The device as a boot finds it.
    pub device: Device,
    /// Keeps the loop device.
    held: LoopDevice,
}

impl Medium {
    /// Returns the device node on this machine.
    pub fn node(&self) -> PathBuf {
        self.held.path().unwrap()
    }
}

/// The place of one case.
pub struct Workshop {
    dir: PathBuf,
    templates: PathBuf,
    canary: Medium,
    boots: usize,
}

impl Workshop {
    /// Takes this process to mounts of its own and sets the machine's root directory up.
    pub fn new(templates: &Path) -> Self {
        nix::sched::unshare(CloneFlags::CLONE_NEWNS).unwrap();
        mount(None, Path::new("/"), None, MsFlags::MS_REC | MsFlags::MS_PRIVATE);
        let dir = templates.join("case");
        // Cases run side by side; each covers this directory with its own filesystem.
        let _ = fs::create_dir(&dir);
        mount(Some(Path::new("tmpfs")), &dir, Some("tmpfs"), MsFlags::empty());
        let canary_file = dir.join("canary.disk");
        fs::write(&canary_file, canary_content()).unwrap();
        let canary = attach(&canary_file, "canary", "canary");
        let shop = Self { dir, templates: templates.into(), canary, boots: 0 };
        shop.build_root();
        shop
    }

    /// Returns the machine's root directory.
    pub fn root(&self) -> PathBuf {
        self.dir.join("machine")
    }

    /// Returns the canary device's node inside the machine.
    pub fn canary(&self) -> String {
        format!("/dev/{}", self.canary.device.name)
    }

    /// Returns the canary device's number.
    pub fn canary_number(&self) -> u64 {
        makedev(LOOP_MAJOR, minor(&self.canary.device.name))
    }

    fn build_root(&self) {
        let root = self.root();
        for directory in ["dev", "proc", "sys/class/block", "sys/module", "run", "tmp", "sysroot", "etc/trust"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        for directory in ["canary/directory", "canary/directory/below"] {
            fs::create_dir_all(root.join(directory)).unwrap();
            fs::write(root.join(directory).join("file"), "canary").unwrap();
        }
        fs::write(root.join("canary/file"), "canary").unwrap();
        // The sweeper is this program once more, which here is linked to the machine's libraries. Nothing of the real machine can
        // be written to from inside.
        for directory in ["usr", "lib", "lib64", "proc"] {
            let source = Path::new("/").join(directory);
            if !source.exists() {
                continue;
            }
            let target = root.join(directory);
            fs::create_dir_all(&target).unwrap();
            mount(Some(&source), &target, None, MsFlags::MS_BIND);
            mount(None, &target, None, MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
        }
        let node = |name: &str, kind: SFlag, major: u64, minor: u64| {
            let mode = Mode::from_bits_truncate(0o600);
            mknod(&root.join("dev").join(name), kind, mode, makedev(major, minor)).unwrap();
        };
        for (name, minor) in [("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)] {
            node(name, SFlag::S_IFCHR, 1, minor);
        }
        node("loop-control", SFlag::S_IFCHR, 10, 237);
        for minor in 0..128 {
            // A medium has the name of a disk: init looks for nothing on loop devices.
            for prefix in ["loop", MEDIUM] {
                node(&format!("{prefix}{minor}"), SFlag::S_IFBLK, LOOP_MAJOR, minor);
            }
        }
        let parameters = Path::new("/sys/module/overlay/parameters");
        if let Ok(entries) = fs::read_dir(parameters) {
            let copy = root.join("sys/module/overlay/parameters");
            fs::create_dir_all(&copy).unwrap();
            for entry in entries.flatten() {
                fs::write(copy.join(entry.file_name()), fs::read(entry.path()).unwrap_or_default()).unwrap();
            }
        }
    }

    /// Puts the trusted key into the machine.
    pub fn trust(&self) {
        fs::copy(self.templates.join("trusted.pub"), self.root().join("etc/trust/key.pub")).unwrap();
    }

    /// Makes a medium from a template. In sysfs it is a disk of its own, removable or not.
    pub fn medium(&self, template: &str, kind: &str, label: &str, removable: bool) -> Medium {
        let file = self.dir.join(format!("{label}.disk"));
        copy_sparse(&self.templates.join(template), &file);
        let medium = attach(&file, kind, label);
        let name = &medium.device.name;
        let bus = if removable { "pci0000:00/usb1/1-1/1-1:1.0/host0/target0:0:0" } else { "pci0000:00/virtio1" };
        let device = format!("devices/{bus}/block/{name}");
        let sysfs = self.root().join("sys");
        fs::create_dir_all(sysfs.join(&device)).unwrap();
        fs::write(sysfs.join(&device).join("removable"), if removable { "1\n" } else { "0\n" }).unwrap();
        fs::write(sysfs.join(&device).join("size"), "32768\n").unwrap();
        symlink(format!("../../{device}"), sysfs.join("class/block").join(name)).unwrap();
        medium
    }

    /// Mounts a medium and changes what is on it.
    pub fn change(&self, medium: &Medium, act: impl FnOnce(&Path)) {
        let target = self.dir.join("m");
        fs::create_dir_all(&target).unwrap();
        mount(Some(&medium.node()), &target, Some(&medium.device.kind), MsFlags::empty());
        act(&target);
        nix::mount::umount2(&target, MntFlags::empty()).unwrap();
    }

    /// Looks at what is on a medium.
    pub fn look(&self, medium: &Medium) -> Picture {
        let mut picture = Picture::new();
        self.change(medium, |root| picture = outside::look(root, &[]));
        picture.retain(|name, _| name != "." && name != "lost+found");
        picture
    }

    /// Looks at everything that a boot must leave as it is, the canary device excepted.
    pub fn look_outside(&self) -> Picture {
        outside::look(&self.root(), &[])
    }

    /// Returns what a boot has changed outside its media, a line each.
    pub fn changes(&self, before: &Picture) -> Vec<String> {
        let mut all = outside::differences(before, &self.look_outside());
        let mut content = Vec::new();
        fs::File::open(self.canary.node()).unwrap().read_to_end(&mut content).unwrap();
        if content != canary_content() {
            all.push("the canary device has changed".into());
        }
        all
    }

    /// Boots the machine from these media.
    pub fn boot(&mut self, plan: &BootPlan, limit: Duration) -> Ending {
        use std::os::unix::process::CommandExt;
        self.boots += 1;
        let result = self.dir.join(format!("boot-{}.result", self.boots));
        let child = Command::new(std::env::current_exe().unwrap())
            .arg(BOOT)
            .arg(serde_json::to_string(plan).unwrap())
            .arg(&result)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .unwrap();
        if runner::finish(child, limit).is_none() {
            let progress = fs::read_to_string(result.with_extension("progress")).unwrap_or_default();
            return Ending::Hung(progress.trim().into());
        }
        let bytes = fs::read(&result).unwrap_or_default();
        let lost = || BootResult { panic: Some("the boot's process left no result".into()), ..BootResult::default() };
        Ending::Came(Box::new(serde_json::from_slice(&bytes).unwrap_or_else(|_| lost())))
    }
}

fn canary_content() -> Vec<u8> {
    (0..CANARY_SIZE).map(|place| u8::try_from(place * 7 / 3 % 251).unwrap()).collect()
}

fn minor(name: &str) -> u64 {
    name.trim_start_matches(MEDIUM).parse().unwrap()
}

fn mount(source: Option<&Path>, target: &Path, kind: Option<&str>, flags: MsFlags) {
    let outcome = nix::mount::mount(source, target, kind, flags, None::<&str>);
    outcome.unwrap_or_else(|error| panic!("mount {source:?} at {}: {error}", target.display()));
}

fn attach(file: &Path, kind: &str, label: &str) -> Medium {
    const TRIES: usize = 64;
    let control = LoopControl::open().unwrap();
    for _ in 0..TRIES {
        let held = control.next_free().unwrap();
        match held.with().autoclear(true).attach(file) {
            Ok(()) => {
                let name = format!("{MEDIUM}{}", held.minor().unwrap());
                return Medium { device: Device { name, kind: kind.into(), label: label.into() }, held };
            }
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {}
            Err(error) => panic!("loop device: {error}"),
        }
    }
    panic!("no free loop device");
}

/// Fills a mounted filesystem until nothing can be had any more, then frees as many blocks or inodes as asked for. A read-only one is
/// made writable meanwhile.
pub fn fill(filling: &Filling) {
    let target = Path::new(&filling.mount);
    let is_directory = |place: &PathBuf| place.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
    let Some(place) = filling.places.iter().map(|place| target.join(place)).find(is_directory) else { return };
    let flags = nix::sys::statvfs::statvfs(target).unwrap().flags();
    let was_read_only = flags.contains(nix::sys::statvfs::FsFlags::ST_RDONLY);
    if was_read_only {
        mount(None, target, None, MsFlags::MS_REMOUNT);
    }
    if let Some(left) = filling.inodes {
        fill_inodes(&place, left);
    }
    if let Some(left) = filling.blocks {
        fill_blocks(target, &place.join("filler"), left);
    }
    if was_read_only {
        mount(None, target, None, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY);
    }
}

/// Makes empty files until no more can be made, then removes `left` of them.
fn fill_inodes(place: &Path, left: u64) {
    let made = (0..).take_while(|number| fs::File::create(place.join(format!("filler-{number}"))).is_ok()).count();
    for number in (0..made).rev().take(usize::try_from(left).unwrap()) {
        // The sweeper may have been quicker.
        let _ = fs::remove_file(place.join(format!("filler-{number}")));
    }
}

/// Appends to `filler` until nothing more can be written, even by root, then takes `left` blocks off it.
fn fill_blocks(target: &Path, filler: &Path, left: u64) {
    use std::io::Write;
    let Ok(mut file) = fs::File::create(filler) else { return };
    let block = nix::sys::statvfs::statvfs(target).unwrap().block_size();
    for count in [256, 16, 1] {
        let bytes = vec![0x5a; usize::try_from(block).unwrap() * count];
        // Space promised to what is not on the disk yet may turn out not to be needed.
        while file.write_all(&bytes).is_ok() || (file.sync_all().is_ok() && file.write_all(&bytes).is_ok()) {}
    }
    let size = file.metadata().unwrap().len() / block * block;
    file.set_len(size.saturating_sub(left * block)).unwrap();
    let _ = file.sync_all();
}
