//! Deletion of what lies below a directory, by descriptors: on one filesystem, following no link, in bounded memory however many names a
//! directory has and however deep it is. And the process that does so behind the boot.

use std::{
    ffi::{CStr, CString},
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd, RawFd},
};

use nix::{
    errno::Errno,
    fcntl::{AtFlags, FallocateFlags, OFlag, fallocate, openat, renameat},
    libc,
    sys::stat::{Mode, fstat, fstatat, mkdirat},
    unistd::{UnlinkatFlags, Whence, lseek, unlinkat},
};

use super::{
    files::{Entry, list},
    media::unlock_name,
};
use crate::kernel::Removal;
use contract::names;

/// Names that are read of a directory before they are deleted: what a listing shows while it changes is not defined (readdir(3)).
const BATCH: usize = 1024;

/// Directories below directories that are walked down; what lies deeper is moved up first. Each takes a descriptor and some stack.
const DEEPEST: u32 = 32;

/// A deletion under way.
pub(super) struct Remover<'r> {
    top: BorrowedFd<'r>,
    device: libc::dev_t,
    budget: usize,
    moved: u32,
    outcome: Removal,
    /// The first name that could not be deleted, and why.
    pub(super) first: Option<(CString, Errno)>,
    /// Called for each name that is gone.
    progress: &'r mut dyn FnMut(),
}

impl<'r> Remover<'r> {
    /// Prepares to delete up to `budget` names below the directory `top`.
    ///
    /// # Errors
    /// The kernel's.
    pub(super) fn new(top: BorrowedFd<'r>, budget: usize, progress: &'r mut dyn FnMut()) -> nix::Result<Self> {
        let device = fstat(top)?.st_dev;
        Ok(Self { top, device, budget, moved: 0, outcome: Removal::default(), first: None, progress })
    }

    /// Deletes.
    pub(super) fn run(&mut self) -> Removal {
        self.empty(self.top, 0);
        self.outcome
    }

    fn is_done(&self) -> bool {
        self.outcome.removed >= self.budget
    }

    /// Empties a directory, batch by batch, until a batch brings nothing any more.
    fn empty(&mut self, directory: BorrowedFd<'_>, depth: u32) {
        loop {
            let mut batch = Vec::new();
            if lseek(directory, 0, Whence::SeekSet).is_err() || list(directory, BATCH, &mut batch).is_err() {
                self.refuse(c"", Errno::EIO);
                return;
            }
            let before = (self.outcome.removed, self.moved);
            let mut refused = 0_usize;
            let is_last = batch.len() < BATCH;
            for entry in batch {
                if self.is_done() {
                    return;
                }
                if let Err(error) = self.remove(directory, &entry, depth) {
                    refused = refused.saturating_add(1);
                    self.first.get_or_insert_with(|| (entry.name.clone(), error));
                }
            }
            let (removed, moved) = before;
            let goes_on = self.outcome.removed > removed || self.moved > moved;
            // What was moved up from below came behind the listing.
            let has_more = !is_last || (depth == 0 && self.moved > moved);
            if !(goes_on && has_more) {
                self.outcome.refused = self.outcome.refused.saturating_add(refused);
                return;
            }
        }
    }

    fn refuse(&mut self, name: &CStr, error: Errno) {
        self.outcome.refused = self.outcome.refused.saturating_add(1);
        self.first.get_or_insert_with(|| (name.to_owned(), error));
    }

    fn remove(&mut self, directory: BorrowedFd<'_>, entry: &Entry, depth: u32) -> nix::Result<()> {
        let name = entry.name.as_c_str();
        let is_directory = match entry.kind {
            // Not every filesystem says what its entries are.
            libc::DT_UNKNOWN => fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFDIR),
            kind => kind == libc::DT_DIR,
        };
        let flag = if is_directory { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
        if is_directory {
            if depth >= DEEPEST {
                return self.move_up(directory, name);
            }
            let child = open_directory(directory, name)?;
            if fstat(&child)?.st_dev != self.device {
                return Err(Errno::EXDEV);
            }
            self.empty(child.as_fd(), depth.saturating_add(1));
            if self.is_done() {
                return Ok(());
            }
        }
        match unlinkat(directory, name, flag) {
            // "Immutable" or "append-only", the name or what holds it (chattr(1)).
            Err(Errno::EPERM) if unlock_name(directory, c".") | unlock_name(directory, name) => {
                unlinkat(directory, name, flag)?;
            }
            outcome => outcome?,
        }
        self.outcome.removed = self.outcome.removed.saturating_add(1);
        (self.progress)();
        Ok(())
    }

    /// Moves a directory that lies too deep to the top, where it is the next to be emptied.
    fn move_up(&mut self, directory: BorrowedFd<'_>, name: &CStr) -> nix::Result<()> {
        const TRIES: u32 = 64;
        let mut outcome = Err(Errno::EEXIST);
        for _ in 0..TRIES {
            self.moved = self.moved.saturating_add(1);
            outcome = renameat(directory, name, self.top, format!("deep.{}", self.moved).as_str());
            match outcome {
                Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
                Err(Errno::EPERM) if unlock_name(directory, c".") | unlock_name(directory, name) => {}
                outcome => return outcome,
            }
        }
        outcome
    }
}

