//! Programs that must be process 1: init systems and the small inits of containers. Which process a program becomes is decided when the
//! image is made. Pure.

/// The process that a program becomes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Process {
    /// A child of init, which stays process 1.
    #[default]
    Child,
    /// Process 1 of a PID namespace of its own, with init outside: its status and all that it leaves are seen to as for a child.
    Namespace,
    /// Process 1 of the machine, in the place of init. Its end is the machine's.
    Machine,
}

/// Container inits and init systems that run in a namespace as well as on a machine.
const NAMESPACE: [&str; 12] = [
    "init", "tini", "tini-static", "dumb-init", "catatonit", "docker-init", "my_init", "openrc-init", "runit",
    "runit-init", "s6-linux-init", "s6-svscan",
];

impl Process {
    /// Returns what a program wants to be by its `name`, and by the name of the file that its links lead to.
    pub fn detect(name: &str, file: &str) -> Self {
        let last = |path: &str| path.rsplit('/').next().unwrap_or_default().to_string();
        let (name, file) = (last(name), last(file));
        match file.as_str() {
            // It asks for the whole machine: cgroups, devices, targets for its end.
            "systemd" => Self::Machine,
            _ if NAMESPACE.contains(&name.as_str()) || NAMESPACE.contains(&file.as_str()) => Self::Namespace,
            _ => Self::Child,
        }
    }

    /// Returns the word for it, on the command line and in the initramfs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Child => "no",
            Self::Namespace => "namespace",
            Self::Machine => "real",
        }
    }

    /// Reads that word.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Child, Self::Namespace, Self::Machine].into_iter().find(|process| process.word() == word)
    }
}

#[cfg(test)]
mod tests {
    use super::Process;

    #[test]
    fn inits_are_known_by_their_names() {
        for (name, file, process) in [
            ("/lib/systemd/systemd", "/usr/lib/systemd/systemd", Process::Machine),
            ("/sbin/init", "/usr/lib/systemd/systemd", Process::Machine),
            ("/sbin/init", "/bin/busybox", Process::Namespace),
            ("/sbin/init", "/usr/sbin/init", Process::Namespace),
            ("/init", "/init", Process::Namespace),
            ("tini", "/usr/bin/tini-static", Process::Namespace),
            ("/usr/bin/dumb-init", "/usr/bin/dumb-init", Process::Namespace),
            ("/package/admin/s6/command/s6-svscan", "/package/admin/s6/command/s6-svscan", Process::Namespace),
            ("/sbin/openrc-init", "/sbin/openrc-init", Process::Namespace),
            ("/bin/sh", "/bin/busybox", Process::Child),
            ("systemd-analyze", "/usr/bin/systemd-analyze", Process::Child),
            ("/usr/bin/initdb", "/usr/bin/initdb", Process::Child),
            ("", "", Process::Child),
        ] {
            assert_eq!(Process::detect(name, file), process, "{name} {file}");
            assert_eq!(Process::parse(process.word()), Some(process));
        }
        assert_eq!(Process::parse("yes"), None);
    }
}
