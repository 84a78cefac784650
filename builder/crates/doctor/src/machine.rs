//! The machine that a boot sees when the doctor runs it: the partitions of the disks at hand, a kernel that knows every filesystem,
//! and memory where the boot wants to write. What would have changed the disk is written down.

mod kernel;

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::{self, Read},
    rc::Rc,
    time::Duration,
};

use contract::{Digest, inventory::Kind, names};
use initramfs_overlay_init::kernel::Mount;
use sha2::{Digest as _, Sha256};

use super::{
    copy_on_write::{Layer, Source},
    filesystem::{Memory, Opaque},
    overlayfs::Union,
    squashfs,
    volume::Device,
};

/// Error numbers that the kernel gives and std has no word for.
const ENODEV: i32 = 19;
const EINVAL: i32 = 22;
const EUCLEAN: i32 = 117;

/// A filesystem with what was changed on it, wherever it is mounted.
type Shared = Rc<RefCell<Layer>>;

/// A mount.
struct Mounted {
    target: String,
    layer: Shared,
    is_read_only: bool,
}

/// The machine.
pub struct Machine {
    devices: Vec<Device>,
    init: String,
    /// What is mounted on what; the later one hides the earlier.
    mounts: Vec<Mounted>,
    /// Partitions that were mounted before, with what was changed on them.
    layers: BTreeMap<String, Shared>,
    loops: Vec<Source>,
    digests: BTreeMap<String, Digest>,
    clock: Duration,
    gone: bool,
    /// What the boot would change on disks, a line each.
    pub changes: Vec<String>,
    /// What the boot would say in the kernel's log.
    pub log: Vec<String>,
    /// What could not be looked into.
    pub unseen: Vec<String>,
}

impl Machine {
    /// A machine with these devices. `init` is what the boot will run, `cmdline` the command line of the kernel, `baked` what the
    /// initramfs has for init, by path.
    pub fn new(devices: Vec<Device>, init: &str, baked: &BTreeMap<String, Vec<u8>>, cmdline: &str) -> Self {
        let root = Rc::new(RefCell::new(Layer::new(Rc::new(Memory))));
        let mut machine = Self {
            devices,
            init: init.to_owned(),
            mounts: vec![Mounted { target: String::new(), layer: root, is_read_only: false }],
            layers: BTreeMap::new(),
            loops: Vec::new(),
            digests: BTreeMap::new(),
            clock: Duration::ZERO,
            gone: false,
            changes: Vec::new(),
            log: Vec::new(),
            unseen: Vec::new(),
        };
        for folder in ["dev", "etc", "proc", "run", "sys"] {
            machine.set(folder, None);
        }
        // What a kernel with every filesystem built in shows.
        let filesystems =
            ["ext2", "ext3", "ext4", "vfat", "squashfs", "erofs"].map(|name| format!("\t{name}\n")).concat()
                + "nodev\toverlay\nnodev\ttmpfs\n";
        machine.set("dev/loop-control", Some(b""));
        machine.set("proc/filesystems", Some(filesystems.as_bytes()));
        machine.set("proc/version", Some(b"Linux version unknown"));
        machine.set("proc/cmdline", Some(cmdline.as_bytes()));
        // Nobody knows how much memory the machine has; this is as much as a kernel tells at most.
        machine.set("proc/meminfo", Some(format!("MemAvailable: {} kB\n", u64::MAX >> 11).as_bytes()));
        for (path, content) in baked {
            for (end, _) in path.match_indices('/') {
                machine.set(&path[..end], None);
            }
            machine.set(path, Some(content));
        }
        machine
    }

    /// Puts a file or a directory into the rootfs.
    fn set(&mut self, path: &str, content: Option<&[u8]>) {
        let Some(root) = self.mounts.first() else { return };
        let mut layer = root.layer.borrow_mut();
        // A folder may be there already.
        let _ = match content {
            Some(bytes) => layer.put(path, Source::Bytes(Rc::from(bytes))),
            None => layer.make_dir(path, 0o755),
        };
    }

    /// A partition's filesystem, opened once: what a boot changed on it is still there at the next mount.
    ///
    /// # Errors
    /// Where the kernel would not mount it.
    pub fn layer(&mut self, device: &str) -> io::Result<Shared> {
        if let Some(layer) = self.layers.get(device) {
            return Ok(layer.clone());
        }
        let found = self.devices.iter().find(|found| found.volume.path() == device);
        let base = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?.open()?;
        let layer = Rc::new(RefCell::new(Layer::new(base)));
        self.layers.insert(device.to_owned(), layer.clone());
        Ok(layer)
    }

    /// Whether the boot went as far as the new root's init.
    pub fn has_booted(&self) -> bool {
        self.gone
    }

    /// Forgets what was said and how long was waited: the boot itself begins now.
    pub fn forget_log(&mut self) {
        self.log.clear();
        self.clock = Duration::ZERO;
    }

