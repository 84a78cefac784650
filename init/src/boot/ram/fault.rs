//! Failures of a root that runs from memory.

use std::io;

use contract::{
    errno::{EACCES, ENOENT, ENOEXEC},
    failure::Code,
    text::Size,
    workload::KERNEL,
};

/// Why the program cannot be run, or the root must not be.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The root is not what was packed.
    #[error("the root is torn")]
    Torn {
        /// The differences, one line each.
        seen: Vec<String>,
        /// Bytes that the root takes in memory.
        needs: u64,
        /// Bytes of memory that this machine has.
        has: u64,
        /// Nothing more fits into the root.
        full: bool,
    },
    /// There is nothing to run.
    #[error("nothing to run")]
    Nothing,
    /// There is no such program.
    #[error("no program {name}")]
    Missing {
        /// As it was asked for.
        name: String,
        /// The places that were searched.
        looked: Vec<String>,
    },
    /// There is something of that name which cannot be run.
    #[error("{path} cannot be run: {reason}")]
    Unusable {
        /// Its path.
        path: String,
        /// Why not.
        reason: &'static str,
    },
    /// It would not start.
    #[error("{path} would not start")]
    Exec {
        /// Its path.
        path: String,
        /// The kernel's reason.
        #[source]
        source: io::Error,
    },
    /// The root does not know the user or the group.
    #[error("no {what} {name}")]
    Unknown {
        /// `user` or `group`.
        what: &'static str,
        /// As it was asked for.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
}

impl Fault {
    /// Returns the code of the failure.
    pub fn code(&self) -> Code {
        match self {
            Self::Torn { full: true, .. } => Code::MemoryShort,
            Self::Torn { .. } => Code::RootTorn,
            Self::Nothing => Code::EntrypointNone,
            Self::Missing { .. } => Code::EntrypointMissing,
            Self::Unusable { .. } => Code::EntrypointUnusable,
            Self::Exec { .. } => Code::EntrypointExec,
            Self::Unknown { .. } => Code::UserUnknown,
        }
    }

    /// Returns the words of the card: wanted, seen, try next.
    pub(crate) fn words(&self) -> (String, Vec<String>, String) {
        match self {
            Self::Torn { seen, needs, has, full } => {
                let mut seen = seen.clone();
                // Where there is plenty, memory is not what is wrong.
                if needs.saturating_mul(4) > *has && *has > 0 {
                    seen.push(format!(
                        "the root takes {} of memory and may fill half of it; this machine has {}",
                        Size(*needs),
                        Size(*has)
                    ));
                }
                let next = match full {
                    true => format!(
                        "give the machine more memory: at least {} and the size of the initramfs",
                        Size(needs.saturating_mul(2).saturating_add(KERNEL))
                    ),
                    false => "copy the initramfs again and compare its digest".into(),
                };
                ("the whole root, as it was packed".into(), seen, next)
            }
            Self::Nothing => (
                "a program to run".into(),
                vec!["the image has neither an entrypoint nor a command".into()],
                "name one with init= and what follows -- on the kernel's command line, or build with --entrypoint".into(),
            ),
            Self::Missing { name, looked } => (
                format!("{name}, executable"),
                vec![format!("it is not in {}", looked.join(", "))],
                "correct the entrypoint (build with --entrypoint, or boot with init=), or put the program into the image".into(),
            ),
            Self::Unusable { path, reason } => (
                format!("{path}, executable"),
                vec![(*reason).into()],
                "repair the image, or boot with another init=".into(),
            ),
            Self::Exec { path, source } => (
                format!("{path} running"),
                vec![format!("{path} would not start: {source}")],
                match source.raw_os_error() {
                    Some(ENOEXEC) => "is the image for this processor (build with --platform)? A script needs a #! line",
                    Some(ENOENT) => "the program is there; put the interpreter that it names (#! or its dynamic linker) into the image",
                    Some(EACCES) => "let its user read and execute it, and enter its directories",
                    _ => "the kernel's lines here may say why; is the program whole?",
                }
                .into(),
            ),
            Self::Unknown { what, name, known } => (
                format!("the {what} {name}"),
                vec![match known.as_slice() {
                    [] => format!("the root knows no {what} at all"),
                    known => format!("the root knows {}", known.join(", ")),
                }],
                "give a number instead of the name (build with --user), or add it to /etc/passwd and /etc/group of the image".into(),
            ),
        }
    }
}
