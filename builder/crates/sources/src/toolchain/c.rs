//! C for a target, compiled by `zig cc`: directly, without make or configure, with the answers of configure written down. The same
//! sources give the same bytes on any machine.

use std::{
    fs,
    io::{BufReader, Read},
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, PoisonError},
    thread,
};

use base::{IoContext, ProgramFailure, cache::Cache, program};

use super::tools::Tools;
use crate::{Error, Result, target::Target};

/// Flags for size, with every function in its own section, so that the linker takes only what is called. Nothing unwinds through the code,
/// and no path of this machine goes in: it is compiled by relative names, without debugging information.
pub const FLAGS: [&str; 11] = [
    "-Os",
    "-g0",
    "-w",
    "-ffunction-sections",
    "-fdata-sections",
    "-fmerge-all-constants",
    "-fno-exceptions",
    "-fstack-protector-strong",
    "-fno-unwind-tables",
    "-fno-asynchronous-unwind-tables",
    "-fno-sanitize=all",
];

/// Returns the flags by which `zig cc` compiles for `target`.
pub fn target_flags(target: &Target) -> [String; 3] {
    ["-target".to_owned(), target.zig_target.clone(), format!("-mcpu={}", target.zig_cpu)]
}

/// Returns the flags by which `zig cc` links for `target`, without Thumb: zig compiles musl for that, whose assembly is in ARM instructions.
pub fn link_flags(target: &Target) -> [String; 3] {
    target_flags(target).map(|flag| flag.replace("+thumb_mode", ""))
}

/// Unpacks the files of a tarball (`.tar.xz` or `.tar.gz`) whose path begins with one of `wanted`; without the tarball's own top
/// directory.
///
/// # Errors
/// [`base::Error::Io`].
pub fn unpack(tarball: &Path, directory: &Path, wanted: &[&str]) -> Result<()> {
    let file = BufReader::new(fs::File::open(tarball).at("read", tarball)?);
    let is_xz = tarball.extension().is_some_and(|extension| extension == "xz");
    let reader: Box<dyn Read> = if is_xz {
        Box::new(liblzma::read::XzDecoder::new_multi_decoder(file))
    } else {
        Box::new(flate2::read::MultiGzDecoder::new(file))
    };
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().at("read", tarball)? {
        let mut entry = entry.at("read", tarball)?;
        let path = entry.path().at("read", tarball)?.into_owned();
        let inner: PathBuf = path.components().skip(1).collect();
        if entry.header().entry_type().is_file() && wanted.iter().any(|directory| inner.starts_with(directory)) {
            let into = directory.join(&inner);
            fs::create_dir_all(into.parent().unwrap_or(directory)).at("create the directory of", &into)?;
            entry.unpack(&into).at("write", &into)?;
        }
    }
    Ok(())
}

/// Returns zig, ready to be run in `directory`.
///
/// # Errors
/// [`base::Error::Io`] for its directory in the cache.
pub fn zig(tools: &Tools, cache: &Cache, directory: &Path) -> Result<Command> {
    let mut command = base::program::command(&tools.zig);
    command.current_dir(directory);
    super::environment::clean(&mut command);
    super::environment::keep_zig_in(&mut command, cache)?;
    Ok(command)
}

/// Runs a compiler.
///
/// # Errors
/// [`Error::Program`](base::Error::Program) with its last words.
pub fn run(command: &mut Command, action: &str) -> Result<()> {
    let output = program::output(command)?;
    if output.status.success() {
        return Ok(());
    }
    let source = ProgramFailure { said: program::last_words(&output) };
    Err(base::Error::Program { program: action.to_owned(), status: output.status.to_string(), source }.into())
}

/// Does `work` for each of `items`, as many at a time as there are processors; stops at the first error.
///
/// # Errors
/// That error.
pub fn in_parallel<T: Sync>(items: &[T], work: impl Fn(&T) -> Result<()> + Sync) -> Result<()> {
    let queue = Mutex::new(items.iter());
    let failure = Mutex::new(None);
    let lock = |failure: &Mutex<Option<Error>>, error| {
        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(item) = next else { return };
                    if let Err(error) = work(item) {
                        lock(&failure, error);
                        queue.lock().unwrap_or_else(PoisonError::into_inner).by_ref().for_each(drop);
                    }
                }
            });
        }
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    #[test]
    fn work_is_shared_and_stops_at_an_error() {
        let items: Vec<usize> = (0..1000).collect();
        let sum = AtomicUsize::new(0);
        in_parallel(&items, |item| {
            sum.fetch_add(*item, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        assert_eq!(sum.into_inner(), 499_500);

        let count = AtomicUsize::new(0);
        let result = in_parallel(&items, |item| {
            count.fetch_add(1, Ordering::SeqCst);
            if *item == 3 {
                Err(io::Error::other("no")).at("compile", "x")?
            }
            Ok(())
        });
        assert!(result.is_err());
        assert!(count.into_inner() < 1000, "it went on after the error");
    }
}
