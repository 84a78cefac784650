//! The machine that a boot sees when the doctor runs it: the partitions of the disks at hand, a kernel that knows every filesystem,
//! and memory where the boot wants to write. What would have changed the disk is written down.

mod kernel;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    rc::Rc,
    time::Duration,
};

use contract::{
    Digest,
    errno::{EINVAL, ENODEV, ENOSPC, EROFS, EUCLEAN},
    inventory::Kind,
    names,
    superblock::{
        ext4::{self, demands},
        pages::{self, Blocks, Objection},
    },
};
use initramfs_overlay_init::kernel::Mount;
use sha2::{Digest as _, Sha256};

use super::{
    copy_on_write::{Base, Layer, Source},
    erofs,
    error::{Error, Result},
    filesystem::{Memory, Opaque},
    input::{BootInput, USUAL_PAGE},
    overlayfs::Union,
    squashfs,
    volume::Device,
};

/// Error numbers that nothing but this machine needs (kernel, include/uapi/asm-generic/errno-base.h and errno.h).
const ENOTDIR: i32 = 20;
const ELOOP: i32 = 40;

/// A filesystem with what was changed on it, wherever it is mounted.
pub type Shared = Rc<RefCell<Layer>>;

/// A mount.
struct Mounted {
    /// The block device, if there is one.
    device: String,
    target: String,
    layer: Shared,
    is_read_only: bool,
}

/// The machine.
pub struct Machine {
    devices: Vec<Device>,
    init: String,
    /// All mounts; the later one hides the earlier.
    mounts: Vec<Mounted>,
    /// Partitions that were mounted before, with what was changed on them.
    layers: BTreeMap<String, Shared>,
    loops: Vec<Source>,
    digests: BTreeMap<String, Digest>,
    clock: Duration,
    gone: bool,
    /// The failure card was shown: what a boot does then, it does for the black box.
    has_failed: bool,
    /// Names of the modules in the initramfs, where that is known.
    modules: Option<BTreeSet<String>>,
    /// Bytes in a memory page.
    page: u64,
    /// Reasons why nobody here can tell how the boot goes on.
    pub unknown: Vec<String>,
    /// Sentences of the readers about errors for which the kernel gives a number only.
    pub details: Vec<String>,
    /// Changes that the boot would make on disks, a line each.
    pub changes: Vec<String>,
    /// Lines that the boot would write to the kernel's log.
    pub log: Vec<String>,
}

