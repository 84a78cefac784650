//! The ground that the libraries of the command stand on: files that are there whole or not at all, programs of the machine, digests,
//! the cache, ELF headers, and the words that go into messages. Knows nothing of images, and neither the command line nor a terminal.
//!
//! ```
//! use initramfs_overlay_base::{atomic_file::write_file, digest::file_digest, escape::escape};
//!
//! # fn main() -> initramfs_overlay_base::Result<()> {
//! let directory = std::env::temp_dir();
//! let path = directory.join(format!("base-example-{}", std::process::id()));
//! write_file(&path, b"abc")?;
//! assert_eq!(file_digest(&path)?, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
//! assert_eq!(escape(b"a\nb").to_string(), "a\\nb");
//! # let _ = std::fs::remove_file(path);
//! # Ok(())
//! # }
//! ```

pub mod atomic_file;
pub mod bounded;
pub mod cache;
pub mod children;
pub mod cleanup;
pub mod digest;
pub mod elf;
pub mod environment;
mod error;
pub mod escape;
pub mod program;
pub mod progress;
pub mod rooted;

pub use error::{Error, IoContext, ProgramFailure, Result, in_one_line};
