//! The workload of a machine that runs from memory: the one program, with all that it expects, as the builder wrote it down.
//! Pure: bytes in, values out. What the user says at boot comes on top of it.

mod process;

pub use process::Process;

/// Directories of programs where the environment has no `PATH`: as container engines have it.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Signal that asks a program to exit; the default where the image does not say otherwise.
pub const SIGTERM: i32 = 15;

/// The program, as it was written down.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Workload {
    /// The program and its first arguments.
    pub entrypoint: Vec<String>,
    /// More arguments; the program itself where there is no entrypoint.
    pub cmd: Vec<String>,
    /// `NAME=VALUE`.
    pub env: Vec<String>,
    /// The directory that it starts in; `/` where it is empty.
    pub directory: String,
    /// `user`, `uid`, `user:group`, …; root where it is empty.
    pub user: String,
    /// The signal that asks it to exit, such as `SIGQUIT`; SIGTERM where it is empty.
    pub stop_signal: String,
    /// The machine's name; that in `/etc/hostname` where it is empty.
    pub hostname: String,
    /// The process that it becomes.
    pub process: Process,
    /// The mode of `/`, where the image says one.
    pub root_mode: Option<u32>,
    /// Bytes that the root takes in memory; 0 where nobody knows.
    pub memory: u64,
    /// The program is for people: it runs on every console, and again whenever it ends.
    pub on_consoles: bool,
    /// A program with its arguments that runs beside it, once.
    pub start: Vec<String>,
    /// The disk whose EROFS filesystem becomes the root, with a layer in memory over it; where it is empty, the initramfs is the root.
    pub disk: String,
    /// Directories of the host, in the order in which they are mounted.
    pub shares: Vec<Share>,
    /// That program sees to the network: each card is brought up as soon as its driver is in, for many take seconds from there to
    /// find out who is at the other end of the wire.
    pub switches_on: bool,
}

/// A directory of the host in the root (virtiofs).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Share {
    /// The name by which the host offers it. It has no colon.
    pub tag: String,
    /// The directory that it is mounted on; made where it is missing.
    pub target: String,
    /// Mount it read-only.
    pub read_only: bool,
}

impl Share {
    fn parse(text: &str) -> Option<Self> {
        let (tag, rest) = text.split_once(':')?;
        let (access, target) = rest.split_once(':')?;
        Some(Self { tag: tag.into(), target: target.into(), read_only: access == "ro" })
    }
}

impl Workload {
    /// Returns the form in which it lies in the initramfs: `name=value` and a NUL for each thing, lists in order. A value can be anything
    /// that a program can be given, line breaks and quotes among it.
    ///
    /// # Errors
    /// The name of what holds a NUL, which no program can be given.
    pub fn to_bytes(&self) -> Result<Vec<u8>, &'static str> {
        let mut bytes = Vec::new();
        let mut put = |name: &'static str, value: &str| {
            if value.contains('\0') {
                return Err(name);
            }
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b'=');
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
            Ok(())
        };
        for (name, values) in
            [("entrypoint", &self.entrypoint), ("cmd", &self.cmd), ("env", &self.env), ("start", &self.start)]
        {
            values.iter().try_for_each(|value| put(name, value))?;
        }
        for (name, value) in [
            ("directory", &self.directory),
            ("user", &self.user),
            ("stop-signal", &self.stop_signal),
            ("hostname", &self.hostname),
            ("disk", &self.disk),
        ] {
            if !value.is_empty() {
                put(name, value)?;
            }
        }
        for Share { tag, target, read_only } in &self.shares {
            let access = if *read_only { "ro" } else { "rw" };
            put("share", &[tag, ":", access, ":", target].concat())?;
        }
        for (name, value) in [("on-consoles", self.on_consoles), ("switches-on", self.switches_on)] {
            if value {
                put(name, "yes")?;
            }
        }
        if self.process != Process::default() {
            put("process", self.process.word())?;
        }
        if let Some(mode) = self.root_mode {
            put("root-mode", &format!("{mode:o}"))?;
        }
        put("memory", &self.memory.to_string())?;
        Ok(bytes)
    }

    /// Reads that form. What it does not know it leaves alone.
    pub fn parse(text: &str) -> Self {
        let mut workload = Self::default();
        for (name, value) in text.split_terminator('\0').filter_map(|record| record.split_once('=')) {
            let value = value.to_string();
            match name {
                "entrypoint" => workload.entrypoint.push(value),
                "cmd" => workload.cmd.push(value),
                "env" => workload.env.push(value),
                "directory" => workload.directory = value,
                "user" => workload.user = value,
                "stop-signal" => workload.stop_signal = value,
                "hostname" => workload.hostname = value,
                "start" => workload.start.push(value),
                "disk" => workload.disk = value,
                "share" => workload.shares.extend(Share::parse(&value)),
                "on-consoles" => workload.on_consoles = value == "yes",
                "switches-on" => workload.switches_on = value == "yes",
                "process" => workload.process = Process::parse(&value).unwrap_or_default(),
                "root-mode" => workload.root_mode = u32::from_str_radix(&value, 8).ok().filter(|mode| *mode <= 0o7777),
                "memory" => workload.memory = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        workload
    }

    /// Returns the program and its arguments. `init` takes the place of the entrypoint, and the image's own arguments are not for it;
    /// `given` takes the place of these.
    pub fn words(&self, init: Option<&str>, given: &[String]) -> Vec<String> {
        let mut words = match init {
            Some(init) => vec![init.to_string()],
            None => self.entrypoint.clone(),
        };
        if !given.is_empty() {
            words.extend_from_slice(given);
        } else if init.is_none() {
            words.extend_from_slice(&self.cmd);
        }
        words
    }

    /// Returns the environment: the image's, and what every program expects where it is silent. Without a `hostname` it says none.
    pub fn environment(&self, home: &str, hostname: &str) -> Vec<String> {
        let mut all = self.env.clone();
        for (name, value) in [("PATH", PATH), ("HOSTNAME", hostname), ("HOME", home), ("TERM", "linux")] {
            if !value.is_empty() && variable(&all, name).is_none() {
                all.push([name, "=", value].concat());
            }
        }
        all
    }

    /// Returns the number of what asks it to end.
    pub fn stop(&self) -> i32 {
        signal(&self.stop_signal).unwrap_or(SIGTERM)
    }

    /// Returns the directory that it starts in.
    pub fn directory(&self) -> &str {
        if self.directory.is_empty() { "/" } else { &self.directory }
    }
}

/// Returns the value of a variable. Of several the last counts.
pub fn variable<'a>(environment: &'a [String], name: &str) -> Option<&'a str> {
    environment
        .iter()
        .rev()
        .find_map(|entry| entry.split_once('=').filter(|(known, _)| *known == name).map(|(_, value)| value))
}

