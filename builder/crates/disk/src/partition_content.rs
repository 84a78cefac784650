//! The contents of each partition, and the size that they need.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use base::{IoContext, progress::Progress};
use contract::{blackbox, names};
use walkdir::WalkDir;

use crate::{Error, Result};

use super::{
    content::{self, Entry},
    ext4, identity,
    image::{self, Checked, Packing},
    implied,
    inputs::{Boot, Disk, Source},
    layout::{Role, Wish},
    root, sidecar, size,
    size::{KIB, MIB},
    vfat,
};

/// The size of `boot` where nothing larger is needed: two kernels with their initramfs and firmware.
const USUAL_BOOT: u64 = 64 * MIB;
/// The size of `overlay` where nothing larger is needed and the disk has no size of its own.
const USUAL_OVERLAY: u64 = 256 * MIB;
/// The growth, in bytes, from this image to the next that sizes allow for at least.
const SLACK: u64 = 16 * MIB;

/// The OS image as a file, checked.
pub struct Image {
    /// The path of the file.
    pub path: PathBuf,
    /// The result of checking it.
    pub checked: Checked,
}

/// The contents of a partition, and the size that they ask for.
pub struct Part {
    /// Its size.
    pub wish: Wish,
    /// Its files.
    pub entries: Vec<Entry>,
}

/// Returns the bytes per inode, as `mke2fs -i` takes them: more in partitions that hold nothing but images.
pub fn bytes_per_inode(role: Role) -> u64 {
    if role == Role::Overlay { 16 * KIB } else { 64 * KIB }
}

/// Returns the OS image: the given one, or the packed root directory.
pub fn image(disk: &Disk, work: &Path, progress: &Progress) -> Result<Image> {
    match &disk.source {
        Source::Image(path) => Ok(Image { path: absolute(path)?, checked: image::check(path)? }),
        Source::Root(root) => pack(disk, root, work.join("image"), progress),
    }
}

fn pack(disk: &Disk, root: &Path, path: PathBuf, progress: &Progress) -> Result<Image> {
    let packing = Packing {
        format: disk.format,
        compression: disk.compression,
        owner: disk.owner,
        time: disk.time,
        uuid: identity::named(&disk.image_name),
    };
    let step = progress.step(format!("packing {} as {}", root.display(), disk.format.name()));
    let checked = image::pack(&absolute(root)?, &path, &packing)?;
    step.finish(&size::show(checked.size));
    Ok(Image { path, checked })
}

/// Returns all partitions of `disk`, in their order.
pub fn gather(
    disk: &Disk,
    image: &Image,
    work: &Path,
    warnings: &mut Vec<String>,
    progress: &Progress,
) -> Result<Vec<Part>> {
    let mut parts = Vec::with_capacity(4);
    if let Some(boot) = &disk.boot {
        parts.push(boot_part(disk, boot, work)?);
    }
    parts.push(img_part(disk, image)?);
    if let Some(update) = &disk.newimg {
        parts.push(newimg_part(disk, update.as_deref(), image, work, warnings, progress)?);
    }
    if let Some(persistent) = &disk.overlay {
        parts.push(overlay_part(disk, persistent.as_deref(), image, work, warnings)?);
    }
    Ok(parts)
}

fn part(disk: &Disk, role: Role, entries: Vec<Entry>, least: u64, reason: String, usual: u64) -> Part {
    let asked = disk.sizes.get(&role).copied();
    Part { wish: Wish { role, least, reason, usual, asked }, entries }
}

/// Returns the size that the image may grow to with the next one: a quarter more, at least [`SLACK`] more.
fn grown(image: u64) -> u64 {
    image + (image / 4).max(SLACK)
}

