//! The kernel's calls, each answered from the disks of [`Model`].

use super::*;

impl Contents for Model {
    fn digest(&mut self, path: &str, copy: Option<&str>, _pace: Pace<'_>) -> Result<Digest> {
        let content = self.content(path)?.clone();
        if let Some(copy) = copy {
            self.copy(&content, copy)?;
        }
        Ok(Recorder::sum(&content, 0))
    }
}

impl Signatures for Model {
    fn verify(&mut self, signed: Signed<'_>, signature: &str, key: &str, _pace: Pace<'_>) -> Result<()> {
        let Signed::File(path) = signed else { return Err(ErrorKind::Unsupported.into()) };
        let content = self.content(path)?;
        let good = content.len() == IMAGE_SIZE
            && *content == image(char::from(content[48]))
            && signature == format!("{} by {key}", char::from(content[48]));
        if good { Ok(()) } else { Err(Error::other("another key or another file")) }
    }
}

/// Returns the partitions.
fn volumes() -> [Volume; 3] {
    let volume = |name: &str, label: &str| Volume {
        name: name.into(),
        disk: if label == "newimg" { "vdb".into() } else { "vda".into() },
        kind: Some("ext4".into()),
        label: Some(label.into()),
        ..Volume::default()
    };
    [volume("vda2", "img"), volume("vda3", "overlay"), volume("vda4", "newimg")]
}

fn entry(path: &str) -> Option<Entry> {
    sysfs::entry(&volumes().each_ref(), path)
}

impl disks::Disks for Model {
    fn probe(&mut self, volume: &mut Volume, details: bool) {
        sysfs::probe(&volumes().each_ref(), volume, details);
    }

    fn attach_loop(&mut self, path: &str) -> Result<String> {
        let content = self.content(path)?.clone();
        self.loops.push(content);
        Ok(format!("/dev/loop{}", self.loops.len() - 1))
    }

    fn run(&mut self, _root: &str, _program: &str, _arguments: &[&str]) -> Result<i32> {
        Ok(127)
    }
}

impl Input for Model {}
impl Shell for Model {}
impl Supervisor for Model {}
impl System for Model {}

impl Kernel for Model {
    fn now(&mut self) -> Duration {
        Duration::ZERO
    }

    fn log(&mut self, _level: Level, line: &str) {
        self.said.push(line.into());
    }

