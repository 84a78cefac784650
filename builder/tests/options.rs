//! Every option of every command: one name for one meaning, one meaning and one type for one name. What clap knows is held against
//! a table for people; an option that is not in it, or is in it under another name, fails here.

use std::collections::{BTreeMap, BTreeSet};

use clap::{Command, CommandFactory, Parser};
use initramfs_overlay::command::Cli;

const INITRAMFS: &str = "build, diskless, virtiofs, oci";
const REGISTRIES: &str = "oci, oci inspect, oci run";
const IMAGES: &str = "oci, oci run";
const MACHINES: &str = "vm, oci run";
const BOOTS: &str = "run, vm, oci run";

/// Name, type (nothing for a flag), meaning, commands.
const OPTIONS: &[(&str, &str, &str, &str)] = &[
    ("accel", "NAME", "accelerator of QEMU", BOOTS),
    (
        "allow-substitute",
        "",
        "another version than the pinned one may be taken",
        "build, diskless, run, vm, oci, oci run",
    ),
    ("append", "STR", "words added to the kernel's command line of one boot", "run, vm, oci run, doctor"),
    ("bare-init", "MODES", "also write init as a file, for these boot modes", "build"),
    ("boot", "DIR", "files of the new partition `boot`", "disk"),
    ("boot-dir", "DIR", "directory in the place of the partition `boot`", "doctor"),
    ("boot-file", "SRC[:DEST]", "one file of the new partition `boot`", "disk"),
    ("boot-modules", "DIR", "module directory whose squashfs.ko goes into `boot`", "disk"),
    ("busybox", "DIR|IMAGE", "BusyBox other than Debian's", "build, diskless, run"),
    ("cat", "NAME", "file of the initramfs to print", "inspect"),
    ("check", "", "read the content of the image that boots", "doctor"),
    ("cmd", "WORD", "argument of the image's program", IMAGES),
    ("cmdline", "STRING", "parameters baked in, which the kernel's command line overrides", "build, virtiofs"),
    ("cmdline-final", "STRING", "parameters baked in that nothing overrides", "build"),
    ("compress", "NAME", "compression of an initramfs", INITRAMFS),
    ("cpus", "COUNT", "processors of the machine", BOOTS),
    ("debug", "", "show what kernel and init do", MACHINES),
    ("diff", "FILE", "initramfs to compare with", "inspect"),
    ("digest", "", "compute the digest of the image that boots", "doctor"),
    ("disk", "", "the root is a disk, not memory", "oci run"),
    ("disk-size", "SIZE", "size of the disk", "disk"),
    ("dtb", "FILE", "device tree of the kernel", "run, oci run"),
    ("entrypoint", "WORD", "program that the image runs", IMAGES),
    ("env", "NAME=VALUE", "environment variable of the image's program", IMAGES),
    ("erofs", "FILE", "OS image to write, as EROFS", "oci"),
    ("erofs-tails", "", "ends of files lie with their names", "oci"),
    ("exclude", "GLOB", "names of the image to leave out", IMAGES),
    ("extract", "DIR", "directory to unpack the initramfs into", "inspect"),
    ("files", "", "list every file", "inspect"),
    ("force", "", "replace what is at the output", "disk"),
    ("hostname", "NAME", "the machine's host name", "diskless, oci, oci run"),
    ("image", "FILE", "finished OS image", "disk"),
    ("image-compress", "NAME", "compression of an OS image", "disk"),
    ("image-format", "FORMAT", "filesystem of an OS image", "disk"),
    ("image-init", "", "the image's own /init runs", "oci"),
    ("image-name", "NAME", "file name of the OS image on its partition", "disk"),
    ("img-dir", "DIR", "directory in the place of the partition `img`", "doctor"),
    ("include", "DIR", "directory whose files go into the initramfs", "build, diskless"),
    ("init", "CMD", "program of the root that init starts", "vm"),
    ("init-program", "FILE", "finished init instead of a compiled one", "build, diskless, virtiofs, vm, oci, oci run"),
    ("initramfs", "FILE", "initramfs that boots the disk", "doctor"),
    ("inject", "SRC:DEST", "file that is added to the image's root", IMAGES),
    ("insecure", "", "ask the registry without encryption", REGISTRIES),
    (
        "json",
        "",
        "report as JSON",
        "build, bundle, disk, diskless, doctor, inspect, targets, virtiofs, run, vm, explain, report, oci, oci inspect, oci prune, oci run",
    ),
    ("keep", "SIZE", "amount of data to keep", "oci prune"),
    ("kernel", "FILE", "kernel to boot", BOOTS),
    ("load-modules", "NAMES", "modules that init always loads", "build, diskless"),
    ("lock", "FILE", "file of pinned tags", REGISTRIES),
    ("max-size", "SIZE", "limit of what layers unpack to", IMAGES),
    ("memory", "SIZE", "memory of the machine", BOOTS),
    ("module-tree", "DIR", "module directory of a kernel", "build, diskless, virtiofs, run, vm, oci, oci run"),
    ("modules", "NAMES or NAMES|DIR", "kernel modules to put in", "build, diskless, virtiofs, vm, oci, oci run"),
    ("mount", "HOST:GUEST[:ro]", "directory of the host at a path of the guest", "oci run"),
    ("network", "", "the machine has a network", "vm, oci, oci run"),
    ("newimg", "FILE_OR_DIR", "update in the new partition `newimg`", "disk"),
    ("newimg-dir", "DIR", "directory in the place of the partition `newimg`", "doctor"),
    ("no-boot", "", "no partition `boot`", "disk"),
    ("no-modules", "", "the kernel needs no modules", "virtiofs"),
    ("no-newimg", "", "no partition `newimg`", "disk"),
    ("no-overlay", "", "no partition `overlay`", "disk"),
    ("no-update-room", "", "`img` holds one image only", "disk"),
    ("output", "FILE", "initramfs to write", "oci, virtiofs"),
    ("output-dir", "DIR", "directory for what is made", "build, bundle, diskless, targets"),
    ("overlay", "", "writes to the root stay in memory", "vm"),
    ("overlay-dir", "DIR", "directory in the place of the partition `overlay`", "doctor"),
    ("own-init", "FILE", "program of the user's at /init of the initramfs", "oci"),
    ("page-size", "BYTES", "bytes in a memory page of the kernel that boots the disk", "disk, doctor"),
    ("password-stdin", "", "read the registry's password", REGISTRIES),
    ("persistent", "DIR", "files that lie over the image from the first boot on", "disk"),
    ("picture", "", "picture of a disk's partitions", "disk, doctor"),
    ("pid1", "namespace|real|no", "process that the program becomes", IMAGES),
    ("platform", "PLATFORM", "platform of the image", REGISTRIES),
    ("power-of-two", "BOOL", "round the disk's size up", "disk"),
    ("print-command", "", "print QEMU's command line", "run"),
    ("publish", "[ADDRESS:]HOST:GUEST[/udp]", "port of the host that leads to the guest", MACHINES),
    ("recover-password", "FILE", "hash of the password of a failed boot's menu", "build"),
    ("registry-timeout", "TIME", "patience with a registry", REGISTRIES),
    ("root", "DIR", "root directory to pack", "disk"),
    ("root-owned", "", "root owns every packed file", "disk"),
    ("sector-size", "BYTES", "bytes in a sector of the machine's disk", "disk, doctor"),
    ("share", "TAG PATH", "directory of the host at /run/mnt/TAG, writable", "vm"),
    ("share-ro", "TAG PATH", "directory of the host at /run/mnt/TAG, read-only", "vm"),
    ("size", "LABEL=SIZE", "size of one partition", "disk"),
    ("source", "DIR", "source tree that init is compiled from", "build, bundle, diskless, virtiofs, oci, oci run"),
    ("split", "", "write two archives into one file", "oci"),
    ("squashfs", "FILE", "OS image to write, as squashfs", "oci"),
    ("support-url", "URL", "address that a failed boot's QR code begins with", "build"),
    ("svg", "", "timeline as a picture", "report"),
    ("strip-modules", "", "remove signatures and debugging sections of modules", "build, diskless, virtiofs"),
    ("table", "TABLE", "partition table", "disk"),
    ("target", "NAME", "kind of machine that it is for", "build, bundle, diskless, virtiofs, run, vm"),
    ("text", "", "timeline as text", "report"),
    ("timeout", "TIME", "time after which the machine is ended", BOOTS),
    ("tree", "", "image and its layers as a tree", "oci inspect"),
    ("treemap", "", "picture of what takes how much", "inspect"),
    ("trust", "KEY.pub", "public keys of those whose images boot", "build"),
    ("user", "USER", "user of the image's program", IMAGES),
    ("username", "NAME", "user at the registry", REGISTRIES),
    ("variant", "NAME", "kind of image", "build, run"),
    ("virtiofsd", "FILE", "virtiofsd to use", MACHINES),
    ("workdir", "PATH", "directory that the image's program starts in", IMAGES),
    ("write", "", "keep what the machine writes to its root", "run, vm"),
];

