//! An image and the files beside it: the archive, its manifest, its bill of materials. An image that exists already and would
//! come out the same is left alone.

use std::{
    env, fs,
    io::Write,
    path::{Path, PathBuf},
};

use archive::{
    compress::Compression,
    manifest::{self, Record},
    newc::{self, Properties},
    tree::Tree,
};
use base::{
    atomic_file::AtomicFile,
    digest::{Hashing, file_digest},
    progress::Progress,
};
use sources::{busybox::Busybox, target::Target, toolchain::repair::Tool};

use super::{
    description::{BILL, Description, MANIFEST, beside},
    program::Program,
};
use crate::{
    Result,
    image::{self, Modules},
    trust::Key,
    variant::Variant,
};

/// The inputs of an image, and the settings that it is packed with.
#[derive(Debug)]
pub struct Parts<'a> {
    /// Its target.
    pub target: &'a Target,
    /// Its variant.
    pub variant: Variant,
    /// Its version.
    pub version: &'a str,
    /// Its init.
    pub program: Program,
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
    /// The hash of the password that the menu of a failed boot asks for.
    pub recover_password: Option<&'a str>,
    /// Keys that images must be signed by, where any are.
    pub trust: &'a [Key],
    /// Directories of the user's.
    pub include: &'a [PathBuf],
    /// Its compression.
    pub compression: Compression,
    /// The time of everything in it, in seconds since 1970.
    pub mtime: u32,
}

/// An image that can be made.
#[derive(Debug)]
pub struct Image<'a> {
    parts: Parts<'a>,
    tree: Tree,
    records: Vec<Record>,
}

/// An image that was made, or was there already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The target's name.
    pub target: String,
    /// The variant's name.
    pub variant: &'static str,
    /// The image's file name.
    pub file: String,
    /// Size of init in bytes.
    pub init_size: u64,
    /// Size of the image in bytes.
    pub size: u64,
    /// True if it existed already and was left alone.
    pub fresh: bool,
    /// The SHA-256 of the image, its manifest and its bill of materials, by file name.
    pub digests: Vec<(String, String)>,
}

/// Returns the file name of an image: `init-0.1.0-i686-debug.gz`.
pub fn file_name(version: &str, target: &str, variant: Variant, compression: Compression) -> String {
    format!("init-{version}-{target}{}.{}", variant.file_suffix(), compression.suffix())
}

impl<'a> Image<'a> {
    /// Looks at everything that goes in, once.
    ///
    /// # Errors
    /// A file that cannot be read, one that cannot be in an initramfs, and a file of the user's in the place of `/init`.
    pub fn new(parts: Parts<'a>) -> Result<Self> {
        let tree = image::tree(&image::Parts {
            target: parts.target,
            variant: parts.variant,
            version: parts.version,
            init: &parts.program.path,
            busybox: parts.busybox,
            tools: parts.tools,
            modules: parts.modules,
            cmdline: parts.cmdline,
            cmdline_final: parts.cmdline_final,
            support_url: parts.support_url,
            recover_password: parts.recover_password,
            trust: parts.trust,
            include: parts.include,
        })?;
        tree.check_archive()?;
        let records = manifest::records(&tree, parts.mtime)?;
        Ok(Self { parts, tree, records })
    }

    /// Makes the image's files in the directory `output`. They get their names when they are committed, so that a build that
    /// fails later leaves nothing. None where they are there already.
    ///
    /// # Errors
    /// [`Error::Io`], [`archive::Error::SizeChanged`], [`archive::Error::WriteArchive`].
    pub fn make(&self, output: &Path, progress: &Progress) -> Result<(Artifact, Vec<AtomicFile>)> {
        let Parts { target, variant, version, compression, .. } = &self.parts;
        let name = file_name(version, &target.name, *variant, *compression);
        let path = output.join(&name);
        if let Some((size, [manifest, bill])) = self.fresh(&path)? {
            return Ok((self.artifact(&name, size, true, &manifest, &bill), Vec::new()));
        }
        let step = progress.step(format!("{}: packing {name}", target.name));
        let sink = Hashing::new(AtomicFile::create(&path)?);
        let failed = |source| archive::Error::WriteArchive { source };
        let mut encoder = compression.encoder(sink).map_err(failed)?;
        newc::write(&self.tree, Properties { mtime: self.parts.mtime, ..Properties::default() }, &mut encoder)?;
        let (inner, length, sha256) = encoder.finish().map_err(failed)?.finish();
        let texts @ [manifest, bill] = &self.texts(&name, length, &sha256);
        let mut files = vec![inner];
        for (text, suffix) in texts.iter().zip([MANIFEST, BILL]) {
            let mut file = AtomicFile::create(beside(&path, suffix))?;
            file.write_all(text.as_bytes()).map_err(failed)?;
            files.push(file);
        }
        step.finish("");
        Ok((self.artifact(&name, (length, sha256), false, manifest, bill), files))
    }

    /// Returns size and digest of the image at `path` with the texts beside it, if all of them are what this image would be: its
    /// manifest lists the same files with the same digests, and the image's own. `None` also where this command was built
    /// after the image, as it may pack otherwise now.
    #[expect(clippy::type_complexity, reason = "a pair of pairs, taken apart at once")]
    fn fresh(&self, path: &Path) -> Result<Option<((u64, String), [String; 2])>> {
        let Ok(metadata) = fs::metadata(path) else { return Ok(None) };
        let built = env::current_exe().and_then(fs::metadata).and_then(|program| program.modified());
        let is_older = match (metadata.modified(), built) {
            (Ok(image), Ok(built)) => image < built,
            _ => true,
        };
        let present = [MANIFEST, BILL].map(|suffix| fs::read_to_string(beside(path, suffix)).ok());
        let [Some(manifest), Some(bill)] = present else { return Ok(None) };
        if is_older || !metadata.is_file() {
            return Ok(None);
        }
        let sha256 = file_digest(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let texts = self.texts(&name, metadata.len(), &sha256);
        Ok((texts == [manifest, bill]).then_some(((metadata.len(), sha256), texts)))
    }

    fn artifact(&self, name: &str, image: (u64, String), fresh: bool, manifest: &str, bill: &str) -> Artifact {
        let (size, sha256) = image;
        let digest = |text: &str| base::digest::digest(text.as_bytes());
        Artifact {
            target: self.parts.target.name.clone(),
            variant: self.parts.variant.name(),
            file: name.to_owned(),
            init_size: self.parts.program.size,
            size,
            fresh,
            digests: vec![
                (name.to_owned(), sha256),
                (format!("{name}{MANIFEST}"), digest(manifest)),
                (format!("{name}{BILL}"), digest(bill)),
            ],
        }
    }

    /// Returns the manifest and the bill of materials of an image with this name, size and digest.
    fn texts(&self, name: &str, size: u64, sha256: &str) -> [String; 2] {
        let Parts {
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
            include,
            compression,
            mtime,
            ..
        } = &self.parts;
        let description = Description {
            target,
            variant: variant.name(),
            version,
            program,
            busybox: *busybox,
            tools,
            modules: *modules,
            cmdline: *cmdline,
            cmdline_final: *cmdline_final,
            support_url: *support_url,
            include,
            compression: *compression,
            mtime: *mtime,
        };
        description.texts(name, size, sha256, self.records.clone())
    }
}
