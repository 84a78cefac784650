//! The arguments as the user gave them, for errors: which option a path came from, and whether a path that is not there was given at all.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
};

use base::escape::{escape, one_line};
use clap::{Arg, ArgMatches, Command, parser::ValueSource};

/// A value of the command line that can be a path.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Given {
    /// The option; `None` for a positional argument.
    option: Option<String>,
    /// The forms that the path takes in messages.
    paths: Vec<PathBuf>,
    /// The file that is written, where it is one.
    output: Option<PathBuf>,
    /// The directory of which all goes in, where it is one.
    packed: Option<PathBuf>,
}

/// The arguments that name a file to write.
const OUTPUTS: [&str; 3] = ["output", "squashfs", "erofs"];

/// The arguments that name a directory of which all goes in. What is written there meanwhile, the output's beginning too, would go in as well.
const PACKED: [&str; 6] = ["image", "root", "inject", "boot", "persistent", "newimg"];

/// The values of a command line that can be paths.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments(Vec<Given>);

impl Arguments {
    /// Collects those of the subcommand that was chosen.
    #[must_use]
    pub fn of(command: &Command, matches: &ArgMatches) -> Self {
        let mut given = Vec::new();
        let (mut command, mut matches) = (command, matches);
        loop {
            for argument in command.get_arguments().filter(|argument| can_be_path(argument)) {
                let id = argument.get_id().as_str();
                if matches.value_source(id) != Some(ValueSource::CommandLine) {
                    continue;
                }
                let option = argument.get_long().map(|name| format!("--{name}"));
                for value in matches.get_raw(id).into_iter().flatten() {
                    let mut paths = forms(&value.to_string_lossy());
                    // One whose name is no UTF-8.
                    paths.push(PathBuf::from(value));
                    let output = OUTPUTS.contains(&id).then(|| PathBuf::from(value));
                    let packed = if PACKED.contains(&id) && !leaves_out(matches) { directory(value) } else { None };
                    given.push(Given { option: option.clone(), paths, output, packed });
                }
            }
            match matches.subcommand().and_then(|(name, matches)| Some((command.find_subcommand(name)?, matches))) {
                Some(below) => (command, matches) = below,
                None => return Self(given),
            }
        }
    }

    /// Returns `message` with the option in front that a path in it was given with, unless it names it.
    #[must_use]
    pub fn explain(&self, message: &str) -> String {
        let named = self.0.iter().filter_map(|given| {
            let longest = given.paths.iter().filter(|path| mentions(message, path)).map(|path| path.as_os_str().len());
            Some((longest.max()?, given))
        });
        let mut named: Vec<(usize, &Given)> = named.collect();
        let length = named.iter().map(|(length, _)| *length).max();
        named.retain(|(own, _)| Some(*own) == length);
        // The same path from two options is nobody's.
        match named.as_slice() {
            [(_, Given { option: Some(option), .. }), others @ ..]
                if others.iter().all(|(_, other)| other.option.as_ref() == Some(option))
                    && !message.contains(option.as_str())
                    && !message.starts_with("--") =>
            {
                format!("{option}: {message}")
            }
            _ => message.to_owned(),
        }
    }

    /// Returns the reason why the command must not begin: a file that is written twice, or written and read.
    #[must_use]
    pub fn clash(&self) -> Option<String> {
        let shown = |given: &Given| given.option.clone().unwrap_or_else(|| "the argument".to_owned());
        for (at, given) in self.0.iter().enumerate() {
            let Some(path) = &given.output else { continue };
            let Some(place) = identity(path) else { continue };
            let name = escape(path.as_os_str().as_encoded_bytes());
            for (other_at, other) in self.0.iter().enumerate().filter(|(other_at, _)| *other_at != at) {
                let (is_same, does) = match &other.output {
                    Some(other) => (other_at > at && identity(other).is_some_and(|other| other == place), "writes"),
                    None => {
                        let mut files = other.paths.iter().filter(|path| path.is_file());
                        (files.any(|file| identity(file).as_ref() == Some(&place)), "reads")
                    }
                };
                if let Some(directory) = other.packed.as_ref().filter(|directory| place.starts_with(directory)) {
                    return Some(format!(
                        "{} {name}: it is in {}, which {} includes whole; name a file outside of it",
                        shown(given),
                        escape(directory.as_os_str().as_encoded_bytes()),
                        shown(other)
                    ));
                }
                if is_same {
                    return Some(format!(
                        "{} {name}: {} {does} the same file; name another one to write",
                        shown(given),
                        shown(other)
                    ));
                }
            }
        }
        None
    }