impl Machine {
    /// Makes a machine with these devices. `init` is the program that the boot will run.
    pub fn new(devices: Vec<Device>, init: &str, input: &BootInput) -> Self {
        let root = Rc::new(RefCell::new(Layer::new(Rc::new(Memory))));
        let mut machine = Self {
            devices,
            init: init.to_owned(),
            mounts: vec![Mounted { device: String::new(), target: String::new(), layer: root, is_read_only: false }],
            layers: BTreeMap::new(),
            loops: Vec::new(),
            digests: BTreeMap::new(),
            clock: Duration::ZERO,
            gone: false,
            has_failed: false,
            modules: input.modules.clone(),
            page: input.page.unwrap_or(USUAL_PAGE),
            unknown: Vec::new(),
            details: Vec::new(),
            changes: Vec::new(),
            log: Vec::new(),
        };
        for directory in ["dev", "etc", "proc", "run", "sys"] {
            machine.set(directory, None);
        }
        // What a kernel with every filesystem built in shows.
        let filesystems =
            ["ext2", "ext3", "ext4", "vfat", "squashfs", "erofs"].map(|name| format!("\t{name}\n")).concat()
                + "nodev\toverlay\nnodev\ttmpfs\n";
        machine.set("dev/loop-control", Some(b""));
        machine.set("proc/filesystems", Some(filesystems.as_bytes()));
        machine.set("proc/version", Some(b"Linux version unknown"));
        machine.set("proc/cmdline", Some(input.cmdline.as_bytes()));
        // Nobody knows how much memory the machine has; this is as much as a kernel tells at most.
        machine.set("proc/meminfo", Some(format!("MemAvailable: {} kB\n", u64::MAX >> 11).as_bytes()));
        for (path, content) in &input.inits {
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
        // A directory may be there already.
        let _ = match content {
            Some(bytes) => layer.put(path, Source::Bytes(Rc::from(bytes))),
            None => layer.make_dir(path, 0o755),
        };
    }

    /// Returns a partition's filesystem, opened once: what a boot changed on it is still there at the next mount.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is no such partition, else the reason why the kernel would not mount it.
    pub fn layer(&mut self, device: &str) -> Result<Shared> {
        if let Some(layer) = self.layers.get(device) {
            return Ok(layer.clone());
        }
        let found = self.devices.iter().find(|found| found.volume.path() == device);
        let base = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?.open()?;
        let layer = Rc::new(RefCell::new(Layer::new(base)));
        self.layers.insert(device.to_owned(), layer.clone());
        Ok(layer)
    }

    /// Returns the filesystem of the partition `device`, and the content of `file` on it.
    ///
    /// # Errors
    /// As [`Self::layer`], or that there is no such file.
    pub fn image(&mut self, device: &str, file: &str) -> Result<(Shared, Source)> {
        let layer = self.layer(device)?;
        let source = layer.borrow().source(file)?;
        Ok((layer, source))
    }

    /// Returns true if the boot went as far as the new root's init.
    pub fn has_booted(&self) -> bool {
        self.gone
    }

    /// Forgets what was said and the time that passed: the boot itself begins now.
    pub fn forget_log(&mut self) {
        self.log.clear();
        self.clock = Duration::ZERO;
    }

    /// Returns the digest of a file's content; computed once.
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

    /// Returns the mount that holds `path`, and the path in it.
    fn locate(&self, path: &str) -> (&Mounted, String) {
        let path = path.trim_end_matches('/');
        let mounts = self.mounts.iter().enumerate();
        let holding = mounts
            .filter_map(|(place, mounted)| Some((mounted.target.len(), place, names::below(path, &mounted.target)?)));
        let (place, inner) = holding.max().map_or((0, path), |(_, place, inner)| (place, inner));
        (&self.mounts[place], inner.trim_matches('/').to_owned())
    }

    /// Returns `path` with a symbolic link at its end followed, as open(2) does. Not on a medium: there init follows none.
    fn followed(&self, path: &str) -> io::Result<String> {
        let mut path = path.to_owned();
        if names::on_medium(&path).is_some() {
            return Ok(path);
        }
        for _ in 0..ELOOP {
            let (mounted, inner) = self.locate(&path);
            let layer = mounted.layer.borrow();
            if layer.stat(&inner)?.kind != Kind::Symlink {
                return Ok(path);
            }
            let target = layer.read_link(&inner)?;
            drop(layer);
            let directory = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            path = if target.starts_with('/') { target } else { joined(directory, &target) };
        }
        Err(io::Error::from_raw_os_error(ELOOP))
    }

    /// Refuses a path on a medium that does not lead through directories alone: init follows no link there.
    fn check_way(&self, path: &str) -> io::Result<()> {
        let Some((medium, rest)) = names::on_medium(path) else { return Ok(()) };
        for (at, _) in rest.match_indices('/').skip(1) {
            let (mounted, inner) = self.locate(&format!("{medium}{}", &rest[..at]));
            if mounted.layer.borrow().stat(&inner)?.kind != Kind::Directory {
                return Err(io::Error::from_raw_os_error(ENOTDIR));
            }
        }
        Ok(())
    }

    fn source(&self, path: &str) -> io::Result<Source> {
        self.check_way(path)?;
        let path = self.followed(path)?;
        let (mounted, inner) = self.locate(&path);
        mounted.layer.borrow().source(&inner)
    }

    /// Returns the filesystem of a path that can be written to, and the path in it.
    fn writable(&self, path: &str) -> io::Result<(Shared, String)> {
        self.check_way(path)?;
        let (mounted, inner) = self.locate(path);
        if mounted.is_read_only {
            return Err(io::Error::from_raw_os_error(EROFS));
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

    /// Returns the filesystem of a new mount, and true if it is read-only whatever was asked for.
    fn mount_source(&mut self, mount: &Mount<'_>) -> io::Result<(Shared, bool)> {
        let new = |base| Ok((Rc::new(RefCell::new(Layer::new(base))), false));
        match mount.filesystem {
            "tmpfs" | "devtmpfs" | "proc" | "sysfs" => new(Rc::new(Memory)),
            "overlay" => Ok(self.mount_overlay(mount)),
            _ => match mount.source.strip_prefix("/dev/loop").and_then(|number| number.parse::<usize>().ok()) {
                Some(number) => {
                    let source = self.loops.get(number).cloned();
                    let source = source.ok_or_else(|| io::Error::from_raw_os_error(ENODEV))?;
                    new(self.mount_image(mount.filesystem, &source)?)
                }
                None => Ok((self.mount_device(mount)?, false)),
            },
        }
    }

    /// Mounts a partition. One that only the kernel reads may hold anything: an empty filesystem stands for it, and what comes of the boot
    /// is not known.
    fn mount_device(&mut self, mount: &Mount<'_>) -> io::Result<Shared> {
        let role = role(mount.target);
        // This kernel needs no module from `boot`: there init only looks for evidence, once the boot has failed.
        let is_evidence = mount.target == names::BOOT_DIR;
        let device = self.devices.iter().find(|found| found.volume.path() == mount.source);
        let head = device.map(|found| found.head(pages::HEAD)).unwrap_or_default();
        self.check_pages(&head, &format!("{role} ({})", mount.source))?;
        match self.layer(mount.source) {
            Ok(layer) if is_evidence => Ok(layer),
            Err(error) if is_evidence => Err(as_kernel(error)),
            Ok(layer) => {
                self.check_modules(mount.source, role, mount.read_only);
                Ok(layer)
            }
            Err(Error::Unreadable(reason)) => {
                self.cannot_tell(format!("{role} ({}): {reason}", mount.source));
                Ok(Rc::new(RefCell::new(Layer::new(Rc::new(Memory)))))
            }
            Err(error) => {
                self.details.push(format!("{role} ({}): {error}", mount.source));
                Err(as_kernel(error))
            }
        }
    }

    /// Refuses a filesystem whose blocks do not fit the kernel's memory pages.
    fn check_pages(&mut self, head: &[u8], name: &str) -> io::Result<()> {
        let Some(blocks) = Blocks::read(head) else { return Ok(()) };
        let Some(objection) = blocks.objection(self.page) else { return Ok(()) };
        let text = format!("{name}: {}", blocks.describe(self.page, objection));
        if !self.details.contains(&text) {
            self.details.push(text);
        }
        match objection {
            Objection::Never => Err(io::Error::from_raw_os_error(EINVAL)),
            Objection::Older(_) => Ok(()),
        }
    }

    fn cannot_tell(&mut self, reason: String) {
        if !self.gone && !self.unknown.contains(&reason) {
            self.unknown.push(reason);
        }
    }

    /// Looks for the modules that the kernel asks for while it mounts an ext4 filesystem. Quotas are only turned on where it can be written
    /// to (kernel, fs/ext4/super.c, ext4_enable_quotas).
    fn check_modules(&mut self, device: &str, role: &str, read_only: bool) {
        let found = self.devices.iter().find(|found| found.volume.path() == device);
        let head = found.map(|found| found.head(ext4::HEAD)).unwrap_or_default();
        for module in demands(&head).filter(|module| !(read_only && *module == "quota_v2")) {
            let remedy = match &self.modules {
                Some(modules) if modules.contains(module) => continue,
                Some(_) => "the initramfs has no such module, so only a kernel with it built in mounts this",
                None => "give the initramfs with --initramfs to see whether that is in it",
            };
            self.cannot_tell(format!("{role} ({device}): its features take the kernel's {module}; {remedy}"));
        }
    }

    /// Puts the layers together. overlayfs makes a directory for its work; without room for that, the root is read-only (kernel,
    /// fs/overlayfs/super.c, ovl_make_workdir).
    fn mount_overlay(&mut self, mount: &Mount<'_>) -> (Shared, bool) {
        let at = |path: &str| self.locate(path).0.layer.clone();
        let (store, image) = (at(names::OVERLAY_DIR), at(names::IMAGE_DIR));
        let has_persistent = mount.data.contains(&format!("lowerdir={}:", names::store(names::PERSISTENT)));
        let inner = format!("{}/{}", names::WORK, names::WORKDIR);
        let made = store.borrow_mut().make_dir(&inner, 0o700);
        let is_full = made.is_err_and(|error| error.raw_os_error() == Some(ENOSPC));
        let union = Union::new(store, has_persistent.then_some(names::PERSISTENT), image);
        (Rc::new(RefCell::new(Layer::new(Rc::new(union)))), is_full)
    }

    /// Mounts an image in a loop device. One that only the kernel reads may hold anything: it is taken to have an init, and what comes of
    /// the boot is not known.
    fn mount_image(&mut self, filesystem: &str, source: &Source) -> io::Result<Base> {
        let mut head = Vec::new();
        source.open()?.take(pages::HEAD as u64).read_to_end(&mut head)?;
        self.check_pages(&head, "the image")?;
        let opened = source.open_anywhere().map_err(Error::from).and_then(|content| -> Result<Base> {
            Ok(match filesystem {
                "erofs" => Rc::new(erofs::Image::open(content)?),
                _ => Rc::new(squashfs::Image::open(content)?),
            })
        });
        match opened {
            Ok(image) => Ok(image),
            Err(Error::Unreadable(reason)) => {
                self.cannot_tell(format!("the image: {reason}"));
                Ok(Rc::new(Opaque::new(&self.init)))
            }
            Err(error) => {
                self.details.push(format!("the image: {error}"));
                Err(as_kernel(error))
            }
        }
    }
}

/// Returns the name of the partition that is mounted there.
fn role(target: &str) -> &str {
    target.strip_prefix(names::STATE_DIR).map_or(target, |name| name.trim_start_matches('/'))
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

/// Returns `name` in `directory`, with its `..` taken away.
fn joined(directory: &str, name: &str) -> String {
    let mut parts: Vec<&str> = directory.split('/').collect();
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

/// Translates a reader's error into the number that mount(2) gives, so that a card reads as it would on the machine.
fn as_kernel(error: Error) -> io::Error {
    match error {
        Error::Damaged(_) => io::Error::from_raw_os_error(EUCLEAN),
        Error::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => io::Error::from_raw_os_error(EINVAL),
        error => error.into(),
    }
}
