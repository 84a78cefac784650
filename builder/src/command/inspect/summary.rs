//! The facts about an initramfs that somebody looks for first: who made it, for which kernels, with which modules and which microcode,
//! and what is large in it.

use std::{collections::BTreeMap, fmt::Write as _};

use archive::{listing::Listed, manifest::Type};
use base::escape::escape;
use indicatif::BinaryBytes;
use serde_json::{Value, json};

/// Files that are listed as the largest.
const LARGEST: usize = 5;

/// The facts of a listing.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Summary<'a> {
    /// The program that made it.
    maker: Option<&'static str>,
    /// Modules by kernel: their number and bytes.
    kernels: BTreeMap<&'a str, (u64, u64)>,
    /// Microcode by manufacturer, in bytes.
    microcode: BTreeMap<&'static str, u64>,
    /// The largest files, largest first.
    largest: Vec<(&'a str, u64)>,
}

/// Names that tell who made an initramfs, the surest first.
const MAKERS: [(&str, &str); 11] = [
    (".initramfs/workload", "initramfs-overlay oci: an image that runs from memory"),
    ("etc/init.arguments", "initramfs-overlay vm"),
    ("usr/lib/dracut/", "dracut"),
    ("lib/dracut/", "dracut"),
    ("etc/booster.init.yaml", "booster"),
    ("usr/lib/initcpio/", "mkinitcpio"),
    ("init_functions", "mkinitcpio"),
    ("conf/initramfs.conf", "initramfs-tools"),
    ("scripts/functions", "initramfs-tools"),
    ("usr/lib/systemd/systemd", "systemd in an initramfs"),
    ("etc/mdev.conf", "mkinitfs"),
];

impl<'a> Summary<'a> {
    /// Collects it.
    pub fn of(files: &'a [Listed]) -> Self {
        let mut summary = Self::default();
        let mut rank = MAKERS.len();
        for Listed { record, .. } in files {
            let path = record.path.text.as_str();
            let is_maker = |name: &str| if name.ends_with('/') { path.starts_with(name) } else { path == name };
            if let Some(found) = MAKERS.iter().position(|(name, _)| is_maker(name)).filter(|found| *found < rank) {
                rank = found;
            }
            let size = record.size.unwrap_or(0);
            if let Some(version) = kernel_of(path) {
                let (modules, bytes) = summary.kernels.entry(version).or_default();
                if record.kind == Type::File && is_module(path) {
                    (*modules, *bytes) = (*modules + 1, *bytes + size);
                }
            }
            if record.kind == Type::File
                && let Some(maker) = microcode_of(path)
            {
                *summary.microcode.entry(maker).or_default() += size;
            }
            if size > 0 {
                let place = summary.largest.partition_point(|(_, larger)| *larger >= size);
                if place < LARGEST {
                    summary.largest.insert(place, (path, size));
                    summary.largest.truncate(LARGEST);
                }
            }
        }
        summary.maker = MAKERS.get(rank).map(|(_, maker)| *maker);
        summary
    }

    pub fn to_json(&self) -> Value {
        let kernels: Vec<_> = self
            .kernels
            .iter()
            .map(|(version, (modules, bytes))| json!({ "version": version, "modules": modules, "bytes": bytes }))
            .collect();
        let largest: Vec<_> = self.largest.iter().map(|(path, size)| json!({ "path": path, "size": size })).collect();
        json!({ "maker": self.maker, "kernels": kernels, "microcode": self.microcode, "largest": largest })
    }
}

