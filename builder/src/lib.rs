//! The command `initramfs-overlay`: builds, inspects and boots initramfs images.

pub mod archive;
pub mod command;
pub mod compress;
pub mod decompress;
pub mod disk;
pub mod error;
pub mod escape;
pub mod initramfs;
pub mod manifest;
pub mod program;
pub mod tree;
pub mod write;

pub use error::{Error, Result};
