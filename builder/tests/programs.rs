//! The files that `./build.sh` made, examined without running them: the instructions in each init, the sizes, that nothing of
//! the building machine is in them, and that all BusyBoxes can do the same. The images are those in `target/`, or in the
//! directory `BOOT_ARTIFACTS`; without images the tests are skipped visibly.

use std::{
    collections::BTreeSet,
    env, fs,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    process::Command,
};

use base::elf;
use initramfs_overlay::image::repair::SCRIPTS;
use object::{Object, ObjectSection, elf::FileHeader32, read::elf::AttributesSection};
use sources::{target, toolchain::repair::PACKAGES};

mod support;

const VARIANTS: [&str; 3] = ["", "-debug", "-slim"];

/// An image's files by name: mode and contents.
type Files = Vec<(String, u32, Vec<u8>)>;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn image(target: &str, variant: &str) -> PathBuf {
    let directory = env::var_os("BOOT_ARTIFACTS").map_or_else(|| workspace().join("target"), PathBuf::from);
    directory.join(format!("init-{}-{target}{variant}.gz", env!("CARGO_PKG_VERSION")))
}

/// Goes past the capture of the test runner, so that it is seen.
fn say_skipped(test: &str, reason: &str) {
    let _ = writeln!(io::stderr(), "skipped: {test}: {reason}");
}

fn has_images(test: &str) -> bool {
    let missing = target::all().unwrap().iter().flat_map(|target| VARIANTS.map(|variant| image(&target.name, variant)));
    match missing.into_iter().find(|path| !path.exists()) {
        Some(path) => {
            say_skipped(test, &format!("{} is not there; ./build.sh --variant standard,debug,slim", path.display()));
            false
        }
        None => true,
    }
}

fn files(image: &Path) -> Files {
    let mut archive = Vec::new();
    flate2::read::GzDecoder::new(fs::File::open(image).unwrap()).read_to_end(&mut archive).unwrap();
    let mut rest = archive.as_slice();
    let mut files = Vec::new();
    loop {
        let mut entry = cpio::newc::Reader::new(rest).unwrap();
        if entry.entry().is_trailer() {
            return files;
        }
        let (name, mode) = (entry.entry().name().to_owned(), entry.entry().mode());
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        files.push((name, mode, bytes));
        rest = entry.finish().unwrap();
    }
}

fn init(image: &Path) -> Vec<u8> {
    files(image).into_iter().find(|(name, ..)| name == "init").unwrap().2
}

#[test]
fn init_runs_on_the_processor_it_is_for() {
    if !has_images("init_runs_on_the_processor_it_is_for") {
        return;
    }
    for target in target::all().unwrap() {
        for variant in VARIANTS {
            let program = init(&image(&target.name, variant));
            assert_eq!(elf::objection(&program, target.elf), None, "{}{variant}", target.name);
            assert!(elf::largest_page(&program) >= Some(target.page_max()), "{}{variant}: alignment", target.name);
            match target.name.as_str() {
                "armv6l" => check_arm(&program, (ARM_SOFT_FLOAT, 6, 0)),
                "armv7l" => check_arm(&program, (ARM_HARD_FLOAT, 10, 4)),
                "riscv64" => check_riscv(&program),
                "i686" => check_i686(&program),
                "aarch64" => check_aarch64(&program),
                _ => {}
            }
        }
    }
}

/// `EF_ARM_ABI_FLOAT_SOFT` and `EF_ARM_ABI_FLOAT_HARD`, each with EABI 5.
const ARM_SOFT_FLOAT: u32 = 0x0500_0200;
const ARM_HARD_FLOAT: u32 = 0x0500_0400;

/// Flags, instructions and floating point unit of an ARM program: on an ARM1176 without such a unit ARMv6 and none, floats in integer
/// registers; on a Cortex-A ARMv7 and VFPv3 with 16 registers. What the linker wrote down is the most of what any object file in it
/// asks for (ARM IHI 0045, "Addenda to the ABI", section 3).
fn check_arm(program: &[u8], expected: (u32, u64, u64)) {
    // e_flags, at byte 36 of a 32-bit header.
    let flags = u32::from_le_bytes(program[36..40].try_into().unwrap()) & 0xff00_0600;
    let file = object::read::elf::ElfFile32::<object::LittleEndian>::parse(program).unwrap();
    let section = file.section_by_name(".ARM.attributes").unwrap();
    let attributes = AttributesSection::<FileHeader32<_>>::new(object::LittleEndian, section.data().unwrap()).unwrap();
    let aeabi = attributes.subsections().unwrap().next().unwrap().unwrap();
    let mut reader = aeabi.subsubsections().next().unwrap().unwrap().attributes();
    let (mut cpu, mut fp) = (None, 0);
    while let Some(tag) = reader.read_tag().unwrap() {
        match tag {
            // Tag_CPU_raw_name, Tag_CPU_name, Tag_conformance.
            4 | 5 | 67 => drop(reader.read_string().unwrap()),
            6 => cpu = Some(reader.read_integer().unwrap()),
            10 => fp = reader.read_integer().unwrap(),
            _ => drop(reader.read_integer().unwrap()),
        }
    }
    // Tag_CPU_arch 6 is v6, 10 is v7; 7 and more are v6KZ, v6T2 and later. Tag_FP_arch 0 is none, 4 is VFPv3-D16.
    assert_eq!((flags, cpu, fp), (expected.0, Some(expected.1), expected.2));
}

