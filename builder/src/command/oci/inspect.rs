//! `oci inspect`: what an image is, without reading its layers.

use std::{fmt::Write as _, process::ExitCode};

use base::escape::one_line;
use indicatif::BinaryBytes;
use oci::{image::Image, platform::Platform};
use serde_json::json;

use super::{access::AccessArgs, root::chosen_platform};
use crate::{Result, command::output};

/// Show an OCI image: its platforms, its layers, and how it wants to be run.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The image: a name in a registry, or a layout, archive or directory on this machine
    image: String,

    /// The machine that it is for: os/architecture[/variant], or a target's name, such as linux/arm/v6 or arm64 [default: this one]
    #[arg(long, value_name = "PLATFORM", alias = "target")]
    platform: Option<String>,

    #[command(flatten)]
    access: AccessArgs,

    /// As a tree: the image, its platforms, and the layers of the one that was chosen
    #[arg(long)]
    tree: bool,

    /// As JSON
    #[arg(long, conflicts_with = "tree")]
    json: bool,
}

pub(super) fn run(args: &Args) -> Result<ExitCode> {
    let platform = chosen_platform(args.platform.as_deref())?;
    let image = Image::open_with(&args.image, &platform, &args.access.read(&args.image)?)?;
    output::print(match (args.json, args.tree) {
        (true, _) => as_json(&image),
        (_, true) => as_tree(&image),
        _ => as_text(&image),
    })?;
    Ok(ExitCode::SUCCESS)
}

fn as_json(image: &Image) -> String {
    let layers: Vec<_> = image
        .layers()
        .iter()
        .map(|layer| {
            json!({
                "digest": layer.blob.digest.as_ref().map(ToString::to_string),
                "diff_id": layer.diff_id.as_ref().map(ToString::to_string),
                "size": layer.blob.place.size,
            })
        })
        .collect();
    let value = json!({
        "image": image.name,
        "digest": image.digest.as_ref().map(ToString::to_string),
        "platform": image.config.as_ref().map(|config| config.platform.to_string()),
        "platforms": image.platforms.iter().map(Platform::to_string).collect::<Vec<_>>(),
        "config": image.config.as_ref().map(|config| &config.config),
        "layers": layers,
    });
    format!("{value:#}\n")
}

/// Returns the image as a tree, for a terminal that shows UTF-8.
fn as_tree(image: &Image) -> String {
    let mut text = format!("{}\n", one_line(&image.name));
    let chosen = image.config.as_ref().map(|config| &config.platform);
    let mut platforms: Vec<&Platform> = image.platforms.iter().collect();
    if platforms.is_empty() {
        platforms.extend(chosen);
    }
    let branch = |is_last: bool| if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
    let layers = |text: &mut String, indent: &str| {
        for (index, layer) in image.layers().iter().enumerate() {
            let (knot, _) = branch(index + 1 == image.layers().len());
            let size = BinaryBytes(layer.blob.place.size);
            let _ = writeln!(text, "{indent}{knot}layer {}: {size}, {}", index + 1, one_line(&layer.label()));
        }
    };
    if platforms.is_empty() {
        layers(&mut text, "");
    }
    for (index, platform) in platforms.iter().enumerate() {
        let (knot, indent) = branch(index + 1 == platforms.len());
        let is_chosen = Some(*platform) == chosen;
        let digest = image.digest.as_ref().filter(|_| is_chosen).map(|digest| format!("  {digest}"));
        let _ = writeln!(text, "{knot}{platform}{}", digest.unwrap_or_default());
        if is_chosen {
            layers(&mut text, indent);
        }
    }
    text
}

fn as_text(image: &Image) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Whatever an image says is shown as data.
        let shown: String =
            value.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect();
        let _ = writeln!(text, "{name:<12}{shown}");
    };
    line("image", &image.name);
    if let Some(digest) = &image.digest {
        line("digest", &digest.to_string());
    }
    match &image.config {
        None => line("config", "none: a plain root"),
        Some(config) => {
            line("platform", &config.platform.to_string());
            let others: Vec<String> = image.platforms.iter().map(Platform::to_string).collect();
            if others.len() > 1 {
                line("of", &others.join(", "));
            }
            let run = &config.config;
            let words = |words: &[String]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" ");
            for (name, value) in [
                ("entrypoint", words(&run.entrypoint)),
                ("command", words(&run.cmd)),
                ("user", run.user.clone()),
                ("directory", run.working_dir.clone()),
                ("hostname", run.hostname.clone()),
                ("ends on", run.stop_signal.clone()),
                ("ports", run.exposed_ports.join(", ")),
                ("volumes", run.volumes.join(", ")),
            ] {
                if !value.is_empty() {
                    line(name, &value);
                }
            }
            run.env.iter().for_each(|variable| line("environment", variable));
        }
    }
    for (index, layer) in image.layers().iter().enumerate() {
        let _ = writeln!(text, "layer {:<6}{}  {}", index + 1, layer.label(), BinaryBytes(layer.blob.place.size));
    }
    text
}
