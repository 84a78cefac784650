//! Init as a file of its own, for those who pack the archive themselves.

use std::{
    fs::{self, Permissions},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::Path,
};

use archive::compress::Compression;
use base::{
    IoContext,
    atomic_file::AtomicFile,
    digest::{digest, file_digest},
};
use sources::target::Target;

use super::{
    artifact::Artifact,
    description::{self, BILL, Description, MANIFEST, beside},
    program::Program,
};
use crate::{Result, image::Parts, variant::Variant};

/// The suffix of its file.
pub const SUFFIX: &str = "elf";

/// An init that can be written.
#[derive(Debug)]
pub struct BareInit<'a> {
    /// True where it has a shell.
    shell: bool,
    description: Description<'a>,
}

impl<'a> BareInit<'a> {
    /// Returns the init `program` for `target`, as a file of this time.
    pub fn new(target: &'a Target, version: &'a str, shell: bool, program: Program, mtime: u32) -> Self {
        let kind = if shell { "bare-debug" } else { "bare" };
        let parts = Parts::bare(target, version);
        Self { shell, description: Description { parts, kind, program, compression: Compression::None, mtime } }
    }

    /// Makes the program with its manifest and its bill of materials in the directory `output`, or finds them there. They get their
    /// names when they are committed.
    ///
    /// # Errors
    /// [`Error::Io`], [`archive::Error::SizeChanged`] for a program that changed meanwhile, [`archive::Error::WriteArchive`].
    pub fn make(&self, output: &Path) -> Result<(Artifact, Vec<AtomicFile>)> {
        let Description { parts: Parts { target, version, .. }, program, kind, .. } = &self.description;
        let suffix = if self.shell { Variant::Debug.file_suffix() } else { "" };
        let name = format!("init-{version}-{}{suffix}.{SUFFIX}", target.name);
        let path = output.join(&name);
        let texts = self.description.texts(&name, program.size, &program.sha256, Vec::new());
        let present = [MANIFEST, BILL].map(|suffix| fs::read_to_string(beside(&path, suffix)).unwrap_or_default());
        let fresh = present == texts && path.is_file() && file_digest(&path)? == program.sha256;
        let files = if fresh { Vec::new() } else { self.write(&path, &texts)? };
        let artifact = Artifact {
            target: target.name.clone(),
            variant: kind,
            file: name.clone(),
            init_size: program.size,
            size: program.size,
            fresh,
            digests: description::digests(&name, program.sha256.clone(), &texts),
        };
        Ok((artifact, files))
    }

    fn write(&self, path: &Path, texts: &[String; 2]) -> Result<Vec<AtomicFile>> {
        let source = &self.description.program;
        let bytes = fs::read(&source.path).at("read", &source.path)?;
        if digest(&bytes) != source.sha256 {
            return Err(archive::Error::SizeChanged { path: source.path.clone(), expected: source.size }.into());
        }
        let mut program = AtomicFile::create(path)?;
        program.write_all(&bytes).map_err(|source| archive::Error::WriteArchive { source })?;
        program.file().set_permissions(Permissions::from_mode(0o755)).at("set the mode of", path)?;
        let [manifest, bill] = description::write(path, texts)?;
        Ok(vec![program, manifest, bill])
    }
}
