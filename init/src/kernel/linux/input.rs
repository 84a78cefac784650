//! Keys of input devices (kernel, Documentation/input/input.rst, evdev).

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
};

use super::Linux;
use crate::kernel::input::Input;

/// A word of the kernel's sets of bits.
type Word = libc::c_ulong;

/// Words that hold a bit for every key.
const WORDS: usize = (crate::config::key::MAX as usize).div_ceil(Word::BITS as usize);

mod request {
    // Kernel, include/uapi/linux/input.h, EVIOCGKEY and EVIOCGBIT(EV_KEY).
    nix::ioctl_read_buf!(held, b'E', 0x18, libc::c_ulong);
    nix::ioctl_read_buf!(keys, b'E', 0x21, libc::c_ulong);
}

impl Input for Linux {
    fn is_key_down(&mut self, device: &str, code: u16) -> io::Result<Option<bool>> {
        look(device, code)
    }
}

fn look(device: &str, code: u16) -> io::Result<Option<bool>> {
    let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(device)?;
    let mut bits: [Word; WORDS] = [0; WORDS];
    // SAFETY: the kernel writes at most as many bytes as the array has, whose size is part of the request, during the call.
    unsafe { request::keys(file.as_raw_fd(), &mut bits) }?;
    if !has(&bits, code) {
        return Ok(None);
    }
    // SAFETY: as above.
    unsafe { request::held(file.as_raw_fd(), &mut bits) }?;
    Ok(Some(has(&bits, code)))
}

/// Returns true if the bit of the key is set.
fn has(bits: &[Word], code: u16) -> bool {
    let (word, bit) = (u32::from(code) / Word::BITS, u32::from(code) % Word::BITS);
    let word = usize::try_from(word).ok().and_then(|word| bits.get(word));
    word.is_some_and(|word| word >> bit & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_bit() {
        for code in [0, 1, 31, 32, 63, 64, 408, 767] {
            let mut bits = [0; WORDS];
            bits[usize::from(code) / Word::BITS as usize] = 1 << (u32::from(code) % Word::BITS);
            let set: Vec<u16> = (0..=1000).filter(|other| has(&bits, *other)).collect();
            assert_eq!(set, [code]);
        }
    }

    #[test]
    fn what_is_no_input_device_is_an_error() {
        assert_eq!(look("/dev/null", 1).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }
}
