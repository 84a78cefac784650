//! PID 1 of initramfs-overlay, testable without being PID 1.
//!
//! Pure rooms decide (`config`, `modules`, …); the `kernel` room acts. The builder depends on this crate without its
//! `linux` feature and so shares every name of the contract: parameters, file names, formats.

pub mod modules;
