//! Fixtures of every boot test: a target's artifacts, kernel, BusyBox and disks, and the reading of failure screens.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use base::progress::Progress;
use disk::{self, Disk, Source, layout::Role};
use initramfs_overlay::append_modules;
use sources::{
    kernel_package::{self, Kernel},
    target::{self, DiskInterface, Target},
};
use tempfile::TempDir;
use vm::qemu::{Access, Drive, Guest, Machine};

use crate::image;

#[path = "monitor.rs"]
pub mod monitor;

use monitor::Monitor;

/// The longest that a guest may take for anything. Only a fault takes this long: a boot takes 5 to 20 s on a quiet machine.
pub const PATIENCE: Duration = Duration::from_secs(300);

/// Everything for the boots of one target.
pub struct Lab {
    pub target: &'static Target,
    pub kernel: Kernel,
    pub busybox: Vec<u8>,
    /// The processor, where it is not the target's usual one.
    cpu: Option<&'static str>,
    /// Modules that the disk of this machine needs.
    modules: &'static [String],
    artifacts: PathBuf,
    work: TempDir,
}

impl Lab {
    /// Finds the artifacts and fetches kernel and BusyBox, or says what is missing.
    pub fn open(name: &str) -> Result<Self, String> {
        Self::open_with(target::named(name).map_err(|error| error.to_string())?, None, &[])
    }

    /// Does the same as [`Self::open`], with another of Debian's kernels (release and package) or more modules for the disk.
    pub fn open_with(
        target: &'static Target,
        flavour: Option<(&str, &str)>,
        modules: &'static [String],
    ) -> Result<Self, String> {
        let qemu = &target.qemu.program;
        let path = std::env::var_os("PATH").unwrap_or_default();
        if !std::env::split_paths(&path).any(|dir| dir.join(qemu).exists()) {
            return Err(format!("{qemu} is not installed"));
        }
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("builder lies in the workspace");
        let artifacts = std::env::var_os("BOOT_ARTIFACTS").map_or_else(|| workspace.join("target"), PathBuf::from);
        let cache = initramfs_overlay::cache::open().map_err(|error| error.to_string())?;
        let chain = |error: initramfs_overlay::Error| {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            format!("{error}{cause}")
        };
        let progress = Progress::none();
        let kernel = match flavour {
            None => kernel_package::debian(target, &cache, sources::Substitute::Allow, &progress),
            Some((suite, package)) => kernel_package::flavour(target, suite, package, &cache, &progress),
        };
        let kernel = kernel.map_err(|error| chain(error.into()))?;
        let busybox =
            initramfs_overlay::busybox_image::get(target, None, &cache, sources::Substitute::Allow, &progress)
                .map_err(chain)?
                .bytes;
        let work = TempDir::new().map_err(|error| error.to_string())?;
        let has_large_pages = flavour.is_some_and(|(_, package)| has_large_pages(package));
        let cpu = target.qemu.large_page_cpu.as_deref().filter(|_| has_large_pages);
        let lab = Self { target, kernel, busybox, cpu, modules, artifacts, work };
        for variant in ["", "-debug", "-slim"] {
            let artifact = lab.artifact(variant);
            if !artifact.exists() {
                return Err(format!(
                    "{} is not there: run ./build.sh --variant standard,debug,slim",
                    artifact.display()
                ));
            }
        }
        Ok(lab)
    }

    /// Returns the artifact of a variant: "", "-debug", "-slim".
    pub fn artifact(&self, variant: &str) -> PathBuf {
        self.artifacts.join(format!("init-{}-{}{variant}.gz", env!("CARGO_PKG_VERSION"), self.target.name))
    }

    /// Returns a new directory for one test.
    pub fn directory(&self) -> PathBuf {
        tempfile::Builder::new().tempdir_in(self.work.path()).expect("a directory").keep()
    }

    /// Returns the artifact with all modules that the overlay way needs on this target's kernel.
    pub fn initrd(&self, variant: &str) -> PathBuf {
        let mut wanted = vec!["ext4", "loop", "squashfs", "overlay"];
        if self.target.qemu.disk == DiskInterface::Virtio {
            wanted.extend(["virtio_pci", "virtio_blk"]);
        }
        wanted.extend(self.modules.iter().map(String::as_str));
        self.initrd_with(variant, &wanted)
    }

    /// Returns the artifact with these modules and what they need.
    pub fn initrd_with(&self, variant: &str, wanted: &[&str]) -> PathBuf {
        let output = self.directory().join("initrd");
        append_modules::with_modules(&self.artifact(variant), &self.kernel.modules, wanted, &output)
            .expect("an initrd");
        output
    }

    /// Returns an artifact of its own, made by the command for this target and kernel.
    pub fn build(&self, arguments: &[&str]) -> PathBuf {
        let output = self.directory();
        let run = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"))
            .args(["build", "--variant", "standard", "--target", &self.target.name, "--module-tree"])
            .arg(&self.kernel.modules)
            .arg("--output-dir")
            .arg(&output)
            .args(arguments)
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
            .output()
            .expect("the command");
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        let name = format!("init-{}-{}.", env!("CARGO_PKG_VERSION"), self.target.name);
        let mut made = fs::read_dir(&output).expect("the directory").flatten().map(|entry| entry.path());
        let is_artifact = |path: &PathBuf| {
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            file.starts_with(&name) && !file.ends_with(".json")
        };
        made.find(is_artifact).expect("an artifact")
    }

    /// Returns the test image `id` as a root directory.
    pub fn root(&self, id: &str) -> PathBuf {
        image::root_in(&self.directory(), id, &self.busybox).expect("a root")
    }

