//! PID 1 of initramfs-overlay, testable without being PID 1.
//!
//! Pure modules decide (`config`, `boot`, …); `kernel` acts. Names, formats and codes that the builder shares are in the crate
//! `initramfs-overlay-contract`. Without its feature `linux` this crate boots described machines only.

// PID 1 must not panic: what can is denied outside tests.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing, clippy::panic,
        clippy::string_slice, clippy::unreachable, clippy::unwrap_used
    )
)]

pub mod boot;
pub mod config;
pub mod context;
pub mod error;
pub mod given;
pub mod kernel;
pub mod media;
pub mod modules;
pub mod places;
pub mod press;
pub mod progress;
pub mod shell;
pub mod sidecar;
pub mod switch_root;
pub mod trust;
