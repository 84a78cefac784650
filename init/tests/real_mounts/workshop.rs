//! The place of one case: a directory with its filesystems, and mounts of its own.

use super::*;

/// A place to build filesystems in.
pub struct Workshop {
    dir: PathBuf,
}

impl Workshop {
    pub fn new() -> Self {
        nix::sched::unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS).unwrap();
        nix::mount::mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)
            .unwrap();
        let dir = std::env::temp_dir().join(format!("real-mounts-{}-{}", std::process::id(), nix::unistd::gettid()));
        fs::create_dir(&dir).unwrap();
        nix::mount::mount(Some("tmpfs"), &dir, Some("tmpfs"), MsFlags::empty(), None::<&str>).unwrap();
        Self { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Returns a directory with files: (path, content).
    pub fn directory(&self, name: &str, files: &[(&str, &str)]) -> PathBuf {
        let directory = self.path(name);
        fs::create_dir(&directory).unwrap();
        for (path, content) in files {
            let path = directory.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        directory
    }

    pub fn squashfs(&self, name: &str, mark: &str) -> PathBuf {
        let root = self.directory(&format!("{name}.root"), &[("sbin/init", mark), ("etc/mark", mark)]);
        let image = self.path(name);
        run(Command::new("mksquashfs").arg(root).arg(&image).args(["-quiet", "-no-progress"]));
        image
    }

    /// Returns an ext4 filesystem of 32 MiB that holds a directory, as a block device.
    pub fn ext4(&self, name: &str, content: &Path) -> (Volume, LoopDevice) {
        let file = self.path(name);
        fs::File::create(&file).unwrap().set_len(32 << 20).unwrap();
        run(Command::new("mkfs.ext4").args(["-q", "-L", name, "-d"]).arg(content).arg(&file));
        attach(&file, false)
    }

    /// Enters a root that from here on is a directory with nothing but what a boot starts with.
    pub fn enter(&self) {
        let root = self.path("machine");
        for directory in
            ["dev", "proc", "sys", "run/initramfs/img", "run/initramfs/image", "run/initramfs/overlay", "tmp"]
        {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        // The sweeper is this program once more, which here is linked to the machine's libraries.
        for directory in ["usr", "lib", "lib64"] {
            let directory = root.join(directory);
            fs::create_dir_all(directory).unwrap();
        }
        for directory in ["dev", "proc", "sys", "usr", "lib", "lib64"] {
            if !Path::new("/").join(directory).exists() {
                continue;
            }
            let target = root.join(directory);
            nix::mount::mount(
                Some(&Path::new("/").join(directory)),
                &target,
                None::<&str>,
                MsFlags::MS_BIND | MsFlags::MS_REC,
                None::<&str>,
            )
            .unwrap();
        }
        nix::unistd::chroot(&root).unwrap();
        std::env::set_current_dir("/").unwrap();
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // Mounts go with the namespace, which goes with the thread; the empty directory behind them is taken away if it can be.
        let _ = fs::remove_dir(&self.dir);
    }
}

pub fn attach(file: &Path, partitions: bool) -> (Volume, LoopDevice) {
    let control = LoopControl::open().unwrap();
    for _ in 0..32 {
        let device = control.next_free().unwrap();
        match device.with().autoclear(true).part_scan(partitions).attach(file) {
            Ok(()) => {
                let name = format!("loop{}", device.minor().unwrap());
                let volume = Volume { disk: name.clone(), name, kind: Some("ext4".into()), ..Volume::default() };
                return (volume, device);
            }
            Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => {}
            Err(error) => panic!("loop device: {error}"),
        }
    }
    panic!("no free loop device");
}
