//! The sources of media: images that boot, keys and signatures, and filesystems that are made once and copied for each case.

use std::{
    fs,
    io::{Read, Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use super::requirements::run;

/// Images that boot, each with its own mark in `/etc/mark`: the current one, the update, and the one before.
pub const MARKS: [&str; 3] = ["A", "B", "Z"];

/// A directory of templates, deleted when it goes.
pub struct Templates {
    /// The directory.
    pub dir: PathBuf,
}

impl Templates {
    /// Makes the images, signed by a trusted key (`X.minisig`) and by another (`X.foreign`).
    pub fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let templates = Self { dir };
        for key in ["trusted", "foreign"] {
            let (public, secret) = (templates.path(&format!("{key}.pub")), templates.path(&format!("{key}.key")));
            run(Command::new("minisign").args(["-G", "-W", "-p"]).arg(public).arg("-s").arg(secret));
        }
        for mark in MARKS {
            let root = templates.path(&format!("{mark}.root"));
            write(&root.join("sbin/init"), mark.as_bytes());
            write(&root.join("etc/mark"), mark.as_bytes());
            let image = templates.path(mark);
            run(Command::new("mksquashfs").arg(root).arg(&image).args(["-quiet", "-no-progress", "-all-root"]));
            make_dense(&image);
            templates.sign(mark);
            let sum = Command::new("sha256sum").arg(&image).output().unwrap().stdout;
            let digest = String::from_utf8(sum).unwrap().split(' ').next().unwrap().to_string();
            fs::write(templates.path(&format!("{mark}.sha256")), format!("{digest}  root-squashfs.img\n")).unwrap();
        }
        templates
    }

    /// Returns the path of a template.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Signs a template with both keys.
    pub fn sign(&self, name: &str) {
        for (key, suffix) in [("trusted", "minisig"), ("foreign", "foreign")] {
            let mut command = Command::new("minisign");
            command.args(["-S", "-H", "-s"]).arg(self.path(&format!("{key}.key")));
            command.arg("-m").arg(self.path(name)).arg("-x").arg(self.path(&format!("{name}.{suffix}")));
            run(&mut command);
        }
    }

    /// Makes the filesystem `name` out of templates: each file of it is a template's copy. A path that ends in `/` is a directory.
    pub fn filesystem(&self, name: &str, label: &str, mkfs: &[&str], size: u64, files: &[(&str, &str)]) {
        let tree = self.path(&format!("{name}.tree"));
        fs::create_dir(&tree).unwrap();
        for (path, template) in files {
            let path = tree.join(path);
            if template.is_empty() {
                fs::create_dir_all(path).unwrap();
            } else {
                write(&path, &fs::read(self.path(template)).unwrap());
                fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            }
        }
        let image = self.path(name);
        fs::File::create(&image).unwrap().set_len(size).unwrap();
        run(Command::new("mke2fs").args(["-q", "-F"]).args(mkfs).args(["-L", label, "-d"]).arg(&tree).arg(&image));
    }
}

impl Drop for Templates {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Gives an image padding that takes room: mke2fs would leave a hole for zeroes, and removing the image would free less than its size.
fn make_dense(image: &Path) {
    let mut bytes = fs::read(image).unwrap();
    // squashfs: bytes used, at 40.
    let used = usize::try_from(u64::from_le_bytes(bytes[40..48].try_into().unwrap())).unwrap();
    bytes[used..].fill(0x5a);
    fs::write(image, bytes).unwrap();
}

/// Writes a file with the directories above it.
fn write(path: &Path, content: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Copies a file and leaves holes where it holds only zeroes.
pub fn copy_sparse(from: &Path, to: &Path) {
    const BLOCK: usize = 64 << 10;
    let (mut source, mut target) = (fs::File::open(from).unwrap(), fs::File::create(to).unwrap());
    let size = source.metadata().unwrap().len();
    target.set_len(size).unwrap();
    let (mut block, zeroes) = (vec![0; BLOCK], vec![0; BLOCK]);
    let mut offset = 0;
    while offset < size {
        let length = source.read(&mut block).unwrap();
        if block[..length] != zeroes[..length] {
            target.seek(SeekFrom::Start(offset)).unwrap();
            target.write_all(&block[..length]).unwrap();
        }
        offset += u64::try_from(length).unwrap();
    }
}
