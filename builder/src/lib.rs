//! The command `initramfs-overlay`: builds, inspects and boots initramfs images.

pub mod busybox_image;
pub mod cache;
pub mod command;
pub mod contents;
pub mod demo;
pub mod diskless;
pub mod error;
pub mod progress;
pub mod sbom;
pub mod small_root;
pub mod supplement;
pub mod trust;
pub mod variant;
pub mod virtiofs;

pub use error::{Error, Result};
