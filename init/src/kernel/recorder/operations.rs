//! Operations of a boot on a described machine: applied to the description, and recorded where they would change a real one.

use std::{
    io::{Error, ErrorKind, Result},
    time::Duration,
};

use super::{
    Device, Files, Node, Recorder, Source,
    injection::Call,
    sysfs::{self, Entry},
};

use contract::{
    errno::{EACCES, EINVAL, ENODEV, ENOENT, ENOTEMPTY},
    inventory::Kind,
    names,
    workload::SIGTERM,
};

use crate::kernel::{
    Action, Event, Kernel, Level, Limits, ModuleFile, Mount, Pace, Power, Removal, Sources, Space, Stat, Uevent,
};

impl Kernel for Recorder {
    fn now(&mut self) -> Duration {
        self.state.clock
    }

    fn log(&mut self, level: Level, line: &str) {
        let name = match level {
            Level::Announcement => return self.note(format!("announce\n{line}")),
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug => "debug",
        };
        self.note(format!("{name}: {line}"));
    }

    fn read(&mut self, path: &str, offset: u64, most: usize) -> Result<Vec<u8>> {
        self.strike(Call::Read, path)?;
        self.check_readable(path, offset, u64::try_from(most).unwrap_or(u64::MAX))?;
        let content = match path {
            "/proc/filesystems" => self.filesystems.iter().map(|name| format!("\t{name}\n")).collect::<String>().into(),
            "/proc/self/mounts" => self.mounts().into(),
            "/proc/version" => format!("Linux version {} (described)\n", self.release).into(),
            "/sys/devices/system/cpu/online" => format!("0-{}\n", self.processors.saturating_sub(1)).into(),
            _ if is_flags(path) => b"0x1002\n".to_vec(),
            _ => match (self.content(path), self.sysfs(path)) {
                (Err(_), Some(Entry::File(content))) => content,
                (content, _) => content?,
            },
        };
        Ok(content.into_iter().skip(usize::try_from(offset).unwrap_or(usize::MAX)).take(most).collect())
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        // What a console shows while the end is counted down is nothing that was done to the machine; what was written before it became
        // another program stays.
        if self.state.gone || path.starts_with("/dev/tty") || path == "/dev/console" {
            return Ok(());
        }
        self.strike(Call::Change, path)?;
        if contract::names::on_medium(path).is_some() && self.node(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if is_flags(path) {
            self.note(format!("up {}", path.split('/').nth(4).unwrap_or_default()));
            return Ok(());
        }
        let line = format!("write {path}");
        // A light that blinks is written down once.
        if !(path.starts_with(names::LEDS) && self.record.last() == Some(&line)) {
            self.note(line);
        }
        self.create(path, Node::file(bytes, 0o644))
    }

    fn write_at(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        let is_disk = self.devices.iter().any(|device| device.volume.path() == path);
        if !is_disk && names::on_medium(path).is_none() {
            let bytes: Vec<String> = bytes.iter().map(u8::to_string).collect();
            self.note(format!("tell {path} {offset:#x} {}", bytes.join(" ")));
            return Ok(());
        }
        if self.state.gone {
            return Ok(());
        }
        self.strike(Call::Change, path)?;
        self.note(format!("overwrite {path} {offset:#x} {} bytes", bytes.len()));
        self.check_writable(path)?;
        self.overwrite(path, offset, bytes)
    }

    fn list(&mut self, path: &str) -> Result<Vec<String>> {
        self.strike(Call::Read, path)?;
        if let Some(Entry::Directory(names)) = self.sysfs(path) {
            return Ok(names);
        }
        if self.node(path)? != Node::Directory {
            return Err(ErrorKind::NotADirectory.into());
        }
        let (mount, inner) = self.locate(path);
        let below = if inner.is_empty() { String::new() } else { format!("{inner}/") };
        let mut names: Vec<String> = self
            .files_of(mount)
            .keys()
            .filter_map(|name| name.strip_prefix(&below))
            .filter_map(|rest| rest.split('/').next())
            .filter(|name| !name.is_empty())
            .map(String::from)
            .collect();
        names.dedup();
        Ok(names)
    }

    fn stat(&mut self, path: &str) -> Result<Stat> {
        self.strike(Call::Read, path)?;
        if let Some(Entry::File(content)) = self.sysfs(path) {
            return Ok(Stat { kind: Kind::File, mode: 0o444, size: content.len() as u64 });
        }
        Ok(match self.node(path)? {
            Node::Directory => Stat { kind: Kind::Directory, mode: 0o755, size: 0 },
            Node::File(_, size, mode) => Stat { kind: Kind::File, mode, size },
            Node::Symlink(target) => Stat { kind: Kind::Symlink, mode: 0o777, size: target.len() as u64 },
            Node::Special => Stat { kind: Kind::Other, mode: 0o644, size: 0 },
        })
    }

    fn read_link(&mut self, path: &str) -> Result<String> {
        self.strike(Call::Read, path)?;
        match (self.node(path), self.sysfs(path)) {
            (Ok(Node::Symlink(target)), _) | (_, Some(Entry::Link(target))) => Ok(target),
            (node, _) => node.and_then(|_| Err(self.failed(EINVAL))),
        }
    }

    fn make_dir(&mut self, path: &str, mode: u32) -> Result<()> {
        self.strike(Call::Change, path)?;
        if self.node(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.note(format!("mkdir {mode:04o} {path}"));
        self.create(path, Node::Directory)
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        self.strike(Call::Change, to)?;
        match self.node(to) {
            Ok(Node::Directory) if !self.list(to)?.is_empty() => return Err(self.failed(ENOTEMPTY)),
            Ok(Node::Directory) if self.node(from)? != Node::Directory => return Err(ErrorKind::IsADirectory.into()),
            Ok(_) => drop(self.take(to)?),
            Err(_) => {}
        }
        let taken = self.take(from)?;
        self.note(format!("rename {from} {to}"));
        for (rest, node) in taken {
            self.put(&format!("{to}{rest}"), node);
        }
        Ok(())
    }

    fn link(&mut self, from: &str, to: &str) -> Result<()> {
        self.strike(Call::Change, to)?;
        let node = self.node(from)?;
        self.check_writable(to)?;
        self.note(format!("link {from} {to}"));
        self.put(to, node);
        Ok(())
    }

    fn remove(&mut self, path: &str, kind: Kind) -> Result<()> {
        self.strike(Call::Change, path)?;
        let line = match (kind, self.node(path)?) {
            (Kind::Directory, _) if !self.list(path)?.is_empty() => return Err(ErrorKind::DirectoryNotEmpty.into()),
            (Kind::Directory, _) => format!("rmdir {path}"),
            (_, Node::Directory) => return Err(ErrorKind::IsADirectory.into()),
            _ => format!("remove {path}"),
        };
        self.take(path)?;
        self.free_inodes(path, 1);
        self.note(line);
        Ok(())
    }

    fn sync(&mut self, path: &str) -> Result<()> {
        self.strike(Call::Flush, path)?;
        self.node(path)?;
        self.note(format!("sync {path}"));
        Ok(())
    }

    fn space(&mut self, path: &str) -> Result<Space> {
        self.strike(Call::Read, path)?;
        Ok(self.space_at(path))
    }

    fn copy_attributes(&mut self, from: &str, to: &str) -> Result<()> {
        self.strike(Call::Change, to)?;
        self.note(format!("attributes of {from} for {to}"));
        self.check(to)
    }

    fn remove_below(&mut self, dir: &str, budget: usize, _pace: Pace<'_>) -> Result<Removal> {
        self.strike(Call::Change, dir)?;
        let below: Vec<String> = self.files_at(dir).into_keys().rev().take(budget).collect();
        self.list(dir)?;
        for name in &below {
            self.take(&format!("{dir}/{name}"))?;
        }
        self.put(dir, Node::Directory);
        self.free_inodes(dir, below.len());
        self.note(format!("delete {} names below {dir}", below.len()));
        Ok(Removal { removed: below.len(), refused: 0 })
    }

    fn mount(&mut self, mount: &Mount<'_>) -> Result<()> {
        self.strike(Call::Mount, if mount.source.starts_with("/dev/") { mount.source } else { mount.target })?;
        match mount.action {
            Action::New => {}
            Action::Remount => return self.remount(mount.target, mount.read_only),
            Action::Bind => {
                self.note(format!("lift limits {}", mount.target));
                return Ok(());
            }
            Action::Move => {
                self.note(format!("move {} {}", mount.source, mount.target));
                if let Some(number) = self.mount_fails.get(mount.target) {
                    return Err(self.failed(*number));
                }
                self.relocate(mount.source, mount.target);
                return Ok(());
            }
        }
        let access = match (mount.read_only, mount.limits) {
            (true, Limits::Medium) => "ro,limited",
            (false, Limits::Medium) => "rw,limited",
            (false, Limits::Foreign) => "rw,limited,noexec",
            (true, _) => "ro",
            (false, _) => "rw",
        };
        let data = if mount.data.is_empty() { String::new() } else { format!(" {}", mount.data) };
        self.note(format!("mount {} {} {} {access}{data}", mount.filesystem, mount.source, mount.target));
        // Descriptions of what is mounted leave out the directories in it.
        if self.locate(mount.target).0.is_none() && self.node(mount.target).is_err() {
            return Err(self.failed(ENOENT));
        }
        if let Some(number) = self.mount_fails.get(mount.target) {
            return Err(self.failed(*number));
        }
        let virtual_one =
            matches!(mount.filesystem, "devtmpfs" | "proc" | "sysfs" | "tmpfs" | "devpts" | "cgroup2" | "pstore");
        if !virtual_one && !self.filesystems.iter().any(|name| name == mount.filesystem) {
            return Err(self.failed(ENODEV));
        }
        let mut entry = (mount.target.to_string(), Files::new(), Source::Other);
        if let Some(number) = mount.source.strip_prefix("/dev/loop").and_then(|number| number.parse::<usize>().ok()) {
            let file = self.state.loops.get(number).cloned().unwrap_or_default();
            entry.1 = self.images.get(&file).cloned().ok_or_else(|| self.failed(EINVAL))?;
        } else if let Some(number) = self.devices.iter().position(|device| device.volume.path() == mount.source) {
            let device = self.devices.get(number).cloned().unwrap_or_default();
            if let Some(error) = device.mount_failure(mount.read_only, mount.data) {
                return Err(self.failed(error));
            }
            entry.1 = device.files;
            entry.2 = Source::Device(number);
        } else if mount.filesystem == "virtiofs" {
            entry.1 = self.shares.get(mount.source).cloned().ok_or_else(|| self.failed(EINVAL))?;
        } else if mount.filesystem == "overlay" {
            entry.1 = self.layers(mount.data);
        } else if matches!(mount.filesystem, "devtmpfs" | "proc" | "sysfs" | "pstore") {
            // What the case says of it stays visible.
            entry.1 = self.files_at(mount.target);
        }
        self.state.mounts.push(entry);
        self.set_read_only(mount.target, mount.read_only);
        Ok(())
    }

    fn unmount(&mut self, target: &str) -> Result<()> {
        self.strike(Call::Unmount, target)?;
        self.note(format!("unmount {target}"));
        if let Some(place) = self.state.mounts.iter().rposition(|(mounted, _, _)| mounted == target) {
            self.store(place);
            self.state.mounts.remove(place);
        }
        Ok(())
    }

    fn load_modules(&mut self, files: &[ModuleFile], _workers: usize, _first: bool) -> Vec<Result<()>> {
        files
            .iter()
            .map(|file| {
                let from = if file.content.is_some() { " as it was read" } else { "" };
                let parameters = [" ", &file.parameters].concat();
                self.note(format!("load {}{}{from}", file.path, parameters.trim_end()));
                let (_, number) = self.module_fails.iter().find(|(end, _)| file.path.ends_with(end.as_str())).unzip();
                if let Some(number) = number.copied() {
                    return Err(self.failed(number));
                }
                let need = self.module_needs.iter().find(|(end, _)| file.path.ends_with(end.as_str()));
                if need.is_some_and(|(_, need)| !self.state.modules.iter().any(|loaded| loaded.ends_with(need))) {
                    return Err(self.failed(ENOENT));
                }
                self.state.modules.push(file.path.clone());
                let brought = self.module_brings.iter().find(|(end, _)| file.path.ends_with(end.as_str()));
                self.filesystems.extend(brought.map(|(_, filesystem)| filesystem.clone()));
                let card = self.module_cards.iter().find(|(end, _)| file.path.ends_with(end.as_str()));
                if let Some(path) = card.map(|(_, name)| format!("/sys/class/net/{name}/device")) {
                    self.put(&path, Node::Directory);
                }
                Ok(())
            })
            .collect()
    }

    fn listen(&mut self, sources: Sources) -> Result<()> {
        if let Sources::Hotplug { links } = sources {
            self.note(format!("watch devices{}", if links { " and networks" } else { "" }));
        }
        self.state.sources = Some(sources);
        Ok(())
    }

    fn next_events(&mut self, deadline: Option<Duration>) -> Result<Vec<Event>> {
        match (self.state.sources, self.events.pop_front(), deadline) {
            (Some(Sources::Devices), ..) => {
                Ok(self.next_device(deadline.unwrap_or(Duration::MAX)).into_iter().collect())
            }
            (_, Some(events), _) if !events.is_empty() => Ok(events),
            // Nothing more is described, and somebody asks the machine to end.
            (Some(Sources::Requests), None, None) => Ok(vec![Event::Signal(SIGTERM)]),
            (Some(Sources::Hotplug { .. }), None, _) | (None, ..) => Err(ErrorKind::NotFound.into()),
            _ => {
                self.state.clock = self.state.clock.max(deadline.unwrap_or_default());
                Ok(Vec::new())
            }
        }
    }

    fn sweep(&mut self, dir: &str) -> Result<()> {
        self.note(format!("sweep {dir}"));
        Ok(())
    }

    fn enter_root(&mut self, root: &str) -> Result<()> {
        self.note(format!("enter {root}"));
        self.state.mounts.retain(|(target, ..)| target.starts_with(root));
        self.relocate(root, "");
        Ok(())
    }

    fn exec(&mut self, program: &str, arguments: &[String]) -> Error {
        self.note(format!("exec {}", [&[program.to_string()], arguments].concat().join(" ")));
        if let Some(number) = self.exec_fails {
            return self.failed(number);
        }
        self.state.gone = true;
        Error::new(ErrorKind::Interrupted, "recorded")
    }

    fn window(&mut self, terminal: &str) -> Result<(u16, u16)> {
        self.windows.get(terminal).copied().ok_or_else(|| self.failed(EINVAL))
    }

    fn typed(&mut self, terminals: &[String], deadline: Duration) -> Option<(usize, Vec<u8>)> {
        let before = self.state.clock;
        let key = self.keys.front().filter(|(at, ..)| *at <= deadline).cloned();
        self.state.clock = key.as_ref().map_or(deadline, |(at, ..)| *at).max(before);
        self.state.held = self.state.held.saturating_add(self.state.clock.saturating_sub(before));
        let (_, terminal, bytes) = key?;
        self.keys.pop_front();
        Some((terminals.iter().position(|path| *path == terminal)?, bytes))
    }

    fn arm_watchdog(&mut self, seconds: u32) -> Result<u32> {
        self.strike(Call::Change, "/dev/watchdog0")?;
        self.node("/dev/watchdog0")?;
        self.note(format!("watchdog {seconds} s"));
        Ok(seconds)
    }

    fn power(&mut self, power: Power, after: Duration) {
        let name = match power {
            Power::Off => "poweroff",
            Power::Reboot => "reboot",
            Power::Halt => "halt",
        };
        self.note(format!("{name} after {} s", self.state.held.saturating_add(after).as_secs()));
        self.state.gone = true;
    }
}

impl Recorder {
    /// Moves the mounts at and below `from` to `to`.
    fn relocate(&mut self, from: &str, to: &str) {
        for (target, ..) in &mut self.state.mounts {
            if let Some(rest) = names::below(target, from) {
                *target = format!("{to}{rest}");
            }
        }
    }

    /// Returns the image with `persistent` over it, if that is one of the layers; a special file there hides a name, as a whiteout does.
    fn layers(&self, data: &str) -> Files {
        let mut files = self.files_at(names::IMAGE_DIR);
        let persistent = names::store(names::PERSISTENT);
        if !data.contains(&persistent) {
            return files;
        }
        for (path, node) in self.files_at(&persistent) {
            if node == Node::Special {
                let below = format!("{path}/");
                files.retain(|name, _| *name != path && !name.starts_with(&below));
            } else {
                files.insert(path, node);
            }
        }
        files
    }

    fn sysfs(&self, path: &str) -> Option<Entry> {
        sysfs::entry(&self.volumes(), path)
    }

    /// Lets the time pass until the next device appears, or to the deadline.
    fn next_device(&mut self, deadline: Duration) -> Option<Event> {
        let next = self.devices.iter().map(|device| device.appears).filter(|time| *time > self.state.clock).min();
        let appears = next.filter(|time| *time <= deadline);
        self.state.clock = appears.unwrap_or(self.state.clock.max(deadline));
        appears.map(|_| Event::Device(Uevent { action: "add".into(), subsystem: "block".into(), modalias: None }))
    }

    fn remount(&mut self, target: &str, read_only: bool) -> Result<()> {
        self.note(format!("remount {target} {}", if read_only { "ro" } else { "rw" }));
        if let Some((Device { read_only: true, .. }, _)) = self.device_of(target).filter(|_| !read_only) {
            return Err(self.failed(EACCES));
        }
        self.set_read_only(target, read_only);
        Ok(())
    }
}

/// Returns true for the flags of a network interface.
fn is_flags(path: &str) -> bool {
    path.starts_with("/sys/class/net/") && path.ends_with("/flags")
}