fn img_part(disk: &Disk, image: &Image) -> Result<Part> {
    let ratio = bytes_per_inode(Role::Img);
    let mut entries = vec![Entry::file(disk.image_name.as_bytes(), &image.path)?];
    let mut size = image.checked.size.next_multiple_of(4 * KIB);
    if matches!(disk.source, Source::Image(_)) {
        sidecar::check_digest(&image.path)?;
        // A digest would stay behind when the next update takes the image's place, and be wrong.
        entries.extend(sidecar::entry(&image.path, &disk.image_name, sidecar::SIGNATURE)?);
        size += 4 * KIB;
    }
    let (count, reason) = if disk.update_room {
        (
            2,
            format!(
                "for two images of {}, an update and the one before it (--no-update-room: only one)",
                size::show(size)
            ),
        )
    } else {
        (1, format!("for the image of {}", size::show(size)))
    };
    let usual = if disk.update_room { 2 * grown(size) } else { size + SLACK };
    // The second image is written by the machine.
    let size_for = if disk.update_room { ext4::size_for_writing } else { ext4::size_for };
    let least = size_for(count * size, ratio);
    Ok(part(disk, Role::Img, entries, least, reason, ext4::size_for(usual, ratio)))
}

fn newimg_part(
    disk: &Disk,
    update: Option<&Path>,
    image: &Image,
    work: &Path,
    warnings: &mut Vec<String>,
    progress: &Progress,
) -> Result<Part> {
    let entries = match update {
        None => Vec::new(),
        Some(path) if !path.metadata().at("read", path)?.is_dir() => update_files(disk, path, warnings)?,
        Some(directory) if directory.join(&disk.image_name).exists() => {
            let checked = image::check(&directory.join(&disk.image_name))?;
            warnings.extend(checked.check_pages("the update", disk.page)?);
            content::read(&absolute(directory)?, content::Owner::Root)?
        }
        Some(root) => {
            warnings.extend(root::check(root)?);
            let packed = pack(disk, root, work.join("update"), progress)?;
            vec![Entry::file(disk.image_name.as_bytes(), &packed.path)?]
        }
    };
    let ratio = bytes_per_inode(Role::Newimg);
    let content = ext4::content_size(&entries);
    let reason = format!("for the update of {}", size::show(content));
    let least = ext4::size_for(content, ratio);
    let usual = ext4::size_for(grown(image.checked.size.max(content)), ratio);
    Ok(part(disk, Role::Newimg, entries, least, reason, usual))
}

/// Returns an image as an update, with its digest and its signature where they lie beside it.
fn update_files(disk: &Disk, path: &Path, warnings: &mut Vec<String>) -> Result<Vec<Entry>> {
    warnings.extend(image::check(path)?.check_pages("the update", disk.page)?);
    let path = absolute(path)?;
    sidecar::check_digest(&path)?;
    let mut entries = vec![Entry::file(disk.image_name.as_bytes(), &path)?];
    for suffix in [sidecar::DIGEST, sidecar::SIGNATURE] {
        entries.extend(sidecar::entry(&path, &disk.image_name, suffix)?);
    }
    Ok(entries)
}

fn overlay_part(
    disk: &Disk,
    persistent: Option<&Path>,
    image: &Image,
    work: &Path,
    warnings: &mut Vec<String>,
) -> Result<Part> {
    // Zeros would be holes, and the file must take an entry when the partition is full.
    let empty = made(work, names::BLACKBOX, &vec![blackbox::FILL; blackbox::SIZE])?;
    let mut entries = vec![Entry { mode: 0o600, ..empty }];
    if let Some(directory) = persistent {
        entries.push(Entry::directory(names::PERSISTENT));
        let mut inside = content::read_given("--persistent", &absolute(directory)?, disk.owner)?;
        if inside.iter().any(implied::is_implied) {
            match implied::directories(&image.path)? {
                Some(directories) => implied::complete(&mut inside, &directories),
                None => warnings.push(format!(
                    "{} cannot be read here: directories of {} keep mode 0755, whatever the image has there",
                    image.path.display(),
                    directory.display()
                )),
            }
        }
        entries.extend(inside.into_iter().map(|entry| entry.below(names::PERSISTENT.as_bytes())));
    }
    let ratio = bytes_per_inode(Role::Overlay);
    let content = ext4::content_size(&entries);
    let reason = format!("for the persistent files and the black box ({}) and a journal", size::show(content));
    let usual = USUAL_OVERLAY.max(ext4::size_for(2 * content, ratio));
    Ok(part(disk, Role::Overlay, entries, ext4::size_for(content + MIB, ratio), reason, usual))
}

