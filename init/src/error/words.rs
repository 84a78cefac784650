//! The words of the card of each error: what was wanted, what was seen, what to try next.

use contract::{
    errno::{
        EACCES, EBADMSG, EBUSY, EDQUOT, EIO, EMFILE, ENFILE, ENODEV, ENOEXEC, ENOMEM, ENOSPC, ENXIO, EPERM, EROFS,
        ESRCH, EUCLEAN,
    },
    failure::{Mounted, Role},
    filesystem,
    names::{self},
    tag::{Volume, near},
    text::Size,
};

use super::Error;

impl Error {
    /// Returns the words of the card: wanted, seen, try next.
    pub(super) fn words(&self) -> (String, Vec<String>, String) {
        let said = || vec![self.with_cause()];
        match self {
            Self::Parameter { name, value, wanted } => (
                format!("{name}={wanted}"),
                vec![format!("{name}={value}")],
                format!("correct {name} in the boot loader's command line"),
            ),
            Self::PartitionMissing { role, tag, waited, seen } => (
                format!("the {} partition, {tag}, within {} ms", role.name(), waited.as_millis()),
                near(seen, tag).into_iter().chain(listed(seen, "no block device at all")).collect(),
                if seen.is_empty() {
                    "check the disk and its cable, and that the disk's driver is built into the kernel or baked into \
                     this image (build --modules)"
                        .into()
                } else {
                    // A label is in the superblock; what has none may have lost it.
                    let is_damaged = |volume: &Volume| volume.kind.is_none() && volume.name != volume.disk;
                    let repair = if seen.iter().any(is_damaged) {
                        ", or repair the one without a filesystem (e2fsck)"
                    } else {
                        ""
                    };
                    match role {
                        Role::Overlay => {
                            format!("label the writable partition ({tag}){repair}, or boot once with rd.overlay=tmpfs")
                        }
                        _ => format!("label the partition ({tag}){repair}, or name it with rd.{}=", role.name()),
                    }
                },
            ),
            Self::PartitionAmbiguous { role, tag, found } => (
                format!("one {} partition, {tag}", role.name()),
                listed(found, ""),
                format!(
                    "remove one of the disks, or name the partition with rd.{}=UUID=X or a path below /dev",
                    role.name()
                ),
            ),
            Self::FilesystemUnsupported { filesystem, looked, kernel } => (
                format!("{filesystem} in kernel {kernel}, built in or as a module"),
                std::iter::once("it is not in /proc/filesystems".to_string()).chain(looked.iter().cloned()).collect(),
                if looked.iter().any(|line| line.starts_with(names::FORBIDDEN)) {
                    format!("take {filesystem} off the list of forbidden modules on the command line")
                } else {
                    format!("build this initramfs with --modules {filesystem}, from the modules of kernel {kernel}")
                },
            ),
            Self::Mount { what, device, filesystem, source } => (
                format!("{device} mounted as {filesystem}"),
                said(),
                mount_remedy(*what, device, filesystem, source.raw_os_error()),
            ),
            Self::NotFilesystem { what, device, content } => (
                format!("a filesystem on {device} for {}", what.name()),
                vec![format!("{device} is {content}, and nothing in this initramfs opens it")],
                format!("put a filesystem on {device} (deletes what it holds), or name another partition with rd.{}=", what.name()),
            ),
            Self::NotWritableLayer { device, .. } => (
                format!("a filesystem on {device} that can be the writable layer"),
                said(),
                format!(
                    "make an ext4 filesystem there (mke2fs -t ext4 -L overlay {device}), which deletes all that it holds; until \
                     then boot with rd.overlay=tmpfs"
                ),
            ),
            Self::ImageMissing { name, device, files } => (
                format!("{name} on {device}"),
                if files.is_empty() { vec!["the partition is empty".into()] } else { files.clone() },
                format!("copy the image to {device} as {name}, or name another one with rd.image="),
            ),
            Self::ImageNotFile { path, why } => (
                format!("{path}, a regular file or a link to one beside it"),
                vec![format!("it {why}")],
                "copy the image itself to this name".into(),
            ),
            Self::Unusable { role, device, .. } => (
                format!("the {} partition, {device}, usable", role.name()),
                said(),
                match self.number() {
                    Some(ENOSPC | EDQUOT) => format!(
                        "{device} is full of what must be kept: delete from its persistent/, make it larger, or boot with \
                         rd.overlay=tmpfs"
                    ),
                    number => mount_remedy((*role).into(), device, "ext4", number),
                },
            ),
            Self::ImageUnknown { path, size } => (
                "a squashfs or EROFS image".into(),
                vec![format!("{path}, {}, has the superblock of neither", Size(*size))],
                match size {
                    0 => "it is empty: copy the image again",
                    _ => "make the image with mksquashfs or mkfs.erofs and copy it again",
                }
                .into(),
            ),
            Self::ImageTruncated { path, wanted, size } => (
                format!("an image of {wanted} bytes, as its superblock says"),
                vec![format!("{path} has {size} bytes")],
                "copy the image again and compare its digest".into(),
            ),
            Self::ImageUnpadded { path, size, hidden } => (
                "an image of whole sectors of 512 bytes".into(),
                vec![format!("{path} has {size} bytes, and a loop device does not show the last {hidden}")],
                "make the image without -nopad, or lengthen it (truncate -s %4096)".into(),
            ),
            Self::ImageUntrusted { path, reason } => (
                "an image that a key in this initramfs verifies".into(),
                vec![format!("{path}: {reason}")],
                if reason.contains(names::WRONG_SIGNATURE) {
                    "the image is damaged, or was changed after it was signed: deliver a good one with its .minisig on newimg"
                } else {
                    "sign the image (minisign -S -H) with one of these keys and deliver it with its .minisig on newimg"
                }
                .into(),
            ),
            #[cfg(feature = "virtiofs")]
            Self::TagMissing { tag, waited, seen } => (
                format!("a directory shared as {tag}, within {} ms", waited.as_millis()),
                match seen.as_slice() {
                    [] => vec!["no virtiofs device at all".into()],
                    tags => tags.iter().map(|tag| format!("there is {tag}")).collect(),
                },
                match seen.is_empty() {
                    true => {
                        "give the machine a vhost-user-fs device, and this image the module of its bus (virtio_pci)"
                            .into()
                    }
                    false => {
                        format!("share the directory as {tag}, or name another one with rootfs=, mount= or mount-ro=")
                    }
                },
            ),
            #[cfg(feature = "virtiofs")]
            Self::MountPointMissing { absent } => (
                "/dev, /proc, /sys and /run in the root".into(),
                absent.iter().map(|directory| format!("there is no {directory}")).collect(),
                "make these directories in the root, or boot with rw or with rd.overlay=tmpfs".into(),
            ),
            Self::ModuleLoad { path, .. } => (
                format!("module {path} loaded"),
                said(),
                "copy the whole module from the running kernel's package".into(),
            ),
            Self::ModuleKernel { path, module, kernel } => (
                format!("a module for kernel {kernel}"),
                vec![format!("{path} is for kernel {module}")],
                "build the initramfs, or fill the partition, from the modules of the kernel that boots".into(),
            ),
            Self::ModuleUntrusted { path, device, reason } => (
                "a module that a key in this initramfs has signed".into(),
                vec![format!("{path} on boot, {device}: {reason}")],
                format!(
                    "sign the module with one of these keys (minisign -S -H) and put {path}.minisig beside it on boot, or bake \
                     the module in (build --modules)"
                ),
            ),
            Self::Loop { path, .. } => (
                format!("{path} on a loop device"),
                said(),
                "the kernel needs CONFIG_BLK_DEV_LOOP, built in or baked into this image (build --modules loop)".into(),
            ),
            Self::RootUnreadable { path, source } => (
                format!("{path} in the new root, readable"),
                said(),
                match source.raw_os_error() {
                    Some(ENOMEM | EMFILE | ENFILE) => io_remedy(self.number()),
                    Some(ENXIO | ENODEV) => "check the disk, its cable and its power: it is gone",
                    _ => {
                        "the image is damaged, or the disk that it is on fails: put a good image in place (on newimg); if \
                         that fails as well, replace the disk"
                    }
                }
                .into(),
            ),
            Self::InitMissing { path, reason, found } => (
                format!("{path} in the new root"),
                std::iter::once(reason.clone())
                    .chain(found.iter().map(|path| format!("there is {path}")))
                    .chain(found.is_empty().then(|| "none of the usual ones either (/lib/systemd/systemd, /bin/sh)".into()))
                    .collect(),
                match found.first() {
                    Some(there) => format!("boot with init={there}"),
                    None => "put an image in place that holds an operating system".into(),
                },
            ),
            Self::InitUnusable { path, reason } => (
                format!("{path}, executable"),
                vec![reason.clone()],
                "correct the root (a new image on newimg), or boot with another init=".into(),
            ),
            Self::Exec { path, source } => (
                format!("{path} running as PID 1"),
                said(),
                match source.raw_os_error() {
                    Some(ENOEXEC) => "put an image for this machine's processor in place (on newimg)",
                    Some(EACCES | EPERM) => "put an image in place whose init may be executed, or boot with another init=",
                    Some(ENOMEM) => io_remedy(self.number()),
                    _ => "the image is damaged: put a good one in place (on newimg), or boot with another init=",
                }
                .into(),
            ),
            #[cfg(feature = "ram")]
            Self::Workload(fault) => fault.words(),
            Self::Io { action, path, .. } => (format!("to {action} {path}"), said(), io_remedy(self.number()).into()),
        }
    }
}

