//! `initramfs-overlay report`: what `/run/initramfs/report.json` or the black box of a disk says, in sentences and as a line of time.

mod blackbox;
mod boot;

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
    process::ExitCode,
};

use base::IoContext;
use contract::names;

use self::boot::{LIMIT, as_json, as_text, is_disk, parse, picture};
use crate::{Error, Result, command::output};

/// Show how a machine booted, from its report or the black box on its disk: in sentences, with the time of each step.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  initramfs-overlay report
  ssh device cat /run/initramfs/report.json |
    initramfs-overlay report -
  initramfs-overlay report report.json --svg > boot.svg
  initramfs-overlay report /dev/sdb")]
pub struct Args {
    /// The report, a disk with a black box (an image or a block device), or a file of one; - is standard input
    #[arg(value_name = "FILE_OR_DISK", default_value = names::REPORT)]
    file: PathBuf,

    /// Write a picture (SVG) of the steps to standard output
    #[arg(long, group = "form")]
    svg: bool,

    /// Write sentences and bars: the default
    #[arg(long, group = "form")]
    text: bool,

    /// Write the sentences and the steps as JSON
    #[arg(long, group = "form")]
    json: bool,
}

/// Reads and tells it.
///
/// # Errors
/// [`Error::NoReport`] for a file that is none, [`Error::Usage`] for a disk without a black box, [`Error::Base`] where it cannot be read.
pub fn run(args: &Args) -> Result<ExitCode> {
    let bytes = read(&args.file)?;
    let found = match blackbox::of_bytes(&bytes) {
        None if is_disk(&bytes) && args.file != Path::new("-") => Some(blackbox::of_disk(&args.file)?),
        found => found,
    };
    if let Some(found) = found {
        let picture = || {
            let report = blackbox::newest_report(&found).map(|report| picture(&report));
            report.ok_or_else(|| Error::Usage(format!("{} holds no report to draw", args.file.display())))
        };
        output::print(match (args.svg, args.json) {
            (true, _) => picture()?,
            (_, true) => blackbox::as_json(&found),
            _ => blackbox::as_text(&found),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = parse(&bytes, &args.file)?;
    let text = match (args.svg, args.json) {
        (true, _) => picture(&report),
        (_, true) => as_json(&report),
        _ => as_text(&report),
    };
    output::print(text)?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let input: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(File::open(path).at("read", path)?) };
    let mut bytes = Vec::new();
    input.take(LIMIT + 1).read_to_end(&mut bytes).at("read", path)?;
    Ok(bytes)
}
