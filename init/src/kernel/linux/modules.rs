//! Module files go into the kernel, on as many processors as there are. Which and why is decided elsewhere.

use std::{
    ffi::CString,
    io,
    sync::{Condvar, Mutex, PoisonError},
};

use super::{files, media::open_file, threads};
use crate::{kernel::ModuleFile, modules::file};

/// Loads modules in dependency order on up to `workers` threads. Returns one result per module.
pub(super) fn load(files: &[ModuleFile], workers: usize) -> Vec<io::Result<()>> {
    if workers < 2 {
        return files.iter().map(load_one).collect();
    }
    load_side_by_side(files, workers)
}

/// Loads one module file. One that is in the kernel already is a success.
fn load_one(file: &ModuleFile) -> io::Result<()> {
    let path = file.path.as_str();
    let parameters = CString::new(file.parameters.as_str()).map_err(io::Error::other)?;
    let outcome = if let Some(content) = &file.content {
        nix::kmod::init_module(&file::decompress(path, content.clone())?, &parameters)
    } else if path.ends_with(".ko") {
        nix::kmod::finit_module(open_file(path)?, &parameters, nix::kmod::ModuleInitFlags::empty())
    } else {
        let module = file::decompress(path, files::read(path, 0, usize::MAX)?)?;
        nix::kmod::init_module(&module, &parameters)
    };
    match outcome {
        Ok(()) | Err(nix::errno::Errno::EEXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Loads modules on several processors, each after those it names.
fn load_side_by_side(files: &[ModuleFile], workers: usize) -> Vec<io::Result<()>> {
    struct Progress {
        started: Vec<bool>,
        outcomes: Vec<Option<io::Result<()>>>,
    }
    let progress = Mutex::new(Progress {
        started: vec![false; files.len()],
        outcomes: std::iter::repeat_with(|| None).take(files.len()).collect(),
    });
    let changed = Condvar::new();
    let work = || {
        let mut now = progress.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let ready = |place: &usize| now.outcomes.get(*place).is_none_or(Option::is_some);
            let next = files
                .iter()
                .enumerate()
                .find(|(place, file)| now.started.get(*place) == Some(&false) && file.after.iter().all(ready));
            if let Some((place, file)) = next {
                if let Some(started) = now.started.get_mut(place) {
                    *started = true;
                }
                drop(now);
                let outcome = load_one(file);
                now = progress.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(cell) = now.outcomes.get_mut(place) {
                    *cell = Some(outcome);
                }
                changed.notify_all();
            } else if now.started.iter().all(|started| *started) {
                return;
            } else {
                now = changed.wait(now).unwrap_or_else(PoisonError::into_inner);
            }
        }
    };
    // Too little memory for a thread is no reason not to boot: the others do its work.
    threads::run(&work, workers.saturating_sub(1));
    let progress = progress.into_inner().unwrap_or_else(PoisonError::into_inner);
    progress.outcomes.into_iter().map(|outcome| outcome.unwrap_or(Ok(()))).collect()
}
