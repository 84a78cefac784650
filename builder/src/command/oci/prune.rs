//! `initramfs-overlay oci prune`: frees what images from registries take in the cache.

use std::process::ExitCode;

use indicatif::{BinaryBytes, HumanCount};
use oci::registry;
use serde_json::json;

use crate::{Result, command::output};

/// Delete blobs of images from the cache, those used longest ago first. They are fetched again when they are needed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep so much of what was used last, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    keep: u64,

    /// Tell it as JSON
    #[arg(long)]
    json: bool,
}

/// Does it.
///
/// # Errors
/// As [`registry::prune`].
pub fn run(args: &Args) -> Result<ExitCode> {
    let shrunk = registry::prune(&crate::cache::open()?, args.keep.saturating_mul(1 << 20))?;
    let text = if args.json {
        let value = json!({ "blobs": shrunk.entries, "bytes": shrunk.bytes, "left": shrunk.left });
        format!("{value:#}\n")
    } else {
        let count = HumanCount(shrunk.entries);
        format!("deleted {count} blobs with {}; {} are left\n", BinaryBytes(shrunk.bytes), BinaryBytes(shrunk.left))
    };
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}