    /// The digest of a file's content; computed once.
    ///
    /// # Errors
    /// The filesystem's.
    pub fn sum(&mut self, source: &Source) -> io::Result<Digest> {
        let identity = match source {
            Source::File(..) => source.identity(),
            Source::Bytes(_) => None,
        };
        if let Some(digest) = identity.as_ref().and_then(|identity| self.digests.get(identity)) {
            return Ok(*digest);
        }
        let mut sum = Sha256::new();
        stream(source, |block| sum.update(block))?;
        let digest = sum.finalize().into();
        self.digests.extend(identity.map(|identity| (identity, digest)));
        Ok(digest)
    }

    /// Which mount holds `path`, and the path in it.
    fn locate(&self, path: &str) -> (&Mounted, String) {
        let path = path.trim_end_matches('/');
        let holds = |mounted: &&Mounted| {
            path.strip_prefix(mounted.target.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let best = self.mounts.iter().enumerate().filter(|(_, mounted)| holds(mounted));
        let best = best.max_by_key(|(place, mounted)| (mounted.target.len(), *place));
        let mounted = best.map_or(&self.mounts[0], |(_, mounted)| mounted);
        (mounted, path.strip_prefix(mounted.target.as_str()).unwrap_or(path).trim_matches('/').to_owned())
    }

    /// `path` with a symbolic link at its end followed, as open(2) does. Not on a medium: there init follows none.
    fn followed(&self, path: &str) -> io::Result<String> {
        let mut path = path.to_owned();
        if names::on_medium(&path).is_some() {
            return Ok(path);
        }
        for _ in 0..40 {
            let (mounted, inner) = self.locate(&path);
            let layer = mounted.layer.borrow();
            if layer.stat(&inner)?.kind != Kind::Symlink {
                return Ok(path);
            }
            let target = layer.read_link(&inner)?;
            drop(layer);
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            path = if target.starts_with('/') { target } else { joined(folder, &target) };
        }
        // ELOOP.
        Err(io::Error::from_raw_os_error(40))
    }

    fn source(&self, path: &str) -> io::Result<Source> {
        let path = self.followed(path)?;
        let (mounted, inner) = self.locate(&path);
        mounted.layer.borrow().source(&inner)
    }

    /// A mount that can be written to.
    fn writable(&self, path: &str) -> io::Result<(Shared, String)> {
        let (mounted, inner) = self.locate(path);
        if mounted.is_read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        Ok((mounted.layer.clone(), inner))
    }

    /// Writes down a change, where it is one of a disk.
    fn note(&mut self, path: &str, line: String) {
        let (mounted, _) = self.locate(path);
        if !self.gone && self.layers.values().any(|layer| Rc::ptr_eq(layer, &mounted.layer)) {
            self.changes.push(line);
        }
    }

    fn mount_source(&mut self, mount: &Mount<'_>) -> io::Result<Shared> {
        let new = |base| Ok(Rc::new(RefCell::new(Layer::new(base))));
        match mount.filesystem {
            "tmpfs" | "devtmpfs" | "proc" | "sysfs" => new(Rc::new(Memory)),
            "overlay" => {
                let at = |path: &str| self.locate(path).0.layer.clone();
                new(Rc::new(Union::new(at(names::OVERLAY_DIR), names::PERSISTENT, at(names::IMAGE_DIR))))
            }
            _ => match mount.source.strip_prefix("/dev/loop").and_then(|number| number.parse::<usize>().ok()) {
                Some(number) => {
                    let source = self.loops.get(number).cloned();
                    self.mount_image(mount.filesystem, &source.ok_or_else(|| io::Error::from_raw_os_error(ENODEV))?)
                }
                None => self.layer(mount.source).map_err(|error| as_kernel(&error)),
            },
        }
    }

    /// An image in a loop device. One that only the kernel can look into is taken as good.
    fn mount_image(&mut self, filesystem: &str, source: &Source) -> io::Result<Shared> {
        let opened = match filesystem {
            "squashfs" => source.open_anywhere().and_then(squashfs::Image::open),
            _ => Err(io::ErrorKind::Unsupported.into()),
        };
        let base: super::copy_on_write::Base = match opened {
            Ok(image) => Rc::new(image),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => {
                self.unseen.push(format!(
                    "the {filesystem} image cannot be looked into here: only its superblock was checked"
                ));
                Rc::new(Opaque::new(&self.init))
            }
            Err(error) => return Err(as_kernel(&error)),
        };
        Ok(Rc::new(RefCell::new(Layer::new(base))))
    }
}

/// Reads a content to its end, block by block.
fn stream(source: &Source, mut sink: impl FnMut(&[u8])) -> io::Result<()> {
    let mut content = source.open()?;
    let mut block = vec![0; 1 << 18];
    loop {
        match content.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(length) => sink(&block[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// `name` in `folder`, with its `..` taken away.
fn joined(folder: &str, name: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.len() > 1 => drop(parts.pop()),
            ".." => {}
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A reader's error as the number that mount(2) gives, so that a card reads as it would on the machine; what the reader knows more
/// stands behind it.
fn as_kernel(error: &io::Error) -> io::Error {
    let number = match error.kind() {
        io::ErrorKind::InvalidData => EUCLEAN,
        io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => EINVAL,
        _ => return io::Error::new(error.kind(), error.to_string()),
    };
    io::Error::new(error.kind(), format!("{} ({error})", io::Error::from_raw_os_error(number)))
}