/// Returns the next thing to try where the kernel refused something that is on no partition, by its reason.
fn io_remedy(number: Option<i32>) -> &'static str {
    match number {
        Some(ENOMEM | ENOSPC) => "the machine has too little memory: give it more, or make the initramfs smaller",
        Some(EIO) => "a disk or the memory fails: replace the disk, test the memory",
        Some(EMFILE | ENFILE) => "the kernel has too many files open: look for a module that keeps them",
        _ => "boot the kernel that this initramfs was built for; its log says what it refused",
    }
}

/// Returns the next thing to try where `device` cannot be used as `what`, by the kernel's reason.
fn mount_remedy(what: Mounted, device: &str, filesystem: &str, number: Option<i32>) -> String {
    let otherwise = if what == Mounted::Overlay { "; until then boot with rd.overlay=tmpfs" } else { "" };
    match (number, what) {
        (Some(EIO | EUCLEAN | EBADMSG), Mounted::Image) => {
            "put a good image in place (on newimg); if that cannot be read either, replace the disk".into()
        }
        (Some(EIO), _) => format!("{device} fails: replace the disk{otherwise}"),
        (Some(ENXIO), _) => format!("{device} is gone: check the disk, its cable and its power{otherwise}"),
        (Some(ENOMEM), _) => "the machine has too little memory: give it more, or load fewer modules".into(),
        (Some(EBUSY), _) => {
            format!("{device} is in use by something else, such as a RAID or a second mount{otherwise}")
        }
        (Some(EMFILE | ENFILE), _) => io_remedy(number).into(),
        (_, Mounted::Image) => {
            "put a good image in place (on newimg), or boot the kernel the image was made for".into()
        }
        // Kernel, fs/quota/dquot.c: no module for the format of the quotas.
        (Some(ESRCH), Mounted::Img | Mounted::Overlay) => format!(
            "{device} has quotas: build this initramfs with --modules quota_v2, or turn them off (tune2fs -O ^quota){otherwise}"
        ),
        (Some(EROFS | EACCES), _) => {
            format!("{device} cannot be written to: it is write-protected, or damaged; check it (e2fsck){otherwise}")
        }
        (_, Mounted::Api) => "build the kernel with devtmpfs, proc, sysfs and tmpfs".into(),
        (_, Mounted::Root) => "put an ext4 filesystem on the overlay partition, or boot with rd.overlay=tmpfs".into(),
        (_, Mounted::Virtiofs) => "see virtiofsd's messages on the host".into(),
        (Some(EUCLEAN | EBADMSG), _) => {
            let check = filesystem::checker(filesystem).unwrap_or("its checker");
            format!("{device} is damaged: repair it with {check} {device} from another system{otherwise}")
        }
        _ => match filesystem::checker(filesystem) {
            Some(check) => format!("check it from another system with {check} {device}{otherwise}"),
            None => format!("check the {filesystem} filesystem on {device} from another system{otherwise}"),
        },
    }
}

fn listed(volumes: &[Volume], none: &str) -> Vec<String> {
    if volumes.is_empty() { vec![none.into()] } else { volumes.iter().map(Volume::to_string).collect() }
}
