//! The programs of the debug variant that repair a disk, and the words about them.

use std::fs;

use archive::compress::Compression;
use base::{IoContext, progress::Progress};
use sources::{target::Target, toolchain::repair::Tool};

use super::program::Programs;
use crate::{Error, Result};

/// The most bytes that they may take in an image that is compressed with gzip.
pub const MOST_BYTES: u64 = 6_000_000;

/// Returns the programs for `target`, and says how many bytes they take.
///
/// # Errors
/// Any of the compilation's; [`Error::Usage`] where they are larger than they may be.
pub fn tools(programs: &Programs<'_>, target: &Target, progress: &Progress) -> Result<Vec<Tool>> {
    let tools = programs.repair_tools(target)?;
    if tools.is_empty() {
        return Ok(tools);
    }
    let packed = packed_size(&tools)?;
    let names: Vec<&str> = tools.iter().map(|tool| tool.name).collect();
    let size: u64 = tools.iter().map(|tool| tool.size).sum();
    progress.say(format!(
        "{}: the debug variant has {}: {} KB, {} KB with gzip",
        target.name,
        names.join(", "),
        size / 1000,
        packed / 1000
    ));
    if packed > MOST_BYTES {
        return Err(Error::Usage(format!(
            "{}: the repair programs take {packed} bytes with gzip, and {MOST_BYTES} is the most",
            target.name
        )));
    }
    Ok(tools)
}

/// Returns the bytes that they take together when they are compressed with gzip.
fn packed_size(tools: &[Tool]) -> Result<u64> {
    use std::io::Write;
    let failed = |source| archive::Error::WriteArchive { source };
    let mut encoder = Compression::Gzip.encoder(Vec::new()).map_err(failed)?;
    for tool in tools {
        encoder.write_all(&fs::read(&tool.path).at("read", &tool.path)?).map_err(failed)?;
    }
    Ok(encoder.finish().map_err(failed)?.len() as u64)
}
