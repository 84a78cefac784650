//! The kernel's calls, each answered from the mounts of [`super::Machine`]. No policy: what to do init decides, and here it is done in
//! memory.

use std::{
    io::{self, Read, Seek, SeekFrom},
    rc::Rc,
    time::Duration,
};

use contract::{Digest, errno::EINVAL, inventory::Kind, names, tag::Volume};
use initramfs_overlay_init::kernel::{
    Action, Event, Kernel, Level, MOST_NAMES, ModuleFile, Mount, Pace, Power, Removal, Sources, Space, Stat,
    disks::{Contents, Disks, Signatures, Signed},
    input::Input,
    recorder::sysfs::{self, Entry},
    supervisor::{Shell, Supervisor, System},
};

use super::{Machine, Mounted, role, stream};
use crate::{
    copy_on_write::{Layer, Source},
    error::Error,
    filesystem::Capacity,
};

/// Returns a path as the lines of changes have it: `img/root-squashfs.img`.
fn shown(path: &str) -> &str {
    path.strip_prefix(names::STATE_DIR).unwrap_or(path).trim_start_matches('/')
}

/// Deletes all that lies in a directory. Returns how many names that were.
fn remove_below(layer: &mut Layer, dir: &str, depth: u32) -> io::Result<usize> {
    // What lies deeper the machine moves up first; here it only has to end.
    const DEEPEST: u32 = 256;
    let mut removed = 0;
    for name in layer.list(dir)? {
        let path = format!("{dir}/{name}");
        if layer.stat(&path)?.kind != Kind::Directory {
            layer.remove(&path)?;
        } else if depth < DEEPEST {
            removed += remove_below(layer, &path, depth + 1)?;
            layer.remove_dir(&path)?;
        }
        removed += 1;
    }
    Ok(removed)
}

impl Contents for Machine {
    fn digest(&mut self, path: &str, copy: Option<&str>, _: Pace<'_>) -> io::Result<Digest> {
        let source = self.source(path)?;
        let Some(copy) = copy else { return self.sum(&source) };
        let (layer, inner) = self.writable(copy)?;
        if layer.borrow().stat(&inner).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        // The room is reserved first.
        layer.borrow_mut().put(&inner, source.clone())?;
        let digest = self.sum(&source)?;
        self.note(copy, format!("copy {} to {}", shown(path), shown(copy)));
        Ok(digest)
    }
}

impl Signatures for Machine {
    fn verify(&mut self, signed: Signed<'_>, signature: &str, key: &str, _: Pace<'_>) -> io::Result<()> {
        let objection =
            |error: minisign_verify::Error| io::Error::other(format!("the signature does not hold: {error}"));
        let key = minisign_verify::PublicKey::decode(key).map_err(objection)?;
        let signature = minisign_verify::Signature::decode(signature).map_err(objection)?;
        let mut verifier = key.verify_stream(&signature).map_err(objection)?;
        match signed {
            Signed::Bytes(bytes) => verifier.update(bytes),
            Signed::File(path) => stream(&self.source(path)?, |block| verifier.update(block))?,
        }
        verifier.finalize().map_err(objection)
    }
}

impl Disks for Machine {
    fn probe(&mut self, volume: &mut Volume, details: bool) {
        sysfs::probe(&self.volumes(), volume, details);
    }

    fn attach_loop(&mut self, path: &str) -> io::Result<String> {
        let source = self.source(path)?;
        self.loops.push(source);
        Ok(format!("/dev/loop{}", self.loops.len() - 1))
    }

    fn run(&mut self, _: &str, program: &str, _: &[&str]) -> io::Result<i32> {
        self.cannot_tell(format!(
            "the machine would run the image's {program} for the repair; programs are not run here"
        ));
        // The status of a program that cannot be run.
        Ok(127)
    }
}

impl Input for Machine {}
impl Shell for Machine {}
impl Supervisor for Machine {}
impl System for Machine {}

impl Kernel for Machine {
    fn now(&mut self) -> Duration {
        self.clock
    }

    fn log(&mut self, level: Level, line: &str) {
        self.has_failed |= level == Level::Announcement;
        if !self.gone && level != Level::Announcement {
            self.log.push(line.to_owned());
        }
    }