/// Old names that still work in this release and are not shown: the name, what it is called now, the commands.
const OLD: &[(&str, &str, &str)] = &[
    ("boot", "boot-dir", "doctor"),
    ("cmdline", "append", "doctor"),
    ("img", "img-dir", "doctor"),
    ("init", "init-program", "build, diskless, virtiofs"),
    ("init", "own-init", "oci"),
    ("module", "modules", "virtiofs, vm"),
    ("modules-from", "module-tree", "run, vm"),
    ("mount", "share", "vm"),
    ("mount-ro", "share-ro", "vm"),
    ("newimg", "newimg-dir", "doctor"),
    ("output", "output-dir", "build, diskless"),
    ("overlay", "overlay-dir", "doctor"),
    ("rw", "write", "vm"),
    // The name that other commands have for it, for who tries it here.
    ("target", "platform", REGISTRIES),
];

/// Commands that make no report.
const SILENT: [&str; 2] = ["completions", "man"];

fn visit<'a>(command: &'a Command, path: &str, found: &mut Vec<(String, &'a Command)>) {
    for child in command.get_subcommands().filter(|child| !child.is_hide_set()) {
        let path = format!("{path} {}", child.get_name()).trim_start().to_owned();
        visit(child, &path, found);
        found.push((path, child));
    }
}

