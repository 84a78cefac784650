//! Boots of every kernel and further machine that the definitions of the targets name, each once with its writable layer: other releases, other
//! configurations, modules in other places and packed otherwise, other sizes of memory pages.
//!
//! `bench/kernels [NAME PART …]` boots all and writes the table in docs/targets.md. With `BOOT_TARGETS=all` those boot whose memory pages are
//! larger than usual, else none.

#[path = "cases/bare.rs"]
#[allow(dead_code, reason = "boots of one kind only")]
mod bare;
mod cases;
#[path = "../../test-images/image.rs"]
mod image;
#[path = "boot/lab.rs"]
#[allow(dead_code, reason = "boots of one kind only")]
mod lab;
#[path = "boot/ways.rs"]
#[allow(dead_code, reason = "boots of one kind only")]
mod ways;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use lab::{Lab, has_large_pages};
use sources::{
    kernel_package::Kernel,
    target::{self, Target},
};

/// A kernel, and what it boots on.
struct Case {
    target: &'static Target,
    suite: &'static str,
    package: &'static str,
    /// A further machine, which boots the target's own kernel.
    machine: Option<&'static str>,
}

impl Case {
    fn open(&self) -> Result<Lab, String> {
        let Some(machine) = self.machine else {
            return Lab::open_with(self.target, Some((self.suite, self.package)), &[]);
        };
        // It lives as long as the targets that are read from files.
        let target = Box::leak(Box::new(self.target.on(machine).expect("a machine of its own")));
        Lab::open_with(target, None, &self.target.machines[machine].modules)
    }

    /// Returns the row of the table for a boot of `kernel` that ended so.
    fn row(&self, kernel: &Kernel, outcome: &str) -> String {
        let Self { target, suite, package, machine } = self;
        let modules = if is_packed(&kernel.modules) { "xz" } else { "plain" };
        let place = if kernel.modules.to_string_lossy().contains("/usr/lib/") { "usr/lib" } else { "lib" };
        let on = machine.map(|machine| format!(" on `{machine}`")).unwrap_or_default();
        format!(
            "| `{}` | {suite} | `{package}`{on} | {} | {modules}, {place} | {outcome} |",
            target.name, kernel.version
        )
    }
}

/// The page that has the table, and the marks around it.
const PAGE: &str = "docs/targets.md";
const BEGIN: &str = "<!-- kernels: from bench/kernels -->\n";
const END: &str = "<!-- end of kernels -->\n";

fn main() -> ExitCode {
    let is_all = env::var_os("BOOT_KERNELS").is_some_and(|wish| wish == "all");
    let mut all: Vec<(String, Case)> = Vec::new();
    for target in target::all().expect("the targets") {
        for (suite, packages) in &target.kernel.flavours {
            for package in packages {
                if is_all || (cases::all_targets() && has_large_pages(package)) {
                    all.push((
                        format!("{}: {suite} {package}", target.name),
                        Case { target, suite, package, machine: None },
                    ));
                }
            }
        }
        let (suite, package) = (&target.kernel.suite, &target.kernel.package);
        for machine in target.machines.keys().filter(|_| is_all) {
            let case = Case { target, suite, package, machine: Some(machine) };
            all.push((format!("{}: {suite} {package} on {machine}", target.name), case));
        }
    }
    cases::run(
        "kernel",
        1,
        all,
        || Ok(()),
        |(), case| {
            let lab = case.open().unwrap_or_else(|error| panic!("{error}"));
            let tell = |outcome: &str| {
                if is_all {
                    write_table(&case.row(&lab.kernel, outcome));
                }
            };
            tell("does not boot");
            ways::once(&lab);
            tell("boots");
        },
    )
}

/// Returns true where the modules of a kernel are compressed.
fn is_packed(modules: &Path) -> bool {
    walkdir::WalkDir::new(modules)
        .into_iter()
        .flatten()
        .any(|entry| entry.path().extension().is_some_and(|extension| extension == "xz"))
}

/// Puts this row into the page, in the place of that of the same kernel.
fn write_table(new: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    let text = fs::read_to_string(&path).expect("the page");
    let (before, rest) = text.split_once(BEGIN).expect("the table's begin");
    let (old, after) = rest.split_once(END).expect("the table's end");
    let kernel = |row: &str| row.split('|').take(4).collect::<String>();
    let is_kept = |row: &&str| row.starts_with("| `") && kernel(new) != kernel(row);
    let mut rows: Vec<&str> = old.lines().filter(is_kept).chain([new]).collect();
    rows.sort_unstable();
    let head = "| target | Debian | package | kernel | modules | |\n| --- | --- | --- | --- | --- | --- |\n";
    let table: String = rows.iter().map(|row| format!("{row}\n")).collect();
    fs::write(&path, [before, BEGIN, head, &table, END, after].concat()).expect("the page");
}
