//! Names of modules: how they are written, and which ones come near to one that does not exist. Pure.

use contract::glob;

/// The suffixes a module file may have.
pub const SUFFIXES: [&str; 4] = [".ko", ".ko.gz", ".ko.xz", ".ko.zst"];

/// The most names that a "did you mean" lists.
const NEAREST: usize = 5;

/// Writes `-` as `_`, but not inside `[…]`: both are the same to the kernel (kmod, modprobe(8): "there is no difference between
/// _ and - in module names").
pub fn normalize(name: &str) -> String {
    let mut class = false;
    name.chars()
        .map(|c| {
            class = c == '[' || (class && c != ']');
            if c == '-' && !class { '_' } else { c }
        })
        .collect()
}

/// Returns the path without the suffix of a module file. `None` where it is not the path of one.
pub fn without_suffix(path: &str) -> Option<&str> {
    SUFFIXES.iter().find_map(|suffix| path.strip_suffix(suffix)).filter(|stem| !stem.is_empty() && !stem.ends_with('/'))
}

/// Returns the kernel's name of the module in a file: `kernel/crypto/crc32c-intel.ko.xz` → `crc32c_intel`.
pub fn of_file(path: &str) -> Option<String> {
    let stem = without_suffix(path)?;
    Some(normalize(stem.rsplit('/').next().unwrap_or(stem)))
}

/// Returns true for a name that can stand in the index of the image, whose fields are separated by spaces and commas: letters, digits
/// and `_`.
pub fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Returns true if the alias `pattern` of a module, a shell pattern, matches `asked`. `-` and `_` are the same outside of `[…]`.
pub fn alias_serves(pattern: &str, asked: &str) -> bool {
    pattern == asked || glob::matches(&normalize(pattern), &normalize(asked))
}

/// Returns the names that come near to `name`, the nearest first: slips of the keyboard, and names that begin with it or hold it.
pub fn nearest<'a>(name: &str, all: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let name = normalize(name);
    let limit = (name.len() / 3).clamp(1, 3);
    let mut near: Vec<(usize, &str)> = all
        .into_iter()
        .filter_map(|candidate| {
            let edits = strsim::osa_distance(&name, candidate);
            if edits <= limit {
                return Some((edits, candidate));
            }
            let part = name.len() >= 3 && candidate.contains(name.as_str());
            let whole = candidate.len() >= 4 && name.starts_with(candidate);
            (part || whole).then_some((limit + edits, candidate))
        })
        .collect();
    near.sort_unstable();
    near.dedup();
    near.into_iter().take(NEAREST).map(|(_, candidate)| candidate.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dashes_are_underscores_outside_classes() {
        assert_eq!(normalize("crc32c-intel"), "crc32c_intel");
        assert_eq!(normalize("usb:v0421p0019d059[2-9]dc*-x"), "usb:v0421p0019d059[2-9]dc*_x");
    }

    #[test]
    fn files_give_names() {
        for (path, name) in [
            ("kernel/crypto/crc32c-intel.ko", Some("crc32c_intel")),
            ("overlay.ko.xz", Some("overlay")),
            ("a/b.ko.zst", Some("b")),
            ("b.ko.gz", Some("b")),
            ("b.ko.bz2", None),
            ("b.o", None),
            (".ko", None),
            ("a/.ko", None),
        ] {
            assert_eq!(of_file(path).as_deref(), name, "{path}");
        }
    }

    #[test]
    fn aliases_are_patterns() {
        assert!(alias_serves("crypto-crc32c", "crypto_crc32c"));
        assert!(alias_serves("pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00"));
        assert!(alias_serves("pci:v00001AF4d*sv*sd*bc*sc*i*", "pci:v00001AF4d*sv*sd*bc*sc*i*"));
        assert!(alias_serves("usb:v0421p0019d059[2-9]dc*", "usb:v0421p0019d059[2-9]dc*"));
        assert!(!alias_serves("fs-ext4", "fs-ext3"));
    }

    #[test]
    fn near_names_are_found() {
        let all = ["squashfs", "ext4", "overlay", "xhci_pci", "xhci_hcd", "vfat", "fat", "nls_ascii"];
        let near = |name| nearest(name, all);
        assert_eq!(near("sqashfs"), ["squashfs"]);
        assert_eq!(near("squash"), ["squashfs"]);
        assert_eq!(near("xhci"), ["xhci_hcd", "xhci_pci"]);
        assert_eq!(near("overlayfs"), ["overlay"]);
        assert_eq!(near("nls-asci"), ["nls_ascii"]);
        assert!(near("zzzzzz").is_empty());
    }
}
