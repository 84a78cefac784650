//! The cache on a real disk.

use super::*;

fn cache() -> (tempfile::TempDir, Cache) {
    let directory = tempfile::tempdir().unwrap();
    let cache = Cache::at(directory.path());
    (directory, cache)
}

fn make(cache: &Cache, check: Check, text: &str) -> Result<(PathBuf, bool)> {
    let mut made = false;
    let entry = cache.entry("room", "key", check, |directory| {
        made = true;
        fs::create_dir(directory.join("sub")).unwrap();
        fs::write(directory.join("sub/file"), text).unwrap();
        std::os::unix::fs::symlink("file", directory.join("sub/link")).unwrap();
        Ok(())
    })?;
    Ok((entry, made))
}

#[test]
fn an_entry_is_made_once_and_again_when_it_is_broken() {
    type Break = fn(&Path);
    let breaks: [(Check, Break); 5] = [
        (Check::Digests, |entry| fs::write(entry.join("sub/file"), "wrong").unwrap()),
        (Check::Sizes, |entry| fs::write(entry.join("sub/file"), "longer than it was").unwrap()),
        (Check::Sizes, |entry| fs::remove_file(entry.join("sub/link")).unwrap()),
        (Check::Sizes, |entry| fs::remove_file(entry.join(LIST)).unwrap()),
        (Check::Sizes, |entry| fs::write(entry.join(LIST), "{\"files\"").unwrap()),
    ];
    for (number, (check, break_it)) in breaks.into_iter().enumerate() {
        let (_directory, cache) = cache();
        let (entry, made) = make(&cache, check, "right").unwrap();
        assert!(made);
        assert!(!make(&cache, check, "right").unwrap().1, "{number}: made twice");
        break_it(&entry);
        assert!(make(&cache, check, "right").unwrap().1, "{number}: the damage was not noticed");
        assert_eq!(fs::read(entry.join("sub/link")).unwrap(), b"right");
    }
}

#[test]
fn a_failure_leaves_nothing_and_a_killed_build_is_cleared_away() {
    let (directory, cache) = cache();
    let failed = cache.entry("room", "key", Check::Sizes, |directory| {
        fs::write(directory.join("half"), "").unwrap();
        Err(io::Error::other("no")).at("make", directory)
    });
    assert!(failed.is_err());
    assert!(cache.find("room", "key", Check::Sizes).is_none());
    assert!(!directory.path().join("room/.key.part").exists());
    // As if a build had been killed here.
    fs::create_dir_all(directory.path().join("room/.key.part/half")).unwrap();
    let (entry, _) = make(&cache, Check::Sizes, "right").unwrap();
    assert!(!entry.join("half").exists());
    let names: Vec<_> = fs::read_dir(directory.path().join("room")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["key"], "something was left beside the entry");
}

#[test]
fn the_entries_used_last_are_kept() {
    let (_directory, cache) = cache();
    for key in ["a-1", "a-2", "a-3", "b-1"] {
        let entry = cache.entry("room", key, Check::Sizes, |_| Ok::<_, Error>(())).unwrap();
        let list = File::options().append(true).open(entry.join(LIST)).unwrap();
        let day = u64::from(key.as_bytes()[2]) * 86_400;
        list.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(day)).unwrap();
    }
    cache.touch(&cache.find("room", "a-1", Check::Sizes).unwrap());
    cache.prune("room", "a-", 2).unwrap();
    let left: Vec<&str> = ["a-1", "a-2", "a-3", "b-1"]
        .into_iter()
        .filter(|key| cache.find("room", key, Check::Sizes).is_some())
        .collect();
    assert_eq!(left, ["a-1", "a-3", "b-1"]);
}

#[test]
fn a_room_is_shrunk_by_what_was_used_longest_ago() {
    let (directory, cache) = cache();
    for (key, hours) in [("a", 3), ("b", 1), ("c", 2), ("d", 4)] {
        let entry = cache
            .entry("room", key, Check::Sizes, |directory| {
                fs::write(directory.join("f"), [0; 1000]).at("write", directory)
            })
            .unwrap();
        let list = File::options().append(true).open(entry.join(LIST)).unwrap();
        list.set_modified(SystemTime::now() - Duration::from_secs(hours * 3600)).unwrap();
    }
    fs::create_dir(directory.path().join("room/.e.part")).unwrap();
    let left = || ["a", "b", "c", "d"].into_iter().filter(|key| directory.path().join("room").join(key).exists());
    let reading = cache.reading("room").unwrap();
    assert_eq!(cache.shrink("room", 0, Duration::ZERO).unwrap(), None, "it was shrunk under a reader");
    drop(reading);
    let each = size(&directory.path().join("room/a"));
    let shrunk = cache.shrink("room", 3 * each, Duration::ZERO).unwrap().unwrap();
    assert_eq!((shrunk.entries, shrunk.bytes, shrunk.left), (1, each, 3 * each));
    assert!(left().eq(["a", "b", "c"]) && !directory.path().join("room/.e.part").exists());
    // What was used within the last two and a half hours stays.
    assert_eq!(cache.shrink("room", 0, Duration::from_secs(9000)).unwrap().unwrap().entries, 1);
    assert!(left().eq(["b", "c"]));
    assert_eq!(cache.shrink("room", 0, Duration::ZERO).unwrap().unwrap().left, 0);
    assert!(left().next().is_none());
    assert_eq!(cache.shrink("none", 0, Duration::ZERO).unwrap(), Some(Shrunk::default()));
}

#[test]
fn two_at_once_make_it_once() {
    let (_directory, cache) = cache();
    let count = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                cache.entry("room", "key", Check::Sizes, |_| {
                    count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    Ok::<_, Error>(())
                })
            });
        }
    });
    assert_eq!(count.into_inner(), 1);
}
