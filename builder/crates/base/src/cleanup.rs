//! What a command that is interrupted must not leave behind: files and folders in the making are noted here while they are, and
//! deleted when Ctrl-C, SIGTERM or SIGHUP ends the program. Nothing else is ever deleted from here.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use crate::{IoContext, Result};

static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// Exit status of a command that was interrupted: 128 + SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

/// A path that is deleted when the program is interrupted, as long as this lives.
#[derive(Debug)]
pub struct TempPath(PathBuf);

impl TempPath {
    /// Notes a file or folder.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        // Wherever the program changes to meanwhile.
        let path = std::path::absolute(&path).unwrap_or(path);
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone());
        Self(path)
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        let mut all = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = all.iter().position(|path| *path == self.0) {
            all.swap_remove(place);
        }
    }
}

/// A folder for files in between, deleted when it is dropped and when the program is interrupted.
#[derive(Debug)]
pub struct TempDir {
    folder: tempfile::TempDir,
    _unfinished: TempPath,
}

impl TempDir {
    /// Makes a folder whose name begins with `prefix`, in `parent` or where temporary files go.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn new(prefix: &str, parent: Option<&Path>) -> Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        let folder =
            tempfile::Builder::new().prefix(prefix).tempdir_in(&parent).at("make a folder for the work in", parent)?;
        let unfinished = TempPath::new(folder.path());
        Ok(Self { folder, _unfinished: unfinished })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves it to the user.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }
}

/// Cleans up and ends the program when it is interrupted, from here on. For the whole program, once.
///
/// # Errors
/// [`crate::Error::Io`] where signals cannot be waited for.
pub fn clean_when_interrupted() -> Result<()> {
    let set = ctrlc::set_handler(|| {
        let all = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
        for path in all.iter() {
            // A program that was started and has not ended yet may still put files in: then once more.
            for _ in 0..3 {
                let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
                if removed.is_ok() || !path.exists() {
                    break;
                }
            }
        }
        std::process::exit(INTERRUPTED);
    });
    set.map_err(std::io::Error::other).at("wait for", "signals")
}
