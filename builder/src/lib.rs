//! The command `initramfs-overlay`: builds, inspects and boots initramfs images.

// They panic where nobody reads any more: `output::print` and `progress::tell` do not.
#![cfg_attr(not(test), deny(clippy::print_stderr, clippy::print_stdout))]

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
