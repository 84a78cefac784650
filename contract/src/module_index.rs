//! The list of modules baked into an initramfs: written by the builder, read by init.
//!
//! A line for each module, in load order: every module comes after all it needs. Fields are separated by one space:
//!
//! ```text
//! ext4 kernel/fs/ext4/ext4.ko needs=mbcache,jbd2,crc32c_generic alias=fs-ext4 alias=fs-ext3
//! ```
//!
//! The file is `/lib/modules/<kernel-version>/initramfs.modules`. This module only reads and writes the format; init
//! decides what to load, and when.

use std::fmt;

/// Name of the index file in `/lib/modules/<kernel-version>/`.
pub const FILE_NAME: &str = "initramfs.modules";

/// A baked-in module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Module {
    /// The kernel's name for it, `-` written as `_`.
    pub name: String,
    /// Path below `/lib/modules/<kernel-version>/`, with the suffix of its compression (`.ko`, `.ko.gz`, `.ko.xz`, `.ko.zst`).
    pub path: String,
    /// Names of the modules that must be in the kernel first: `depends` and `softdep … pre:`, direct ones only.
    pub needs: Vec<String>,
    /// Names of the modules that `softdep … post:` wants after it.
    pub post: Vec<String>,
    /// Loaded at the start of every boot, asked for or not.
    pub always: bool,
    /// Patterns (`modules.alias` syntax, shell globs) of what it serves: `fs-ext4`, `pci:v00001AF4d*`.
    pub aliases: Vec<String>,
}

impl Module {
    /// Returns true for a module that serves hardware: it is loaded when a device asks for it.
    pub fn is_driver(&self) -> bool {
        self.aliases.iter().any(|alias| !alias.starts_with("fs-") && alias.contains(':'))
    }

    /// Returns true for a module that the kernel's own tree has among the drivers for network cards.
    pub fn is_card(&self) -> bool {
        self.path.starts_with("kernel/drivers/net/")
    }
}

/// All baked-in modules of one kernel, in load order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Index {
    /// The modules, each behind all it needs.
    pub modules: Vec<Module>,
}

/// A line of the index that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("line {line}: {reason}")]
pub struct IndexError {
    /// Line number, from 1.
    pub line: usize,
    /// The objection to it.
    pub reason: &'static str,
}

impl Index {
    /// Reads the format that `Display` writes. Empty lines and lines that begin with `#` are passed over.
    ///
    /// # Errors
    /// The first line that has no path or an unknown field.
    pub fn parse(text: &str) -> Result<Self, IndexError> {
        let mut modules = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fail = |reason| IndexError { line: number.saturating_add(1), reason };
            let mut fields = line.split(' ');
            let (Some(name), Some(path)) = (fields.next(), fields.next()) else {
                return Err(fail("a module line needs a name and a path"));
            };
            let mut module = Module { name: name.into(), path: path.into(), ..Module::default() };
            for field in fields {
                match field.split_once('=') {
                    Some(("needs", names)) => module.needs = names.split(',').map(String::from).collect(),
                    Some(("post", names)) => module.post = names.split(',').map(String::from).collect(),
                    Some(("alias", pattern)) => module.aliases.push(pattern.into()),
                    None if field == "always" => module.always = true,
                    _ => return Err(fail("unknown field")),
                }
            }
            modules.push(module);
        }
        Ok(Self { modules })
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for module in &self.modules {
            write!(f, "{} {}", module.name, module.path)?;
            if !module.needs.is_empty() {
                write!(f, " needs={}", module.needs.join(","))?;
            }
            if !module.post.is_empty() {
                write!(f, " post={}", module.post.join(","))?;
            }
            if module.always {
                f.write_str(" always")?;
            }
            for alias in &module.aliases {
                write!(f, " alias={alias}")?;
            }
            f.write_str("\n")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let index = Index {
            modules: vec![
                Module { name: "jbd2".into(), path: "kernel/fs/jbd2/jbd2.ko".into(), ..Module::default() },
                Module {
                    name: "ext4".into(),
                    path: "kernel/fs/ext4/ext4.ko.xz".into(),
                    needs: vec!["jbd2".into(), "crc32c_generic".into()],
                    post: vec!["later".into()],
                    always: true,
                    aliases: vec!["fs-ext4".into(), "fs-ext3".into()],
                },
            ],
        };
        assert_eq!(Index::parse(&index.to_string()), Ok(index));
    }

    #[test]
    fn a_bad_line_is_named() {
        let seen = Index::parse("# modules\n\njbd2\n");
        assert_eq!(seen, Err(IndexError { line: 3, reason: "a module line needs a name and a path" }));
        let seen = Index::parse("a b c=d\n");
        assert_eq!(seen, Err(IndexError { line: 1, reason: "unknown field" }));
    }
}