fn boot_part(disk: &Disk, boot: &Boot, work: &Path) -> Result<Part> {
    let mut entries: BTreeMap<Vec<u8>, Entry> = BTreeMap::new();
    if let Some(directory) = &boot.directory {
        let directory = absolute(directory)?;
        let accepted = vfat::accept(content::read_given("--boot", &directory, content::Owner::Root)?, &directory)?;
        entries.extend(accepted.into_iter().map(|entry| (entry.path.clone(), entry)));
    }
    for (source, path) in &boot.files {
        insert(&mut entries, source, path)?;
    }
    for directory in &boot.modules {
        let (version, module) = squashfs_module(directory)?;
        let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
        insert(&mut entries, &module, &format!("modules/{version}/{name}"))?;
    }
    // A copy of another disk's files may have one.
    if !entries.keys().any(|path| path.eq_ignore_ascii_case(blackbox::TEXT_NAME.as_bytes())) {
        let text = made(work, blackbox::TEXT_NAME, &blackbox::template())?;
        entries.insert(text.path.clone(), text);
    }
    let entries = vfat::accept(entries.into_values().collect(), Path::new("/"))?;
    let sector = disk.extent.sector;
    let least = vfat::size_for(&entries, sector);
    let content = vfat::content_size(&entries, least, sector);
    let reason = format!("for its files ({})", size::show(content));
    // Room for the next kernel beside this one.
    let usual = USUAL_BOOT.max((2 * least).next_multiple_of(16 * MIB));
    Ok(part(disk, Role::Boot, entries, least, reason, usual))
}

/// Returns a file of these bytes, which is made in `work`.
fn made(work: &Path, name: &str, bytes: &[u8]) -> Result<Entry> {
    let path = absolute(&work.join(name))?;
    std::fs::write(&path, bytes).at("write", &path)?;
    Entry::file(name, &path)
}

/// Puts the file `source` at `path`, with the directories above it.
fn insert(entries: &mut BTreeMap<Vec<u8>, Entry>, source: &Path, path: &str) -> Result<()> {
    let names: Vec<&str> = path.split('/').filter(|name| !name.is_empty()).collect();
    let source = absolute(source)?;
    if !source.metadata().at("read", &source)?.is_file() {
        return Err(Error::Usage(format!("{} is not a file: --boot DIR takes directories", source.display())));
    }
    if names.is_empty() || names.iter().any(|name| [".", ".."].contains(name)) {
        return Err(Error::Usage(format!("`{path}` is not a path on the boot partition for {}", source.display())));
    }
    for depth in 1..names.len() {
        let directory = names[..depth].join("/").into_bytes();
        let entry = Entry { mode: 0, ..Entry::directory(directory.clone()) };
        let there = entries.entry(directory).or_insert(entry);
        if there.kind != content::Kind::Directory {
            return Err(Error::Usage(format!("`{path}` on the boot partition: `{}` is a file there", there.shown())));
        }
    }
    let path = names.join("/");
    let entry = Entry { mode: 0, ..Entry::file(path.as_bytes(), &source)? };
    if entries.insert(path.clone().into_bytes(), entry).is_some() {
        return Err(Error::Usage(format!("`{path}` would be on the boot partition twice")));
    }
    Ok(())
}

/// Returns the kernel version and the `squashfs.ko` of a kernel's module directory.
fn squashfs_module(directory: &Path) -> Result<(String, PathBuf)> {
    let directory = absolute(directory)?;
    let version = directory.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if !version.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Error::Usage(format!(
            "--boot-modules {}: expected a kernel's module directory, such as /lib/modules/6.1.0-50-rpi",
            directory.display()
        )));
    }
    let is_module = |name: &OsStr| {
        let name = name.as_bytes();
        [&b""[..], b".gz", b".xz", b".zst"].iter().any(|suffix| name.strip_prefix(b"squashfs.ko") == Some(suffix))
    };
    for item in WalkDir::new(&directory).sort_by_file_name() {
        let item = item.map_err(std::io::Error::from).at("read", &directory)?;
        if is_module(item.file_name()) {
            return Ok((version, item.into_path()));
        }
    }
    Err(Error::Usage(format!(
        "{} has no squashfs.ko: squashfs is built into this kernel, or it is another kernel's directory",
        directory.display()
    )))
}

