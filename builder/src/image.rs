//! The contents of an image: the tree of its root, put together from init, BusyBox, modules and the user's files. The parts
//! were chosen before; nothing is fetched, compiled or written here.

use std::path::{Path, PathBuf};

use archive::tree::{Content, Entry, Kind, OnConflict, Tree};
use contract::{module_index, names};
use kmod::{Removed, SelectedModule, Selection};
use sources::{busybox::Busybox, kernel_package::Origin, target::Target, toolchain::repair::Tool};

use crate::{Error, Result, trust::Key, variant::Variant};

pub mod repair;

/// The parts of an image, its init aside.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    /// Its target.
    pub target: &'a Target,
    /// Its variant.
    pub variant: Variant,
    /// Its version.
    pub version: &'a str,
    /// BusyBox, where the variant has it.
    pub busybox: Option<&'a Busybox>,
    /// Programs that repair a disk, for the debug variant.
    pub tools: &'a [Tool],
    /// The kernel modules.
    pub modules: Option<&'a Modules>,
    /// Parameters that are baked in.
    pub cmdline: Option<&'a str>,
    /// Parameters that are baked in and cannot be overridden.
    pub cmdline_final: Option<&'a str>,
    /// The address that a failed boot's QR code begins with.
    pub support_url: Option<&'a str>,
    /// The hash of the password that the menu of a failed boot asks for.
    pub recover_password: Option<&'a str>,
    /// Keys that images must be signed by, where any are.
    pub trust: &'a [Key],
    /// Directories of the user's, later ones over earlier ones.
    pub include: &'a [PathBuf],
}

impl<'a> Parts<'a> {
    /// Returns the parts of a slim image with nothing beside init.
    pub fn bare(target: &'a Target, version: &'a str) -> Self {
        Self {
            target,
            variant: Variant::Slim,
            version,
            busybox: None,
            tools: &[],
            modules: None,
            cmdline: None,
            cmdline_final: None,
            support_url: None,
            recover_password: None,
            trust: &[],
            include: &[],
        }
    }
}

/// The modules of one kernel, ready to be put into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Modules {
    /// The kernel's version, as `uname -r` says it.
    pub version: String,
    /// True if signatures and debugging sections were stripped.
    pub stripped: bool,
    /// In load order.
    pub files: Vec<PackedModule>,
    /// The list that init reads.
    pub index: String,
    /// Modules that were asked for, or are needed, but are built into the kernel. Sorted.
    pub built_in: Vec<String>,
    /// The package that the kernel comes from, where that is known.
    pub origin: Option<Origin>,
}

/// A module as it goes into an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedModule {
    /// Its name.
    pub name: String,
    /// Its path in the image, without a leading slash.
    pub path: String,
    /// Its bytes.
    pub content: Content,
    /// The bytes that were stripped from it, by kind.
    pub removed: Removed,
}

impl Modules {
    /// Reads the modules of `selection` once for all images that they go into. A module that goes in as its file is stays
    /// there until an archive is written.
    ///
    /// # Errors
    /// [`crate::Error::Io`] and [`crate::Error::ModuleFile`] for a module that cannot be read.
    pub fn pack(selection: &Selection, strip: bool, origin: Option<Origin>) -> Result<Self> {
        let root = format!("{}/{}", names::MODULES_DIR, selection.version);
        let pack = |module: &SelectedModule| {
            let as_it_is = !strip && module.file.extension().is_some_and(|extension| extension == "ko");
            let (content, removed) = if as_it_is {
                (Content::host(&module.file)?, Removed::default())
            } else {
                let content = module.content(strip)?;
                (Content::Bytes(content.bytes), content.removed)
            };
            let path = format!("{root}/{}", module.entry.path);
            Ok(PackedModule { name: module.entry.name.clone(), path, content, removed })
        };
        Ok(Self {
            version: selection.version.clone(),
            stripped: strip,
            files: selection.modules.iter().map(pack).collect::<Result<_>>()?,
            index: selection.index().to_string(),
            built_in: selection.built_in.clone(),
            origin,
        })
    }
}

/// Directories that init mounts on, or that programs expect.
const DIRECTORIES: [&str; 5] = ["dev", "proc", "run", "sys", "sysroot"];

/// The other directories that programs are looked up in, and the targets of their links to `/bin`. As in a merged `/usr`, one
/// directory holds everything, so `#!/usr/bin/env` and `/sbin/modprobe` work.
const PROGRAM_DIRECTORIES: [(&str, &str); 3] = [("sbin", "bin"), ("usr/bin", "../bin"), ("usr/sbin", "../bin")];

