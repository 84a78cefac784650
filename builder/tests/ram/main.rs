//! Real boots of what runs from memory: `oci`, `oci run` and `diskless` as they are called, Debian's kernels in QEMU.
//!
//! `cargo test --test ram -- [NAME PART …]` runs the cases whose name contains a part; see `cases/`.

mod alpine;
#[path = "../cases/bare.rs"]
mod bare;
#[allow(dead_code)]
#[path = "../oci_images/block.rs"]
mod block;
#[path = "../cases/mod.rs"]
mod cases;
mod disk;
mod diskless;
#[path = "../cases/ended.rs"]
mod ended;
mod ends;
mod first;
#[path = "../cases/http.rs"]
mod http;
mod image;
mod lab;
mod lease;
#[path = "../oci_images/layout.rs"]
mod made;
mod monitor;
mod network;
mod real;
#[path = "../support/mod.rs"]
mod support;
mod ways;

use std::process::ExitCode;

use lab::Lab;

/// A test: its name, what it does.
type Case = (&'static str, fn(&Lab));

const CASES: &[Case] = &[
    ("the program's status is the command's own", ways::statuses),
    ("all that an image's config says", ways::config),
    ("an image from nothing but one program", ways::scratch),
    ("images as they are, with what container engines add", real::as_they_are),
    ("the root directory's own mode, and a machine without a name", real::own_root),
    ("i686: an image from nothing, a user by number", ways::scratch_i686),
    ("i686: an image like Alpine's, larger than a block of gzip", alpine::run),
    ("i686: such an image in two archives, all contents compared", alpine::split),
    ("armv6l: an image on a Raspberry Pi Zero", ways::raspberry),
    ("said at boot, it comes before the image", ways::asked_at_boot),
    ("an entrypoint that is called /init", ways::own_init),
    ("a root that was packed by hand: /init and its own files", ways::packed_by_hand),
    ("an entrypoint that must be process 1, in a namespace", first::script),
    ("a root of Debian's with systemd, up to `running`", first::systemd),
    ("BusyBox's init in a namespace and as the machine's process 1", first::busybox),
    ("two archives, all contents compared", ways::split),
    ("attributes are back", ways::attributes),
    ("the network, beside an image that has none of its programs", ways::network),
    ("on a disk: all is as in memory", disk::as_unpacked),
    ("on a disk: an entrypoint that must be process 1", disk::process_1),
    ("on a disk: a gibibyte with 128 MiB of memory", disk::large),
    ("directories of the host and its ports", disk::mounts),
    ("disks, directories and ports that cannot be", disk::bad_input),
    ("what asks init to end asks the program as it wants it", ends::stop_signal),
    ("what nobody waits for is reaped", ends::orphans),
    ("a KVM that hangs gives way to TCG", ends::kvm_hangs),
    ("an archive that is cut short is refused", ends::cut_short),
    ("too little memory is said loudly", ends::low_memory),
    ("a program that cannot be run has a card", ends::cannot_run),
    ("diskless: shells that are left", diskless::shells),
    ("diskless: small, the same bytes every time, files of one's own", diskless::small),
    ("diskless: i686 and Ctrl-Alt-Del", diskless::i686),
    ("diskless: armv6l on a Raspberry Pi Zero", diskless::raspberry),
    ("diskless: two network cards at once, on x86_64 and i686", network::two_cards),
    ("diskless: a card without a link, with one, and without again", network::links),
    ("diskless: cards that come late and go", network::late),
    ("diskless: no card at all", network::no_card),
    ("diskless: nobody answers", network::silence),
    ("diskless: the network is left alone", network::left_alone),
    ("diskless: leases renewed, refused and lost", lease::lease),
];

/// Cases of targets that others stand for.
const OTHER_TARGETS: &[Case] = &[
    ("aarch64: an image with the network beside it", |lab| ways::on(lab, "aarch64", "arm64", "CPU architecture: 8")),
    ("armv7l: an image with the network beside it", |lab| ways::on(lab, "armv7l", "arm/v7", "CPU architecture: 7")),
    ("riscv64: an image with the network beside it", |lab| ways::on(lab, "riscv64", "riscv64", "isa\t\t: rv64")),
    ("diskless: aarch64", |lab| diskless::on(lab, "aarch64")),
    ("diskless: armv7l", |lab| diskless::on(lab, "armv7l")),
    ("diskless: riscv64", |lab| diskless::on(lab, "riscv64")),
];

fn main() -> ExitCode {
    let others = if cases::all_targets() { OTHER_TARGETS } else { &[] };
    let cases = CASES.iter().chain(others).map(|(name, case)| ((*name).to_owned(), case)).collect();
    cases::run("ram:", 2, cases, Lab::open, |lab, case| case(lab))
}
