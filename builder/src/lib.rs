//! The command `initramfs-overlay`: builds, inspects and boots initramfs images.

pub mod command;
pub mod error;

pub use error::{Error, Result};
