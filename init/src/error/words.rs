//! The words of the card of each error: what was wanted, what was seen, what to try next.

use contract::{
    errno::{
        EACCES, EBADMSG, EBUSY, EDQUOT, EIO, EMFILE, ENFILE, ENODEV, ENOEXEC, ENOMEM, ENOSPC, ENXIO, EPERM, EROFS,
        ESRCH, EUCLEAN,
    },
    failure::{Mounted, Role},
    filesystem, names,
    tag::{Tag, Volume, near},
    text::Size,
};

use super::Error;

impl Error {
    /// Returns what was wanted.
    pub(super) fn wanted(&self) -> String {
        match self {
            Self::Parameter { name, wanted, .. } => format!("{name}={wanted}"),
            Self::PartitionMissing { role, tag, waited, .. } => {
                format!("the {} partition, {tag}, within {} ms", role.name(), waited.as_millis())
            }
            Self::PartitionAmbiguous { role, tag, .. } => format!("one {} partition, {tag}", role.name()),
            Self::FilesystemUnsupported { filesystem, kernel, .. } => {
                format!("{filesystem} in kernel {kernel}, built in or as a module")
            }
            Self::Mount { device, filesystem, .. } => format!("{device} mounted as {filesystem}"),
            Self::NotFilesystem { what, device, .. } => format!("a filesystem on {device} for {}", what.name()),
            Self::NotWritableLayer { device, .. } => format!("a filesystem on {device} that can be the writable layer"),
            Self::ImageMissing { name, device, .. } => format!("{name} on {device}"),
            Self::ImageNotFile { path, .. } => format!("{path}, a regular file or a link to one beside it"),
            Self::Unusable { role, device, .. } => format!("the {} partition, {device}, usable", role.name()),
            Self::ImageUnknown { .. } => "a squashfs or EROFS image".into(),
            Self::ImageTruncated { wanted, .. } => format!("an image of {wanted} bytes, as its superblock says"),
            Self::ImageUnpadded { .. } => "an image of whole sectors of 512 bytes".into(),
            Self::ImageUntrusted { .. } => "an image that a key in this initramfs verifies".into(),
            #[cfg(feature = "virtiofs")]
            Self::TagMissing { tag, waited, .. } => {
                format!("a directory shared as {tag}, within {} ms", waited.as_millis())
            }
            #[cfg(feature = "virtiofs")]
            Self::MountPointMissing { .. } => "/dev, /proc, /sys and /run in the root".into(),
            Self::ModuleLoad { path, .. } => format!("module {path} loaded"),
            Self::ModuleKernel { kernel, .. } => format!("a module for kernel {kernel}"),
            Self::ModuleUntrusted { .. } => "a module that a key in this initramfs has signed".into(),
            Self::Loop { path, .. } => format!("{path} on a loop device"),
            Self::RootUnreadable { path, .. } => format!("{path} in the new root, readable"),
            Self::InitMissing { path, .. } => format!("{path} in the new root"),
            Self::InitUnusable { path, .. } => format!("{path}, executable"),
            Self::Exec { path, .. } => format!("{path} running as PID 1"),
            #[cfg(feature = "ram")]
            Self::Workload(fault) => fault.words().0,
            Self::Io { action, path, .. } => format!("to {action} {path}"),
        }
    }

