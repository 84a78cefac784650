//! Files on media, whatever stands under their names: small ones are read whole or not at all, written so that a power cut leaves the one
//! before or the one after, and whatever is in the way is removed. How a path is resolved the kernel module decides. Errors are the
//! kernel's.

use std::io;

use crate::{
    error::{IoContext, Result},
    kernel::{Action, Limits, Machine, Mount, exists},
    progress::Meter,
};
use contract::{inventory::Kind, names};

/// Names that are deleted at a time; between two such steps a boot that waits for room looks whether there is enough.
pub const BATCH: usize = 256;

/// Reads a regular file of at most `limit` bytes as text; what is longer is cut there. None where there is no such file.
///
/// # Errors
/// It is not a regular file, or cannot be read.
pub fn read_text(kernel: &mut dyn Machine, path: &str, limit: usize) -> Result<Option<String>> {
    match kernel.stat(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at("read", path),
        Ok(stat) if stat.kind != Kind::File => return Err(not_a_file()).at("read", path),
        Ok(_) => {}
    }
    let bytes = kernel.read(path, 0, limit).at("read", path)?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

fn not_a_file() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")
}

/// Writes `directory/name` so that a power cut leaves what was there before or all of `bytes`, and makes it durable.
///
/// # Errors
/// The kernel's. Then what was there before still is.
pub fn replace(kernel: &mut dyn Machine, directory: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let path = format!("{directory}/{name}");
    let new = format!("{directory}/{}", names::SCRATCH);
    clear(kernel, &new)?;
    kernel.write(&new, bytes).at("write", &new)?;
    kernel.sync(&new).at("sync", &new)?;
    // A file takes the place of anything but a directory.
    if kernel.stat(&path).is_ok_and(|stat| stat.kind == Kind::Directory) {
        clear(kernel, &path)?;
    }
    kernel.rename(&new, &path).at("rename", &new)?;
    kernel.sync(directory).at("sync", directory)
}

/// Removes whatever stands at `path`: a file, a link, a device, a directory with all that is in it. Nothing there is fine.
pub fn clear(kernel: &mut dyn Machine, path: &str) -> Result<()> {
    match kernel.stat(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(stat) if stat.kind == Kind::Directory => {
            empty(kernel, path)?;
            kernel.remove(path, Kind::Directory).at("remove", path)
        }
        Ok(stat) => kernel.remove(path, stat.kind).at("remove", path),
        Err(error) => Err(error).at("read", path),
    }
}

/// Deletes all that is below a directory, and returns how many names could not be deleted.
///
/// # Errors
/// It cannot be opened.
pub fn empty(kernel: &mut dyn Machine, directory: &str) -> Result<usize> {
    let mut meter = Meter::new("deleting", None);
    loop {
        let mut pace = |step, now| meter.count(step, now);
        let outcome = kernel.remove_below(directory, BATCH, &mut pace).at("empty", directory)?;
        if outcome.removed < BATCH {
            return Ok(outcome.refused);
        }
    }
}

/// Removes what stands at `path` unless it is a directory, and makes a directory there.
pub fn make_dir(kernel: &mut dyn Machine, path: &str, mode: u32) -> Result<()> {
    match kernel.stat(path) {
        Ok(stat) if stat.kind == Kind::Directory => return Ok(()),
        Ok(_) => clear(kernel, path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error).at("read", path),
    }
    kernel.make_dir(path, mode).at("create", path)
}

/// Makes a mount writable or read-only.
pub fn remount(kernel: &mut dyn Machine, target: &str, read_only: bool) -> io::Result<()> {
    let is_partition = target != names::IMAGE_DIR && names::MEDIA.contains(&target);
    let limits = if is_partition { Limits::Medium } else { Limits::None };
    kernel.mount(&Mount { action: Action::Remount, target, read_only, limits, ..Mount::default() })
}

/// Makes a mount writable.
pub fn make_writable(kernel: &mut dyn Machine, target: &str) -> Result<()> {
    remount(kernel, target, false).at("make writable", target)
}

/// Makes a mount read-only.
pub fn make_read_only(kernel: &mut dyn Machine, target: &str) -> Result<()> {
    remount(kernel, target, true).at("make read-only", target)
}

/// Flushes a file's data, or a directory's entries, to disk.
pub fn sync(kernel: &mut dyn Machine, path: &str) -> Result<()> {
    kernel.sync(path).at("sync", path)
}

/// The file that an image's name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolved {
    /// This path: a regular file, `path` itself or the sibling that it links to.
    File(String),
    /// No file: why not, as the end of a sentence that begins with the name.
    Refused(String),
}