    /// Returns true where `path` is a value of the command line, or the directory of a file to write.
    #[must_use]
    pub fn name(&self, path: &Path) -> bool {
        let is_directory_of = |output: &PathBuf| {
            let directory = output.parent().filter(|directory| !directory.as_os_str().is_empty());
            directory.is_some_and(|directory| {
                directory == path || std::path::absolute(directory).is_ok_and(|directory| directory == path)
            })
        };
        self.0.iter().any(|given| {
            given.paths.iter().any(|known| known == path) || given.output.as_ref().is_some_and(is_directory_of)
        })
    }
}

/// Returns true where the user leaves something out of what goes in: perhaps the output.
fn leaves_out(matches: &ArgMatches) -> bool {
    matches.try_contains_id("exclude").is_ok_and(|has| has)
}

/// Returns the one path of the directory that `value` names: by itself, behind `dir:`, or before a colon and its place in the image. What
/// has another scheme, as `oci:DIR`, is read by its list of contents.
fn directory(value: &OsStr) -> Option<PathBuf> {
    let text = value.to_string_lossy();
    let path = match text.split_once(':') {
        Some(("dir", path)) => path,
        Some(("oci", _)) => return None,
        Some((path, _)) => path,
        None => &text,
    };
    Path::new(path).canonicalize().ok().filter(|path| path.is_dir())
}

