//! The disks that boot tests boot, and the reading of what their process 1 says. Part of the tests, not of the builder:
//! a test in `builder/tests/` includes it with
//!
//! ```ignore
//! #[path = "../../test-images/image.rs"]
//! mod image;
//! ```
#![allow(dead_code, reason = "each test that includes this uses a part of it")]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use disk::{
    Boot, Disk, Owner, Source,
    image::Format,
    layout::{Extent, Role, Table},
    size::MIB,
};
use initramfs_overlay::{
    Result,
    busybox_rootfs::{self, RootFile},
};
use kmod::ModuleTree;
use sources::target::{DiskInterface, Target};
use vm::qemu::{Guest, Machine, Verdict};

/// Makes the root directory of the test image `id` in the empty directory `root`; `busybox` is the program for the
/// target ([`initramfs_overlay::busybox_image::get`]).
///
/// It holds `/sbin/init` (`root/sbin/init` here), `/etc/image-id` with `id` and `/etc/lower-mark` with `image <id>`.
pub fn root(root: &Path, id: &str, busybox: &[u8]) -> Result<()> {
    let mark = format!("image {id}\n");
    busybox_rootfs::make(
        root,
        busybox,
        &[
            RootFile { path: "sbin/init", mode: 0o755, content: include_bytes!("root/sbin/init") },
            RootFile { path: "etc/image-id", mode: 0o644, content: format!("{id}\n").as_bytes() },
            RootFile { path: "etc/lower-mark", mode: 0o644, content: mark.as_bytes() },
        ],
    )
}

/// Puts modules of the kernel's tree `modules` into a root, with all they need, at their places below `/lib/modules`.
pub fn put_modules(root: &Path, modules: &Path, wanted: &[&str]) -> Result<()> {
    let wanted: Vec<String> = wanted.iter().map(|name| (*name).to_owned()).collect();
    let selection = ModuleTree::open(modules)?.resolve(&wanted, &[])?;
    for module in &selection.modules {
        let path = format!("lib/modules/{}/{}", selection.version, module.entry.path);
        busybox_rootfs::put(root, &RootFile { path: &path, mode: 0o644, content: &module.content(false)?.bytes })?;
    }
    Ok(())
}

/// Makes a directory for `persistent` with `/etc/persistent-mark`, which says `text`.
pub fn persistent(directory: &Path, text: &str) -> Result<()> {
    let content = format!("{text}\n");
    busybox_rootfs::put(directory, &RootFile { path: "etc/persistent-mark", mode: 0o644, content: content.as_bytes() })
}

/// Returns a small disk with all four partitions for the target's slot, `newimg` and `persistent` empty: change what the test is about,
/// then have it made with `disk::make`.
pub fn disk(source: Source, target: &Target) -> Disk {
    let sd = target.qemu.disk == DiskInterface::Sd;
    Disk {
        source,
        image_name: "root-squashfs.img".to_owned(),
        format: Format::Squashfs,
        compression: None,
        owner: Owner::Root,
        boot: Some(Boot::default()),
        newimg: Some(None),
        overlay: Some(None),
        update_room: true,
        table: if sd { Table::Mbr } else { Table::Gpt },
        sizes: [(Role::Boot, 16 * MIB), (Role::Overlay, 24 * MIB)].into(),
        extent: Extent { power_of_two: sd, ..Extent::default() },
        time: 0,
        page: None,
    }
}

/// The lines that process 1 printed in one boot.
#[derive(Debug, Clone)]
pub struct Marks {
    lines: Vec<String>,
}

impl Marks {
    /// Reads the marked lines of a console, from the last `MARK begin` to `MARK end`. `None` where either is not there.
    pub fn parse(console: &str) -> Option<Self> {
        let (_, rest) = console.rsplit_once("MARK begin")?;
        let (marks, _) = rest.split_once("MARK end")?;
        // A serial line ends in \r\n.
        let lines = marks.lines().filter_map(|line| line.trim_end_matches('\r').strip_prefix("MARK "));
        Some(Self { lines: lines.map(str::to_owned).collect() })
    }