/// Resolves the name of an image. A symbolic link to another name in the same directory is a common layout and followed; any other link,
/// and whatever is no regular file, is refused.
///
/// # Errors
/// There is nothing of that name, or it cannot be asked.
pub fn resolve(kernel: &mut dyn Machine, path: &str) -> Result<Resolved> {
    let refused = |what: &str| Ok(Resolved::Refused(what.into()));
    match kernel.stat(path).at("read", path)?.kind {
        Kind::File => Ok(Resolved::File(path.into())),
        Kind::Directory => refused("is a directory"),
        Kind::Other => refused("is a device, a FIFO or a socket"),
        Kind::Symlink => {
            let target = kernel.read_link(path).at("read", path)?;
            let beside = path.rsplit_once('/').map_or("", |(directory, _)| directory);
            let sibling = format!("{beside}/{target}");
            if target.contains('/') || matches!(target.as_str(), "" | "." | "..") {
                return Ok(Resolved::Refused(format!("is a symbolic link to {target}, out of its directory")));
            }
            match kernel.stat(&sibling) {
                Ok(stat) if stat.kind == Kind::File => Ok(Resolved::File(sibling)),
                Ok(_) => Ok(Resolved::Refused(format!("is a symbolic link to {target}, which is not a file"))),
                Err(_) => Ok(Resolved::Refused(format!("is a symbolic link to {target}, which is not there"))),
            }
        }
    }
}

/// Removes the image at `path`. If it is a link to a file beside it, that goes as well, unless the image at `kept` is the same file.
pub fn remove_image(kernel: &mut dyn Machine, path: &str, kept: &str) -> Result<()> {
    let target = match resolve(kernel, path) {
        Ok(Resolved::File(target)) if target != path => Some(target),
        _ => None,
    };
    clear(kernel, path)?;
    match target {
        Some(target)
            if exists(kernel, kept)
                && !matches!(resolve(kernel, kept), Ok(Resolved::File(other)) if other == target) =>
        {
            clear(kernel, &target)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::recorder::{Node, Recorder};

    #[test]
    fn an_image_may_be_a_link_to_its_sibling() {
        let link = |target: &str| Node::Symlink(target.to_string());
        let mut kernel = Recorder::default();
        for (path, node) in [
            ("d", Node::Directory),
            ("d/plain", Node::file("x", 0o644)),
            ("d/near", link("plain")),
            ("d/far", link("../plain")),
            ("d/absolute", link("/dev/vda")),
            ("d/up", link("..")),
            ("d/chain", link("near")),
            ("d/gone", link("nothing")),
            ("d/directory", Node::Directory),
        ] {
            kernel.files.insert(path.to_string(), node);
        }
        let mut outcome = |name: &str| match resolve(&mut kernel, &format!("/d/{name}")) {
            Ok(Resolved::File(path)) => path,
            Ok(Resolved::Refused(why)) => why,
            Err(error) => error.to_string(),
        };
        assert_eq!(outcome("plain"), "/d/plain");
        assert_eq!(outcome("near"), "/d/plain");
        assert_eq!(outcome("far"), "is a symbolic link to ../plain, out of its directory");
        assert_eq!(outcome("absolute"), "is a symbolic link to /dev/vda, out of its directory");
        assert_eq!(outcome("up"), "is a symbolic link to .., out of its directory");
        assert_eq!(outcome("chain"), "is a symbolic link to near, which is not a file");
        assert_eq!(outcome("gone"), "is a symbolic link to nothing, which is not there");
        assert_eq!(outcome("directory"), "is a directory");
        assert_eq!(outcome("none"), "cannot read /d/none");
    }

    #[test]
    fn the_target_of_a_link_goes_with_it_unless_it_is_in_use() {
        let mut kernel = Recorder::default();
        kernel.files.insert("d".into(), Node::Directory);
        for (path, target) in [("d/old", "v1"), ("d/new", "v2"), ("d/same", "v2")] {
            kernel.files.insert(path.to_string(), Node::Symlink(target.into()));
        }
        for path in ["d/v1", "d/v2"] {
            kernel.files.insert(path.to_string(), Node::file(path, 0o644));
        }
        remove_image(&mut kernel, "/d/same", "/d/new").unwrap();
        remove_image(&mut kernel, "/d/old", "/d/new").unwrap();
        let left: Vec<&String> = kernel.files.keys().collect();
        assert_eq!(left, ["d", "d/new", "d/v2"]);
    }
}
