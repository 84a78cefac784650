//! An image and the files beside it: the archive, its manifest, its bill of materials. An image that exists already and would
//! come out the same is left alone.

use std::{env, fs, path::Path};

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

use super::description::{self, BILL, Description, MANIFEST, beside};
use crate::{
    Result,
    image::{self, Parts},
    variant::Variant,
};

/// An image that can be made.
#[derive(Debug)]
pub struct Image<'a> {
    description: Description<'a>,
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
    pub digests: [(String, String); 3],
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
    pub fn new(description: Description<'a>) -> Result<Self> {
        let tree = image::tree(&description.parts, &description.program.path)?;
        tree.check_archive()?;
        let records = manifest::records(&tree, description.mtime)?;
        Ok(Self { description, tree, records })
    }

    /// Makes the image's files in the directory `output`. They get their names when they are committed, so that a build that
    /// fails later leaves nothing. None where they are there already.
    ///
    /// # Errors
    /// [`Error::Io`], [`archive::Error::SizeChanged`], [`archive::Error::WriteArchive`].
    pub fn make(&self, output: &Path, progress: &Progress) -> Result<(Artifact, Vec<AtomicFile>)> {
        let Description { compression, mtime, .. } = self.description;
        let Parts { target, variant, version, .. } = self.description.parts;
        let name = file_name(version, &target.name, variant, compression);
        let path = output.join(&name);
        if let Some((size, texts)) = self.fresh(&path)? {
            return Ok((self.artifact(&name, size, true, &texts), Vec::new()));
        }
        let step = progress.step(format!("{}: packing {name}", target.name));
        let sink = Hashing::new(AtomicFile::create(&path)?);
        let failed = |source| archive::Error::WriteArchive { source };
        let mut encoder = compression.encoder(sink).map_err(failed)?;
        newc::write(&self.tree, Properties { mtime, ..Properties::default() }, &mut encoder)?;
        let (inner, length, sha256) = encoder.finish().map_err(failed)?.finish();
        let texts = self.texts(&name, length, &sha256);
        let [manifest, bill] = description::write(&path, &texts)?;
        step.finish("");
        Ok((self.artifact(&name, (length, sha256), false, &texts), vec![inner, manifest, bill]))
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

    fn artifact(&self, name: &str, (size, sha256): (u64, String), fresh: bool, texts: &[String; 2]) -> Artifact {
        let Description { parts, kind, program, .. } = &self.description;
        Artifact {
            target: parts.target.name.clone(),
            variant: kind,
            file: name.to_owned(),
            init_size: program.size,
            size,
            fresh,
            digests: description::digests(name, sha256, texts),
        }
    }

    /// Returns the manifest and the bill of materials of an image with this name, size and digest.
    fn texts(&self, name: &str, size: u64, sha256: &str) -> [String; 2] {
        self.description.texts(name, size, sha256, self.records.clone())
    }
}
