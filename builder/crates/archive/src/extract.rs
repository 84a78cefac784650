//! An initramfs unpacked into a directory, as the kernel would unpack it into its root. Nothing outside of the directory is touched: each
//! name is resolved by the kernel beneath it, where links with absolute targets lead to as well (openat2, `RESOLVE_IN_ROOT`), and what
//! stands at a name is removed, never written through.

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::File,
    io::{self, Read, Write},
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::{Path, PathBuf},
};

use base::{IoContext, cleanup, escape::escape};
use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, UTIME_OMIT, Uid, chmodat, chownat,
        fchmod, fchown, futimens, linkat, makedev, mkdirat, mknodat, open, openat, openat2, statat, symlinkat,
        unlinkat, utimensat,
    },
    io::Errno,
};

use crate::{
    Error, Result,
    entries::{self, Visit},
    listing::newc::{Header, TYPE_MASK},
    tree::PATH_MAX,
};

/// Directories and sets of hard links that are remembered: their times come last, and later names are linked to first ones.
const REMEMBERED: usize = 1 << 20;

/// The outcome of an extraction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Entries that are there now.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Devices that were left out: only root can make them.
    pub devices: u64,
    /// Entries that could not be made, as sentences; the first [`SHOWN`].
    pub refused: Vec<String>,
    /// The number of those.
    pub refusals: u64,
}

/// Refusals that are kept as sentences.
pub const SHOWN: usize = 20;

/// Unpacks an initramfs into the directory `directory`, which is made. As root it keeps owners and makes devices, else everything is the
/// user's own, without setuid and setgid. Interrupted, it takes a directory that it made away again.
///
/// # Errors
/// [`Error::Damaged`] and [`Error::NotInitramfs`] for the file, [`Error::Base`] where the directory cannot be written.
pub fn extract(reader: impl Read, path: &Path, directory: &Path) -> Result<Extracted> {
    let made = (!directory.exists()).then(|| cleanup::TempPath::new(directory));
    std::fs::create_dir_all(directory).at("create", directory)?;
    let root = open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
    let mut extraction = Extraction {
        root: root.map_err(io::Error::from).at("open", directory)?,
        directory: directory.to_owned(),
        privileged: rustix::process::geteuid().is_root(),
        archive: 0,
        first_names: HashMap::new(),
        directories: Vec::new(),
        open: None,
        told: Extracted::default(),
    };
    let outcome = entries::visit(reader, path, &mut extraction);
    // What was unpacked before a defect is as whole as it can be.
    extraction.finish_directories();
    if made.is_some() && matches!(outcome, Err(Error::NotInitramfs { .. })) {
        let _ = std::fs::remove_dir(directory);
    }
    outcome.map(|()| extraction.told)
}

struct Extraction {
    root: OwnedFd,
    directory: PathBuf,
    privileged: bool,
    archive: u64,
    /// The first name of each set of hard links of this archive.
    first_names: HashMap<Inode, Vec<u8>>,
    /// Directories with their mode and time, which what is put into them changes.
    directories: Vec<(Vec<u8>, u32, u32)>,
    open: Option<Open>,
    told: Extracted,
}

/// An inode as an archive names it: its device, its number, its type.
type Inode = ((u32, u32, u32), u32);

/// The entry whose content comes.
struct Open {
    name: Vec<u8>,
    header: Header,
    place: Place,
    content: Content,
}

enum Content {
    File(File),
    Target(Vec<u8>),
}

/// A name in an open directory.
struct Place {
    parent: OwnedFd,
    name: Vec<u8>,
}

impl Place {
    fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }

    /// Removes what is at the name. A directory goes only if it is empty.
    fn clear(&self) -> Result<(), Errno> {
        match unlinkat(&self.parent, self.name(), AtFlags::empty()) {
            Err(Errno::ISDIR) => unlinkat(&self.parent, self.name(), AtFlags::REMOVEDIR),
            Err(Errno::NOENT) => Ok(()),
            other => other,
        }
    }
}