    fn read(&mut self, path: &str, offset: u64, most: usize) -> io::Result<Vec<u8>> {
        if let Some(Entry::File(content)) = self.sysfs(path) {
            return Ok(content);
        }
        let source = self.source(path)?;
        let read = || -> io::Result<Vec<u8>> {
            let mut content = source.open()?;
            content.seek(SeekFrom::Start(offset))?;
            let mut bytes = Vec::new();
            content.take(most as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error| match Error::from(error) {
            Error::Unreadable(reason) => {
                let name = path.strip_prefix(names::SYSROOT).unwrap_or_else(|| shown(path));
                self.cannot_tell(format!("{name}: {reason}"));
                Error::Unreadable(reason).into()
            }
            error => error.into(),
        })
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> io::Result<()> {
        // The other program's doings are not the boot's: its report stays as it was.
        if self.gone {
            return Ok(());
        }
        let (layer, inner) = self.writable(path)?;
        // What the boot says of itself changes nothing for it.
        if path == names::store(names::BLACKBOX) {
            return Ok(());
        }
        if names::on_medium(path).is_some() && layer.borrow().stat(&inner).is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        layer.borrow_mut().put(&inner, Source::Bytes(Rc::from(bytes)))?;
        self.note(path, format!("write {}", shown(path)));
        Ok(())
    }

    /// Accepts a write in place and drops it. Only the black box is written to in this way, and nobody here reads it again.
    fn write_at(&mut self, path: &str, _: u64, _: &[u8]) -> io::Result<()> {
        self.writable(path).map(drop)
    }

    fn list(&mut self, path: &str) -> io::Result<Vec<String>> {
        if let Some(Entry::Directory(names)) = self.sysfs(path) {
            return Ok(names);
        }
        self.check_way(path)?;
        let path = self.followed(path)?;
        let (mounted, inner) = self.locate(&path);
        let mut names = mounted.layer.borrow().list(&inner)?;
        if names::on_medium(&path).is_some() {
            names.truncate(MOST_NAMES);
        }
        Ok(names)
    }

    fn stat(&mut self, path: &str) -> io::Result<Stat> {
        if let Some(Entry::File(content)) = self.sysfs(path) {
            return Ok(Stat { kind: Kind::File, mode: 0o444, size: content.len() as u64 });
        }
        self.check_way(path)?;
        let (mounted, inner) = self.locate(path);
        mounted.layer.borrow().stat(&inner)
    }

    fn read_link(&mut self, path: &str) -> io::Result<String> {
        if let Some(Entry::Link(target)) = self.sysfs(path) {
            return Ok(target);
        }
        self.check_way(path)?;
        let (mounted, inner) = self.locate(path);
        mounted.layer.borrow().read_link(&inner)
    }

    fn make_dir(&mut self, path: &str, mode: u32) -> io::Result<()> {
        let (layer, inner) = self.writable(path)?;
        layer.borrow_mut().make_dir(&inner, mode)?;
        self.note(path, format!("make the directory {}", shown(path)));
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (layer, inner) = self.writable(from)?;
        let (other, target) = self.writable(to)?;
        if !Rc::ptr_eq(&layer, &other) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        layer.borrow_mut().rename(&inner, &target)?;
        self.note(from, format!("rename {} to {}", shown(from), shown(to)));
        Ok(())
    }

    fn link(&mut self, from: &str, to: &str) -> io::Result<()> {
        let (layer, inner) = self.writable(from)?;
        let (other, target) = self.writable(to)?;
        if !Rc::ptr_eq(&layer, &other) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        layer.borrow_mut().link(&inner, &target)?;
        self.note(from, format!("link {} to {}", shown(from), shown(to)));
        Ok(())
    }

    fn remove(&mut self, path: &str, kind: Kind) -> io::Result<()> {
        let (layer, inner) = self.writable(path)?;
        if kind == Kind::Directory {
            layer.borrow_mut().remove_dir(&inner)?;
            self.note(path, format!("remove the directory {}", shown(path)));
        } else {
            layer.borrow_mut().remove(&inner)?;
            self.note(path, format!("remove {}", shown(path)));
        }
        Ok(())
    }

    fn sync(&mut self, path: &str) -> io::Result<()> {
        self.stat(path).map(drop)
    }

    fn space(&mut self, path: &str) -> io::Result<Space> {
        let (mounted, _) = self.locate(path);
        let Capacity { total, free, .. } = mounted.layer.borrow().capacity();
        Ok(Space { total, free, read_only: mounted.is_read_only })
    }

    fn copy_attributes(&mut self, _: &str, to: &str) -> io::Result<()> {
        self.stat(to).map(drop)
    }

    fn remove_below(&mut self, dir: &str, _: usize, _: Pace<'_>) -> io::Result<Removal> {
        let (layer, inner) = self.writable(dir)?;
        let removed = remove_below(&mut layer.borrow_mut(), &inner, 0)?;
        self.note(dir, format!("delete what is in {}", shown(dir)));
        Ok(Removal { removed, refused: 0 })
    }

    fn mount(&mut self, mount: &Mount<'_>) -> io::Result<()> {
        match mount.action {
            Action::New => {}
            Action::Remount => return self.remount(mount.target, mount.read_only),
            Action::Bind | Action::Move => return Ok(()),
        }
        if self.has_failed {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // What the kernel shows in these was put in at the start.
        if matches!(mount.target, "/dev" | "/proc" | "/sys") {
            return Ok(());
        }
        self.stat(mount.target)?;
        let (layer, is_read_only) = self.mount_source(mount)?;
        let (device, target) = (mount.source.to_owned(), mount.target.trim_end_matches('/').to_owned());
        self.mounts.push(Mounted { device, target, layer, is_read_only: mount.read_only || is_read_only });
        Ok(())
    }

    fn unmount(&mut self, target: &str) -> io::Result<()> {
        let place = self.mounts.iter().rposition(|mounted| mounted.target == target);
        self.mounts.remove(place.ok_or_else(|| io::Error::from_raw_os_error(EINVAL))?);
        Ok(())
    }

    fn load_modules(&mut self, files: &[ModuleFile], _: usize, _: bool) -> Vec<io::Result<()>> {
        files.iter().map(|_| Ok(())).collect()
    }

    fn listen(&mut self, _: Sources) -> io::Result<()> {
        Ok(())
    }

    fn next_events(&mut self, deadline: Option<Duration>) -> io::Result<Vec<Event>> {
        // Nothing appears later. The time that the boot would wait passes at once.
        self.clock = self.clock.max(deadline.unwrap_or_default());
        Ok(Vec::new())
    }

    fn sweep(&mut self, store: &str) -> io::Result<()> {
        let discarded = format!("{store}/{}", names::DISCARDED);
        if self.list(&discarded).is_ok_and(|names| !names.is_empty()) {
            self.note(&discarded, format!("empty {} in the background", shown(&discarded)));
        }
        let spare = format!("{store}/{}", names::SPARE);
        self.note(&spare, format!("make {} in the background", shown(&spare)));
        Ok(())
    }

    fn enter_root(&mut self, _: &str) -> io::Result<()> {
        Ok(())
    }

    fn exec(&mut self, _: &str, _: &[String]) -> io::Error {
        self.gone = true;
        io::ErrorKind::Interrupted.into()
    }

    fn power(&mut self, _: Power, _: Duration) {}
}

impl Machine {
    fn volumes(&self) -> Vec<&Volume> {
        self.devices.iter().map(|device| &device.volume).collect()
    }

    fn sysfs(&self, path: &str) -> Option<Entry> {
        sysfs::entry(&self.volumes(), path)
    }

    fn remount(&mut self, target: &str, read_only: bool) -> io::Result<()> {
        match self.mounts.iter_mut().rev().find(|mounted| mounted.target == target) {
            Some(mounted) => {
                mounted.is_read_only = read_only;
                let device = mounted.device.clone();
                self.check_modules(&device, role(target), read_only);
                Ok(())
            }
            None => Err(io::Error::from_raw_os_error(EINVAL)),
        }
    }
}