fn set(commands: &str) -> BTreeSet<String> {
    commands.split(", ").map(str::to_owned).collect()
}

#[test]
fn every_option_is_in_the_table() {
    let cli = Cli::command();
    let mut commands = Vec::new();
    visit(&cli, "", &mut commands);
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut old: BTreeMap<(String, String), BTreeSet<String>> = BTreeMap::new();
    let mut parsers = BTreeMap::new();
    for (path, command) in &commands {
        for argument in command.get_arguments() {
            let Some(name) = argument.get_long() else { continue };
            found.entry(name.to_owned()).or_default().insert(path.clone());
            let takes = argument.get_action().takes_values();
            let value = argument.get_value_names().filter(|_| takes).map(|names| names.join(" ")).unwrap_or_default();
            let row = OPTIONS.iter().find(|row| row.0 == name).unwrap_or_else(|| panic!("{path} --{name}: new"));
            assert!(row.1.split(" or ").any(|kind| kind == value), "{path} --{name} takes `{value}`, not `{}`", row.1);
            let parser = argument.get_value_parser().type_id();
            assert_eq!(*parsers.entry(name).or_insert(parser), parser, "{path} --{name}: read as another type");
            for alias in argument.get_all_aliases().unwrap_or_default() {
                assert_eq!(
                    argument.get_visible_aliases().unwrap_or_default(),
                    Vec::<&str>::new(),
                    "{path} --{alias}: a second name"
                );
                old.entry((alias.to_owned(), name.to_owned())).or_default().insert(path.clone());
            }
        }
        let reports = command.get_arguments().any(|argument| argument.get_long() == Some("json"));
        assert_eq!(reports, !SILENT.contains(&path.as_str()), "{path}: --json");
    }
    let table: BTreeMap<_, _> =
        OPTIONS.iter().map(|(name, _, _, commands)| ((*name).to_owned(), set(commands))).collect();
    assert_eq!(found, table);
    let names =
        |(alias, name, commands): &(&str, &str, &str)| (((*alias).to_owned(), (*name).to_owned()), set(commands));
    assert_eq!(old, OLD.iter().map(names).collect::<BTreeMap<_, _>>());
}

#[test]
fn no_meaning_has_two_names_and_no_name_two_meanings() {
    let names: BTreeSet<_> = OPTIONS.iter().map(|row| row.0).collect();
    let meanings: BTreeSet<_> = OPTIONS.iter().map(|row| row.2).collect();
    assert_eq!((names.len(), meanings.len()), (OPTIONS.len(), OPTIONS.len()));
}

#[test]
fn old_names_still_work() {
    for line in [
        "build --init i --output out --target arm64",
        "virtiofs -o x --init i --module virtio_net",
        "vm / --mount work . --mount-ro more / --rw --kernel k --modules-from m --module 9p",
        "run i d --kernel k --modules-from m --memory 512",
        "doctor --img a --overlay b --newimg c --boot d --cmdline rd.debug",
        "oci oci:a --init i -o x --max-size 64",
        "oci run oci:a --target arm64 --memory 1G",
    ] {
        let words = ["initramfs-overlay"].into_iter().chain(line.split(' '));
        Cli::try_parse_from(words).unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}