/// rv64gc: compressed instructions, floats in registers of double precision (RISC-V ELF psABI, "File Header").
fn check_riscv(program: &[u8]) {
    // e_flags, at byte 48 of a 64-bit header: EF_RISCV_RVC and EF_RISCV_FLOAT_ABI_DOUBLE, neither RVE nor TSO.
    let flags = u32::from_le_bytes(program[48..52].try_into().unwrap());
    assert_eq!(flags & 0x1f, 0x5, "{flags:#x}");
}

/// ARMv8.0, such as a Cortex-A53: no SVE, LSE atomics only right behind the branch around them for processors without (`cbz w16`, of
/// compiler-rt's outline atomics; Arm ARM DDI 0487, C4.1).
fn check_aarch64(program: &[u8]) {
    let file = object::read::elf::ElfFile64::<object::LittleEndian>::parse(program).unwrap();
    let code = file.section_by_name(".text").unwrap();
    let words = code.data().unwrap().chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap()));
    assert!(words.len() > 10_000, "{} instructions", words.len());
    let later = [
        ("an atomic operation of ARMv8.1", 0x3f20_0c00, 0x3820_0000),
        ("a compare and swap of ARMv8.1", 0x3fa0_7c00, 0x08a0_7c00),
        ("an SVE instruction", 0x1e00_0000, 0x0400_0000),
    ];
    let mut before = 0;
    for (number, word) in words.enumerate() {
        let is_guarded = before & 0xff00_001f == 0x3400_0010;
        before = word;
        for (name, mask, value) in later.into_iter().filter(|_| !is_guarded) {
            assert_ne!(word & mask, value, "{name} at {:#x}: {word:08x}", code.address() + number as u64 * 4);
        }
    }
}

/// Pentium Pro and what is like it: neither MMX nor SSE, whatever the code is from (Rust, libblkid, musl).
fn check_i686(program: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), program).unwrap();
    let Ok(output) = Command::new("objdump").args(["-d", "--no-show-raw-insn"]).arg(file.path()).output() else {
        return say_skipped("i686 without SSE", "objdump is not installed (Debian: binutils)");
    };
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.lines().count() > 10_000, "objdump showed no code: {}", String::from_utf8_lossy(&output.stderr));
    let wrong = ["%xmm", "%mm", "%ymm", "\tlfence", "\tmfence", "\tsfence", "\tprefetch", "\tmovnti", "\tsysenter"];
    let found = text.lines().find(|line| wrong.iter().any(|part| line.contains(part)));
    assert_eq!(found, None);
}

#[test]
fn images_are_as_small_as_promised() {
    if !has_images("images_are_as_small_as_promised") {
        return;
    }
    const KIB: u64 = 1024;
    /// Bytes of the slim image and of init: the parts that every appliance downloads and keeps in memory.
    const SLIM: [(&str, u64); 2] = [("armv6l", 235_000), ("aarch64", 240_000)];
    const OTHERS: u64 = 245_000;
    const INIT: [(&str, u64); 2] = [("armv6l", 420_000), ("aarch64", 400_000)];
    let size = |target: &str, variant: &str| fs::metadata(image(target, variant)).unwrap().len();
    for (target, bar) in INIT {
        let size = init(&image(target, "")).len() as u64;
        assert!(size <= bar, "init for {target} has {size} bytes");
    }
    for target in target::all().unwrap() {
        let (slim, standard) = (size(&target.name, "-slim"), size(&target.name, ""));
        let bar = SLIM.iter().find(|(name, _)| *name == target.name).map_or(OTHERS, |(_, bar)| *bar);
        assert!(slim <= bar, "slim for {} has {slim} bytes", target.name);
        assert!(standard <= 1300 * KIB, "standard for {} has {standard} bytes", target.name);
    }
}

