//! A directory that nothing can be written to: bound to another place in a mount namespace of this process's own, read-only with all that
//! is mounted below it. A virtiofsd that is started there serves a guest whose root may mount as it likes; the host's kernel says no.

use std::{fs, io, path::Path};

use base::{IoContext, Result};
use nix::sched::{CloneFlags, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags, mount_bind_recursive, mount_change, mount_remount};

/// Places that every system has, one of which the directory is bound to. Nobody but what this process becomes sees it.
const PLACES: [&str; 4] = ["/tmp", "/mnt", "/var", "/usr"];

/// Returns the place that a directory is bound to.
pub fn place() -> &'static str {
    PLACES.into_iter().find(|place| Path::new(place).is_dir()).unwrap_or("/tmp")
}

/// Binds `directory` to [`place`], read-only. To be called while this process has one thread.
///
/// # Errors
/// [`base::Error::Io`]: the kernel does not allow it.
pub fn bind(directory: &Path) -> Result<()> {
    let place = place();
    enter_namespace().at("make a mount namespace for", directory)?;
    let bound = || -> io::Result<()> {
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        mount_bind_recursive(directory, place)?;
        for (target, flags) in below(&fs::read_to_string("/proc/self/mountinfo")?, place) {
            mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY | MountFlags::NODEV | flags, "")?;
        }
        match rustix::fs::statvfs(place)?.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY) {
            true => Ok(()),
            false => Err(io::Error::other("it can still be written to")),
        }
    };
    bound().at("make read-only", directory)
}

/// Enters a mount namespace, which whoever may not mount gets with a user namespace.
fn enter_namespace() -> io::Result<()> {
    let Err(refused) = unshare(CloneFlags::CLONE_NEWNS) else { return Ok(()) };
    let (user, group) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    // The first reason is the one that root wants to know.
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS).map_err(|_| refused)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{user} {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("{group} {group} 1"))
}

/// Returns the mount at `place`, of several the last, and all mounts below it, with the flags that they must keep (proc_pid_mountinfo(5)).
fn below(mountinfo: &str, place: &str) -> Vec<(String, MountFlags)> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (id, parent) = (fields.next()?, fields.next()?);
        let (target, options) = (fields.nth(2)?, fields.next()?);
        Some((id, parent, unescape(target), options))
    });
    let mounts: Vec<_> = mounts.collect();
    let mut ids: Vec<&str> =
        mounts.iter().rev().find(|(.., target, _)| target == place).map(|mount| mount.0).into_iter().collect();
    let mut all = Vec::new();
    // Parents stand before their children, or a look more is taken.
    loop {
        let count = ids.len();
        for (id, parent, ..) in &mounts {
            if ids.contains(parent) && !ids.contains(id) {
                ids.push(id);
            }
        }
        if ids.len() == count {
            break;
        }
    }
    for (id, _, target, options) in mounts {
        if ids.contains(&id) {
            all.push((target, flags(options)));
        }
    }
    all
}

/// Returns the flags that a user namespace does not let go of.
fn flags(options: &str) -> MountFlags {
    options.split(',').fold(MountFlags::empty(), |flags, option| {
        flags
            | match option {
                "nosuid" => MountFlags::NOSUID,
                "noexec" => MountFlags::NOEXEC,
                "noatime" => MountFlags::NOATIME,
                "nodiratime" => MountFlags::NODIRATIME,
                "relatime" => MountFlags::RELATIME,
                _ => MountFlags::empty(),
            }
    })
}

/// Reads a name of the list: spaces and backslashes are octal there.
fn unescape(name: &str) -> String {
    let mut out = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = (*first == b'\\')
            .then(|| str::from_utf8(after.get(..3)?).ok().and_then(|digits| u8::from_str_radix(digits, 8).ok()));
        match octal.flatten() {
            Some(byte) => {
                out.push(byte);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_below_a_place_are_found() {
        let list = "21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 21 0:30 / /tmp rw,nosuid - tmpfs tmpfs rw
41 40 0:31 / /tmp/hidden rw - tmpfs tmpfs rw
60 55 0:33 / /tmp/a\\040b\\134/deep rw,noexec,nosuid - tmpfs tmpfs rw
50 40 8:1 /srv /tmp rw,nodev,noatime - ext4 /dev/sda1 rw
55 50 0:32 / /tmp/a\\040b\\134 ro - tmpfs tmpfs rw
";
        let found = below(list, "/tmp");
        assert_eq!(
            found,
            [
                ("/tmp/a b\\/deep".to_owned(), MountFlags::NOEXEC | MountFlags::NOSUID),
                ("/tmp".to_owned(), MountFlags::NOATIME),
                ("/tmp/a b\\".to_owned(), MountFlags::empty()),
            ]
        );
    }
}
