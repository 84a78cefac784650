//! The report on a build, as a table for people or as JSON for scripts.

use std::{fmt::Write as _, path::Path};

use indicatif::BinaryBytes;
use serde_json::json;

use super::artifact::Artifact;
use crate::{Result, command::output};

/// Prints it.
///
/// # Errors
/// [`crate::Error::Io`] where standard output cannot be written; not where its reader has gone.
pub fn print(output: &Path, version: &str, made: &[Artifact], as_json: bool) -> Result<()> {
    output::print(if as_json { json_text(output, version, made) } else { table(output, made) })
}

fn json_text(output: &Path, version: &str, made: &[Artifact]) -> String {
    let artifacts: Vec<_> = made
        .iter()
        .map(|artifact| {
            json!({
                "target": artifact.target,
                "variant": artifact.variant,
                "file": artifact.file,
                "init_size": artifact.init_size,
                "size": artifact.size,
                "sha256": artifact.digests.first().map(|(_, sha256)| sha256),
                "unchanged": artifact.fresh,
            })
        })
        .collect();
    format!("{:#}\n", json!({ "version": version, "output": output.to_string_lossy(), "artifacts": artifacts }))
}

fn table(output: &Path, made: &[Artifact]) -> String {
    let head = ["target", "variant", "init", "image", ""].map(str::to_owned);
    let row = |artifact: &Artifact| {
        let path = output.join(&artifact.file);
        let unchanged = if artifact.fresh { " (unchanged)" } else { "" };
        [
            artifact.target.clone(),
            artifact.variant.to_owned(),
            BinaryBytes(artifact.init_size).to_string(),
            BinaryBytes(artifact.size).to_string(),
            format!("{}{unchanged}", path.display()),
        ]
    };
    let rows: Vec<[String; 5]> = std::iter::once(head).chain(made.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let mut text = String::new();
    for [target, variant, init, image, file] in &rows {
        let [a, b, c, d] = widths;
        let line = format!("{target:a$}  {variant:b$}  {init:>c$}  {image:>d$}  {file}");
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::variant::Variant;

    #[test]
    fn the_table_says_sizes_with_units() {
        let artifact = |variant: Variant, fresh| Artifact {
            target: "i686".to_owned(),
            variant: variant.name(),
            file: format!("init-1.0-i686{}.gz", variant.file_suffix()),
            init_size: 400_000,
            size: 1_300_000,
            fresh,
            digests: ["init", "manifest", "bill"].map(|name| (name.to_owned(), "aa".to_owned())),
        };
        let made = [artifact(Variant::Standard, false), artifact(Variant::Slim, true)];
        assert_eq!(
            table(Path::new("out"), &made),
            "target  variant         init     image\n\
             i686    standard  390.62 KiB  1.24 MiB  out/init-1.0-i686.gz\n\
             i686    slim      390.62 KiB  1.24 MiB  out/init-1.0-i686-slim.gz (unchanged)\n"
        );
        let value: serde_json::Value = serde_json::from_str(&json_text(Path::new("out"), "1.0", &made)).unwrap();
        assert_eq!(value["artifacts"][1]["unchanged"], true);
        assert_eq!(value["artifacts"][0]["init_size"], 400_000);
    }
}