impl Extraction {
    /// Finds the directory that `path` is in, beneath the root.
    fn place(&self, path: &[u8]) -> Result<Place, Errno> {
        let parts: Vec<&[u8]> =
            path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && *part != b".").collect();
        if parts.contains(&&b".."[..]) {
            return Err(Errno::XDEV);
        }
        let (name, parents) = parts.split_last().ok_or(Errno::ISDIR)?;
        let parent = parents.join(&b'/');
        let parent = if parent.is_empty() { b".".to_vec() } else { parent };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let parent = openat2(&self.root, OsStr::from_bytes(&parent), flags, Mode::empty(), resolve)?;
        Ok(Place { parent, name: name.to_vec() })
    }

    /// Makes an entry, or as much of it as comes before its content.
    fn make(&mut self, name: &[u8], header: &Header) -> Result<Option<Open>, Errno> {
        let kind = header.mode & TYPE_MASK;
        if name.iter().all(|byte| b"./".contains(byte)) {
            self.remember(name, header)?;
            return Ok(None);
        }
        let place = self.place(name)?;
        if kind == DIRECTORY {
            self.directory(name, header, &place)?;
            return Ok(None);
        }
        if header.links >= 2 && kind != LINK {
            let key = (header.inode, kind);
            if let Some(first) = self.first_names.get(&key) {
                let first = self.place(first)?;
                place.clear()?;
                linkat(&first.parent, first.name(), &place.parent, place.name(), AtFlags::empty())?;
                if kind != FILE || header.size == 0 {
                    return Ok(None);
                }
                // GNU cpio writes the content with the last name.
                let flags = OFlags::WRONLY | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(&place.parent, place.name(), flags, Mode::empty())?;
                return Ok(Some(open_entry(name, header, place, Content::File(file.into()))));
            }
            self.check_memory()?;
            self.first_names.insert(key, name.to_vec());
        }
        place.clear()?;
        match kind {
            FILE => {
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let file = openat(&place.parent, place.name(), flags, Mode::from_raw_mode(0o600))?;
                Ok(Some(open_entry(name, header, place, Content::File(file.into()))))
            }
            LINK => Ok(Some(open_entry(name, header, place, Content::Target(Vec::new())))),
            _ => self.node(header, &place).map(|()| None),
        }
    }

    fn directory(&mut self, name: &[u8], header: &Header, place: &Place) -> Result<(), Errno> {
        match mkdirat(&place.parent, place.name(), Mode::from_raw_mode(0o700)) {
            Err(Errno::EXIST) => {
                let found = statat(&place.parent, place.name(), AtFlags::SYMLINK_NOFOLLOW)?;
                match FileType::from_raw_mode(found.st_mode) {
                    FileType::Directory => {}
                    // The kernel leaves a link in the place of a directory, and so what is below comes to where it leads.
                    FileType::Symlink => return Ok(()),
                    _ => {
                        place.clear()?;
                        mkdirat(&place.parent, place.name(), Mode::from_raw_mode(0o700))?;
                    }
                }
            }
            other => other?,
        }
        if self.privileged {
            let (uid, gid) = owner(header);
            chownat(&place.parent, place.name(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        self.remember(name, header)
    }

    fn node(&mut self, header: &Header, place: &Place) -> Result<(), Errno> {
        let kind = FileType::from_raw_mode(header.mode);
        let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        if is_device && !self.privileged {
            self.told.devices += 1;
            return Ok(());
        }
        if kind == FileType::Unknown {
            return Err(Errno::NOTSUP);
        }
        let device = if is_device { makedev(header.device.0, header.device.1) } else { 0 };
        mknodat(&place.parent, place.name(), kind, Mode::from_raw_mode(0o600), device)?;
        if self.privileged {
            let (uid, gid) = owner(header);
            chownat(&place.parent, place.name(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        }
        // Just made, and nobody else's: no link is followed.
        chmodat(&place.parent, place.name(), self.mode(header), AtFlags::empty())?;
        utimensat(&place.parent, place.name(), &times(header.mtime), AtFlags::SYMLINK_NOFOLLOW)
    }

    fn finish(&self, open: Open) -> Result<(), Errno> {
        let Open { header, place, content, .. } = open;
        match content {
            Content::File(file) => {
                if self.privileged {
                    let (uid, gid) = owner(&header);
                    fchown(&file, uid, gid)?;
                }
                fchmod(&file, self.mode(&header))?;
                futimens(&file, &times(header.mtime))
            }
            Content::Target(target) => {
                symlinkat(OsStr::from_bytes(&target), &place.parent, place.name())?;
                if self.privileged {
                    let (uid, gid) = owner(&header);
                    chownat(&place.parent, place.name(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
                }
                utimensat(&place.parent, place.name(), &times(header.mtime), AtFlags::SYMLINK_NOFOLLOW)
            }
        }
    }

    fn mode(&self, header: &Header) -> Mode {
        Mode::from_raw_mode(header.mode & if self.privileged { 0o7777 } else { 0o1777 })
    }

    fn remember(&mut self, name: &[u8], header: &Header) -> Result<(), Errno> {
        self.check_memory()?;
        self.directories.push((name.to_vec(), self.mode(header).as_raw_mode(), header.mtime));
        Ok(())
    }

    fn check_memory(&self) -> Result<(), Errno> {
        if self.directories.len() + self.first_names.len() < REMEMBERED { Ok(()) } else { Err(Errno::TOOMANYREFS) }
    }

    /// Gives directories their modes and times, the ones below first.
    fn finish_directories(&mut self) {
        for (name, mode, mtime) in std::mem::take(&mut self.directories).into_iter().rev() {
            let path = if name.iter().all(|byte| b"./".contains(byte)) { b".".to_vec() } else { name };
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
            // One that was replaced since is gone, and no matter.
            if let Ok(directory) = openat2(&self.root, OsStr::from_bytes(&path), flags, Mode::empty(), resolve) {
                let _ = fchmod(&directory, Mode::from_raw_mode(mode));
                let _ = futimens(&directory, &times(mtime));
            }
        }
    }

    fn refuse(&mut self, name: &[u8], errno: Errno) -> Result<()> {
        // A full disk or a broken one will not do better with the next entry.
        if matches!(errno, Errno::NOSPC | Errno::IO | Errno::ROFS | Errno::DQUOT) {
            return Err(io::Error::from(errno)).at("write", &self.directory).map_err(Error::from);
        }
        let reason = match errno {
            Errno::XDEV => "its name leads out of the root".to_owned(),
            Errno::TOOMANYREFS => format!("there are more than {REMEMBERED} directories and hard links"),
            Errno::NOTSUP => "Linux does not know its type".to_owned(),
            errno => errno.to_string(),
        };
        self.told.refusals += 1;
        if self.told.refused.len() < SHOWN {
            self.told.refused.push(format!("`{}`: {reason}", escape(name)));
        }
        Ok(())
    }
}

impl Visit for Extraction {
    fn begin(&mut self, archive: u64, header: &Header) -> Result<bool> {
        // What is being taken away gets nothing new.
        cleanup::wait_if_interrupted();
        if archive != self.archive {
            self.archive = archive;
            self.first_names.clear();
        }
        let name = header.name.clone().unwrap_or_default();
        match self.make(&name, header) {
            Ok(open) => self.open = open,
            Err(errno) => {
                self.refuse(&name, errno)?;
                return Ok(false);
            }
        }
        self.told.entries += 1;
        Ok(self.open.is_some())
    }

    fn content(&mut self, piece: &[u8]) -> Result<()> {
        match self.open.as_mut().map(|open| &mut open.content) {
            Some(Content::File(file)) => {
                self.told.bytes += piece.len() as u64;
                Ok(file.write_all(piece).at("write", &self.directory)?)
            }
            // A longer one is refused by the system, whatever it is.
            Some(Content::Target(target)) if target.len() <= PATH_MAX => {
                target.extend_from_slice(piece);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let name = open.name.clone();
        match self.finish(open) {
            Ok(()) => Ok(()),
            Err(errno) => {
                self.told.entries -= 1;
                self.refuse(&name, errno)
            }
        }
    }
}

const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;

fn open_entry(name: &[u8], header: &Header, place: Place, content: Content) -> Open {
    Open { name: name.to_vec(), header: header.clone(), place, content }
}

fn owner(header: &Header) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(header.uid)), Some(Gid::from_raw(header.gid)))
}

fn times(mtime: u32) -> Timestamps {
    Timestamps {
        last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        last_modification: Timespec { tv_sec: i64::from(mtime), tv_nsec: 0 },
    }
}
