//! Choosing and stripping modules of real kernels. `INITRAMFS_OVERLAY_TEST_KERNELS` names a directory with one unpacked kernel
//! package in each directory below it, such as Debian's `linux-image-*` by `dpkg -x`.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{self, Write},
    path::PathBuf,
    sync::OnceLock,
};

use initramfs_overlay_kmod::{ModuleTree, Note, SETS, Selection};
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget, SectionFlags, SymbolFlags};

const VARIABLE: &str = "INITRAMFS_OVERLAY_TEST_KERNELS";

/// Returns the kernels to test with, read once. Writes past the test's captured output where there are none.
fn kernels(test: &str) -> &'static [(PathBuf, ModuleTree)] {
    static KERNELS: OnceLock<Vec<(PathBuf, ModuleTree)>> = OnceLock::new();
    let Some(directory) = env::var_os(VARIABLE) else {
        let line = format!("skipped: {test}: {VARIABLE} does not name a directory of unpacked kernels\n");
        io::stderr().write_all(line.as_bytes()).unwrap();
        return &[];
    };
    KERNELS.get_or_init(|| {
        let mut roots: Vec<PathBuf> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|root| root.join("lib/modules").is_dir() || root.join("usr/lib/modules").is_dir())
            .collect();
        roots.sort();
        assert!(!roots.is_empty(), "no directory with lib/modules in {}", directory.display());
        roots.into_iter().map(|root| (root.clone(), ModuleTree::open(&root).unwrap())).collect()
    })
}

fn resolve(tree: &ModuleTree, wanted: &[&str]) -> Selection {
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    tree.resolve(&wanted, &[]).unwrap()
}

/// Returns the names, after a check that every module stands behind all it needs.
fn ordered(selection: &Selection) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for module in selection.index().modules {
        for need in &module.needs {
            assert!(names.contains(need), "{} stands before {need}", module.name);
        }
        names.push(module.name);
    }
    names
}

#[test]
fn the_overlay_way_is_complete_and_small() {
    for (root, tree) in kernels("the_overlay_way_is_complete_and_small") {
        let root = root.display();
        let selection = resolve(tree, &["@overlay"]);
        let names = ordered(&selection);
        assert!(selection.machine.is_some(), "{root}");
        for name in ["ext4", "loop", "squashfs", "erofs", "overlay", "vfat", "jbd2", "nls_cp437", "nls_ascii"] {
            let there = names.iter().any(|known| known == name) || selection.built_in.iter().any(|known| known == name);
            assert!(there, "{root}: {name} is neither in {names:?} nor in {:?}", selection.built_in);
        }
        assert!(names.len() <= 20, "{root}: more than is needed: {names:?}");
        let place = |name| names.iter().position(|known| known == name);
        if let (Some(generic), Some(library)) = (place("crc32c_generic"), place("libcrc32c")) {
            assert!(generic < library, "{root}: libcrc32c cannot be loaded before something that computes crc32c");
        }
        assert!(!names.iter().any(|name| name == "crc32c_intel"), "{root}: it needs SSE 4.2");
        assert!(selection.index().modules.iter().any(|module| module.aliases.iter().any(|alias| alias == "fs-ext4")));
    }
}

#[test]
fn every_module_of_a_kernel_can_be_chosen() {
    for (root, tree) in kernels("every_module_of_a_kernel_can_be_chosen") {
        let all: Vec<&str> = tree.names().collect();
        assert!(all.len() > 100, "{}", root.display());
        let selection = resolve(tree, &all);
        let mut names = ordered(&selection);
        names.sort();
        assert_eq!(names, all);
        let circles: Vec<&Note> = selection
            .notes
            .iter()
            .filter(|note| matches!(note, Note::SoftCycle { .. } | Note::Shadowed { .. }))
            .collect();
        assert!(circles.is_empty(), "{}: {circles:?}", root.display());
    }
}

#[test]
fn slips_of_the_keyboard_are_answered() {
    for (root, tree) in kernels("slips_of_the_keyboard_are_answered") {
        for (asked, meant) in [("sqashfs", "squashfs"), ("overlayfs", "overlay"), ("nls-asci", "nls_ascii")] {
            let error = tree.resolve(&[asked.into()], &[]).unwrap_err().to_string();
            assert!(error.contains(meant) && error.contains(tree.version()), "{}: {error}", root.display());
        }
    }
}

