//! The users who may write to a cache: programs in it end up in images, and tools in it are run.

use std::{
    fs::{self, Metadata},
    os::unix::fs::MetadataExt,
    path::Path,
};

use super::Cache;

/// The permission of a directory's group, and of all others, to write to it.
const GROUP: u32 = 0o020;
const OTHERS: u32 = 0o002;

impl Cache {
    /// Returns the reason not to use the cache, and the command that takes it away: another user could write to it, or to a room in it. A
    /// cache that is not there yet is everybody's own.
    pub fn objection(&self) -> Option<(String, String)> {
        let rooms = fs::read_dir(&self.root).into_iter().flatten().filter_map(|room| Some(room.ok()?.path()));
        let user = rustix::process::geteuid().as_raw();
        [self.root.clone()].into_iter().chain(rooms).find_map(|directory| {
            // A room that cannot be looked at is met as an error where it is used.
            let metadata = directory.metadata().ok().filter(Metadata::is_dir)?;
            objection(&directory, (metadata.uid(), metadata.gid(), metadata.mode()), user)
        })
    }
}

/// Returns why `user` cannot trust a directory with this owner, group and mode, and the command that helps. A group with the number of its
/// user is that user's own (Debian's and Fedora's `USERGROUPS_ENAB`), whose umask is 002.
fn objection(directory: &Path, (owner, group, mode): (u32, u32, u32), user: u32) -> Option<(String, String)> {
    let shown = directory.display();
    if owner != user && owner != 0 {
        return Some((format!("{shown} belongs to user {owner}"), format!("chown -R {user} {shown}")));
    }
    let by_group = mode & GROUP != 0 && group != owner;
    (by_group || mode & OTHERS != 0).then(|| {
        let reason = format!("others may write to {shown} (mode {:04o}, group {group})", mode & 0o7777);
        (reason, format!("chmod -R go-w {shown}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_its_user_and_root_may_write_to_it() {
        let path = Path::new("/cache");
        for (owner, group, mode, user, word) in [
            (1000, 1000, 0o40755, 1000, None),
            (1000, 1000, 0o40775, 1000, None),
            (1000, 100, 0o40755, 1000, None),
            (0, 0, 0o40755, 1000, None),
            (1000, 100, 0o40775, 1000, Some("mode 0775, group 100")),
            (1000, 1000, 0o41777, 1000, Some("mode 1777")),
            (0, 0, 0o40777, 0, Some("mode 0777")),
            (1001, 1001, 0o40755, 1000, Some("belongs to user 1001")),
            (1000, 1000, 0o40700, 0, Some("belongs to user 1000")),
        ] {
            let found = objection(path, (owner, group, mode), user);
            assert_eq!(found.is_some(), word.is_some(), "{owner} {mode:o}: {found:?}");
            assert!(word.is_none_or(|word| found.unwrap().0.contains(word)), "{owner} {mode:o}");
        }
    }

    #[test]
    fn a_room_counts_as_well() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::at(directory.path().join("cache"));
        assert_eq!(cache.objection(), None, "not there yet");
        let room = cache.room("tools").unwrap();
        assert_eq!(cache.objection(), None);
        fs::set_permissions(&room, fs::Permissions::from_mode(0o777)).unwrap();
        let (reason, remedy) = cache.objection().unwrap();
        assert!(reason.contains("cache/tools") && remedy.starts_with("chmod -R go-w "), "{reason} {remedy}");
    }
}
