//! The machines an image can be built for, one definition each in `targets/*.toml`: what Rust and Zig call them, which
//! BusyBox runs there, which kernel and which QEMU machine boot them. Only says what they are; builds nothing.

use std::sync::LazyLock;

use contract::text::nearest;

pub use self::{
    definition::{AUTO, BusyboxPackage, Definition, DiskInterface, ExitChannel, KernelPackage, Qemu, Target},
    files::{Choice, VARIABLE, read_from},
    flaw::Flaw,
};
use crate::{Error, Result};

mod definition;
mod files;
pub(crate) mod flaw;

static TARGETS: LazyLock<Result<Vec<Target>, Flaw>> = LazyLock::new(files::read);

/// Returns all targets, by name.
///
/// # Errors
/// [`Error::TargetDefinition`] where a definition is wrong.
pub fn all() -> Result<&'static [Target]> {
    match &*TARGETS {
        Ok(targets) => Ok(targets),
        Err(flaw) => Err(Error::TargetDefinition(flaw.clone())),
    }
}

/// Returns the target of that name or alias.
///
/// # Errors
/// [`Error::Usage`] with all names, and the one that was probably meant.
pub fn named(name: &str) -> Result<&'static Target> {
    match several(&[name])?.as_slice() {
        [target] => Ok(target),
        _ => Err(Error::Usage(format!("there is no target `{name}`"))),
    }
}

/// Returns the targets of these names, in their order.
///
/// # Errors
/// [`Error::Usage`] with every name that no target has, and what there is.
pub fn several<S: AsRef<str>>(names: &[S]) -> Result<Vec<&'static Target>> {
    let targets = all()?;
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for name in names.iter().map(AsRef::as_ref) {
        match targets.iter().find(|target| target.is_called(name)) {
            Some(target) => found.push(target),
            None => wrong.push(name),
        }
    }
    if wrong.is_empty() {
        return Ok(found);
    }
    let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
    let wrong = wrong.into_iter().map(|name| {
        let hint = nearest(name, &names).or_else(|| {
            let aliases: Vec<&str> = targets.iter().flat_map(|target| &target.aliases).map(String::as_str).collect();
            let near = nearest(name, &aliases)?;
            targets.iter().find(|target| target.is_called(near)).map(|target| target.name.as_str())
        });
        let hint = hint.map_or_else(String::new, |hint| format!(" (did you mean `{hint}`?)"));
        format!("`{name}`{hint}")
    });
    let wrong = wrong.collect::<Vec<_>>().join(", no target ");
    Err(Error::Usage(format!("there is no target {wrong}. There are: {}", names.join(", "))))
}

/// Returns the target of this machine: of the kernel that runs, as `uname -m` names it.
///
/// # Errors
/// [`Error::Usage`] where there is none.
pub fn of_this_machine() -> Result<&'static Target> {
    let uname = rustix::system::uname();
    let machine = uname.machine().to_string_lossy();
    all()?
        .iter()
        .find(|target| target.is_called(&machine))
        .ok_or_else(|| Error::Usage(format!("there is no target for this machine ({machine}): name one with --target")))
}

/// Lists the targets that `is_shown` keeps, each with what `detail` says about it, for a line of help: `i686 (a Pentium II), …`.
/// Empty where a definition is wrong, which [`all`] reports.
pub fn list(is_shown: impl Fn(&Target) -> bool, detail: impl Fn(&Target) -> String) -> String {
    let shown = all().unwrap_or_default().iter().filter(|target| is_shown(target));
    shown.map(|target| format!("{} ({})", target.name, detail(target))).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definitions_are_right() {
        let targets = all().unwrap();
        let names: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names, ["aarch64", "armv6l", "armv7l", "i686", "riscv64", "x86_64"]);
    }

    #[test]
    fn a_wrong_name_says_which_there_are() {
        let text = |name| named(name).unwrap_err().to_string();
        assert_eq!(
            text("x86_46"),
            "there is no target `x86_46` (did you mean `x86_64`?). There are: aarch64, armv6l, armv7l, i686, riscv64, x86_64"
        );
        assert!(text("amd46").contains("did you mean `x86_64`?"), "{}", text("amd46"));
        let both = several(&["i686", "sparc", "amd46"]).unwrap_err().to_string();
        assert!(both.starts_with("there is no target `sparc`, no target `amd46` (did you mean"), "{both}");
        assert_eq!(
            text("sparc"),
            "there is no target `sparc`. There are: aarch64, armv6l, armv7l, i686, riscv64, x86_64"
        );
        assert_eq!(named("i686").unwrap().triple, "i586-unknown-linux-musl");
    }

    #[test]
    fn the_names_of_other_tools_work() {
        for (name, target) in [
            ("arm64", "aarch64"),
            ("armel", "armv6l"),
            ("armhf", "armv7l"),
            ("i386", "i686"),
            ("386", "i686"),
            ("amd64", "x86_64"),
            ("x86-64", "x86_64"),
        ] {
            assert_eq!(named(name).unwrap().name, target, "{name}");
        }
    }
}
