//! Faults that are injected into the calls of a boot: one call fails, or a device from one call on.

use contract::errno::{
    EACCES, EBADMSG, EBUSY, EDQUOT, EIO, EMFILE, ENODEV, ENOMEM, ENOSPC, ENXIO, EPERM, EROFS, EUCLEAN,
};

/// Calls, by the error numbers that the kernel gives from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// Something is read: content, names, attributes.
    Read,
    /// Something is changed on a filesystem.
    Change,
    /// Something is flushed.
    Flush,
    /// A filesystem is mounted or remounted.
    Mount,
    /// A mount is undone.
    Unmount,
    /// A loop device is attached.
    Loop,
}

impl Call {
    /// Returns the error numbers that the call can give.
    pub fn numbers(self) -> &'static [i32] {
        match self {
            Self::Read => &[EIO, EBADMSG, EUCLEAN, ENOMEM, EMFILE, ENXIO],
            Self::Change => &[EIO, ENOSPC, EROFS, EACCES, EPERM, EBADMSG, EUCLEAN, EDQUOT, ENOMEM, ENXIO],
            Self::Flush => &[EIO, ENOSPC, EDQUOT, EROFS],
            Self::Mount => &[EIO, EROFS, EACCES, EBADMSG, EUCLEAN, ENOMEM, EMFILE, EBUSY, ENODEV, ENXIO],
            Self::Unmount => &[EIO, EBUSY],
            Self::Loop => &[EIO, ENOMEM, EMFILE, EBUSY, ENODEV, ENXIO],
        }
    }
}

/// A fault to inject.
#[derive(Debug, Clone, Copy)]
pub struct Injection {
    /// The call that fails, counted from 0.
    pub at: usize,
    /// The error number.
    pub number: i32,
    /// All later calls about the same device that can give the number fail as well.
    pub lasts: bool,
}
