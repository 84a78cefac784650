//! The sources of an image's parts: the targets, Debian's packages, BusyBox, kernels, and the tool chain that compiles init. Whatever
//! is fetched is pinned by its digest, or said to differ, and goes into the cache that the caller names.
//!
//! The modules: `target` reads the definitions in `targets/`, `apt`, `deb` and `fetch` bring what others made, `busybox` and
//! `kernel_package` choose among it, `toolchain` compiles, `bundle` holds what was compiled elsewhere.
//!
//! ```
//! use initramfs_overlay_sources::target;
//!
//! # fn main() -> initramfs_overlay_sources::Result<()> {
//! let target = target::named("armv6l")?;
//! assert_eq!((target.elf.to_string(), target.qemu.program.as_str()), ("32-bit ARM".to_owned(), "qemu-system-arm"));
//! let error = target::named("amd46").unwrap_err().to_string();
//! assert!(error.contains("did you mean `x86_64`?"), "{error}");
//! # Ok(())
//! # }
//! ```

pub mod apt;
pub mod bundle;
pub mod busybox;
pub mod deb;
mod error;
pub mod fetch;
pub mod kernel_package;
mod substitute;
pub mod target;
pub mod toolchain;

pub use error::{Error, Result};
pub use substitute::Substitute;