/// Returns the tree of the image, with the program `init` as `/init`.
///
/// # Errors
/// A file that cannot be read, one that cannot be in an initramfs, and a file of the user's in the place of `/init`.
pub fn tree(parts: &Parts<'_>, init: &Path) -> Result<Tree> {
    let mut tree = Tree::new();
    let mut put = |path: &str, entry| tree.insert(path, entry, OnConflict::Refuse);
    put("init", Entry::file(0o755, Content::host(init)?))?;
    for directory in DIRECTORIES {
        put(directory, Entry::directory(0o755))?;
    }
    put("etc", Entry::directory(0o755))?;
    put("tmp", Entry::directory(0o1777))?;
    // The kernel opens /dev/console for init before anything is mounted (init/main.c, console_on_rootfs).
    put("dev/console", Entry::char_device(0o600, 5, 1))?;
    put("dev/null", Entry::char_device(0o666, 1, 3))?;
    put(relative(names::INITRD_RELEASE), text_file(release(parts)))?;
    if let Some(cmdline) = parts.cmdline {
        put(relative(names::BAKED_CMDLINE), text_file(format!("{cmdline}\n")))?;
    }
    if let Some(cmdline) = parts.cmdline_final {
        put(relative(names::FINAL_CMDLINE), text_file(format!("{cmdline}\n")))?;
    }
    if let Some(url) = parts.support_url {
        put(relative(names::SUPPORT_URL), text_file(format!("{url}\n")))?;
    }
    if let Some(hash) = parts.recover_password {
        let file = Entry::file(0o600, Content::Bytes(format!("{hash}\n").into_bytes()));
        tree.insert(relative(names::RECOVER_PASSWORD), file, OnConflict::Refuse)?;
    }
    if let Some(modules) = parts.modules {
        put_modules(&mut tree, modules)?;
    }
    if let Some(busybox) = parts.busybox {
        tree.insert("bin", Entry::directory(0o755), OnConflict::Refuse)?;
        let program = Entry::file(0o755, Content::Bytes(busybox.bytes.clone()));
        tree.insert(relative(names::BUSYBOX), program, OnConflict::Refuse)?;
        if parts.variant.has_shell() {
            let script = format!(
                "#!/bin/sh\n# Leaves this shell for the menu of the boot that failed.\n: >{} && kill -HUP $PPID\n",
                names::RECOVER_REQUEST
            );
            let script = Entry::file(0o755, Content::Bytes(script.into_bytes()));
            tree.insert("bin/recover", script, OnConflict::Refuse)?;
            repair::put_programs(&mut tree, parts.tools)?;
        }
    }
    for directory in parts.include {
        tree.include(directory, OnConflict::Replace)?;
    }
    put_keys(&mut tree, parts.trust)?;
    if let Some(busybox) = parts.busybox {
        if parts.variant.has_shell() {
            repair::put_links(&mut tree, parts.tools, &busybox.applets)?;
        }
        put_links(&mut tree, busybox)?;
    }
    Ok(tree)
}

/// Puts the modules and their list where init looks for them.
///
/// # Errors
/// [`archive::Error::Clash`] where something is there already.
pub fn put_modules(tree: &mut Tree, modules: &Modules) -> Result<()> {
    let mut put = |path: &str, content: Content| {
        tree.create_parents(path)?;
        tree.insert(path, Entry::file(0o644, content), OnConflict::Refuse)
    };
    for module in &modules.files {
        put(&module.path, module.content.clone())?;
    }
    let index = format!("{}/{}/{}", names::MODULES_DIR, modules.version, module_index::FILE_NAME);
    Ok(put(&index, Content::Bytes(modules.index.clone().into_bytes()))?)
}

/// Puts the keys where init looks for them. Only from there: keys that came another way would lie in an image whose init does
/// not look at them.
fn put_keys(tree: &mut Tree, keys: &[Key]) -> Result<()> {
    let directory = relative(names::TRUST_DIR);
    if tree.get(directory).is_some() {
        let text = format!("an included directory has {directory}; keys are put into an image with --trust KEY.pub");
        return Err(Error::Usage(text));
    }
    for key in keys {
        tree.create_parents(&key.path)?;
        tree.insert(&key.path, text_file(key.text.clone()), OnConflict::Refuse)?;
    }
    Ok(())
}

/// Adds a link for every applet, wherever programs are looked for. What the user put there stays.
///
/// # Errors
/// A name that no archive can hold.
pub fn put_links(tree: &mut Tree, busybox: &Busybox) -> Result<()> {
    let link_in = |tree: &mut Tree, directory: &str, target: &str| {
        busybox.applets.iter().try_for_each(|applet| {
            tree.insert(format!("{directory}/{applet}"), Entry::symlink(target), OnConflict::Keep)
        })
    };
    link_in(tree, "bin", "busybox")?;
    for (directory, bin) in PROGRAM_DIRECTORIES {
        tree.create_parents(directory)?;
        match tree.get(directory).map(|entry| &entry.kind) {
            None => tree.insert(directory, Entry::symlink(bin), OnConflict::Refuse)?,
            // The user has files of his own there: the links go beside them.
            Some(Kind::Directory) => {
                let depth = directory.split('/').count();
                link_in(tree, directory, &format!("{}bin/busybox", "../".repeat(depth)))?;
            }
            Some(_) => {}
        }
    }
    Ok(())
}

