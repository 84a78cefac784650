//! The files beside an image: its manifest, which lists its contents and inputs, and its bill of materials. Neither holds anything
//! of this machine: the same inputs give the same text.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use archive::{
    compress::Compression,
    manifest::{Manifest, Record},
};
use base::{atomic_file::AtomicFile, digest::digest};
use serde_json::{Map, Value, json};
use sources::{
    busybox::Origin,
    toolchain::{libblkid, tools as versions},
};

use super::program::Program;
use crate::{Result, image::Parts, sbom};

/// The suffix that makes an image's file name that of its manifest.
pub const MANIFEST: &str = ".manifest.json";
/// The suffix that makes an image's file name that of its bill of materials.
pub const BILL: &str = ".spdx.json";

/// The inputs and properties of an image that its manifest and its bill of materials name.
#[derive(Debug)]
pub struct Description<'a> {
    /// Its contents.
    pub parts: Parts<'a>,
    /// The name of its kind, that of its variant where it has one.
    pub kind: &'static str,
    /// Its init.
    pub program: Program,
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
        let Self { program, mtime, .. } = self;
        let Parts { version, busybox, tools, modules, include, .. } = &self.parts;
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
        let Self { kind, program, compression, mtime, .. } = self;
        let Parts { target, version, busybox, tools, modules, cmdline, cmdline_final, support_url, .. } = &self.parts;
        let facts = json!({
            "name": name,
            "version": version,
            "target": target.name,
            "variant": kind,
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

/// Writes the manifest and the bill of materials of the image at `path` beside it. They get their names when they are committed.
///
/// # Errors
/// [`base::Error::Io`], [`archive::Error::WriteArchive`].
pub fn write(path: &Path, texts: &[String; 2]) -> Result<[AtomicFile; 2]> {
    let write = |suffix, text: &str| -> Result<_> {
        let mut file = AtomicFile::create(beside(path, suffix))?;
        file.write_all(text.as_bytes()).map_err(|source| archive::Error::WriteArchive { source })?;
        Ok(file)
    };
    Ok([write(MANIFEST, &texts[0])?, write(BILL, &texts[1])?])
}

/// Returns the SHA-256 of the image `name`, of its manifest and of its bill of materials, by file name.
pub fn digests(name: &str, sha256: String, texts: &[String; 2]) -> [(String, String); 3] {
    let of = |suffix, text: &str| (format!("{name}{suffix}"), digest(text.as_bytes()));
    [(name.to_owned(), sha256), of(MANIFEST, &texts[0]), of(BILL, &texts[1])]
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
