//! Error numbers of Linux that decisions are made by, without a C library (kernel, include/uapi/asm-generic/errno-base.h and errno.h; the
//! same on every architecture that is a target).

/// Operation not permitted.
pub const EPERM: i32 = 1;
/// No such file or directory.
pub const ENOENT: i32 = 2;
/// No such process; from mount(2): no module for the format of the quotas.
pub const ESRCH: i32 = 3;
/// Input/output error.
pub const EIO: i32 = 5;
/// No such device or address: the device is gone.
pub const ENXIO: i32 = 6;
/// Exec format error: not an executable that this kernel can run.
pub const ENOEXEC: i32 = 8;
/// Out of memory.
pub const ENOMEM: i32 = 12;
/// Permission denied.
pub const EACCES: i32 = 13;
/// Device or resource busy.
pub const EBUSY: i32 = 16;
/// No such device; from mount(2): no such filesystem.
pub const ENODEV: i32 = 19;
/// Invalid argument.
pub const EINVAL: i32 = 22;
/// Too many open files in the system.
pub const ENFILE: i32 = 23;
/// Too many open files in the process.
pub const EMFILE: i32 = 24;
/// No space left on the filesystem, or no inode.
pub const ENOSPC: i32 = 28;
/// Read-only filesystem.
pub const EROFS: i32 = 30;
/// Directory not empty.
pub const ENOTEMPTY: i32 = 39;
/// Too many symbolic links.
pub const ELOOP: i32 = 40;
/// A checksum is wrong; `EFSBADCRC` of filesystems.
pub const EBADMSG: i32 = 74;
/// Operation not supported; from mount(2): a feature that the kernel lacks.
pub const EOPNOTSUPP: i32 = 95;
/// The filesystem is damaged; `EFSCORRUPTED` of filesystems.
pub const EUCLEAN: i32 = 117;
/// Disk quota exceeded.
pub const EDQUOT: i32 = 122;