#[test]
fn stripping_keeps_what_the_kernel_reads() {
    for (root, tree) in kernels("stripping_keeps_what_the_kernel_reads") {
        let sets: Vec<String> = SETS.iter().map(|set| format!("@{}", set.name)).collect();
        let mut wanted: Vec<&str> = sets.iter().map(String::as_str).collect();
        let all: Vec<&str> = tree.names().collect();
        // All modules take minutes without optimisation; every hundredth is another sort of driver.
        let step = if env::var_os("INITRAMFS_OVERLAY_TEST_ALL_MODULES").is_some() { 1 } else { 100 };
        wanted.extend(all.iter().step_by(step));
        let mut saved = 0;
        for module in resolve(tree, &wanted).modules {
            let whole = module.content(false).unwrap();
            let stripped = module.content(true).unwrap();
            let file = module.file.display();
            assert_eq!(stripped.removed.sections_kept, None, "{file}");
            let removed = stripped.removed.signature + stripped.removed.sections;
            assert_eq!(whole.bytes.len() as u64, stripped.bytes.len() as u64 + removed, "{file}");
            assert!(!stripped.bytes.ends_with(b"~Module signature appended~\n"), "{file}");
            compare(&whole.bytes, &stripped.bytes, &file.to_string());
            saved += removed;
        }
        assert!(saved > 0, "{}", root.display());
    }
}

/// A symbol as it is told apart from others: its name, its section's name, its value, size and flags.
type Known<'a> = (&'a str, &'a str, u64, u64, String);

fn symbols<'a>(file: &'a object::File<'a>) -> BTreeMap<usize, Known<'a>> {
    file.symbols()
        .map(|symbol| {
            let section =
                symbol.section_index().map_or("", |index| file.section_by_index(index).unwrap().name().unwrap());
            let SymbolFlags::Elf { st_info, st_other, .. } = symbol.flags() else { panic!() };
            let flags = format!("{st_info:?} {st_other:?}");
            (symbol.index().0, (symbol.name().unwrap(), section, symbol.address(), symbol.size(), flags))
        })
        .collect()
}

/// Checks that the stripped module has all of the whole one but sections for debuggers, with their symbols.
fn compare(whole: &[u8], stripped: &[u8], name: &str) {
    let (whole, stripped) = (object::File::parse(whole).unwrap(), object::File::parse(stripped).unwrap());
    assert_eq!(whole.flags(), stripped.flags(), "{name}");
    let (before, after) = (symbols(&whole), symbols(&stripped));
    let mut kept = stripped.sections();
    let mut gone = Vec::new();
    for section in whole.sections() {
        let label = section.name().unwrap();
        let needless =
            [".debug_", ".comment", ".note.GNU-stack", ".gnu_debug"].iter().any(|start| label.starts_with(start));
        if needless || label == ".BTF" || label.starts_with(".rela.debug_") || label.starts_with(".rel.debug_") {
            gone.push(label);
            continue;
        }
        let other = kept.next().unwrap_or_else(|| panic!("{name}: {label} is gone"));
        let label = format!("{name} {label}");
        assert_eq!(section.name(), other.name(), "{label}");
        let (SectionFlags::Elf { sh_type, sh_flags }, SectionFlags::Elf { sh_type: other_type, sh_flags: other_flags }) =
            (section.flags(), other.flags())
        else {
            panic!()
        };
        assert_eq!((sh_type, sh_flags), (other_type, other_flags), "{label}");
        assert_eq!((section.align(), section.address()), (other.align(), other.address()), "{label}");
        // Tables of symbols, names and relocations are rewritten; what they say is compared below.
        let is_table = [object::elf::SHT_SYMTAB, object::elf::SHT_STRTAB, object::elf::SHT_REL, object::elf::SHT_RELA];
        if !is_table.contains(&sh_type) {
            assert_eq!(section.size(), other.size(), "{label}");
            assert!(section.data() == other.data(), "{label}: other content");
        }
        let relocations = |section: &object::Section<'_, '_>, symbols: &BTreeMap<usize, Known<'_>>| -> Vec<String> {
            section
                .relocations()
                .map(|(offset, relocation)| {
                    let target = match relocation.target() {
                        RelocationTarget::Symbol(index) => format!("{:?}", symbols[&index.0]),
                        other => format!("{other:?}"),
                    };
                    format!("{offset:#x} {:?} {} {target}", relocation.flags(), relocation.addend())
                })
                .collect()
        };
        assert_eq!(relocations(&section, &before), relocations(&other, &after), "{label}");
    }
    assert!(kept.next().is_none(), "{name}: a section too many");
    let mut before: Vec<Known<'_>> = before.into_values().filter(|symbol| !gone.contains(&symbol.1)).collect();
    let mut after: Vec<Known<'_>> = after.into_values().collect();
    before.sort();
    after.sort();
    assert_eq!(before, after, "{name}");
}