/// Returns the number of a signal as Docker takes it (moby, `sys/signal`): by its name, with `SIG` or without, in any letters, or by a
/// number. A C library's real-time signals are named from their nearer end: up to `RTMIN+15`, and from `RTMAX-14` on. The numbers are
/// those of x86 and ARM.
pub fn signal(text: &str) -> Option<i32> {
    const NAMES: [&str; 31] = [
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM",
        "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM", "PROF",
        "WINCH", "IO", "PWR", "SYS",
    ];
    // Those that C libraries leave to programs (signal(7), real-time signals).
    const RTMIN: i32 = 34;
    const LAST: i32 = 64;
    if let Ok(number) = text.parse::<i32>() {
        return (1..=LAST).contains(&number).then_some(number);
    }
    let upper = text.to_ascii_uppercase();
    let name = match upper.strip_prefix("SIG").unwrap_or(&upper) {
        "CLD" => "CHLD",
        "IOT" => "ABRT",
        "POLL" => "IO",
        name => name,
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return distance(rest, '+', 15)?.checked_add(RTMIN);
    }
    if let Some(rest) = name.strip_prefix("RTMAX") {
        return LAST.checked_sub(distance(rest, '-', 14)?);
    }
    i32::try_from(NAMES.iter().position(|known| *known == name)?).ok()?.checked_add(1)
}

/// Returns the distance of a real-time signal from its end: nothing, or the sign and a number from 1 to `most` without zeros before it.
fn distance(rest: &str, sign: char, most: i32) -> Option<i32> {
    if rest.is_empty() {
        return Some(0);
    }
    let digits = rest.strip_prefix(sign).filter(|digits| digits.starts_with(|digit| ('1'..='9').contains(&digit)))?;
    digits.parse().ok().filter(|number| *number <= most)
}

