//! The objects that take the place of a name.

use std::{
    fs,
    os::unix::{
        fs::{FileExt, symlink},
        net::UnixListener,
    },
    path::Path,
    process::Command,
};

use nix::{
    sys::stat::{Mode, SFlag, makedev, mknod},
    unistd::mkfifo,
};

use crate::media_lab::{Random, requirements::run};

/// An object that takes the place of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Object {
    /// A symbolic link to the canary device.
    LinkDevice,
    /// A symbolic link to a file outside.
    LinkFile,
    /// A symbolic link to a directory outside.
    LinkDirectory,
    /// A symbolic link to a file outside that does not exist.
    LinkDangling,
    /// A symbolic link to the directory above the medium.
    LinkUp,
    /// A symbolic link to another name in the same directory.
    LinkSibling,
    /// A symbolic link to what another medium holds.
    LinkMedium,
    /// A symbolic link to itself.
    LinkSelf,
    /// A FIFO.
    Fifo,
    /// A socket.
    Socket,
    /// An empty directory.
    Directory,
    /// A directory with a file in it.
    DirectoryWithFile,
    /// A directory with a file in it, immutable.
    ImmutableDirectory,
    /// The canary device's node.
    BlockNode,
    /// The node of a device that never ends (`/dev/zero`).
    CharacterNode,
    /// The usual content, immutable; where there is none, a file of random bytes.
    Immutable,
    /// The same, append-only.
    AppendOnly,
    /// A file of 8 GiB that takes no space.
    Sparse,
    /// An empty file.
    Empty,
    /// A file of random bytes.
    Random,
}

impl Object {
    /// All of them.
    pub const ALL: [Self; 20] = [
        Self::LinkDevice,
        Self::LinkFile,
        Self::LinkDirectory,
        Self::LinkDangling,
        Self::LinkUp,
        Self::LinkSibling,
        Self::LinkMedium,
        Self::LinkSelf,
        Self::Fifo,
        Self::Socket,
        Self::Directory,
        Self::DirectoryWithFile,
        Self::ImmutableDirectory,
        Self::BlockNode,
        Self::CharacterNode,
        Self::Immutable,
        Self::AppendOnly,
        Self::Sparse,
        Self::Empty,
        Self::Random,
    ];

    /// Returns true where the usual content stays.
    pub fn keeps_content(self) -> bool {
        matches!(self, Self::Immutable | Self::AppendOnly)
    }

    /// Returns false for what a FAT filesystem cannot hold.
    pub fn fits_fat(self) -> bool {
        matches!(self, Self::Directory | Self::DirectoryWithFile | Self::Empty | Self::Random)
    }
}

/// The targets of a case's links.
pub struct Targets {
    /// The canary device's node.
    pub device: String,
    /// The canary device's number.
    pub number: u64,
    /// A name in the same directory.
    pub sibling: String,
    /// A file or directory of another medium.
    pub medium: String,
}

/// Puts an object in the place of `path`.
pub fn plant(object: Object, path: &Path, targets: &Targets) {
    const SPARSE_SIZE: u64 = 8 << 30;
    const RANDOM_SIZE: usize = 3000;
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let keeps = object.keeps_content() && path.exists();
    if !keeps {
        if path.symlink_metadata().is_ok_and(|metadata| metadata.is_dir()) {
            fs::remove_dir_all(path).unwrap();
        } else {
            let _ = fs::remove_file(path);
        }
    }
    let random = || {
        let mut random = Random::new(42);
        let bytes: Vec<u8> = (0..RANDOM_SIZE).map(|_| u8::try_from(random.below(256)).unwrap()).collect();
        fs::write(path, bytes).unwrap();
    };
    let link = |target: &str| symlink(target, path).unwrap();
    let node = |kind, number| mknod(path, kind, Mode::from_bits_truncate(0o666), number).unwrap();
    match object {
        Object::LinkDevice => link(&targets.device),
        Object::LinkFile => link("/canary/file"),
        Object::LinkDirectory => link("/canary/directory"),
        Object::LinkDangling => link("/canary/absent"),
        Object::LinkUp => link(".."),
        Object::LinkSibling => link(&targets.sibling),
        Object::LinkMedium => link(&targets.medium),
        Object::LinkSelf => link(&path.file_name().unwrap().to_string_lossy()),
        Object::Fifo => mkfifo(path, Mode::from_bits_truncate(0o644)).unwrap(),
        Object::Socket => drop(UnixListener::bind(path).unwrap()),
        Object::Directory => fs::create_dir(path).unwrap(),
        Object::DirectoryWithFile | Object::ImmutableDirectory => {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), "in the way").unwrap();
        }
        Object::BlockNode => node(SFlag::S_IFBLK, targets.number),
        Object::CharacterNode => node(SFlag::S_IFCHR, makedev(1, 5)),
        Object::Immutable | Object::AppendOnly if keeps => {}
        Object::Immutable | Object::AppendOnly | Object::Random => random(),
        Object::Sparse => {
            let file = fs::File::create(path).unwrap();
            file.set_len(SPARSE_SIZE).unwrap();
            file.write_all_at(b"end", SPARSE_SIZE - 3).unwrap();
        }
        Object::Empty => fs::write(path, "").unwrap(),
    }
    let flag = match object {
        Object::Immutable | Object::ImmutableDirectory => "+i",
        Object::AppendOnly => "+a",
        _ => return,
    };
    run(Command::new("chattr").arg(flag).arg(path));
}
