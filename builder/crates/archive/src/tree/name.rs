//! Rules for the names that an archive can hold, and a name's parents. Pure.

/// A path with its terminating NUL is at most this long; the kernel skips an entry with a longer one without a word
/// (`name_len > PATH_MAX` in `init/initramfs.c`).
pub const PATH_MAX: usize = 4096;

/// The longest component of a path on Linux, in bytes (`include/uapi/linux/limits.h`).
pub const NAME_MAX: usize = 255;

/// Returns the reason why `path` cannot be a name in the tree, or `None`.
pub(super) fn refusal(path: &[u8]) -> Option<&'static str> {
    if path.is_empty() {
        return Some("a name cannot be empty");
    }
    if path.starts_with(b"/") {
        return Some("a name in the tree is relative: leave out the leading `/`");
    }
    if path.contains(&0) {
        return Some("a name cannot hold a NUL byte");
    }
    if path.len() >= PATH_MAX {
        return Some("the path is longer than the 4095 bytes that Linux allows");
    }
    for component in path.split(|&byte| byte == b'/') {
        match component {
            b"" => return Some("a path has no empty parts: leave out doubled and trailing `/`"),
            b"." => return Some("a path has no `.` parts: leave them out"),
            b".." => return Some("a path has no `..` parts: it could leave the tree"),
            _ if component.len() > NAME_MAX => {
                return Some("a part of the path is longer than the 255 bytes that Linux allows");
            }
            _ => {}
        }
    }
    None
}

/// Returns the reason why an initramfs cannot hold `path`, which every filesystem can, or `None`.
pub(super) fn archive_refusal(path: &[u8]) -> Option<&'static str> {
    (path == b"TRAILER!!!")
        .then_some("`TRAILER!!!` marks the end of an archive: the kernel drops a file of that name; rename it")
}

/// Returns the directory that holds `path`, `None` at the top.
pub(super) fn parent(path: &[u8]) -> Option<&[u8]> {
    path.iter().rposition(|&byte| byte == b'/').map(|slash| &path[..slash])
}

/// Returns all directories above `path`, the topmost first.
pub(super) fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(slash, _)| &path[..slash])
}

#[cfg(test)]
mod tests {
    use super::{archive_refusal, parent, parents, refusal};

    #[test]
    fn names_that_are_fine() {
        let longest = vec![b'x'; 255];
        let names: [&[u8]; 7] =
            [b"init", b"a/b/c", b"...", b"a/..b/.c", b"new\nline", b"\xff\xfe/\x80", b"dir/TRAILER!!!"];
        for name in names.into_iter().chain([longest.as_slice()]) {
            assert_eq!((refusal(name), archive_refusal(name)), (None, None), "{name:?}");
        }
    }

    #[test]
    fn names_that_are_refused_say_why() {
        let (long_part, long_path) = (vec![b'x'; 256], b"abc/".repeat(1024));
        let cases: [(&[u8], &str); 11] = [
            (b"", "empty"),
            (b"/init", "relative"),
            (b"a\0b", "NUL"),
            (b"a//b", "empty parts"),
            (b"a/", "empty parts"),
            (b".", "`.`"),
            (b"./a", "`.`"),
            (b"..", "`..`"),
            (b"a/../b", "`..`"),
            (&long_part, "255"),
            (&long_path, "4095"),
        ];
        for (name, part) in cases {
            let reason = refusal(name).unwrap_or_else(|| panic!("{name:?} was taken"));
            assert!(reason.contains(part), "{name:?}: {reason}");
        }
        assert!(refusal(b"TRAILER!!!").is_none() && archive_refusal(b"TRAILER!!!").is_some());
    }

    #[test]
    fn parents_from_the_top() {
        assert_eq!(parent(b"a/b/c"), Some(&b"a/b"[..]));
        assert_eq!(parent(b"a"), None);
        assert_eq!(parents(b"a/b/c").collect::<Vec<_>>(), [&b"a"[..], b"a/b"]);
        assert_eq!(parents(b"a").count(), 0);
    }
}
