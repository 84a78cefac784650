//! Failures of a boot: their stable codes.

/// A partition that has a part in the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The partition that holds the image.
    Img,
    /// The partition of the writable layer.
    Overlay,
    /// The partition that may hold modules.
    Boot,
    /// The partition that may hold an update.
    NewImg,
}

impl Role {
    /// All of them, as `docs/boot.md` lists them.
    pub const ALL: [Self; 4] = [Self::Img, Self::Overlay, Self::Boot, Self::NewImg];

    /// Returns its name in parameters (`rd.<name>=`) and codes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Img => "img",
            Self::Overlay => "overlay",
            Self::Boot => "boot",
            Self::NewImg => "newimg",
        }
    }
}

/// The purpose of a mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounted {
    /// The kernel's own: `/dev`, `/proc`, `/sys`, `/run`, `/tmp`.
    Api,
    /// The partition that holds the image.
    Img,
    /// The partition of the writable layer, or a tmpfs in its place.
    Overlay,
    /// The partition that may hold modules.
    Boot,
    /// The partition that may hold an update.
    NewImg,
    /// The operating system's image.
    Image,
    /// The layers, as one root.
    Root,
    /// A directory of the host.
    Virtiofs,
}

impl From<Role> for Mounted {
    fn from(role: Role) -> Self {
        match role {
            Role::Img => Self::Img,
            Role::Overlay => Self::Overlay,
            Role::Boot => Self::Boot,
            Role::NewImg => Self::NewImg,
        }
    }
}

impl Mounted {
    /// Returns its name in codes and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Img => "img",
            Self::Overlay => "overlay",
            Self::Boot => "boot",
            Self::NewImg => "newimg",
            Self::Image => "image",
            Self::Root => "root",
            Self::Virtiofs => "virtiofs",
        }
    }
}

/// A stable code for each kind of failure. Scripts and support pages rely on the names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// A parameter of init's own has a value that cannot be read.
    ParameterValue,
    /// A partition did not appear in time.
    PartitionMissing(Role),
    /// Several partitions answer to the same tag.
    PartitionAmbiguous(Role),
    /// The kernel knows no such filesystem.
    FilesystemUnsupported,
    /// A mount failed.
    Mount(Mounted),
    /// `img` holds no image.
    ImageMissing,
    /// The image's name stands for no file.
    ImageNotFile,
    /// The image's partition is there and cannot be read.
    ImgUnusable,
    /// The writable partition is there and cannot be used.
    OverlayUnusable,
    /// The image is neither squashfs nor EROFS.
    ImageUnknown,
    /// The image is shorter than its superblock says.
    ImageTruncated,
    /// The image ends in a part of a sector, which a loop device hides.
    ImageUnpadded,
    /// No key that is baked in verifies the image.
    ImageUntrusted,
    /// The image could not be attached to a loop device.
    ImageLoop,
    /// The host shares no directory under that tag.
    TagMissing,
    /// The root has no place for the mounts that move into it.
    MountPointMissing,
    /// A module would not load.
    ModuleLoad,
    /// A module was built for another kernel.
    ModuleKernel,
    /// No key that is baked in verifies the module.
    ModuleUntrusted,
    /// A file of the new root that its start needs cannot be read.
    RootUnreadable,
    /// The new root has no such init.
    InitMissing,
    /// The new root's init cannot be executed.
    InitUnusable,
    /// The new root's init would not start.
    InitExec,
    /// The root in memory is not whole, and memory is full.
    MemoryShort,
    /// The root in memory is not what was packed.
    RootTorn,
    /// The root in memory names no program.
    EntrypointNone,
    /// The root in memory has no such program.
    EntrypointMissing,
    /// The program of the root in memory cannot be executed.
    EntrypointUnusable,
    /// The program of the root in memory would not start.
    EntrypointExec,
    /// The root in memory does not know the user or the group.
    UserUnknown,
    /// Anything else the kernel refused.
    Io,
}

/// A class of failures, as a light tells it that has nothing else to tell with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// A parameter cannot be read.
    Parameter,
    /// A partition, or another source of the root, is missing or not the only one.
    Missing,
    /// The image, or the partition that holds it, cannot be used.
    Image,
    /// The writable layer cannot be used.
    Overlay,
    /// The new root does not start.
    Root,
    /// The kernel lacks a module or memory, or refuses what every boot needs.
    Kernel,
}

impl Class {
    /// All of them, as `docs/failures.md` lists them.
    pub const ALL: [Self; 6] = [Self::Parameter, Self::Missing, Self::Image, Self::Overlay, Self::Root, Self::Kernel];

    /// Returns how many times a light blinks for it before it pauses.
    pub fn blinks(self) -> u32 {
        match self {
            Self::Parameter => 1,
            Self::Missing => 2,
            Self::Image => 3,
            Self::Overlay => 4,
            Self::Root => 5,
            Self::Kernel => 6,
        }
    }
}