/// Returns true if `entries` are those of an EFI system partition: they have a top-level `EFI`, in any case.
pub fn has_efi(entries: &[Entry]) -> bool {
    entries.iter().any(|entry| entry.path.eq_ignore_ascii_case(b"EFI"))
}

/// Returns an absolute path, as the tools run in another directory.
fn absolute(path: &Path) -> Result<PathBuf> {
    Ok(std::path::absolute(path).at("find", path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_files_bring_their_directories_and_do_not_collide() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("kernel");
        std::fs::write(&source, "k").unwrap();
        let mut entries = BTreeMap::new();
        insert(&mut entries, &source, "/EFI/boot/kernel").unwrap();
        let paths: Vec<String> = entries.values().map(Entry::shown).collect();
        assert_eq!(paths, ["EFI", "EFI/boot", "EFI/boot/kernel"]);
        assert!(has_efi(&entries.values().cloned().collect::<Vec<_>>()));
        for (path, word) in [
            ("EFI/boot/kernel", "twice"),
            ("EFI/boot/kernel/x", "is a file there"),
            ("../x", "not a path"),
            ("/", "not a path"),
        ] {
            let text = insert(&mut entries, &source, path).unwrap_err().to_string();
            assert!(text.contains(word), "{path}: {text}");
        }
    }

    #[test]
    fn an_empty_directory_is_no_content() {
        let directory = tempfile::tempdir().unwrap();
        let boot = Boot { directory: Some(directory.path().to_owned()), ..Boot::default() };
        let disk = Disk {
            source: Source::Root(directory.path().to_owned()),
            image_name: names::IMAGE.to_owned(),
            format: image::Format::Squashfs,
            compression: None,
            owner: content::Owner::Root,
            boot: Some(boot.clone()),
            newimg: None,
            overlay: None,
            update_room: true,
            table: super::super::layout::Table::Gpt,
            sizes: BTreeMap::new(),
            extent: super::super::layout::Extent { disk: None, power_of_two: false, sector: 512 },
            time: 0,
            page: None,
        };
        let work = tempfile::tempdir().unwrap();
        let text = boot_part(&disk, &boot, work.path()).err().unwrap().to_string();
        assert!(text.starts_with("--boot ") && text.contains("it is empty"), "{text}");
        std::fs::write(directory.path().join("kernel.img"), "k").unwrap();
        let names = |part: Part| part.entries.iter().map(Entry::shown).collect::<Vec<_>>();
        assert_eq!(names(boot_part(&disk, &boot, work.path()).unwrap()), ["BLACKBOX.TXT", "kernel.img"]);
        std::fs::write(directory.path().join("blackbox.txt"), "mine").unwrap();
        assert_eq!(names(boot_part(&disk, &boot, work.path()).unwrap()), ["blackbox.txt", "kernel.img"]);
    }

    #[test]
    fn the_squashfs_module_is_found_in_a_kernels_directory() {
        let directory = tempfile::tempdir().unwrap();
        let modules = directory.path().join("6.1.0-50-rpi/kernel/fs/squashfs");
        std::fs::create_dir_all(&modules).unwrap();
        let kernel = directory.path().join("6.1.0-50-rpi");
        assert!(squashfs_module(&kernel).unwrap_err().to_string().contains("built into"));
        std::fs::write(modules.join("squashfs.ko.backup"), "").unwrap();
        std::fs::write(modules.join("squashfs.ko.xz"), "").unwrap();
        let found = squashfs_module(&kernel).unwrap();
        assert_eq!(found, ("6.1.0-50-rpi".to_owned(), modules.join("squashfs.ko.xz")));
        assert!(squashfs_module(directory.path()).unwrap_err().to_string().contains("/lib/modules/"));
    }
}
