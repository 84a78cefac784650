//! The contract between init and the builder: names and paths, parameters, tags, steps, the report, failure codes, the module index, the
//! workload, the inventory, superblocks. Pure: text and bytes in, values out. No features and no unsafe.
//!
//! ```
//! use initramfs_overlay_contract::{failure::{Code, Role}, parameters::words, tag::Tag};
//!
//! assert_eq!(words(r#"rd.img=PARTLABEL="os image" quiet"#), ["rd.img=PARTLABEL=os image", "quiet"]);
//! assert_eq!("LABEL=img".parse(), Ok(Tag::Label("img".into())));
//! assert_eq!(Code::PartitionMissing(Role::Img).name(), "img-missing");
//! ```

// PID 1 uses it and must not panic: what can is denied outside tests.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects, clippy::expect_used, clippy::indexing_slicing, clippy::panic,
        clippy::string_slice, clippy::unreachable, clippy::unwrap_used
    )
)]

pub mod attributes;
pub mod blackbox;
pub mod bytes;
pub mod card;
pub mod container;
pub mod crc32;
pub mod errno;
pub mod failure;
pub mod fat;
pub mod filesystem;
pub mod glob;
pub mod hex;
pub mod inventory;
pub mod module_index;
pub mod names;
pub mod parameters;
pub mod partitions;
pub mod program;
pub mod report;
pub mod step;
pub mod superblock;
pub mod tag;
pub mod text;
pub mod virtiofs;
pub mod workload;

/// A SHA-256 digest.
pub type Digest = [u8; 32];
