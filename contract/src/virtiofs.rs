//! Names of the boot from a directory of the host (virtiofs).

/// Bytes of the longest tag (virtio 1.2, 5.11.4: the field has 36, and no NUL where the tag fills them).
pub const TAG_MAX: usize = 36;
/// The tag of the root where none is named.
pub const ROOT_TAG: &str = "rootfs";
/// The program that runs where `init=` does not say otherwise.
pub const INIT: &str = "/bin/sh";

/// Parameters of this boot mode that the kernel does not know: it puts them into init's environment, and no program is to inherit them.
pub const ENVIRONMENT: [&[u8]; 3] = [b"rootfs", b"mount", b"mount-ro"];

/// Returns true if `tag` can be a tag and the name of a directory.
pub fn is_tag(tag: &str) -> bool {
    !tag.is_empty() && tag.len() <= TAG_MAX && !tag.contains(['/', '\0']) && tag != "." && tag != ".."
}
