//! The end of a command that is interrupted (SIGINT, SIGTERM, SIGHUP, SIGQUIT): the programs that it started are ended, files and directories
//! in the making are deleted, and its status is 128 and the signal's number, as shells have it. Nothing else is ever deleted from here.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM},
    iterator::Signals,
};

use crate::{IoContext, Result, children};

static UNFINISHED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
type Action = Box<dyn Fn() + Send>;
static HOOKS: Mutex<Vec<(u64, Action)>> = Mutex::new(Vec::new());
type Listen = Box<dyn Fn(i32) + Send>;
static LISTENER: Mutex<Option<Listen>> = Mutex::new(None);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

fn locked<T>(mutex: &'static Mutex<T>) -> MutexGuard<'static, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A path that is deleted when the program is interrupted, as long as this lives.
#[derive(Debug)]
pub struct TempPath(PathBuf);

impl TempPath {
    /// Notes a file or directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        // Wherever the program changes to meanwhile.
        let path = std::path::absolute(&path).unwrap_or(path);
        locked(&UNFINISHED).push(path.clone());
        Self(path)
    }
}

impl Drop for TempPath {
    fn drop(&mut self) {
        let mut all = locked(&UNFINISHED);
        if let Some(place) = all.iter().position(|path| *path == self.0) {
            all.swap_remove(place);
        }
    }
}

/// A directory for files in between, deleted when it is dropped and when the program is interrupted.
#[derive(Debug)]
pub struct TempDir {
    directory: tempfile::TempDir,
    _unfinished: TempPath,
}

impl TempDir {
    /// Makes a directory whose name begins with `prefix`, in `parent` or where temporary files go.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn new(prefix: &str, parent: Option<&Path>) -> Result<Self> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_owned);
        // An interruption waits until it is noted.
        let mut all = locked(&UNFINISHED);
        let directory = tempfile::Builder::new()
            .prefix(prefix)
            .tempdir_in(&parent)
            .at("make a directory for the work in", parent)?;
        let path = std::path::absolute(directory.path()).unwrap_or_else(|_| directory.path().to_owned());
        all.push(path.clone());
        Ok(Self { directory, _unfinished: TempPath(path) })
    }

    /// Returns the directory's path.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Leaves it to the user.
    pub fn keep(self) -> PathBuf {
        self.directory.keep()
    }
}

/// Makes a temporary file, noted from the moment that it is there.
pub(crate) fn noted_file(
    make: impl FnOnce() -> std::io::Result<tempfile::NamedTempFile>,
) -> std::io::Result<(tempfile::NamedTempFile, TempPath)> {
    let mut all = locked(&UNFINISHED);
    let file = make()?;
    let path = std::path::absolute(file.path()).unwrap_or_else(|_| file.path().to_owned());
    all.push(path.clone());
    Ok((file, TempPath(path)))
}

/// An action for an interruption, as long as this lives.
#[derive(Debug)]
pub struct Hook(u64);

impl Hook {
    /// Has `action` done when the program is interrupted, once its programs have ended.
    pub fn new(action: impl Fn() + Send + 'static) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        locked(&HOOKS).push((number, Box::new(action)));
        Self(number)
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        locked(&HOOKS).retain(|(number, _)| *number != self.0);
    }
}

/// A receiver of the signals, as long as it lives: whoever listens ends the program in order.
#[derive(Debug)]
pub struct Listener(());

impl Listener {
    /// Hands each signal's number to `listen`.
    pub fn new(listen: impl Fn(i32) + Send + 'static) -> Self {
        *locked(&LISTENER) = Some(Box::new(listen));
        Self(())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        *locked(&LISTENER) = None;
    }
}

/// Cleans up and ends the program when it is interrupted, from here on. For the whole program, once.
///
/// # Errors
/// [`crate::Error::Io`] where signals cannot be waited for.
pub fn clean_when_interrupted() -> Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    // What `nohup`, or a shell for a background command, has switched off stays so.
    let wanted =
        [SIGHUP, SIGINT, SIGQUIT, SIGTERM].into_iter().filter(|signal| ignored.unwrap_or(0) & (1 << (signal - 1)) == 0);
    let mut signals = Signals::new(wanted).at("wait for", "signals")?;
    std::thread::spawn(move || signals.forever().for_each(interrupt));
    Ok(())
}

/// Ends the program because of a signal, unless somebody else does.
fn interrupt(signal: i32) {
    if let Some(listen) = locked(&LISTENER).as_ref() {
        return listen(signal);
    }
    INTERRUPTED.store(true, Ordering::SeqCst);
    children::end();
    for (_, action) in locked(&HOOKS).iter() {
        action();
    }
    // Nothing new is noted any more.
    let all = locked(&UNFINISHED);
    for path in all.iter() {
        // A program that has not ended yet may still put files in: then once more.
        for _ in 0..3 {
            let removed = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
            if removed.is_ok() || !path.exists() {
                break;
            }
        }
    }
    std::process::exit(128 + signal);
}

/// Waits for the end where the program was interrupted: what fails from then on, because its programs have ended, is nobody's concern.
pub fn wait_if_interrupted() {
    while INTERRUPTED.load(Ordering::SeqCst) {
        std::thread::park();
    }
}