    /// Returns what was seen instead, a line each.
    pub(super) fn seen(&self) -> Vec<String> {
        match self {
            Self::Parameter { name, value, .. } => vec![format!("{name}={value}")],
            Self::PartitionMissing { tag, seen, .. } => {
                near(seen, tag).into_iter().chain(listed(seen, "no block device at all")).collect()
            }
            Self::PartitionAmbiguous { found, .. } => listed(found, ""),
            Self::FilesystemUnsupported { looked, .. } => {
                std::iter::once("it is not in /proc/filesystems".to_string()).chain(looked.iter().cloned()).collect()
            }
            Self::NotFilesystem { device, content, .. } => {
                vec![format!("{device} is {content}, and nothing in this initramfs opens it")]
            }
            Self::ImageMissing { files, .. } if files.is_empty() => vec!["the partition is empty".into()],
            Self::ImageMissing { files, .. } => files.clone(),
            Self::ImageNotFile { why, .. } => vec![format!("it {why}")],
            Self::ImageUnknown { path, size } => {
                vec![format!("{path}, {}, has the superblock of neither", Size(*size))]
            }
            Self::ImageTruncated { path, size, .. } => vec![format!("{path} has {size} bytes")],
            Self::ImageUnpadded { path, size, hidden } => {
                vec![format!("{path} has {size} bytes, and a loop device does not show the last {hidden}")]
            }
            Self::ImageUntrusted { path, reason } => vec![format!("{path}: {reason}")],
            #[cfg(feature = "virtiofs")]
            Self::TagMissing { seen, .. } if seen.is_empty() => vec!["no virtiofs device at all".into()],
            #[cfg(feature = "virtiofs")]
            Self::TagMissing { seen, .. } => seen.iter().map(|tag| format!("there is {tag}")).collect(),
            #[cfg(feature = "virtiofs")]
            Self::MountPointMissing { absent } => {
                absent.iter().map(|directory| format!("there is no {directory}")).collect()
            }
            Self::ModuleKernel { path, module, .. } => vec![format!("{path} is for kernel {module}")],
            Self::ModuleUntrusted { path, device, reason } => vec![format!("{path} on boot, {device}: {reason}")],
            Self::InitMissing { reason, found, .. } => std::iter::once(reason.clone())
                .chain(found.iter().map(|path| format!("there is {path}")))
                .chain(found.is_empty().then(|| "none of the usual ones either (/lib/systemd/systemd, /bin/sh)".into()))
                .collect(),
            Self::InitUnusable { reason, .. } => vec![reason.clone()],
            #[cfg(feature = "ram")]
            Self::Workload(fault) => fault.words().1,
            Self::Mount { .. }
            | Self::NotWritableLayer { .. }
            | Self::Unusable { .. }
            | Self::ModuleLoad { .. }
            | Self::Loop { .. }
            | Self::RootUnreadable { .. }
            | Self::Exec { .. }
            | Self::Io { .. } => vec![self.with_cause()],
        }
    }

    /// Returns the next thing to try.
    pub(super) fn next(&self) -> String {
        let fixed = match self {
            Self::Parameter { name, .. } => return format!("correct {name} in the boot loader's command line"),
            Self::PartitionMissing { role, tag, seen, .. } => return search_remedy(*role, tag, seen),
            Self::PartitionAmbiguous { role, .. } => {
                let role = role.name();
                return format!(
                    "remove one of the disks, or name the partition with rd.{role}=UUID=X or a path below /dev"
                );
            }
            Self::FilesystemUnsupported { filesystem, looked, kernel } => {
                return module_remedy(filesystem, looked, kernel);
            }
            Self::Mount { what, device, filesystem, .. } => {
                return mount_remedy(*what, device, filesystem, self.number());
            }
            Self::NotFilesystem { what, device, .. } => {
                let role = what.name();
                return format!(
                    "put a filesystem on {device} (deletes what it holds), or name another partition with rd.{role}="
                );
            }
            Self::NotWritableLayer { device, .. } => {
                return format!(
                    "make an ext4 filesystem there (mke2fs -t ext4 -L overlay {device}), which deletes all that it holds; until \
                     then boot with rd.overlay=tmpfs"
                );
            }
            Self::ImageMissing { name, device, .. } => {
                return format!("copy the image to {device} as {name}, or name another one with rd.image=");
            }
            Self::ImageNotFile { .. } => "copy the image itself to this name",
            Self::Unusable { role, device, .. } => return store_remedy(*role, device, self.number()),
            Self::ImageUnknown { size: 0, .. } => "it is empty: copy the image again",
            Self::ImageUnknown { .. } => "make the image with mksquashfs or mkfs.erofs and copy it again",
            Self::ImageTruncated { .. } => "copy the image again and compare its digest",
            Self::ImageUnpadded { .. } => "make the image without -nopad, or lengthen it (truncate -s %4096)",
            Self::ImageUntrusted { reason, .. } => untrusted_remedy(reason),
            #[cfg(feature = "virtiofs")]
            Self::TagMissing { seen, .. } if seen.is_empty() => {
                "give the machine a vhost-user-fs device, and this image the module of its bus (virtio_pci)"
            }
            #[cfg(feature = "virtiofs")]
            Self::TagMissing { tag, .. } => {
                return format!("share the directory as {tag}, or name another one with rootfs=, mount= or mount-ro=");
            }
            #[cfg(feature = "virtiofs")]
            Self::MountPointMissing { .. } => {
                "make these directories in the root, or boot with rw or with rd.overlay=tmpfs"
            }
            Self::ModuleLoad { .. } => "copy the whole module from the running kernel's package",
            Self::ModuleKernel { .. } => {
                "build the initramfs, or fill the partition, from the modules of the kernel that boots"
            }
            Self::ModuleUntrusted { path, .. } => {
                return format!(
                    "sign the module with one of these keys (minisign -S -H) and put {path}.minisig beside it on boot, or bake \
                     the module in (build --modules)"
                );
            }
            Self::Loop { .. } => {
                "the kernel needs CONFIG_BLK_DEV_LOOP, built in or baked into this image (build --modules loop)"
            }
            Self::RootUnreadable { .. } => unreadable_remedy(self.number()),
            Self::InitMissing { found, .. } => match found.first() {
                Some(there) => return format!("boot with init={there}"),
                None => "put an image in place that holds an operating system",
            },
            Self::InitUnusable { .. } => "correct the root (a new image on newimg), or boot with another init=",
            Self::Exec { .. } => exec_remedy(self.number()),
            #[cfg(feature = "ram")]
            Self::Workload(fault) => return fault.words().2,
            Self::Io { .. } => io_remedy(self.number()),
        };
        fixed.into()
    }
}