fn open_directory<P: nix::NixPath + ?Sized>(parent: BorrowedFd<'_>, name: &P) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

/// Deletes behind the boot, at the lowest priority there is, and makes what the next boot needs. `store` is the root of the writable
/// partition; `log`, the kernel's log, hears of what could not be deleted.
pub(super) fn sweep(store: RawFd, log: &mut dyn Write) {
    super::process::become_idle();
    // SAFETY: the descriptor is this process's standard input, open for as long as the process lives.
    let store = unsafe { BorrowedFd::borrow_raw(store) };
    if let Err((name, error)) = empty_discarded(store) {
        let line = format!(
            "<4>initramfs-overlay: not everything in {} on the overlay partition can be deleted, {}: {}\n",
            names::DISCARDED,
            name.to_string_lossy(),
            io::Error::from(error)
        );
        // There is nobody else to tell; the next boot tries again.
        let _ = log.write_all(line.as_bytes());
    }
    // What is not there the next boot makes itself.
    let _ = fill_spare(store);
}

fn empty_discarded(store: BorrowedFd<'_>) -> Result<(), (CString, Errno)> {
    let discarded = match open_directory(store, names::DISCARDED) {
        Ok(directory) => directory,
        Err(Errno::ENOENT) => return Ok(()),
        Err(error) => return Err((CString::default(), error)),
    };
    let mut progress = || {};
    let mut remover =
        Remover::new(discarded.as_fd(), usize::MAX, &mut progress).map_err(|error| (c"".into(), error))?;
    remover.run();
    remover.first.take().map_or(Ok(()), Err)
}

/// Makes the directories and the reserve that the next boot only renames, or gives up.
fn fill_spare(store: BorrowedFd<'_>) -> nix::Result<()> {
    let make =
        |directory: BorrowedFd<'_>, name: &str, mode| match mkdirat(directory, name, Mode::from_bits_truncate(mode)) {
            Err(Errno::EEXIST) => Ok(()),
            outcome => outcome,
        };
    make(store, names::SPARE, 0o700)?;
    let spare = open_directory(store, names::SPARE)?;
    make(spare.as_fd(), names::UPPER, 0o755)?;
    make(spare.as_fd(), names::WORK, 0o700)?;
    make(open_directory(spare.as_fd(), names::WORK)?.as_fd(), names::WORKDIR, 0o700)?;
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let reserve = openat(spare.as_fd(), names::RESERVE, flags, Mode::from_bits_truncate(0o600))?;
    let reserved = match fallocate(&reserve, FallocateFlags::empty(), 0, names::RESERVE_SIZE as libc::off_t) {
        // ext3 and its kin have no way to reserve but to write.
        Err(Errno::EOPNOTSUPP) => {
            std::fs::File::from(reserve).write_all(&vec![0; names::RESERVE_SIZE as usize]).is_ok()
        }
        outcome => outcome.is_ok(),
    };
    if !reserved {
        unlinkat(spare.as_fd(), names::RESERVE, UnlinkatFlags::NoRemoveDir)?;
    }
    Ok(())
}

/// Deletes everything on the filesystem of an open directory, as far as that goes.
pub(super) fn empty_all(directory: BorrowedFd<'_>) {
    let mut progress = || {};
    if let Ok(mut remover) = Remover::new(directory, usize::MAX, &mut progress) {
        remover.run();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs::{self, File},
        path::PathBuf,
    };

    use super::*;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("removal-{name}-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    fn remove(directory: &PathBuf, budget: usize) -> Removal {
        let directory = File::open(directory).unwrap();
        let mut progress = || {};
        Remover::new(directory.as_fd(), budget, &mut progress).unwrap().run()
    }

    #[test]
    fn links_are_deleted_and_not_followed() {
        let (top, kept) = (directory("links"), directory("kept"));
        fs::create_dir_all(top.join("deep/er")).unwrap();
        fs::create_dir_all(kept.join("directory")).unwrap();
        std::os::unix::fs::symlink(&kept, top.join("link")).unwrap();
        std::os::unix::fs::symlink(&kept, top.join("deep/link")).unwrap();
        assert_eq!(remove(&top, usize::MAX), Removal { removed: 4, refused: 0 });
        fs::remove_dir(&top).unwrap();
        fs::remove_dir(kept.join("directory")).expect("what a link leads to stays");
        fs::remove_dir(kept).unwrap();
    }

    #[test]
    fn many_names_and_deep_trees_are_deleted_in_bounded_steps() {
        let top = directory("deep");
        for number in 0..3000 {
            fs::write(top.join(number.to_string()), "").unwrap();
        }
        let mut path = top.clone();
        for _ in 0..200 {
            path.push("d");
            fs::create_dir(&path).unwrap();
            fs::write(path.join("file"), "").unwrap();
        }
        let first = remove(&top, 100);
        assert_eq!(first, Removal { removed: 100, refused: 0 });
        let rest = remove(&top, usize::MAX);
        assert_eq!(rest, Removal { removed: 3300, refused: 0 });
        fs::remove_dir(&top).unwrap();
    }
}
