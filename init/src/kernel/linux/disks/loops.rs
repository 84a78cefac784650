//! Loop devices: a file as a block device that clears itself.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd},
};

use loopdev::{LoopControl, LoopDevice};
use nix::errno::Errno;

/// kernel, include/uapi/linux/loop.h, since Linux 5.8.
const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;

/// `struct loop_info64`.
#[repr(C)]
struct LoopInfo {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

/// `struct loop_config`.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

nix::ioctl_write_ptr_bad!(
    /// Attaches and sets up a loop device in one go.
    loop_configure,
    LOOP_CONFIGURE,
    LoopConfig
);

/// Attaches `path` read-only to a free loop device that clears itself. Returns the device, which has to be held open until its
/// mount is done, and its name.
pub(super) fn attach(path: &str) -> io::Result<(OwnedFd, String)> {
    // Somebody else may be quicker to take the free device; more often than that nobody is.
    const TRIES: usize = 16;
    let image = crate::kernel::linux::media::open_file(path)?;
    let control = LoopControl::open()?;
    let mut outcome = Err(io::ErrorKind::ResourceBusy.into());
    for _ in 0..TRIES {
        let device = control.next_free()?;
        let name = format!("/dev/loop{}", device.minor()?);
        match configure(&device, &image, path) {
            Ok(()) => {
                // SAFETY: `into_raw_fd` gives up the only owner of the descriptor, and nobody else knows its number.
                return Ok((unsafe { OwnedFd::from_raw_fd(device.into_raw_fd()) }, name));
            }
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => outcome = Err(error),
            Err(error) => return Err(error),
        }
    }
    outcome
}

fn configure(device: &LoopDevice, image: &File, path: &str) -> io::Result<()> {
    let mut file_name = [0; 64];
    // What losetup shows; the last byte stays zero.
    for (cell, byte) in file_name.iter_mut().zip(path.bytes().take(63)) {
        *cell = byte;
    }
    let config = LoopConfig {
        fd: u32::try_from(image.as_raw_fd()).map_err(io::Error::other)?,
        block_size: 0,
        info: LoopInfo {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
            file_name,
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        },
        reserved: [0; 8],
    };
    // SAFETY: both descriptors are open for the length of the call, and `config` is laid out as the kernel's struct loop_config,
    // which the kernel only reads.
    match unsafe { loop_configure(device.as_raw_fd(), &raw const config) } {
        Ok(_) => Ok(()),
        // Kernels before 5.8 do not know it: attach, then set up, in two calls.
        Err(Errno::EINVAL | Errno::ENOTTY) => {
            device.with().read_only(true).autoclear(true).attach_fd(image.as_raw_fd())
        }
        Err(error) => Err(error.into()),
    }
}