    /// Returns the value of `name=value`; empty where there is no such line.
    pub fn get(&self, name: &str) -> &str {
        let value = |line: &'_ String| line.strip_prefix(name)?.strip_prefix('=').map(str::len);
        let found = self.lines.iter().find_map(|line| value(line).map(|length| &line[line.len() - length..]));
        found.unwrap_or_default()
    }

    /// Returns all values of `name=value`, such as the arguments (`arg`).
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.lines.iter().filter_map(|line| line.strip_prefix(name)?.strip_prefix('=')).collect()
    }

    /// Returns the lines of a group, `name: line`: `mount`, `layer-img`, `run` and so on.
    pub fn group(&self, name: &str) -> Vec<&str> {
        let line = |line: &'_ String| {
            let rest = line.strip_prefix(name)?.strip_prefix(':')?;
            Some(rest.len() - usize::from(rest.starts_with(' ')))
        };
        self.lines.iter().filter_map(|text| line(text).map(|length| &text[text.len() - length..])).collect()
    }

    /// Returns `/run/initramfs/report.json`.
    pub fn report(&self) -> serde_json::Value {
        let text = self.group("report").join("\n");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("the report does not parse: {error}\n{text}"))
    }

    /// Returns the source, type and options of the mount at `place`.
    pub fn mount(&self, place: &str) -> Option<[&str; 3]> {
        // The last one hides those before it.
        let found = self.fields("mount").into_iter().rfind(|fields| fields.get(1) == Some(&place))?;
        Some([found.first()?, found.get(2)?, found.get(3)?])
    }

    /// Returns the number of the mount at `place`, from `/proc/self/mountinfo`. A mount that was moved keeps its number, so those of
    /// `/dev`, `/proc`, `/sys` and `/run`, made first, are smaller than that of `/`.
    pub fn mount_number(&self, place: &str) -> Option<u32> {
        let found = self.fields("mountinfo").into_iter().rfind(|fields| fields.get(4) == Some(&place))?;
        found.first()?.parse().ok()
    }

    /// Returns the lines of a group, split at spaces.
    fn fields(&self, name: &str) -> Vec<Vec<&str>> {
        self.group(name).into_iter().map(|line| line.split(' ').collect()).collect()
    }
}

/// Boots `machine` until its process 1 has said everything and the machine has ended.
///
/// # Errors
/// With the console's last lines, where either does not happen in `time`.
pub fn boot(machine: &Machine, time: Duration) -> Result<(Marks, Verdict)> {
    let mut guest = reach_init(machine, time)?;
    guest.wait_for("MARK end", time)?;
    let verdict = guest.finish(Some(time))?;
    let marks = Marks::parse(&guest.console()).expect("`MARK end` was seen");
    Ok((marks, verdict))
}

/// Starts a machine and waits until its kernel runs `/init`. On a host with much to do an emulated timer may lose an interrupt, and the
/// emulated kernel waits for it for ever, before anything of ours runs: then the machine is started once more, and that is said.
fn reach_init(machine: &Machine, time: Duration) -> Result<Guest> {
    let mut guest = Guest::start(machine)?;
    // A quiet kernel does not say when it is there.
    if !machine.append.iter().any(|word| word == "quiet") && guest.wait_for("Run /init", time / 3).is_err() {
        println!(
            "the emulated kernel hung before it ran /init, and is started again; it had said:\n{}",
            guest.last_lines()
        );
        drop(guest);
        guest = Guest::start(machine)?;
    }
    Ok(guest)
}

/// Makes the root of image `id` in the directory `work` and returns its path.
pub fn root_in(work: &Path, id: &str, busybox: &[u8]) -> Result<PathBuf> {
    let path = work.join(format!("root-{id}"));
    fs::create_dir(&path).expect("an empty directory for the root");
    root(&path, id, busybox)?;
    Ok(path)
}
