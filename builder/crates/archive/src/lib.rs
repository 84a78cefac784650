//! An initramfs as bytes: its root in memory, written as a newc archive, compressed, and read back.
//!
//! The modules: `tree` holds the root that is being built, `newc` writes it, `compress` and `decompress` know the formats that the
//! kernel takes, `listing` reads any initramfs and says what is in it, `entries` shows its contents one after the other, `extract` unpacks
//! it, `cat` one file of it, `manifest` is what both a tree and a listing are as data.
//!
//! ```
//! use initramfs_overlay_archive::{
//!     compress::Compression,
//!     listing,
//!     newc::{self, Properties},
//!     tree::{OnConflict, Content, Entry, Tree},
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut tree = Tree::new();
//! tree.insert("init", Entry::file(0o755, Content::Bytes(b"#!/bin/sh\n".to_vec())), OnConflict::Refuse)?;
//! let mut encoder = Compression::Gzip.encoder(Vec::new())?;
//! newc::write(&tree, Properties::default(), &mut encoder)?;
//! let bytes = encoder.finish()?;
//!
//! let listing = listing::read(bytes.as_slice(), "example.gz".as_ref())?;
//! assert_eq!(listing.files[0].record.path.text, "init");
//! assert_eq!(listing.segments[0].compression.name(), "gzip");
//! # Ok(())
//! # }
//! ```

pub mod cat;
pub mod compress;
pub mod decompress;
pub mod entries;
mod error;
pub mod extract;
pub mod listing;
pub mod manifest;
pub mod newc;
pub mod tree;

pub use error::{Error, Result};
