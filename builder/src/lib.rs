//! The command `initramfs-overlay`: builds, inspects and boots initramfs images.

pub mod apt;
pub mod archive;
pub mod busybox;
pub mod busybox_image;
pub mod cache;
pub mod command;
pub mod compress;
pub mod contents;
pub mod deb;
pub mod decompress;
pub mod demo;
pub mod disk;
pub mod diskless;
pub mod doctor;
pub mod error;
pub mod fetch;
pub mod initramfs;
pub mod kernel_package;
pub mod manifest;
pub mod oci;
pub mod progress;
pub mod qemu;
pub mod sbom;
pub mod small_root;
pub mod supplement;
pub mod target;
pub mod tether;
pub mod toolchain;
pub mod tree;
pub mod trust;
pub mod variant;
pub mod virtiofs;
pub mod vm;

pub use error::{Error, Result};
