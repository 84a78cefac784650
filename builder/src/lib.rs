//! The command `initramfs-overlay`: builds, inspects and boots initramfs images.

pub mod append_modules;
pub mod busybox_image;
pub mod busybox_rootfs;
pub mod cache;
pub mod command;
pub mod demo;
pub mod diskless;
pub mod error;
pub mod image;
pub mod picture;
pub mod progress;
pub mod sbom;
pub mod svg;
pub mod trust;
pub mod variant;
pub mod virtiofs;

pub use error::{Error, Result};