    fn read(&mut self, path: &str, offset: u64, most: usize) -> Result<Vec<u8>> {
        let described = entry(path);
        let content = match path {
            "/proc/cmdline" => self.cmdline.as_bytes(),
            "/proc/filesystems" => b"\text4\n\tsquashfs\n\toverlay\n",
            "/proc/version" => b"Linux version 6.1.0",
            "/etc/trust/k.pub" => b"k",
            path if path.ends_with("/blackbox") && self.content(path)? == BLACKBOX => &[blackbox::FILL; blackbox::HEAD],
            path if path.ends_with("/sbin/init") => b"A",
            "/sys/class/block/vdb/removable" if self.is_removable => b"1\n",
            "/sys/class/block/vdb/removable" => b"0\n",
            _ => match &described {
                Some(Entry::File(content)) => content,
                _ => self.content(path)?,
            },
        };
        Ok(content.iter().skip(usize::try_from(offset).unwrap()).take(most).copied().collect())
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<()> {
        if self.locate(path).is_none() {
            return Ok(());
        }
        if self.content(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let bytes = if path.ends_with("/blackbox") { BLACKBOX } else { bytes };
        self.put(path, bytes.to_vec(), torn(bytes, SMALL_BLOCKS))
    }

    fn write_at(&mut self, path: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        assert!(
            path.ends_with("/blackbox") && offset.is_multiple_of(4096) && bytes.len().is_multiple_of(4096),
            "{path} is overwritten"
        );
        self.content(path)?;
        self.note();
        Ok(())
    }

    fn list(&mut self, path: &str) -> Result<Vec<String>> {
        if let Some(Entry::Directory(names)) = entry(path) {
            return Ok(names);
        }
        if path == names::TRUST_DIR {
            return Ok(vec!["k.pub".into()]);
        }
        if let Some(outer) = path.strip_suffix("/work")
            && self.content(outer).is_ok_and(|content| content == WORK)
        {
            return Ok(Vec::new());
        }
        let (number, name) = self.place(path)?;
        let below = if name.is_empty() { String::new() } else { format!("{name}/") };
        if !name.is_empty() {
            match self.content(path)?.as_slice() {
                TREE => return Ok(vec!["x".into()]),
                WORK => return Ok(vec!["work".into()]),
                DIRECTORY => {}
                _ => return Err(ErrorKind::NotADirectory.into()),
            }
        }
        let filesystem = &self.filesystems[number];
        let there = filesystem.names.keys().filter(|name| filesystem.inode(name).is_some());
        let inside = there.filter_map(|name| name.strip_prefix(&below)).filter(|name| !name.contains('/'));
        Ok(inside.map(String::from).collect())
    }

    fn stat(&mut self, path: &str) -> Result<Stat> {
        let directory = Stat { kind: Kind::Directory, mode: 0o755, size: 0 };
        if path.ends_with("/sbin") {
            return Ok(directory);
        }
        if path == "/dev/loop-control" || path.ends_with("/sbin/init") {
            return Ok(Stat { kind: Kind::File, mode: 0o755, size: 1 });
        }
        if let Some(Entry::File(content)) = entry(path) {
            return Ok(Stat { kind: Kind::File, mode: 0o444, size: content.len() as u64 });
        }
        let content = self.content(path)?;
        if is_directory(content) {
            return Ok(directory);
        }
        Ok(Stat { kind: Kind::File, mode: 0o644, size: content.len() as u64 })
    }

    fn read_link(&mut self, path: &str) -> Result<String> {
        match entry(path) {
            Some(Entry::Link(target)) => Ok(target),
            _ => Err(ErrorKind::InvalidInput.into()),
        }
    }

    fn make_dir(&mut self, path: &str, _mode: u32) -> Result<()> {
        if !path.starts_with(names::OVERLAY_DIR) || path == names::OVERLAY_DIR {
            return Ok(());
        }
        if self.content(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        // Its content is its own: a directory is there whole or not at all.
        self.put(path, DIRECTORY.to_vec(), Vec::new())
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let ((number, from), (other, to)) = (self.place(from)?, self.place(to)?);
        assert_eq!(number, other, "rename over filesystems");
        let filesystem = &mut self.filesystems[number];
        let inode = filesystem.inode(from).ok_or(ErrorKind::NotFound)?;
        if let Some(other) = filesystem.inode(to) {
            assert!(!is_directory(&filesystem.inodes[other].now), "{to} is replaced");
        }
        filesystem.point(to, Some(inode));
        filesystem.point(from, None);
        let places = [from, to].map(|name| (name.to_string(), filesystem.names[name].len() - 1));
        filesystem.renames.push(places);
        self.note();
        Ok(())
    }

    fn link(&mut self, from: &str, to: &str) -> Result<()> {
        let ((number, from), (other, to)) = (self.place(from)?, self.place(to)?);
        assert_eq!(number, other, "link over filesystems");
        let filesystem = &mut self.filesystems[number];
        let inode = filesystem.inode(from).ok_or(ErrorKind::NotFound)?;
        if filesystem.inode(to).is_some() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        filesystem.point(to, Some(inode));
        self.note();
        Ok(())
    }

    fn remove(&mut self, path: &str, kind: Kind) -> Result<()> {
        let is_directory = self.content(path).is_ok_and(|content| is_directory(content));
        assert!(kind == Kind::Directory || !is_directory, "{path} is removed like a file");
        if kind == Kind::Directory && !self.list(path)?.is_empty() {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        self.unlink(path)
    }

    fn remove_below(&mut self, dir: &str, _budget: usize, _pace: Pace<'_>) -> Result<Removal> {
        let names = self.list(dir)?;
        if self.content(dir).is_ok_and(|content| content == TREE || content == WORK) {
            self.put(dir, DIRECTORY.to_vec(), Vec::new())?;
        } else {
            for name in &names {
                self.unlink(&format!("{dir}/{name}"))?;
            }
        }
        Ok(Removal { removed: names.len(), refused: 0 })
    }

    fn sync(&mut self, path: &str) -> Result<()> {
        let (number, name) = self.place(path)?;
        if (self.forgets)(path) {
            return Ok(());
        }
        let filesystem = &mut self.filesystems[number];
        if name.is_empty() {
            filesystem.sync_names();
        } else {
            let inode = filesystem.inode(name).ok_or(ErrorKind::NotFound)?;
            filesystem.inodes[inode].maybe.clear();
        }
        self.note();
        Ok(())
    }

    fn space(&mut self, path: &str) -> Result<Space> {
        let Ok((number, _)) = self.place(path) else {
            return Ok(Space { total: self.room, free: self.room, read_only: false });
        };
        let filesystem = &self.filesystems[number];
        let mut used: Vec<usize> = filesystem.names.values().filter_map(|all| *all.last()?).collect();
        used.sort_unstable();
        used.dedup();
        let used: u64 = used
            .into_iter()
            .map(|inode| filesystem.inodes[inode].now.len())
            .map(|length| (length - length % IMAGE_SIZE) as u64)
            .sum();
        Ok(Space { total: self.room, free: self.room.saturating_sub(used), read_only: false })
    }

    fn copy_attributes(&mut self, _from: &str, _to: &str) -> Result<()> {
        Ok(())
    }

    fn mount(&mut self, mount: &Mount<'_>) -> Result<()> {
        if let Some(number) = mount.source.strip_prefix("/dev/loop") {
            self.image = self.loops.get(number.parse::<usize>().unwrap()).cloned();
        }
        Ok(())
    }

    fn unmount(&mut self, _target: &str) -> Result<()> {
        Ok(())
    }

    fn load_modules(&mut self, files: &[ModuleFile], _workers: usize, _first: bool) -> Vec<Result<()>> {
        files.iter().map(|_| Ok(())).collect()
    }

    fn listen(&mut self, _sources: Sources) -> Result<()> {
        Ok(())
    }

    fn next_events(&mut self, _deadline: Option<Duration>) -> Result<Vec<Event>> {
        Ok(Vec::new())
    }

    /// Does at once what the process behind the boot does later.
    fn sweep(&mut self, store: &str) -> Result<()> {
        let discarded = format!("{store}/{}", names::DISCARDED);
        if self.content(&discarded).is_ok() {
            self.remove_below(&discarded, usize::MAX, &mut |_, _| None)?;
        }
        for name in [names::SPARE, "spare/upper", "spare/work"].map(|name| format!("{store}/{name}")) {
            if self.content(&name).is_err() {
                self.put(&name, DIRECTORY.to_vec(), Vec::new())?;
            }
        }
        let reserve = format!("{store}/spare/{}", names::RESERVE);
        if self.content(&reserve).is_err() { self.put(&reserve, b"reserve".to_vec(), Vec::new()) } else { Ok(()) }
    }

    fn enter_root(&mut self, _root: &str) -> Result<()> {
        Ok(())
    }

    fn exec(&mut self, _program: &str, _arguments: &[String]) -> Error {
        self.booted.clone_from(&self.image);
        Error::other("booted")
    }

    fn power(&mut self, _power: Power, _after: Duration) {}
}
