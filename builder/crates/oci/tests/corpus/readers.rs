//! The trees that programs make of layers: this one, umoci, and GNU tar. A tree is a list of lines, one a name.

use std::{
    fs,
    io::Write,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::Path,
    process::{Command, Stdio},
};

use archive::tree::Kind;
use base::{digest::digest, escape::escape, progress::Progress};
use initramfs_overlay_oci::{self, exclude::Exclude, image::Image, platform::Platform};
use serde_json::json;

use crate::made::layout;

/// Lines, or why there are none.
pub type Read = Result<Vec<String>, String>;

/// Directories that nobody described have the time of their making, so no directory's time counts; times before 1970 have no place in an
/// initramfs.
fn line(path: &[u8], mode: u32, owner: (u32, u32), mtime: i64, what: &str) -> String {
    let mtime = if mode & 0o170_000 == 0o040_000 { 0 } else { mtime.clamp(0, i64::from(u32::MAX)) };
    format!("{} {mode:o} {}:{} {mtime} {what}", escape(path), owner.0, owner.1)
}

/// Writes an image of these layers; returns its directory's name as the command takes it.
pub fn image(directory: &Path, layers: &[Vec<u8>]) -> String {
    let layers: Vec<(Vec<u8>, Vec<u8>)> = layers.iter().map(|layer| (layer.clone(), layer.clone())).collect();
    layout(directory, "amd64", &json!({}), &layers)
}

pub fn ours(name: &str) -> Read {
    let said = |error: initramfs_overlay_oci::Error| error.to_string();
    let image = Image::open(name, &Platform::parse("linux/amd64").unwrap()).map_err(said)?;
    let merge = initramfs_overlay_oci::merge(&image, &Exclude::default(), 1 << 34, Progress::none()).map_err(said)?;
    merge.tree.check_parents().map_err(|error| error.to_string())?;
    let mut lines = Vec::new();
    for node in merge.tree.iter() {
        let (kind, what) = match &node.entry.kind {
            Kind::Directory => (0o040_000, String::new()),
            Kind::File(content) if content.size() > SIZE_MAX => (0o100_000, content.size().to_string()),
            Kind::File(content) => {
                let bytes =
                    initramfs_overlay_oci::read_file(&image, &merge, node.path).map_err(said)?.unwrap_or_default();
                (0o100_000, format!("{} {} links {}", content.size(), digest(&bytes), merge.tree.links(&node)))
            }
            Kind::Symlink(target) => (0o120_000, escape(target).to_string()),
            Kind::CharDevice(device) => (0o020_000, format!("{}:{}", device.major, device.minor)),
            Kind::BlockDevice(device) => (0o060_000, format!("{}:{}", device.major, device.minor)),
            Kind::Fifo => (0o010_000, String::new()),
        };
        let entry = node.entry;
        lines.push(line(node.path, kind | entry.mode, (entry.uid, entry.gid), entry.mtime.unwrap_or(0).into(), &what));
    }
    lines.sort();
    Ok(lines)
}

/// Larger files are compared by their size.
const SIZE_MAX: u64 = 64 << 20;

fn lines_of_directory(root: &Path) -> Vec<String> {
    let mut lines: Vec<String> = walkdir::WalkDir::new(root)
        .min_depth(1)
        .into_iter()
        .map(|found| {
            let path = found.unwrap().into_path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            let what = if metadata.is_file() && metadata.len() > SIZE_MAX {
                metadata.len().to_string()
            } else if metadata.is_file() {
                let bytes = fs::read(&path).unwrap();
                format!("{} {} links {}", bytes.len(), digest(&bytes), metadata.nlink())
            } else if metadata.is_symlink() {
                escape(fs::read_link(&path).unwrap().as_os_str().as_bytes()).to_string()
            } else if metadata.rdev() != 0 || matches!(metadata.mode() & 0o170_000, 0o020_000 | 0o060_000) {
                format!("{}:{}", rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()))
            } else {
                String::new()
            };
            let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes();
            line(name, metadata.mode(), (metadata.uid(), metadata.gid()), metadata.mtime(), &what)
        })
        .collect();
    lines.sort();
    lines
}

pub fn umoci(directory: &Path, layout: &Path) -> Read {
    let index = layout.join("index.json");
    let mut value: serde_json::Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
    value["manifests"][0]["annotations"] = json!({ "org.opencontainers.image.ref.name": "x" });
    fs::write(&index, value.to_string()).unwrap();
    let root = directory.join("umoci");
    let image = format!("{}:x", layout.display());
    let output = Command::new("umoci").args(["raw", "unpack", "--image", &image]).arg(&root).output().unwrap();
    match output.status.success() {
        true => Ok(lines_of_directory(&root)),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Unpacks with GNU tar, which knows one archive, and no whiteouts.
pub fn gnu_tar(directory: &Path, layer: &[u8]) -> Read {
    let root = directory.join("tar");
    fs::create_dir(&root).unwrap();
    let mut child = Command::new("tar")
        .args(["-xpf", "-", "--numeric-owner", "-C"])
        .arg(&root)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may stop before the end.
    let _ = child.stdin.take().unwrap().write_all(layer);
    let output = child.wait_with_output().unwrap();
    match output.status.success() {
        true => Ok(lines_of_directory(&root)),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}
