//! The root as the lower layer of an overlay. Overlayfs gives a meaning to some devices and attributes; what a layer of an image has of
//! these is data to the image and would be an order to the appliance, so it does not go into an OS image.

use std::borrow::Cow;

use archive::tree::{Device, Kind};
use base::escape::escape;

use super::merge::Merge;

/// Attributes that overlayfs obeys (kernel, Documentation/filesystems/overlayfs.rst).
const ORDERS: &[u8] = b"trusted.overlay.";
/// The device that hides a name.
const WHITEOUT: Device = Device { major: 0, minor: 0 };

/// Takes away what overlayfs would obey. Returns the root, and what was taken away, for people.
#[must_use]
pub fn tame(merge: &Merge) -> (Cow<'_, Merge>, Vec<String>) {
    let is_order = |name: &Vec<u8>| name.starts_with(ORDERS);
    let devices: Vec<Vec<u8>> = merge
        .tree
        .iter()
        .filter(|node| node.entry.kind == Kind::CharDevice(WHITEOUT))
        .map(|node| node.path.to_vec())
        .collect();
    let ordered: Vec<Vec<u8>> =
        merge.xattrs.iter().filter(|(_, names)| names.keys().any(is_order)).map(|(path, _)| path.clone()).collect();
    let root_is_ordered = merge.root.as_ref().is_some_and(|root| root.xattrs.keys().any(is_order));
    if devices.is_empty() && ordered.is_empty() && !root_is_ordered {
        return (Cow::Borrowed(merge), Vec::new());
    }
    let mut tamed = merge.clone();
    let mut told = Vec::new();
    for path in &devices {
        tamed.tree.remove(path);
        tamed.xattrs.remove(path);
        told.push(format!("`{}` (a device 0:0 hides a name)", escape(path)));
    }
    for path in &ordered {
        if let Some(attributes) = tamed.xattrs.get_mut(path) {
            attributes.retain(|name, _| !is_order(name));
            told.push(format!("attributes {}* of `{}`", escape(ORDERS), escape(path)));
        }
    }
    if let Some(root) = tamed.root.as_mut().filter(|_| root_is_ordered) {
        root.xattrs.retain(|name, _| !is_order(name));
        told.push(format!("attributes {}* of the root", escape(ORDERS)));
    }
    (Cow::Owned(tamed), told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merge::{Attributes, RootEntry};
    use archive::tree::Entry;

    #[test]
    fn orders_to_an_overlay_are_taken_away() {
        let mut merge = Merge::default();
        merge.insert(b"d", Entry::directory(0o755)).unwrap();
        merge.insert(b"null", Entry::char_device(0o666, 1, 3)).unwrap();
        let attributes = |names: &[&str]| -> Attributes {
            names.iter().map(|name| (name.as_bytes().to_vec(), b"y".to_vec())).collect()
        };
        merge.xattrs.insert(b"null".to_vec(), attributes(&["trusted.a", "user.overlay.b"]));
        assert!(matches!(tame(&merge), (Cow::Borrowed(_), told) if told.is_empty()));
        merge.insert(b"d/gone", Entry::char_device(0o600, 0, 0)).unwrap();
        merge.xattrs.insert(b"d".to_vec(), attributes(&["trusted.overlay.opaque", "user.x"]));
        merge.root =
            Some(RootEntry { entry: Entry::directory(0o711), xattrs: attributes(&["trusted.overlay.redirect"]) });
        let (tamed, told) = tame(&merge);
        assert_eq!(told.len(), 3, "{told:?}");
        assert!(tamed.tree.get("d/gone").is_none() && tamed.tree.get("null").is_some());
        assert_eq!(tamed.xattrs[&b"d".to_vec()], attributes(&["user.x"]));
        assert!(tamed.root.as_ref().unwrap().xattrs.is_empty());
        assert!(merge.tree.get("d/gone").is_some(), "an initramfs keeps it");
    }
}