#[test]
fn nothing_of_the_building_machine_is_in_init() {
    if !has_images("nothing_of_the_building_machine_is_in_init") {
        return;
    }
    let mut telltales = vec![workspace().display().to_string(), "/registry/src/".to_owned(), ".rustup".to_owned()];
    telltales.extend(env::home_dir().map(|home| format!("{}/", home.display())).filter(|home| home.len() > 2));
    for target in target::all().unwrap() {
        for variant in VARIANTS {
            let program = init(&image(&target.name, variant));
            let text = String::from_utf8_lossy(&program);
            for telltale in &telltales {
                assert!(!text.contains(telltale.as_str()), "{telltale} is in init for {}{variant}", target.name);
            }
        }
    }
}

#[test]
fn busybox_can_do_the_same_everywhere() {
    if !has_images("busybox_can_do_the_same_everywhere") {
        return;
    }
    let applets = |target: &str, variant: &str| -> BTreeSet<String> {
        let in_bin = |(name, mode, to): (String, u32, Vec<u8>)| {
            (mode & 0o170_000 == 0o120_000 && to == b"busybox")
                .then(|| name.strip_prefix("bin/").map(str::to_owned))
                .flatten()
        };
        files(&image(target, variant)).into_iter().filter_map(in_bin).collect()
    };
    let expected = applets("x86_64", "");
    assert!(expected.len() > 250, "{}", expected.len());
    for name in ["sh", "[", "mount", "udhcpc", "mdev", "switch_root"] {
        assert!(expected.contains(name), "{name} is missing");
    }
    for target in target::all().unwrap() {
        for variant in ["", "-debug"] {
            let mut found = applets(&target.name, variant);
            if variant == "-debug" {
                // In the place of some applets it has better programs.
                let own: Vec<String> = own_programs();
                assert!(own.iter().all(|name| !found.contains(name)));
                found.extend(own.into_iter().filter(|name| expected.contains(name)));
            }
            if target.busybox.suite != target::named("x86_64").unwrap().busybox.suite {
                // A later release's has more, and `ip neigh` by that name only.
                found.retain(|name| expected.contains(name));
                found.insert("ipneigh".to_owned());
            }
            assert_eq!(found, expected, "{}{variant}", target.name);
        }
    }
    assert!(applets("x86_64", "-slim").is_empty());

    // Where this machine can run it, it says so itself.
    if env::consts::ARCH == "x86_64" {
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("busybox");
        let bytes = files(&image("x86_64", "")).into_iter().find(|(name, ..)| name == "bin/busybox").unwrap().2;
        support::write_program(&program, &bytes);
        let output = Command::new(&program).arg("--list").output().unwrap();
        let said: BTreeSet<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
        // It is an applet itself, and needs no link.
        assert_eq!(said, expected.into_iter().chain(["busybox".to_owned()]).collect());
    }
}

/// Returns the names of the debug variant's programs beside BusyBox.
fn own_programs() -> Vec<String> {
    let tools = PACKAGES.iter().flat_map(|package| package.programs());
    let names = tools.flat_map(|program| program.links.iter().chain([&program.name]));
    names.copied().chain(SCRIPTS.map(|(name, _)| name)).map(str::to_owned).collect()
}

/// Each tool is there by all its names, static and for the right processor; together they are no larger than promised.
#[test]
fn the_debug_image_can_repair() {
    if !has_images("the_debug_image_can_repair") {
        return;
    }
    /// Bytes as gzip.
    const MOST: usize = 6_000_000;
    for target in target::all().unwrap() {
        let files = files(&image(&target.name, "-debug"));
        let find = |name: &str| {
            let path = format!("bin/{name}");
            let found = files.iter().find(|(file, ..)| *file == path);
            found.unwrap_or_else(|| panic!("{}: {path} is missing", target.name))
        };
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        for program in PACKAGES.iter().flat_map(|package| package.programs()) {
            let (_, mode, bytes) = find(program.name);
            assert_eq!((*mode, elf::objection(bytes, target.elf)), (0o100_755, None), "{}", program.name);
            assert!(elf::largest_page(bytes) >= Some(target.page_max()), "{}: alignment", program.name);
            packed.write_all(bytes).unwrap();
            for link in program.links {
                assert_eq!(find(link).2, program.name.as_bytes(), "{link}");
            }
            match (target.name.as_str(), program.name) {
                ("armv6l", _) => check_arm(bytes, (ARM_SOFT_FLOAT, 6, 0)),
                ("armv7l", _) => check_arm(bytes, (ARM_HARD_FLOAT, 10, 4)),
                ("i686", "e2fsck" | "blkid") => check_i686(bytes),
                _ => {}
            }
        }
        let packed = packed.finish().unwrap().len();
        println!("{}: {packed} bytes of repair programs as gzip", target.name);
        assert!(packed <= MOST, "{}: {packed} bytes", target.name);
        for (name, text) in SCRIPTS {
            assert_eq!((find(name).1, find(name).2.as_slice()), (0o100_755, text.as_bytes()), "{name}");
        }
    }
}
