//! `initramfs-overlay man`: the manual, a page a subcommand, made from what `--help` says, and what is the same for all.

use std::{fmt::Write as _, fs, path::PathBuf, process::ExitCode};

use base::{IoContext, atomic_file::write_file};

use crate::Result;

/// Write the manual pages into a directory, one for each subcommand.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  initramfs-overlay man ~/.local/share/man/man1
  man initramfs-overlay-build")]
pub struct Args {
    /// The directory, created if missing
    #[arg(value_name = "DIR")]
    pub directory: PathBuf,
}

/// Exit statuses of every command.
const STATUS: [(&str, &str); 4] = [
    ("0", "Success."),
    ("1", "It failed; the reason is on standard error."),
    ("2", "The command line is wrong, or names a file that is not there."),
    ("128 + N", "Signal N killed the command and all that it had started."),
];

/// Exit statuses of single commands, which come before those of every command.
const OWN_STATUS: [(&str, &[(&str, &str)]); 6] = [
    (
        "doctor",
        &[
            ("1", "It would not boot, or is not a readable disk."),
            ("3", "It boots, but something needs attention."),
            ("4", "The doctor cannot tell, and says why."),
        ],
    ),
    ("inspect", &[("1", "Something in it is damaged, or, with --diff, the two differ.")]),
    ("run", &[("1", "The boot failed, the kernel panicked or it timed out.")]),
    ("vm", MACHINE_STATUS),
    ("oci", &[]),
    ("oci-run", MACHINE_STATUS),
];

/// Exit statuses of a command that ends as the program in its machine does.
const MACHINE_STATUS: &[(&str, &str)] = &[
    ("0 to 255", "The program's own; 128 + N where signal N killed it."),
    ("124", "It timed out."),
    ("125", "The machine failed; the reason is on standard error."),
];

/// Files and what they are.
const FILES: [(&str, &str); 3] = [
    (
        "~/.cache/initramfs-overlay",
        "What was fetched and compiled, below $XDG_CACHE_HOME where that is set. It may be deleted.",
    ),
    ("/run/initramfs/report.json", "How the running machine was booted."),
    ("/etc/containers/registries.conf", "Mirrors of registries, for images."),
];

/// Variables of the environment and what they say.
const ENVIRONMENT: [(&str, &str); 18] = [
    ("INITRAMFS_OVERLAY_CACHE", "The cache, instead of the one above."),
    ("INITRAMFS_OVERLAY_INITS", "A directory with finished inits, as a bundle has it, instead of a compiler."),
    ("INITRAMFS_OVERLAY_SOURCE", "The source tree that init is compiled from."),
    ("INITRAMFS_OVERLAY_TARGETS", "A directory with the definitions of the targets, as --targets-dir."),
    ("INITRAMFS_OVERLAY_BUSYBOX", "A directory with BusyBox, as --busybox."),
    ("INITRAMFS_OVERLAY_KERNELS", "A directory with kernels, instead of Debian's."),
    ("INITRAMFS_OVERLAY_TOOLS", "A directory with the tools that compile init."),
    ("INITRAMFS_OVERLAY_UTIL_LINUX", "The source of util-linux, as a tar archive, instead of fetching it."),
    (
        "INITRAMFS_OVERLAY_E2FSPROGS",
        "The source of e2fsprogs, for the debug variant, as a tar archive, instead of fetching it.",
    ),
    ("INITRAMFS_OVERLAY_DOSFSTOOLS", "The same for dosfstools."),
    ("INITRAMFS_OVERLAY_LRZSZ", "The same for lrzsz."),
    ("INITRAMFS_OVERLAY_DEBIAN_MIRROR", "The Debian mirror that packages come from."),
    ("SOURCE_DATE_EPOCH", "The time stamp of everything that is made, in seconds since 1970 [default: 0]."),
    ("REGISTRY_AUTH_FILE", "The passwords for registries, as podman login keeps them."),
    ("DOCKER_CONFIG", "The directory with those of docker login."),
    ("CONTAINERS_REGISTRIES_CONF", "The file with mirrors of registries, instead of the one above."),
    ("TMPDIR", "The directory for temporary files."),
    ("COLUMNS", "The width of the terminal."),
];

/// Pages about what the commands work with.
const OTHERS: [(&str, u8); 5] =
    [("bootparam", 7), ("cpio", 1), ("mksquashfs", 1), ("qemu-system-x86_64", 1), ("virtiofsd", 1)];

