//! Everything that can end a boot: one enum. `Display` says its own level; [`Card`] is what a person in front of the machine gets.

mod words;

use std::{io, time::Duration};

use contract::{
    card::Card,
    errno::{EBADMSG, EUCLEAN},
    failure::{Code, Mounted, Role},
    names::{img, store},
    step::Step,
    tag::{Tag, Volume},
};

/// The result of init's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can end a boot.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A parameter of ours has a value that cannot be read.
    #[error("parameter {name}={value} is invalid")]
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
    #[error("{} partitions match {tag}", found.len())]
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
    #[error("{path} is truncated")]
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
        /// The directories.
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
        Card {
            code: self.code(),
            step,
            wanted: self.wanted(),
            seen: self.seen(),
            kernel: Vec::new(),
            notices: Vec::new(),
            next: self.next(),
            then: String::new(),
        }
    }
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
