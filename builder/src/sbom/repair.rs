//! The repair programs of the debug variant in a bill of materials: each package once, with its programs.

use serde_json::json;
use sources::toolchain::{repair::Tool, tools};

use super::bill::{Bill, checksums, identifier};

/// Adds the packages that `programs` are from, and the programs.
pub fn add(bill: &mut Bill, programs: &[Tool]) {
    let mut packages: Vec<&str> = Vec::new();
    for tool in programs {
        let package = tool.package;
        let id = format!("SPDXRef-{}", identifier(package.name));
        if !packages.contains(&package.name) {
            packages.push(package.name);
            bill.list(json!({
                "SPDXID": id,
                "name": package.name,
                "versionInfo": package.version,
                "primaryPackagePurpose": "SOURCE",
                "licenseDeclared": package.licence,
                "downloadLocation": package.source.upstream,
                "checksums": checksums(Some(package.source.sha256)),
                "sourceInfo": format!(
                    "unchanged but for what builder/crates/sources/src/toolchain/repair/{}.rs writes into it; compiled by Zig {} and linked \
                     statically with its musl",
                    package.name,
                    tools::ZIG_VERSION
                ),
                "comment": "Whoever ships its programs must offer this source, with those files.",
            }));
        }
        let program = format!("SPDXRef-program-{}", identifier(tool.name));
        bill.add(
            "SPDXRef-image",
            "CONTAINS",
            json!({
                "SPDXID": program,
                "name": tool.name,
                "versionInfo": package.version,
                "primaryPackagePurpose": "APPLICATION",
                "licenseDeclared": package.licence,
                "checksums": checksums(Some(&tool.sha256)),
            }),
        );
        bill.relate(&program, "GENERATED_FROM", &id);
    }
}