impl std::fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(maker) = self.maker {
            writeln!(f, "made by    {maker}")?;
        }
        for (version, (modules, bytes)) in &self.kernels {
            let modules = if *modules == 1 { "1 module".to_owned() } else { format!("{modules} modules") };
            writeln!(f, "kernel     {}: {modules}, {}", escape(version.as_bytes()), BinaryBytes(*bytes))?;
        }
        if !self.microcode.is_empty() {
            let parts = self.microcode.iter().fold(String::new(), |mut text, (maker, bytes)| {
                let _ = write!(text, "{}{maker} {}", if text.is_empty() { "" } else { ", " }, BinaryBytes(*bytes));
                text
            });
            writeln!(f, "microcode  {parts}")?;
        }
        for (place, (path, size)) in self.largest.iter().enumerate() {
            let head = if place == 0 { "largest" } else { "" };
            writeln!(f, "{head:<9}  {:>10}  {}", BinaryBytes(*size).to_string(), escape(path.as_bytes()))?;
        }
        Ok(())
    }
}

/// Returns the version of the kernel whose modules `path` is among.
fn kernel_of(path: &str) -> Option<&str> {
    let below = path.strip_prefix("usr/").unwrap_or(path).strip_prefix("lib/modules/")?;
    let version = below.split('/').next().filter(|version| version.bytes().any(|byte| byte.is_ascii_digit()))?;
    // Files that lie beside the directories are of no kernel.
    (below.len() > version.len() || !is_module(version)).then_some(version)
}

fn is_module(path: &str) -> bool {
    [".ko", ".ko.gz", ".ko.xz", ".ko.zst"].iter().any(|suffix| path.ends_with(suffix))
}

/// Returns the manufacturer whose microcode `path` is (kernel, `Documentation/arch/x86/microcode.rst`).
fn microcode_of(path: &str) -> Option<&'static str> {
    match path.strip_prefix("kernel/x86/microcode/")? {
        "GenuineIntel.bin" => Some("Intel"),
        "AuthenticAMD.bin" => Some("AMD"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use archive::manifest::{Name, Record};

    fn file(path: &str, size: u64) -> Listed {
        let record = Record {
            path: Name::new(path.as_bytes()),
            kind: Type::File,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: 0,
            size: Some(size),
            sha256: None,
            target: None,
            device: None,
            hard_link: None,
        };
        Listed { segment: 0, record }
    }

    #[test]
    fn the_first_facts() {
        let files = [
            file("kernel/x86/microcode/GenuineIntel.bin", 4096),
            file("scripts/functions", 10),
            file("conf/initramfs.conf", 10),
            file("usr/lib/modules/6.1.0-50-amd64/kernel/fs/ext4/ext4.ko.xz", 3000),
            file("lib/modules/6.1.0-50-amd64/loop.ko", 1000),
            file("lib/modules/6.1.0-50-amd64/modules.dep", 7000),
            file("lib/modules/0001-loop.ko", 500),
            file("bin/busybox", 2 << 20),
        ];
        let text = Summary::of(&files).to_string();
        assert_eq!(
            text,
            "made by    initramfs-tools\nkernel     6.1.0-50-amd64: 2 modules, 3.91 KiB\nmicrocode  Intel 4.00 KiB\n\
             largest      2.00 MiB  bin/busybox\n             6.84 KiB  lib/modules/6.1.0-50-amd64/modules.dep\n\
             \x20            4.00 KiB  kernel/x86/microcode/GenuineIntel.bin\n\
             \x20            2.93 KiB  usr/lib/modules/6.1.0-50-amd64/kernel/fs/ext4/ext4.ko.xz\n\
             \x20              1000 B  lib/modules/6.1.0-50-amd64/loop.ko\n"
        );
        let value = Summary::of(&files).to_json();
        assert_eq!((&value["maker"], &value["kernels"][0]["modules"]), (&"initramfs-tools".into(), &2.into()));
        assert_eq!((&value["microcode"]["Intel"], &value["largest"][0]["size"]), (&4096.into(), &(2 << 20).into()));
        for (path, maker) in [
            (".initramfs/workload", "initramfs-overlay oci"),
            ("usr/lib/dracut/build-parameter.txt", "dracut"),
            ("init_functions", "mkinitcpio"),
        ] {
            assert!(Summary::of(&[file(path, 1)]).maker.unwrap().starts_with(maker), "{path}");
        }
        assert_eq!(Summary::of(&[file("etc/x", 0)]), Summary::default());
    }
}
