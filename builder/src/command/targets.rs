//! `initramfs-overlay targets`: lists the targets, which boards they are for and which kernel boots each in the tests.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use indicatif::BinaryBytes;
use serde_json::{Value, json};
use sources::target::Target;

use super::{build::source, output};
use crate::Result;

/// List the targets: their names, which boards and processors each is for, which kernel it is tried with, and the size of its init.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  Which file does this machine take?
    initramfs-overlay targets $(uname -m)
  For scripts:
    initramfs-overlay targets --json")]
pub struct Args {
    /// Only these, by any of their names; `auto` is this machine's [default: all]
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// The directory with the images that the sizes are read from [default: `target/` of the source tree, else of the current directory]
    #[arg(long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,

    /// Write JSON
    #[arg(long)]
    pub json: bool,
}

/// Lists them.
///
/// # Errors
/// [`crate::Error::Usage`] for a name that no target has, and for a definition that is wrong.
pub fn run(args: &Args) -> Result<ExitCode> {
    let all = ["all".to_owned()];
    let names = if args.names.is_empty() { &all[..] } else { &args.names };
    let targets = super::build::chosen_targets(names, &crate::progress::on_stderr())?;
    let place = source::locate(None)?;
    let images = args.output_dir.clone().unwrap_or_else(|| place.default_output());
    let rows: Vec<(&Target, Option<u64>)> =
        targets.iter().map(|target| (*target, init_size(&images, place.version(), &target.name))).collect();
    output::print(if args.json { json_text(&rows) } else { text(&rows) })?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the size of the init of a target's standard image, where that was built, from the image's manifest.
fn init_size(images: &Path, version: &str, target: &str) -> Option<u64> {
    let manifest = images.join(format!("init-{version}-{target}.gz.manifest.json"));
    let manifest: Value = serde_json::from_slice(&fs::read(manifest).ok()?).ok()?;
    let files = manifest.get("files")?.as_array()?;
    files.iter().find(|file| file.get("path").is_some_and(|path| path == "init"))?.get("size")?.as_u64()
}

/// Returns the kernel that boots a target in the tests: `linux-image-arm64 of Debian bookworm`.
fn kernel(target: &Target) -> String {
    format!("{} of Debian {}", target.kernel.package, target.kernel.suite)
}

fn text(rows: &[(&Target, Option<u64>)]) -> String {
    let mut text = String::new();
    for (target, size) in rows {
        let size = size.map_or_else(|| "not built here".to_owned(), |size| BinaryBytes(size).to_string());
        for (label, value) in [
            ("target", target.name.clone()),
            ("also called", target.aliases.join(", ")),
            ("processor", target.processor.clone()),
            ("boards", target.boards.join("\n             ")),
            ("kernel tried", format!("{}, on {}", kernel(target), target.qemu.model)),
            ("init", size),
        ] {
            let _ = writeln!(text, "{label:12} {value}");
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len() + 1);
    text
}

fn json_text(rows: &[(&Target, Option<u64>)]) -> String {
    let targets: Vec<Value> = rows
        .iter()
        .map(|(target, size)| {
            json!({
                "name": target.name,
                "aliases": target.aliases,
                "processor": target.processor,
                "boards": target.boards,
                "oci": target.oci,
                "triple": target.triple,
                "kernel": { "package": target.kernel.package, "suite": target.kernel.suite },
                "machine": target.qemu.model,
                "init_size": size,
            })
        })
        .collect();
    format!("{:#}\n", json!(targets))
}

#[cfg(test)]
mod tests {
    use sources::target;

    use super::*;

    #[test]
    fn targets_are_listed_with_the_size_of_what_was_built() {
        let directory = tempfile::tempdir().unwrap();
        let target = target::named("armhf").unwrap();
        assert_eq!(init_size(directory.path(), "1.2.3", &target.name), None);
        let manifest = r#"{ "files": [{ "path": "bin", "type": "directory" }, { "path": "init", "size": 406436 }] }"#;
        fs::write(directory.path().join("init-1.2.3-armv7l.gz.manifest.json"), manifest).unwrap();
        let size = init_size(directory.path(), "1.2.3", &target.name);
        assert_eq!(size, Some(406_436));
        let shown = text(&[(target, size), (target::named("amd64").unwrap(), None)]);
        for line in [
            "target       armv7l",
            "boards       Raspberry Pi 2",
            "kernel tried linux-image-armmp of Debian bookworm, on an ARM board with a Cortex-A7",
            "init         396.91 KiB",
            "target       x86_64",
            "init         not built here",
        ] {
            assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
        }
        assert!(shown.ends_with("here\n"), "{shown}");
        let value: Value = serde_json::from_str(&json_text(&[(target, size)])).unwrap();
        assert_eq!(
            (&value[0]["name"], &value[0]["init_size"], &value[0]["oci"][0]),
            (&"armv7l".into(), &406_436.into(), &"linux/arm/v7".into())
        );
    }
}
