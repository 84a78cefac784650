//! Extended attributes that an output cannot hold. They are left out of it, and counted for a warning.

use std::collections::BTreeMap;

use base::escape::escape;

use crate::{
    erofs,
    merge::{Attributes, Merge},
    squashfs,
};

/// So many attributes are named in a warning; the others are counted.
const NAMED: usize = 8;

/// A form in which a root is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// An initramfs that brings its own init: an archive has no attributes.
    Archive,
    /// An initramfs whose init sets the attributes that a list beside the archive names.
    Initramfs,
    /// A squashfs image.
    Squashfs,
    /// An EROFS image.
    Erofs,
}

impl Output {
    /// Returns its name in messages.
    fn word(self) -> &'static str {
        match self {
            Self::Archive => "an initramfs with an init of its own",
            Self::Initramfs => "an initramfs",
            Self::Squashfs => "squashfs",
            Self::Erofs => "EROFS",
        }
    }

    /// Returns true where it can hold the attribute `name` of `path`.
    fn keeps(self, path: &[u8], name: &[u8]) -> bool {
        match self {
            Self::Archive => false,
            Self::Initramfs => str::from_utf8(path).is_ok() && str::from_utf8(name).is_ok(),
            Self::Squashfs => squashfs::keeps(name),
            Self::Erofs => erofs::keeps(name),
        }
    }
}

/// Lists the attributes of `merge` that `output` cannot hold: each by its name, with the number of files that have it and the first of
/// them, and the output that holds more. `None` where it holds all.
pub fn describe(merge: &Merge, output: Output) -> Option<String> {
    let none = Attributes::new();
    let of_root = merge.root.as_ref().map_or(&none, |root| &root.xattrs);
    let mut lost: BTreeMap<&[u8], (usize, &[u8])> = BTreeMap::new();
    let all = merge.xattrs.iter().map(|(path, attributes)| (path.as_slice(), attributes));
    for (path, attributes) in std::iter::once((&b"/"[..], of_root)).chain(all) {
        for name in attributes.keys().filter(|name| !output.keeps(path, name)) {
            lost.entry(name).or_insert((0, path)).0 += 1;
        }
    }
    let each = lost.iter().take(NAMED).map(|(name, (count, first))| match count {
        1 => format!("`{}` (of `{}`)", escape(name), escape(first)),
        _ => format!("`{}` (of {count} files, first `{}`)", escape(name), escape(first)),
    });
    let mut list = each.collect::<Vec<_>>().join(", ");
    if lost.len() > NAMED {
        list.push_str(&format!(" and {} more", lost.len() - NAMED));
    }
    let hint = match output == Output::Squashfs && lost.keys().any(|name| erofs::keeps(name)) {
        true => "; use --erofs to keep access control lists",
        false => "",
    };
    (!lost.is_empty())
        .then(|| format!("{} cannot hold these extended attributes: {list}; left out of it{hint}", output.word()))
}

#[cfg(test)]
mod tests {
    use archive::tree::Entry;

    use super::*;
    use crate::merge::RootEntry;

    fn attributes(names: &[&[u8]]) -> Attributes {
        names.iter().map(|name| (name.to_vec(), b"v".to_vec())).collect()
    }

    #[test]
    fn every_output_names_the_attributes_that_it_cannot_hold() {
        let mut merge = Merge::default();
        for output in [Output::Archive, Output::Initramfs, Output::Squashfs, Output::Erofs] {
            assert_eq!(describe(&merge, output), None);
        }
        let held: [&[u8]; 3] = [b"security.capability", b"trusted.a", b"user.a"];
        merge.xattrs.insert(b"bin/ping".to_vec(), attributes(&held));
        for output in [Output::Initramfs, Output::Squashfs, Output::Erofs] {
            assert_eq!(describe(&merge, output), None);
        }
        let list = [b"system.posix_acl_access".as_slice(), b"system.posix_acl_default"];
        merge.root = Some(RootEntry { entry: Entry::directory(0o755), xattrs: attributes(&list) });
        merge.xattrs.insert(b"etc".to_vec(), attributes(&list[..1]));
        merge.xattrs.insert(b"mac".to_vec(), attributes(&[b"com.apple.provenance", b"user.", b"user.\xff"]));
        merge.xattrs.insert(b"\xff".to_vec(), attributes(&[b"user.a"]));
        for (output, words) in [
            (
                Output::Squashfs,
                "squashfs cannot hold these extended attributes: `com.apple.provenance` (of `mac`), `system.posix_acl_access` (of 2 \
                 files, first `/`), `system.posix_acl_default` (of `/`), `user.` (of `mac`), `user.\\xff` (of `mac`); left out of it; \
                 use --erofs to keep access control lists",
            ),
            (
                Output::Erofs,
                "EROFS cannot hold these extended attributes: `com.apple.provenance` (of `mac`), `user.` (of `mac`); left out of it",
            ),
            (
                Output::Initramfs,
                "an initramfs cannot hold these extended attributes: `user.a` (of `\\xff`), `user.\\xff` (of `mac`); left out of it",
            ),
        ] {
            assert_eq!(describe(&merge, output).unwrap(), words);
        }
        let all = describe(&merge, Output::Archive).unwrap();
        assert!(all.contains("`user.a` (of 2 files, first `bin/ping`)"), "{all}");
        let many: Vec<Vec<u8>> = (0..20).map(|number| format!("other.{number:02}").into_bytes()).collect();
        merge.xattrs = [(b"f".to_vec(), many.into_iter().map(|name| (name, Vec::new())).collect())].into();
        merge.root = None;
        let many = describe(&merge, Output::Erofs).unwrap();
        assert!(many.contains("`other.07` (of `f`) and 12 more; left") && !many.contains("other.08"), "{many}");
    }
}
