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
    description::{BILL, Description, MANIFEST, beside},
    program::Program,
};
use crate::{Result, variant::Variant};

/// The suffix of its file.
pub const SUFFIX: &str = "elf";

/// An init that can be written.
#[derive(Debug)]
pub struct BareInit<'a> {
    /// The target that it runs on.
    pub target: &'a Target,
    /// True where it has a shell.
    pub shell: bool,
    /// Its version.
    pub version: &'a str,
    /// Its program.
    pub program: Program,
    /// The time of its bill of materials, in seconds since 1970.
    pub mtime: u32,
}

impl BareInit<'_> {
    /// Makes the program with its manifest and its bill of materials in the directory `output`, or finds them there. They get their
    /// names when they are committed.
    ///
    /// # Errors
    /// [`Error::Io`], [`archive::Error::SizeChanged`] for a program that changed meanwhile, [`archive::Error::WriteArchive`].
    pub fn make(&self, output: &Path) -> Result<(Artifact, Vec<AtomicFile>)> {
        let Self { target, program, .. } = self;
        let (variant, suffix) = if self.shell { ("bare-debug", Variant::Debug.file_suffix()) } else { ("bare", "") };
        let name = format!("init-{}-{}{suffix}.{SUFFIX}", self.version, target.name);
        let path = output.join(&name);
        let texts = self.texts(variant, &name);
        let present = [MANIFEST, BILL].map(|suffix| fs::read_to_string(beside(&path, suffix)).unwrap_or_default());
        let fresh = present == texts && path.is_file() && file_digest(&path)? == program.sha256;
        let files = if fresh { Vec::new() } else { self.write(&path, &texts)? };
        let [manifest, bill] = texts.map(|text| digest(text.as_bytes()));
        let artifact = Artifact {
            target: target.name.clone(),
            variant,
            file: name.clone(),
            init_size: program.size,
            size: program.size,
            fresh,
            digests: vec![
                (name.clone(), program.sha256.clone()),
                (format!("{name}{MANIFEST}"), manifest),
                (format!("{name}{BILL}"), bill),
            ],
        };
        Ok((artifact, files))
    }

    fn write(&self, path: &Path, texts: &[String; 2]) -> Result<Vec<AtomicFile>> {
        let bytes = fs::read(&self.program.path).at("read", &self.program.path)?;
        if digest(&bytes) != self.program.sha256 {
            return Err(
                archive::Error::SizeChanged { path: self.program.path.clone(), expected: self.program.size }.into()
            );
        }
        let failed = |source| archive::Error::WriteArchive { source };
        let mut program = AtomicFile::create(path)?;
        program.write_all(&bytes).map_err(failed)?;
        program.file().set_permissions(Permissions::from_mode(0o755)).at("set the mode of", path)?;
        let mut files = vec![program];
        for (text, suffix) in texts.iter().zip([MANIFEST, BILL]) {
            let mut file = AtomicFile::create(beside(path, suffix))?;
            file.write_all(text.as_bytes()).map_err(failed)?;
            files.push(file);
        }
        Ok(files)
    }

    fn texts(&self, variant: &str, name: &str) -> [String; 2] {
        let Self { target, version, program, mtime, .. } = self;
        let description = Description {
            target,
            variant,
            version,
            program,
            busybox: None,
            tools: &[],
            modules: None,
            cmdline: None,
            cmdline_final: None,
            support_url: None,
            include: &[],
            compression: Compression::None,
            mtime: *mtime,
        };
        description.texts(name, program.size, &program.sha256, Vec::new())
    }
}
