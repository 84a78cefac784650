//! Everything that can end a boot: one enum. `Display` says its own level; [`Card`] is what a person in front of the machine gets.

use std::{io, time::Duration};

use contract::{
    card::Card,
    errno::{
        EACCES, EBADMSG, EBUSY, EDQUOT, EIO, EMFILE, ENFILE, ENODEV, ENOEXEC, ENOMEM, ENOSPC, ENXIO, EPERM, EROFS,
        ESRCH, EUCLEAN,
    },
    failure::{Code, Mounted, Role},
    filesystem,
    names::{self, img, store},
    step::Step,
    tag::{Tag, Volume, near},
    text::Size,
};

/// The result of init's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can end a boot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A parameter of ours has a value that cannot be read.
    #[error("parameter {name}={value} cannot be read")]
    Parameter {
        /// The parameter.
        name: String,
        /// Its value.
        value: String,
        /// The values that it takes.
        wanted: &'static str,
    },
    /// A partition did not appear in time.
    #[error("no {} partition ({tag})", role.name())]
    PartitionMissing {
        /// Its part in the boot.
        role: Role,
        /// The tag that it was looked for by.
        tag: Tag,
        /// The time that init waited for it.
        waited: Duration,
        /// Every block device there was.
        seen: Vec<Volume>,
    },
    /// Several partitions answer to the same tag.
    #[error("{} partitions answer to {tag}", found.len())]
    PartitionAmbiguous {
        /// Its part in the boot.
        role: Role,
        /// The tag that it was looked for by.
        tag: Tag,
        /// The partitions that answer.
        found: Vec<Volume>,
    },
    /// The kernel knows no such filesystem, and no module for it was found.
    #[error("the kernel cannot read {filesystem}")]
    FilesystemUnsupported {
        /// Its name in `/proc/filesystems`.
        filesystem: String,
        /// The places where a module was looked for, a line each.
        looked: Vec<String>,
        /// The running kernel's version.
        kernel: String,
    },
    /// A partition or image could not be mounted.
    #[error("cannot mount {device} ({filesystem}) as {}", what.name())]
    Mount {
        /// The purpose.
        what: Mounted,
        /// The device, or the kernel's name for what is mounted.
        device: String,
        /// As what.
        filesystem: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A partition holds no filesystem but something that other software makes one of.
    #[error("{device} is {content}")]
    NotFilesystem {
        /// The purpose of the mount.
        what: Mounted,
        /// The partition.
        device: String,
        /// Its content, as [`contract::container::describe`] has it.
        content: &'static str,
    },
    /// A filesystem that overlayfs cannot write on holds the writable layer.
    #[error("{device} is {filesystem}, on which overlayfs cannot write: {reason}")]
    NotWritableLayer {
        /// The partition.
        device: String,
        /// Its filesystem.
        filesystem: String,
        /// Why not, as a sentence.
        reason: &'static str,
    },
    /// `img` holds no image.
    #[error("no {name} on {device}")]
    ImageMissing {
        /// The image's file name.
        name: String,
        /// The partition.
        device: String,
        /// The files that are there instead.
        files: Vec<String>,
    },
    /// The image's name stands for no file.
    #[error("{path} {why}")]
    ImageNotFile {
        /// The image.
        path: String,
        /// Its kind, as the end of a sentence.
        why: String,
    },
    /// A partition is there and cannot be used.
    #[error("{}, {device}, cannot be used", role.name())]
    Unusable {
        /// Its part in the boot.
        role: Role,
        /// The partition.
        device: String,
        /// The step that failed on it.
        #[source]
        source: Box<Error>,
    },
    /// The image is neither squashfs nor EROFS.
    #[error("{path} is neither squashfs nor EROFS")]
    ImageUnknown {
        /// The image.
        path: String,
        /// Its size in bytes.
        size: u64,
    },
    /// The image is shorter than its superblock says.
    #[error("{path} is cut short")]
    ImageTruncated {
        /// The image.
        path: String,
        /// Bytes its superblock claims.
        wanted: u64,
        /// Bytes there are.
        size: u64,
    },
    /// The image ends in a part of a sector.
    #[error("{path} ends in a part of a sector")]
    ImageUnpadded {
        /// The image.
        path: String,
        /// Its size in bytes.
        size: u64,
        /// Bytes in the last sector.
        hidden: u64,
    },
    /// No key that is baked in verifies the image.
    #[error("{path} is not trusted: {reason}")]
    ImageUntrusted {
        /// The image.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The host shares no directory under that tag.
    #[cfg(feature = "virtiofs")]
    #[error("no virtiofs tag {tag}")]
    TagMissing {
        /// The tag.
        tag: String,
        /// The time that init waited for it.
        waited: Duration,
        /// The tags there are; one that cannot be read is a `?`.
        seen: Vec<String>,
    },
    /// The root has no place for the mounts that move into it.
    #[cfg(feature = "virtiofs")]
    #[error("the root has no {}", absent.join(", no "))]
    MountPointMissing {
        /// The folders.
        absent: Vec<String>,
    },
    /// A module would not load.
    #[error("module {path} would not load")]
    ModuleLoad {
        /// The file.
        path: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A module was built for another kernel.
    #[error("module {path} is for kernel {module}")]
    ModuleKernel {
        /// The file.
        path: String,
        /// The kernel it is for (`vermagic`).
        module: String,
        /// The running kernel.
        kernel: String,
    },
    /// No key that is baked in verifies the module.
    #[error("module {path} on boot, {device}, is not trusted: {reason}")]
    ModuleUntrusted {
        /// The file, on the partition.
        path: String,
        /// The partition's device.
        device: String,
        /// Why not.
        reason: String,
    },
    /// The loop device could not be set up.
    #[error("cannot attach {path} to a loop device")]
    Loop {
        /// The image.
        path: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A file of the new root that its start needs cannot be read.
    #[error("cannot read {path} in the new root")]
    RootUnreadable {
        /// The file.
        path: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The new root has no such init.
    #[error("the new root has no {path}")]
    InitMissing {
        /// The program.
        path: String,
        /// The name that is not there, in a sentence.
        reason: String,
        /// The usual ones that are there.
        found: Vec<String>,
    },
    /// The new root's init cannot be executed.
    #[error("{path} in the new root cannot be run: {reason}")]
    InitUnusable {
        /// The program.
        path: String,
        /// Why not.
        reason: String,
    },
    /// The new root's init would not start.
    #[error("{path} would not start")]
    Exec {
        /// The program.
        path: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// A root that runs from memory does not.
    #[cfg(feature = "ram")]
    #[error(transparent)]
    Workload(#[from] crate::boot::ram::fault::Fault),
    /// Anything else the kernel refused.
    #[error("cannot {action} {path}")]
    Io {
        /// The verb.
        action: &'static str,
        /// The path.
        path: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Returns the code of the failure.
    pub fn code(&self) -> Code {
        match self {
            Self::Parameter { .. } => Code::ParameterValue,
            Self::PartitionMissing { role, .. } => Code::PartitionMissing(*role),
            Self::PartitionAmbiguous { role, .. } => Code::PartitionAmbiguous(*role),
            Self::FilesystemUnsupported { .. } => Code::FilesystemUnsupported,
            Self::Mount { what, .. } | Self::NotFilesystem { what, .. } => Code::Mount(*what),
            Self::ImageMissing { .. } => Code::ImageMissing,
            Self::ImageNotFile { .. } => Code::ImageNotFile,
            Self::Unusable { role: Role::Overlay, .. } | Self::NotWritableLayer { .. } => Code::OverlayUnusable,
            Self::Unusable { .. } => Code::ImgUnusable,
            Self::ImageUnknown { .. } => Code::ImageUnknown,
            Self::ImageTruncated { .. } => Code::ImageTruncated,
            Self::ImageUnpadded { .. } => Code::ImageUnpadded,
            Self::ImageUntrusted { .. } => Code::ImageUntrusted,
            #[cfg(feature = "virtiofs")]
            Self::TagMissing { .. } => Code::TagMissing,
            #[cfg(feature = "virtiofs")]
            Self::MountPointMissing { .. } => Code::MountPointMissing,
            Self::ModuleLoad { .. } => Code::ModuleLoad,
            Self::ModuleKernel { .. } => Code::ModuleKernel,
            Self::ModuleUntrusted { .. } => Code::ModuleUntrusted,
            Self::Loop { .. } => Code::ImageLoop,
            Self::RootUnreadable { .. } => Code::RootUnreadable,
            Self::InitMissing { .. } => Code::InitMissing,
            Self::InitUnusable { .. } => Code::InitUnusable,
            Self::Exec { .. } => Code::InitExec,
            #[cfg(feature = "ram")]
            Self::Workload(fault) => fault.code(),
            Self::Io { .. } => Code::Io,
        }
    }

    /// Returns the error with what the kernel said, for a line of the log.
    pub fn with_cause(&self) -> String {
        if let Self::Unusable { source, .. } = self {
            // The partition is named already, and where it is mounted now matters to nobody.
            return format!("{self}: {}", source.with_cause().replace(&store(""), "").replace(&img(""), ""));
        }
        let Some(source) = std::error::Error::source(self) else { return self.to_string() };
        // What ext4 and its kin say of damage (kernel, fs/ext4/ext4.h, EFSCORRUPTED and EFSBADCRC); musl has no words for the one
        // and misleading ones for the other.
        match self.number() {
            Some(EUCLEAN) => format!("{self}: the filesystem is damaged (EUCLEAN)"),
            Some(EBADMSG) => format!("{self}: a checksum of the filesystem is wrong (EBADMSG)"),
            _ => format!("{self}: {source}"),
        }
    }

    /// Makes it an error of the writable partition `device`, whatever call found it.
    #[must_use]
    pub fn of_store(self, device: &str) -> Self {
        match self {
            // These name the partition themselves.
            error @ (Self::Mount { what: Mounted::Overlay, .. }
            | Self::NotFilesystem { .. }
            | Self::NotWritableLayer { .. }
            | Self::FilesystemUnsupported { .. }
            | Self::ModuleLoad { .. }
            | Self::ModuleKernel { .. }) => error,
            error => Self::Unusable { role: Role::Overlay, device: device.into(), source: Box::new(error) },
        }
    }

    /// Returns an error of a step that reads the partition of the image, `device`: whatever the kernel refused there makes it unusable.
    #[must_use]
    pub fn of_img(self, device: &str) -> Self {
        match self {
            error @ Self::Io { .. } => {
                Self::Unusable { role: Role::Img, device: device.into(), source: Box::new(error) }
            }
            error => error,
        }
    }

    /// Returns the error number, where the kernel gave one.
    pub fn number(&self) -> Option<i32> {
        match self {
            Self::Unusable { source, .. } => source.number(),
            error => std::error::Error::source(error)?.downcast_ref().and_then(io::Error::raw_os_error),
        }
    }

    /// Returns the device that the error is about, if it is one.
    pub fn device(&self) -> Option<&str> {
        match self {
            Self::Mount { device, .. }
            | Self::Unusable { device, .. }
            | Self::NotFilesystem { device, .. }
            | Self::NotWritableLayer { device, .. } => Some(device),
            _ => None,
        }
    }

    /// Returns the card for this failure in `step`.
    pub fn card(&self, step: Step) -> Card {
        let (wanted, seen, next) = self.words();
        let (kernel, notices) = Default::default();
        Card { code: self.code(), step, wanted, seen, kernel, notices, next, then: String::new() }
    }

    /// Returns the words of the card: wanted, seen, try next.
    fn words(&self) -> (String, Vec<String>, String) {
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
                    let mend = if seen.iter().any(is_damaged) {
                        ", or mend the one without a filesystem (e2fsck)"
                    } else {
                        ""
                    };
                    match role {
                        Role::Overlay => {
                            format!("label the writable partition ({tag}){mend}, or boot once with rd.overlay=tmpfs")
                        }
                        _ => format!("label the partition ({tag}){mend}, or name it with rd.{}=", role.name()),
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
                "an image that a key in this initramfs vouches for".into(),
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
                format!("a folder shared as {tag}, within {} ms", waited.as_millis()),
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
                        format!("share the folder as {tag}, or name another one with rootfs=, mount= or mount-ro=")
                    }
                },
            ),
            #[cfg(feature = "virtiofs")]
            Self::MountPointMissing { absent } => (
                "/dev, /proc, /sys and /run in the root".into(),
                absent.iter().map(|folder| format!("there is no {folder}")).collect(),
                "make these folders in the root, or boot with rw or with rd.overlay=tmpfs".into(),
            ),
            Self::ModuleLoad { path, .. } => (
                format!("module {path} loaded"),
                said(),
                "take the module from the package of the running kernel, whole".into(),
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
        _ => "boot the kernel that this initramfs was built for, whole; what it refused is in its log",
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
        (_, Mounted::Virtiofs) => "look at what virtiofsd says on the host".into(),
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

/// Adds the action and the path to an [`io::Error`].
pub trait IoContext<T> {
    /// Adds `action`, a verb in the infinitive, and `path`, which it was done to.
    ///
    /// # Errors
    /// [`Error::Io`] where there was an error.
    fn at(self, action: &'static str, path: &str) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, action: &'static str, path: &str) -> Result<T> {
        self.map_err(|source| io_error(source, action, path))
    }
}

/// Makes the error. Not inlined: it is once in the program, not once for each call that may fail.
#[cold]
#[inline(never)]
fn io_error(source: io::Error, action: &'static str, path: &str) -> Error {
    Error::Io { action, path: path.into(), source }
}