/// Returns the one path of a file, whatever it is called by, there or not; `None` for what is no plain file, such as `/dev/null`.
fn identity(path: &Path) -> Option<PathBuf> {
    if let Ok(metadata) = path.metadata() {
        return path.canonicalize().ok().filter(|_| metadata.is_file());
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(parent.canonicalize().ok()?.join(path.file_name()?))
}

fn can_be_path(argument: &Arg) -> bool {
    let has_path =
        |name: &str| ["DIR", "FILE", "PATH", "SRC", "IMAGE", "HOST:GUEST"].iter().any(|word| name.contains(word));
    let names = argument.get_value_names().unwrap_or_default();
    let is_path = argument.get_value_parser().type_id() == clap::value_parser!(PathBuf).type_id();
    argument.get_action().takes_values() && (is_path || names.iter().any(|name| has_path(name)))
}

/// Returns the value as it is, what is before its colons, the same behind its first colon, and each from the root.
fn forms(value: &str) -> Vec<PathBuf> {
    fn parts(value: &str) -> impl Iterator<Item = &str> {
        value.match_indices(':').map(|(at, _)| &value[..at]).chain([value])
    }
    let behind = value.split_once(':').map(|(_, behind)| parts(behind));
    let plain = parts(value).chain(behind.into_iter().flatten()).filter(|part| !part.is_empty());
    plain.flat_map(|part| [PathBuf::from(part)].into_iter().chain(std::path::absolute(part))).collect()
}

/// Returns true where `message` has `path` as words of its own, or as the beginning of a longer path.
fn mentions(message: &str, path: &Path) -> bool {
    let path = one_line(&path.to_string_lossy());
    if path.trim_matches(['.', '/']).is_empty() {
        return false;
    }
    let is_part = |c: char| c.is_alphanumeric() || "._-/".contains(c);
    message.match_indices(&path).any(|(at, _)| {
        let (before, behind) = (&message[..at], &message[at + path.len()..]);
        let mut behind = behind.chars();
        let goes_on = match behind.next() {
            // The end of a sentence.
            Some('.') => behind.next().is_some_and(|c| !c.is_whitespace()),
            Some(c) => c != '/' && is_part(c),
            None => false,
        };
        !before.ends_with(is_part) && !goes_on
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(given: &[(Option<&str>, &str)]) -> Arguments {
        let given = given.iter().map(|(option, value)| Given {
            option: option.map(str::to_owned),
            paths: forms(value),
            output: None,
            packed: None,
        });
        Arguments(given.collect())
    }

    #[test]
    fn an_error_names_the_option_of_its_path() {
        let here = std::env::current_dir().unwrap().display().to_string();
        let given = arguments(&[
            (None, "disk.img"),
            (Some("--root"), "root"),
            (Some("--boot-file"), "root/kernel:k.img"),
            (Some("--newimg"), "."),
            (Some("--boot"), "both"),
            (Some("--include"), "both"),
        ]);
        for (message, explained) in [
            ("cannot read root: gone", "--root: cannot read root: gone"),
            ("cannot read root/etc/x: gone", "--root: cannot read root/etc/x: gone"),
            ("cannot read root/kernel: gone", "--boot-file: cannot read root/kernel: gone"),
            ("root is not a directory: use --root", "root is not a directory: use --root"),
            ("the rooted tree of /root is not roots", "the rooted tree of /root is not roots"),
            ("cannot write disk.img: gone", "cannot write disk.img: gone"),
            ("it is 1. or . of /", "it is 1. or . of /"),
            ("cannot read both", "cannot read both"),
            ("--env root: expected NAME=VALUE", "--env root: expected NAME=VALUE"),
        ] {
            assert_eq!(given.explain(message), explained);
        }
        let absolute = format!("cannot read {here}/root/kernel: gone");
        assert_eq!(given.explain(&absolute), format!("--boot-file: {absolute}"));
        assert!(given.name(Path::new("root/kernel")) && given.name(Path::new("disk.img")));
        assert!(!given.name(Path::new("root/etc")));
    }

    #[test]
    fn no_file_is_written_twice_or_over_what_is_read() {
        use clap::CommandFactory;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name).display().to_string();
        std::fs::write(at("in.tar"), "x").unwrap();
        std::os::unix::fs::symlink("in.tar", at("link")).unwrap();
        let (input, link, out, dotted) = (at("in.tar"), at("link"), at("out"), at("./out"));
        let image = format!("tar:{input}");
        let (directory, inside) = (directory.path().display().to_string(), out.clone());
        let (root, layout) = (format!("dir:{directory}"), format!("oci:{directory}"));
        let inject = format!("{directory}:/x");
        let command = crate::command::Cli::command();
        for (line, words) in [
            (vec!["oci", &image, "--squashfs", &out, "--erofs", &dotted], Some("--erofs writes the same file")),
            (vec!["oci", &image, "--erofs", &link], Some("the argument reads the same file")),
            (vec!["disk", "--image", &input, &input], Some("--image reads the same file")),
            (vec!["virtiofs", "--init-program", &input, "-o", &input], Some("--init-program reads the same file")),
            (vec!["oci", &image, "--squashfs", &out, "-o", "/dev/null"], None),
            (vec!["oci", "x", "--squashfs", "/dev/null", "-o", "/dev/null"], None),
            (vec!["oci", &image, "--erofs", &out], None),
            (vec!["oci", &root, "--erofs", &inside], Some("which the argument includes whole")),
            (vec!["oci", &image, "--inject", &inject, "--erofs", &inside], Some("which --inject includes whole")),
            (vec!["disk", "--root", &directory, &inside], Some("which --root includes whole")),
            (vec!["oci", &root, "--exclude", "out", "--erofs", &inside], None),
            (vec!["oci", &layout, "--erofs", &inside], None),
            (vec!["oci", &root, "--erofs", "/dev/null"], None),
        ] {
            let matches = command.clone().try_get_matches_from(["x"].iter().chain(&line)).unwrap();
            let clash = Arguments::of(&command, &matches).clash();
            match words {
                None => assert_eq!(clash, None),
                Some(words) => assert!(clash.as_ref().is_some_and(|clash| clash.contains(words)), "{words}: {clash:?}"),
            }
        }
    }

    #[test]
    fn values_come_from_the_command_that_was_chosen() {
        use clap::CommandFactory;
        let command = crate::command::Cli::command();
        let line = ["initramfs-overlay", "oci", "run", "oci:x", "--mount", "a:/b", "--env", "A=/c", "--kernel", "k"];
        let matches = command.clone().try_get_matches_from(line).unwrap();
        let given = Arguments::of(&command, &matches);
        assert!(given.name(Path::new("a")) && given.name(Path::new("k")) && !given.name(Path::new("/c")));
        assert_eq!(given.explain("k cannot be read"), "--kernel: k cannot be read");
    }
}