/// Returns the next thing to try where no partition of `seen` answers to `tag`.
fn search_remedy(role: Role, tag: &Tag, seen: &[Volume]) -> String {
    if seen.is_empty() {
        return "check the disk and its cable, and that the disk's driver is built into the kernel or baked into this image \
                (build --modules)"
            .into();
    }
    // A label is in the superblock; what has none may have lost it.
    let is_damaged = |volume: &Volume| volume.kind.is_none() && volume.name != volume.disk;
    let repair = if seen.iter().any(is_damaged) { ", or repair the one without a filesystem (e2fsck)" } else { "" };
    match role {
        Role::Overlay => format!("label the writable partition ({tag}){repair}, or boot once with rd.overlay=tmpfs"),
        _ => format!("label the partition ({tag}){repair}, or name it with rd.{}=", role.name()),
    }
}

/// Returns the next thing to try where the kernel has no `filesystem`, and `looked` says where its module is not.
fn module_remedy(filesystem: &str, looked: &[String], kernel: &str) -> String {
    if looked.iter().any(|line| line.starts_with(names::FORBIDDEN)) {
        format!("take {filesystem} off the list of forbidden modules on the command line")
    } else {
        format!("build this initramfs with --modules {filesystem}, from the modules of kernel {kernel}")
    }
}

/// Returns the next thing to try where the partition `device` is there and cannot be used.
fn store_remedy(role: Role, device: &str, number: Option<i32>) -> String {
    match number {
        Some(ENOSPC | EDQUOT) => format!(
            "{device} is full of what must be kept: delete from its persistent/, make it larger, or boot with rd.overlay=tmpfs"
        ),
        number => mount_remedy(role.into(), device, "ext4", number),
    }
}

/// Returns the next thing to try where no key verifies the image, for `reason`.
fn untrusted_remedy(reason: &str) -> &'static str {
    if reason.contains(names::WRONG_SIGNATURE) {
        "the image is damaged, or was changed after it was signed: deliver a good one with its .minisig on newimg"
    } else {
        "sign the image (minisign -S -H) with one of these keys and deliver it with its .minisig on newimg"
    }
}

/// Returns the next thing to try where a file of the new root cannot be read.
fn unreadable_remedy(number: Option<i32>) -> &'static str {
    match number {
        Some(ENOMEM | EMFILE | ENFILE) => io_remedy(number),
        Some(ENXIO | ENODEV) => "check the disk, its cable and its power: it is gone",
        _ => {
            "the image is damaged, or the disk that it is on fails: put a good image in place (on newimg); if that fails as \
             well, replace the disk"
        }
    }
}

/// Returns the next thing to try where the new root's init would not start.
fn exec_remedy(number: Option<i32>) -> &'static str {
    match number {
        Some(ENOEXEC) => "put an image for this machine's processor in place (on newimg)",
        Some(EACCES | EPERM) => "put an image in place whose init may be executed, or boot with another init=",
        Some(ENOMEM) => io_remedy(number),
        _ => "the image is damaged: put a good one in place (on newimg), or boot with another init=",
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
