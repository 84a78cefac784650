//! The files beside an image: its manifest, which lists its contents and inputs, and its bill of materials. Neither holds anything
//! of this machine: the same inputs give the same text.

use std::{
    fs,
    path::{Path, PathBuf},
};

use archive::{
    compress::Compression,
    manifest::{Manifest, Record},
};
use serde_json::{Map, Value, json};
use sources::{
    busybox::{Busybox, Origin},
    target::Target,
    toolchain::{libblkid, repair::Tool, tools as versions},
};

use super::program::Program;
use crate::{image::Modules, sbom};

/// The suffix that makes an image's file name that of its manifest.
pub const MANIFEST: &str = ".manifest.json";
/// The suffix that makes an image's file name that of its bill of materials.
pub const BILL: &str = ".spdx.json";

/// The inputs and properties of an image that its manifest and its bill of materials name.
#[derive(Debug)]
pub struct Description<'a> {
    /// Its target.
    pub target: &'a Target,
    /// Its variant.
    pub variant: &'a str,
    /// Its version.
    pub version: &'a str,
    /// Its init.
    pub program: &'a Program,
    /// Its BusyBox, where it has one.
    pub busybox: Option<&'a Busybox>,
    /// Its programs that repair a disk.
    pub tools: &'a [Tool],
    /// Its kernel modules, where it has any.
    pub modules: Option<&'a Modules>,
    /// Parameters that are baked in.
    pub cmdline: Option<&'a str>,
    /// Parameters that are baked in and cannot be overridden.
    pub cmdline_final: Option<&'a str>,
    /// The address that a failed boot's QR code begins with.
    pub support_url: Option<&'a str>,
    /// Directories of the user's.
    pub include: &'a [PathBuf],
    /// Its compression.
    pub compression: Compression,
    /// The time of everything in it, in seconds since 1970.
    pub mtime: u32,
}

impl Description<'_> {
    /// Returns the manifest and the bill of materials of the image with this name, size and SHA-256, which holds `files`.
    pub fn texts(&self, name: &str, size: u64, sha256: &str, files: Vec<Record>) -> [String; 2] {
        let manifest = Manifest { image: self.facts(name, size, sha256), files };
        [manifest.to_json(), self.bill(name, sha256)]
    }

    fn bill(&self, name: &str, sha256: &str) -> String {
        let Self { version, program, busybox, tools, modules, include, mtime, .. } = self;
        let kernels: Vec<_> = modules
            .iter()
            .map(|modules| sbom::KernelMaterial {
                version: &modules.version,
                origin: modules.origin.as_ref(),
                stripped: modules.stripped,
            })
            .collect();
        sbom::spdx(&sbom::Materials {
            file: name,
            sha256,
            version,
            created: u64::from(*mtime),
            init: sbom::InitMaterial {
                sha256: &program.sha256,
                build: program.build.as_ref().map(|build| sbom::InitBuild {
                    crates: &build.crates,
                    rust_release: &build.rust_release,
                    rust_commit: &build.rust_commit,
                    has_libblkid: build.has_libblkid(),
                }),
            },
            busybox: busybox.map(|busybox| (busybox.sha256.as_str(), busybox.origin.as_ref())),
            tools,
            kernels: &kernels,
            has_included_files: include.iter().any(|directory| holds_something(directory)),
        })
    }

    /// Returns the manifest's fields about the image as a whole.
    fn facts(&self, name: &str, size: u64, sha256: &str) -> Map<String, Value> {
        let Self {
            target,
            variant,
            version,
            program,
            busybox,
            tools,
            modules,
            cmdline,
            cmdline_final,
            support_url,
            compression,
            mtime,
            ..
        } = self;
        let facts = json!({
            "name": name,
            "version": version,
            "target": target.name,
            "variant": variant,
            "compression": compression.name(),
            "size": size,
            "sha256": sha256,
            "mtime": mtime,
            "builder": concat!("initramfs-overlay ", env!("CARGO_PKG_VERSION")),
            "cmdline": cmdline,
            "cmdline_final": cmdline_final,
            "support_url": support_url,
            "init": {
                "size": program.size,
                "sha256": program.sha256,
                "build": program.build.as_ref().map(|build| json!({
                    "triple": target.triple,
                    "features": build.features,
                    "rust": build.rust_release,
                    "rust_commit": build.rust_commit,
                    "zig": versions::ZIG_VERSION,
                    "musl": versions::MUSL_VERSION,
                    "libblkid": build.has_libblkid().then_some(libblkid::VERSION),
                    "crates": build.crates.iter().map(|found| format!("{} {}", found.name, found.version)).collect::<Vec<_>>(),
                })),
            },
            "busybox": busybox.map(|busybox| json!({
                "size": busybox.bytes.len(),
                "sha256": busybox.sha256,
                "applets": busybox.applets.len(),
                "package": busybox.origin.as_ref().and_then(Origin::package),
                "image": busybox.origin.as_ref().and_then(Origin::image),
            })),
            "tools": tools.iter().map(|tool| json!({
                "name": tool.name,
                "size": tool.size,
                "sha256": tool.sha256,
                "package": tool.package.name,
                "version": tool.package.version,
            })).collect::<Vec<_>>(),
            "modules": modules.map(|modules| json!({
                "kernel": modules.version,
                "package": modules.origin,
                "stripped": modules.stripped,
                "built_in": modules.built_in,
                "files": modules.files.iter().map(|module| json!({
                    "name": module.name,
                    "path": module.path,
                    "removed": module.removed,
                })).collect::<Vec<_>>(),
            })),
        });
        match facts {
            Value::Object(facts) => facts,
            _ => Map::new(),
        }
    }
}

/// Returns the path of what lies beside the image at `path` and has `suffix` after its name.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn holds_something(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}