/// Bytes that a kernel of a distribution keeps and needs to start: Debian's 6.1 for amd64, measured.
pub const KERNEL: u64 = 88 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_string()).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let workload = Workload {
            entrypoint: strings(&["/a b", "-x\n\"y\"", ""]),
            cmd: strings(&["=", "ä"]),
            env: strings(&["A=1=2", "B="]),
            directory: "/w w".into(),
            user: "1:2".into(),
            stop_signal: "SIGQUIT".into(),
            hostname: "box".into(),
            root_mode: Some(0o1711),
            process: Process::Namespace,
            memory: 12345,
            on_consoles: true,
            start: strings(&["/etc/rc", "x"]),
            disk: "/dev/vda".into(),
            shares: vec![
                Share { tag: "a".into(), target: "/data: x".into(), read_only: true },
                Share { tag: "b".into(), target: "/b".into(), read_only: false },
            ],
            switches_on: true,
        };
        let bytes = workload.to_bytes().unwrap();
        assert_eq!(Workload::parse(std::str::from_utf8(&bytes).unwrap()), workload);
        assert_eq!(Workload::parse(""), Workload::default());
        assert_eq!(Workload::parse("new=thing\0user=me\0junk"), Workload { user: "me".into(), ..Workload::default() });
        assert_eq!(Workload { env: strings(&["A=\0"]), ..workload }.to_bytes(), Err("env"));
    }

    #[test]
    fn what_is_said_at_boot_comes_on_top() {
        let both = Workload { entrypoint: strings(&["e", "1"]), cmd: strings(&["c"]), ..Workload::default() };
        let none = Workload::default();
        for (workload, init, given, words) in [
            (&both, None, &[][..], &["e", "1", "c"][..]),
            (&both, None, &["g", "h"], &["e", "1", "g", "h"]),
            (&both, Some("/i"), &[], &["/i"]),
            (&both, Some("/i"), &["g"], &["/i", "g"]),
            (&none, None, &["g"], &["g"]),
            (&none, None, &[], &[]),
        ] {
            assert_eq!(workload.words(init, &strings(given)), strings(words), "{init:?} {given:?}");
        }
    }

    #[test]
    fn the_environment_has_what_programs_expect() {
        let workload = Workload { env: strings(&["PATH=/x", "A=1"]), ..Workload::default() };
        assert_eq!(workload.environment("/root", ""), strings(&["PATH=/x", "A=1", "HOME=/root", "TERM=linux"]));
        assert_eq!(workload.environment("/", "box").get(2).map(String::as_str), Some("HOSTNAME=box"));
        assert_eq!(variable(&strings(&["A=1", "AB=3", "A=2"]), "A"), Some("2"));
        assert_eq!(variable(&strings(&["AB=3"]), "A"), None);
    }

    #[test]
    fn signals_are_taken_as_docker_takes_them() {
        // moby, sys/signal, `SignalMap`.
        let named = "HUP=1 INT=2 QUIT=3 ILL=4 TRAP=5 ABRT=6 IOT=6 BUS=7 FPE=8 KILL=9 USR1=10 SEGV=11 USR2=12 PIPE=13 ALRM=14 TERM=15 \
            STKFLT=16 CHLD=17 CLD=17 CONT=18 STOP=19 TSTP=20 TTIN=21 TTOU=22 URG=23 XCPU=24 XFSZ=25 VTALRM=26 PROF=27 WINCH=28 IO=29 \
            POLL=29 PWR=30 SYS=31 RTMIN=34 RTMAX=64";
        let mut all: Vec<(String, i32)> = named
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, number)| (name.to_owned(), number.parse().unwrap()))
            .collect();
        all.extend((1..=15).map(|number| (format!("RTMIN+{number}"), 34 + number)));
        all.extend((1..=14).map(|number| (format!("RTMAX-{number}"), 64 - number)));
        assert_eq!(all.len(), 36 + 15 + 14);
        for (name, number) in all {
            let lower = name.to_ascii_lowercase();
            for text in [name.clone(), format!("SIG{name}"), format!("sig{lower}"), format!("Sig{name}"), lower] {
                assert_eq!(signal(&text), Some(number), "{text}");
                assert_eq!(Workload { stop_signal: text, ..Workload::default() }.stop(), number);
            }
        }
        for (text, number) in [("+9", 9), ("09", 9)]
            .map(|(text, number)| (text.to_owned(), number))
            .into_iter()
            .chain((1..=64).map(|number| (number.to_string(), number)))
        {
            assert_eq!(signal(&text), Some(number), "{text}");
        }
        assert_eq!(Workload::default().stop(), SIGTERM);
    }

    #[test]
    fn signals_that_docker_refuses_are_none() {
        for text in [
            "", "0", "-1", "65", "SIG", "SIG9", "SIG+9", "SIGNAL", "SIGSIGTERM", " TERM", "TERM ", "9 ", "1.0", "0x9",
            "EXIT", "RTMIN+0", "RTMIN+01", "RTMIN+16", "RTMIN+30", "RTMIN++3", "RTMIN+-3", "RTMIN-1", "RTMIN3",
            "RTMIN+ 3", "RTMIN+", "RTMIN+2147483647", "RTMIN+99999999999", "RTMAX-0", "RTMAX-15", "RTMAX-30",
            "RTMAX--1", "RTMAX+1", "RTMAX-", "34+3", "SIGRTMIN+3x", "LOST", "EMT", "UNUSED",
        ] {
            assert_eq!(signal(text), None, "{text}");
        }
    }
}