impl Code {
    /// Returns the class that it belongs to.
    pub fn class(self) -> Class {
        match self {
            Self::ParameterValue => Class::Parameter,
            Self::PartitionMissing(_) | Self::PartitionAmbiguous(_) | Self::TagMissing => Class::Missing,
            Self::Mount(Mounted::Img | Mounted::Boot | Mounted::NewImg | Mounted::Image | Mounted::Virtiofs)
            | Self::ImageMissing
            | Self::ImageNotFile
            | Self::ImgUnusable
            | Self::ImageUnknown
            | Self::ImageTruncated
            | Self::ImageUnpadded
            | Self::ImageUntrusted
            | Self::ImageLoop
            | Self::RootTorn => Class::Image,
            Self::Mount(Mounted::Overlay | Mounted::Root) | Self::OverlayUnusable => Class::Overlay,
            Self::MountPointMissing
            | Self::RootUnreadable
            | Self::InitMissing
            | Self::InitUnusable
            | Self::InitExec
            | Self::EntrypointNone
            | Self::EntrypointMissing
            | Self::EntrypointUnusable
            | Self::EntrypointExec
            | Self::UserUnknown => Class::Root,
            Self::Mount(Mounted::Api)
            | Self::FilesystemUnsupported
            | Self::ModuleLoad
            | Self::ModuleKernel
            | Self::ModuleUntrusted
            | Self::MemoryShort
            | Self::Io => Class::Kernel,
        }
    }

    /// Every code that a boot can end with.
    pub const ALL: [Self; 38] = [
        Self::ParameterValue,
        Self::PartitionMissing(Role::Img),
        Self::PartitionMissing(Role::Overlay),
        Self::PartitionAmbiguous(Role::Img),
        Self::PartitionAmbiguous(Role::Overlay),
        Self::FilesystemUnsupported,
        Self::Mount(Mounted::Api),
        Self::Mount(Mounted::Img),
        Self::Mount(Mounted::Overlay),
        Self::Mount(Mounted::Image),
        Self::Mount(Mounted::Root),
        Self::Mount(Mounted::Virtiofs),
        Self::ImageMissing,
        Self::ImageNotFile,
        Self::ImgUnusable,
        Self::OverlayUnusable,
        Self::ImageUnknown,
        Self::ImageTruncated,
        Self::ImageUnpadded,
        Self::ImageUntrusted,
        Self::ImageLoop,
        Self::TagMissing,
        Self::MountPointMissing,
        Self::ModuleLoad,
        Self::ModuleKernel,
        Self::ModuleUntrusted,
        Self::RootUnreadable,
        Self::InitMissing,
        Self::InitUnusable,
        Self::InitExec,
        Self::MemoryShort,
        Self::RootTorn,
        Self::EntrypointNone,
        Self::EntrypointMissing,
        Self::EntrypointUnusable,
        Self::EntrypointExec,
        Self::UserUnknown,
        Self::Io,
    ];

    /// Returns the stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::ParameterValue => "parameter-value",
            Self::PartitionMissing(Role::Img) => "img-missing",
            Self::PartitionMissing(Role::Overlay) => "overlay-missing",
            Self::PartitionMissing(Role::Boot) => "boot-missing",
            Self::PartitionMissing(Role::NewImg) => "newimg-missing",
            Self::PartitionAmbiguous(Role::Img) => "img-ambiguous",
            Self::PartitionAmbiguous(Role::Overlay) => "overlay-ambiguous",
            Self::PartitionAmbiguous(Role::Boot) => "boot-ambiguous",
            Self::PartitionAmbiguous(Role::NewImg) => "newimg-ambiguous",
            Self::FilesystemUnsupported => "filesystem-unsupported",
            Self::Mount(Mounted::Api) => "api-mount",
            Self::Mount(Mounted::Img) => "img-mount",
            Self::Mount(Mounted::Overlay) => "overlay-mount",
            Self::Mount(Mounted::Boot) => "boot-mount",
            Self::Mount(Mounted::NewImg) => "newimg-mount",
            Self::Mount(Mounted::Image) => "image-mount",
            Self::Mount(Mounted::Root) => "root-mount",
            Self::Mount(Mounted::Virtiofs) => "virtiofs-mount",
            Self::ImageMissing => "image-missing",
            Self::ImageNotFile => "image-not-file",
            Self::ImgUnusable => "img-unusable",
            Self::OverlayUnusable => "overlay-unusable",
            Self::ImageUnknown => "image-unknown",
            Self::ImageTruncated => "image-truncated",
            Self::ImageUnpadded => "image-unpadded",
            Self::ImageUntrusted => "image-untrusted",
            Self::ImageLoop => "image-loop",
            Self::TagMissing => "tag-missing",
            Self::MountPointMissing => "mount-point-missing",
            Self::ModuleLoad => "module-load",
            Self::ModuleKernel => "module-kernel",
            Self::ModuleUntrusted => "module-untrusted",
            Self::RootUnreadable => "root-unreadable",
            Self::InitMissing => "init-missing",
            Self::InitUnusable => "init-unusable",
            Self::InitExec => "init-exec",
            Self::MemoryShort => "memory-short",
            Self::RootTorn => "root-torn",
            Self::EntrypointNone => "entrypoint-none",
            Self::EntrypointMissing => "entrypoint-missing",
            Self::EntrypointUnusable => "entrypoint-unusable",
            Self::EntrypointExec => "entrypoint-exec",
            Self::UserUnknown => "user-unknown",
            Self::Io => "io",
        }
    }
}