/// Writes those of `command`.
///
/// # Errors
/// [`crate::Error::Io`].
pub fn run(args: &Args, command: clap::Command) -> Result<ExitCode> {
    fs::create_dir_all(&args.directory).at("create", &args.directory)?;
    for (name, page) in pages(command) {
        let path = args.directory.join(format!("{name}.1"));
        write_file(path, page?.as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Returns the name and text of each page.
fn pages(mut command: clap::Command) -> Vec<(String, Result<String>)> {
    command.build();
    let mut commands = Vec::new();
    collect(&command, &mut commands);
    let names: Vec<String> = commands.iter().map(|command| name_of(command)).collect();
    let page = |command: &clap::Command| {
        let mut bytes = Vec::new();
        clap_mangen::Man::new(command.clone()).render(&mut bytes).at("write", "a manual page")?;
        let page = with_examples(&String::from_utf8_lossy(&bytes));
        Ok(page + &sections(&name_of(command), &names))
    };
    commands.into_iter().map(|command| (name_of(command), page(command))).collect()
}

fn name_of(command: &clap::Command) -> String {
    command.get_display_name().unwrap_or(command.get_name()).to_owned()
}

fn collect<'a>(command: &'a clap::Command, all: &mut Vec<&'a clap::Command>) {
    all.push(command);
    let shown = command.get_subcommands().filter(|child| !child.is_hide_set() && child.get_name() != "help");
    shown.for_each(|child| collect(child, all));
}

/// Keeps the lines of what follows the options as they are: examples are to be copied.
fn with_examples(page: &str) -> String {
    let Some((before, behind)) = page.split_once(".SH EXTRA\n") else { return page.to_owned() };
    let (extra, after) =
        behind.split_once(".SH ").map_or((behind, String::new()), |(extra, after)| (extra, format!(".SH {after}")));
    format!("{before}.SH EXAMPLES\n.nf\n{}\n.fi\n{after}", extra.replace("\n.PP\n", "\n\n").trim_end())
}

/// Returns the sections that are no part of `--help`.
fn sections(name: &str, names: &[String]) -> String {
    let mut text = String::from(".SH \"EXIT STATUS\"\n");
    let short = name.trim_start_matches("initramfs-overlay").trim_start_matches('-');
    let own = OWN_STATUS.iter().find(|(command, _)| *command == short).map_or(&[][..], |(_, own)| own);
    let general = STATUS.iter().filter(|(status, _)| !own.iter().any(|(own, _)| own == status));
    // A program's own status says what 0 and 1 are.
    let general = general.filter(|(status, _)| own != MACHINE_STATUS || !["0", "1"].contains(status));
    let mut all: Vec<&(&str, &str)> = own.iter().chain(general).collect();
    all.sort_by_key(|(status, _)| (status.contains(' '), status.parse::<u8>().ok()));
    items(&mut text, all);
    text.push_str(".SH FILES\n");
    items(&mut text, &FILES);
    text.push_str(".SH ENVIRONMENT\n");
    items(&mut text, &ENVIRONMENT);
    text.push_str(".SH \"SEE ALSO\"\n");
    let own = names.iter().filter(|other| *other != name).map(|other| (other.as_str(), 1));
    let all: Vec<String> = own.chain(OTHERS).map(|(page, section)| format!(".BR {} ({section})", roff(page))).collect();
    let _ = writeln!(text, "{}", all.join(" ,\n"));
    text
}

fn items<'a>(text: &mut String, items: impl IntoIterator<Item = &'a (&'a str, &'a str)>) {
    for (name, meaning) in items {
        let _ = writeln!(text, ".TP\n\\fB{}\\fR\n{}", roff(name), roff(meaning));
    }
}

/// Escapes what roff reads as an order or as another kind of hyphen.
fn roff(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_variable_is_told() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let sources = walkdir::WalkDir::new(root).into_iter().filter_map(Result::ok);
        let mut found = std::collections::BTreeSet::new();
        let is_internal =
            |name: &str| name == "INITRAMFS_OVERLAY_STATIC" || name.starts_with("INITRAMFS_OVERLAY_TEST_");
        for entry in sources.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "rs")) {
            if entry.path().components().any(|part| part.as_os_str() == "src") {
                let text = fs::read_to_string(entry.path()).unwrap();
                let is_name =
                    |word: &&str| word.strip_prefix("INITRAMFS_OVERLAY_").is_some_and(|rest| !rest.is_empty());
                let names = text.split('"').filter(is_name).map(str::to_owned);
                found.extend(names.filter(|name| !is_internal(name)));
            }
        }
        assert!(found.len() > 8, "{found:?}");
        for name in found {
            assert!(ENVIRONMENT.iter().any(|(told, _)| *told == name), "{name}");
        }
    }

    #[test]
    fn every_page_has_its_sections_and_examples_keep_their_lines() {
        let pages = pages(crate::command::Cli::command());
        assert!(pages.len() > 12, "{}", pages.len());
        for (name, page) in pages {
            let page = page.unwrap();
            for section in ["\"EXIT STATUS\"", "FILES", "ENVIRONMENT", "\"SEE ALSO\""] {
                assert_eq!(page.matches(&format!("\n.SH {section}\n")).count(), 1, "{name}: {section}");
            }
            assert!(!page.contains(".SH EXTRA") && !name.contains("tether"), "{name}");
            if name == "initramfs-overlay-disk" {
                assert!(page.contains(".nf\n"), "{page}");
                assert!(page.contains("\n    initramfs\\-overlay disk pc.img \\-\\-root rootfs/\n"), "{page}");
                assert!(page.contains(".BR initramfs\\-overlay\\-doctor (1) ,\n"), "{page}");
            }
            if name == "initramfs-overlay-oci-run" {
                assert!(page.contains("\\fB125\\fR") && !page.contains("\\fB1\\fR"), "{page}");
            }
        }
    }
}