/// Returns the content of `/etc/initrd-release`, whose presence tells systemd that this is an initramfs: os-release(5).
fn release(parts: &Parts<'_>) -> String {
    let (version, variant, target) = (parts.version, parts.variant.name(), &parts.target.name);
    format!(
        "NAME=initramfs-overlay\nID=initramfs-overlay\nVERSION={version}\nVERSION_ID={version}\n\
         PRETTY_NAME=\"initramfs-overlay {version}\"\nVARIANT={variant}\nVARIANT_ID={variant}\nARCH={target}\n"
    )
}

fn text_file(text: String) -> Entry {
    Entry::file(0o644, Content::Bytes(text.into_bytes()))
}

fn relative(path: &str) -> &str {
    path.trim_start_matches('/')
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use sources::target;

    fn busybox() -> Busybox {
        Busybox {
            bytes: b"busybox".to_vec(),
            sha256: String::new(),
            applets: ["awk", "env", "sh"].map(str::to_owned).to_vec(),
            origin: None,
        }
    }

    fn paths(
        variant: Variant,
        busybox: Option<&Busybox>,
        include: &[PathBuf],
        cmdline: Option<&str>,
    ) -> Result<Vec<String>> {
        let directory = tempfile::tempdir().unwrap();
        let init = directory.path().join("init");
        fs::write(&init, "program").unwrap();
        let target = target::named("i686")?;
        let parts = Parts {
            variant,
            busybox,
            cmdline,
            cmdline_final: cmdline.map(|_| "ro"),
            include,
            ..Parts::bare(target, "1.2.3")
        };
        let tree = super::tree(&parts, &init)?;
        tree.check_archive()?;
        let line = |node: archive::tree::Node<'_>| {
            let target = match &node.entry.kind {
                Kind::Symlink(target) => format!(" -> {}", String::from_utf8_lossy(target)),
                _ => String::new(),
            };
            format!("{:04o} {}{target}", node.entry.mode, String::from_utf8_lossy(node.path))
        };
        Ok(tree.iter().map(line).collect())
    }

    const SLIM: [&str; 11] = [
        "0755 dev", "0600 dev/console", "0666 dev/null", "0755 etc", "0644 etc/initrd-release", "0755 init",
        "0755 proc", "0755 run", "0755 sys", "0755 sysroot", "1777 tmp",
    ];

    #[test]
    fn each_variant_holds_what_it_should() {
        assert_eq!(paths(Variant::Slim, None, &[], None).unwrap(), SLIM);
        let mut standard: Vec<&str> = SLIM.to_vec();
        standard.extend([
            "0644 etc/cmdline", "0644 etc/cmdline.final", "0755 bin", "0755 bin/busybox", "0777 bin/awk -> busybox",
            "0777 bin/env -> busybox", "0777 bin/sh -> busybox", "0755 usr", "0777 sbin -> bin",
            "0777 usr/bin -> ../bin", "0777 usr/sbin -> ../bin",
        ]);
        let path = |line: &str| line.split(' ').nth(1).unwrap().to_owned();
        standard.sort_by_key(|line| path(line));
        assert_eq!(paths(Variant::Standard, Some(&busybox()), &[], Some("quiet")).unwrap(), standard);
    }

    #[test]
    fn the_users_files_win_and_the_links_stay_reachable() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().to_owned();
        fs::create_dir_all(own.join("usr/bin")).unwrap();
        fs::create_dir_all(own.join("bin")).unwrap();
        fs::write(own.join("bin/awk"), "own").unwrap();
        fs::write(own.join("usr/bin/tool"), "own").unwrap();
        let found = paths(Variant::Standard, Some(&busybox()), std::slice::from_ref(&own), None).unwrap();
        let has = |line: &str| assert!(found.iter().any(|found| found == line), "{line} is not in {found:#?}");
        has("0644 bin/awk");
        has("0644 usr/bin/tool");
        has("0777 usr/bin/env -> ../../bin/busybox");
        has("0777 sbin -> bin");

        fs::write(own.join("init"), "own").unwrap();
        let error = paths(Variant::Slim, None, &[own], None).unwrap_err().to_string();
        assert!(error.contains("would replace /init"), "{error}");
    }
}
