//! `initramfs-overlay oci prune`: frees what images from registries take in the cache.

use std::process::ExitCode;

use indicatif::{BinaryBytes, HumanCount};
use oci::{disk, registry};
use serde_json::json;

use crate::{
    Result,
    command::{machine::amount, output},
};

/// Delete blobs and disks of images from the cache, the least recently used first. They are fetched or made again when they are needed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep the most recently used blobs up to this size, and disks up to the same, such as 10G
    #[arg(long, value_name = "SIZE", default_value = "0", value_parser = amount)]
    keep: u64,

    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// Does it.
///
/// # Errors
/// As [`registry::prune`].
pub fn run(args: &Args) -> Result<ExitCode> {
    let (cache, kept) = (crate::cache::open()?, args.keep);
    let (blobs, disks) = (registry::prune(&cache, kept)?, disk::prune(&cache, kept)?);
    let (bytes, left) = (blobs.bytes + disks.bytes, blobs.left + disks.left);
    let text = if args.json {
        let value = json!({ "blobs": blobs.entries, "disks": disks.entries, "bytes": bytes, "left": left });
        format!("{value:#}\n")
    } else {
        let (blobs, disks) = (HumanCount(blobs.entries), HumanCount(disks.entries));
        format!("deleted {blobs} blobs and {disks} disks with {}; {} are left\n", BinaryBytes(bytes), BinaryBytes(left))
    };
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}