    /// Returns a directory for `persistent` whose mark says `text`.
    pub fn persistent(&self, text: &str) -> PathBuf {
        let directory = self.directory();
        image::persistent(&directory, text).expect("a persistent directory");
        directory
    }

    /// Returns the usual disk: image A, a persistent mark, an empty newimg.
    pub fn disk(&self) -> Disk {
        Disk { overlay: Some(Some(self.persistent("kept"))), ..image::disk(Source::Root(self.root("A")), self.target) }
    }

    /// Makes a disk and returns its path.
    pub fn make(&self, disk: &Disk) -> PathBuf {
        let path = self.directory().join("disk.img");
        let mut disk = disk.clone();
        // A partition that a test leaves out has no size.
        let (boot, overlay) = (disk.boot.is_some(), disk.overlay.is_some());
        disk.sizes.retain(|role, _| (*role != Role::Boot || boot) && (*role != Role::Overlay || overlay));
        disk::make(&disk, &path, false, &Progress::none()).expect("a disk");
        path
    }

    /// Returns a copy of a disk, to be spoiled.
    pub fn copy(&self, disk: &Path) -> PathBuf {
        let path = self.directory().join("disk.img");
        fs::copy(disk, &path).expect("a copy of the disk");
        path
    }

    /// Returns a machine with an initrd and disks; what is written to them is kept, as tests boot them again.
    pub fn machine(&self, initrd: &Path, disks: &[&Path], append: &str) -> Machine {
        let mut machine = Machine::new(self.target, &self.kernel);
        if let Some(cpu) = self.cpu {
            // QEMU takes the last one.
            machine.arguments.extend(["-cpu".to_owned(), cpu.to_owned()]);
        }
        machine.initrd = Some(initrd.to_path_buf());
        machine.drives = disks
            .iter()
            .map(|path| Drive { path: path.to_path_buf(), interface: self.target.qemu.disk, access: Access::Write })
            .collect();
        if self.target.qemu.disk != DiskInterface::Sd {
            // On a machine with much to do an emulated timer is late, and the kernel would take it for a broken one.
            machine.append.push("no_timer_check".into());
        }
        machine.append.extend(append.split_whitespace().map(String::from));
        machine
    }

    /// Boots until the root's init has said everything.
    pub fn boot(&self, initrd: &Path, disk: &Path, append: &str) -> image::Marks {
        let (marks, _) =
            image::boot(&self.machine(initrd, &[disk], append), PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        marks
    }

    /// Boots until the failure card with this code is out. Returns what was on the console, card included.
    pub fn fail(&self, machine: &Machine, code: &str) -> String {
        let mut machine = machine.clone();
        let screen = monitor::is_wanted(self).then(|| self.directory());
        // Nobody reads it but this test; what a machine says about it itself comes behind it and counts.
        let time = if screen.is_some() { "rd.onerror=poweroff:12" } else { "rd.onerror=poweroff:0" };
        machine.append.insert(0, time.into());
        if let Some(directory) = &screen {
            machine.append.insert(0, "console=tty0".into());
            Monitor::prepare(&mut machine, directory);
        }
        let mut guest = Guest::start(&machine).expect("QEMU");
        let before =
            guest.wait_for(&format!("cannot boot: {code}"), PATIENCE).unwrap_or_else(|error| panic!("{error}"));
        let mut card = guest.wait_for("try next", PATIENCE).expect("the card's last line");
        card += &guest.wait_for("----------------", PATIENCE).expect("the card's end");
        if let Some(directory) = &screen {
            Monitor::open(directory).expect_card(&guest);
        }
        guest.finish(Some(PATIENCE)).expect("the machine's end");
        assert!(!guest.console().contains("Kernel panic"), "init must not end:\n{}", guest.last_lines());
        // A long item goes on in the next line, further to the right.
        (before + &card).replace("\r\n", "\n").replace("\n              ", " ")
    }
}

/// Returns true for Debian's kernels with pages of more than 4 KiB, by the package's name.
pub fn has_large_pages(package: &str) -> bool {
    ["-16k", "-64k"].iter().any(|suffix| package.ends_with(suffix))
}

/// Finds a partition of a raw disk with sfdisk, by GPT name or by number. Returns where it begins and how long it is, in
/// bytes.
pub fn partition(disk: &Path, label: &str) -> (u64, u64) {
    let output = Command::new("sfdisk").arg("--json").arg(disk).output().expect("sfdisk");
    let table: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON from sfdisk");
    let partitions = table["partitiontable"]["partitions"].as_array().expect("partitions");
    let found = partitions.iter().find(|partition| partition["name"] == label).expect("a partition of that name");
    (found["start"].as_u64().expect("a start") * 512, found["size"].as_u64().expect("a size") * 512)
}

/// Copies a partition of a disk into a file of its own.
pub fn cut_out(lab: &Lab, disk: &Path, label: &str) -> PathBuf {
    let (start, size) = partition(disk, label);
    let bytes = fs::read(disk).expect("the disk");
    let (start, size) = (usize::try_from(start).expect("a start"), usize::try_from(size).expect("a size"));
    let alone = lab.directory().join(label);
    fs::write(&alone, &bytes[start..start + size]).expect("the partition alone");
    alone
}

/// Puts such a file back in the place of the partition.
pub fn put_back(disk: &Path, label: &str, alone: &Path) {
    scribble(disk, partition(disk, label).0, &fs::read(alone).expect("the partition"));
}

/// Overwrites a part of a disk.
pub fn scribble(disk: &Path, at: u64, bytes: &[u8]) {
    use std::io::{Seek, SeekFrom, Write};
    let mut file = fs::File::options().write(true).open(disk).expect("the disk");
    file.seek(SeekFrom::Start(at)).expect("seek");
    file.write_all(bytes).expect("write");
}
