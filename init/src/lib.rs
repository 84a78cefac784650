//! PID 1 of initramfs-overlay, testable without being PID 1.
//!
//! Pure rooms decide (`config`, `tag`, `modules::index`, …); the `kernel` room acts. The builder depends on this crate without
//! its `linux` feature and so shares every name of the contract: parameters, file names, formats.

// PID 1 must not panic: what can is denied outside tests.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

#[cfg(any(feature = "ram", not(feature = "linux")))]
pub mod attributes;
pub mod boot;
pub mod config;
pub mod device;
pub mod error;
#[cfg(any(feature = "ram", not(feature = "linux")))]
pub mod hotplug;
pub mod image;
#[cfg(any(feature = "ram", not(feature = "linux")))]
pub mod inventory;
pub mod kernel;
pub mod layers;
pub mod media;
pub mod modules;
pub mod names;
#[cfg(any(feature = "ram", not(feature = "linux")))]
pub mod network;
pub mod repair;
pub mod report;
pub mod rotate;
pub mod step;
pub mod store;
#[cfg(any(feature = "supervise", not(feature = "linux")))]
pub mod supervise;
pub mod switch_root;
pub mod tag;
pub mod text;
pub mod toram;
pub mod trial;
pub mod trust;
#[cfg(any(feature = "ram", not(feature = "linux")))]
pub mod workload;
