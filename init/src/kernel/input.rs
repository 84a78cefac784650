//! Input devices. A kernel without them answers `Unsupported`.

use std::io;

/// A kernel with keys that somebody may hold: buttons of a board, keyboards.
pub trait Input {
    /// Returns true while the key with that code is held down on an input device; none where the device has no such key (evdev, EVIOCGKEY
    /// and EVIOCGBIT).
    ///
    /// # Errors
    /// The kernel's; also where the device has no keys.
    fn is_key_down(&mut self, _device: &str, _code: u16) -> io::Result<Option<bool>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
