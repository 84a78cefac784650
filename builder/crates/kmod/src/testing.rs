//! Tiny modules for tests, made with object's writer.

use std::{fs, path::Path};

use object::{
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind, SymbolScope, elf,
    write::{Object, Relocation, Symbol, SymbolSection},
};

/// The vermagic of modules that do not say another one.
pub const VERMAGIC: &str = "6.1.0-1-test SMP mod_unload";

/// The architectures that images are built for, with a relocation of 32 bits of each.
pub const ARCHITECTURES: [(Architecture, elf::RelocationType); 3] = [
    (Architecture::X86_64, elf::R_X86_64_32),
    (Architecture::I386, elf::R_386_32),
    (Architecture::Arm, elf::R_ARM_ABS32),
];

/// Returns a module of one architecture with code, data, relocations, symbols and sections that only debuggers read.
pub fn module(architecture: Architecture, modinfo: &str) -> Vec<u8> {
    let (_, relocation) = ARCHITECTURES.into_iter().find(|(known, _)| *known == architecture).unwrap();
    let mut module = Object::new(BinaryFormat::Elf, architecture, Endianness::Little);
    let mut section = |name: &str, kind, data: &[u8]| {
        let id = module.add_section(Vec::new(), name.as_bytes().to_vec(), kind);
        module.append_section_data(id, data, 4);
        id
    };
    let text = section(".text", SectionKind::Text, &[0x90; 32]);
    let comment = section(".comment", SectionKind::OtherString, b"GCC: a compiler\0");
    let debug = section(".debug_info", SectionKind::Debug, &[1; 400]);
    let debug_str = section(".debug_str", SectionKind::DebugString, b"names\0");
    section(".BTF", SectionKind::Other, &[2; 300]);
    section(".BTF_ids", SectionKind::ReadOnlyData, &[3; 8]);
    section(".modinfo", SectionKind::ReadOnlyData, modinfo.as_bytes());
    let this_module = section(".gnu.linkonce.this_module", SectionKind::Data, &[0; 64]);
    let mut symbol = |name: &str, section, value, scope| {
        module.add_symbol(Symbol {
            name: name.as_bytes().to_vec(),
            value,
            size: 0,
            kind: SymbolKind::Data,
            scope,
            weak: false,
            section,
            flags: SymbolFlags::None,
        })
    };
    let printk = symbol("_printk", SymbolSection::Undefined, 0, SymbolScope::Unknown);
    let start = symbol("init_module", SymbolSection::Section(text), 16, SymbolScope::Linkage);
    symbol("of_the_debugger", SymbolSection::Section(comment), 4, SymbolScope::Compilation);
    let names = module.section_symbol(debug_str);
    for (section, offset, symbol) in
        [(text, 4, printk), (this_module, 8, start), (debug, 12, names), (debug, 16, start)]
    {
        let flags = RelocationFlags::Elf { r_type: relocation };
        module.add_relocation(section, Relocation { offset, symbol, addend: 0, flags }).unwrap();
    }
    module.write().unwrap()
}

/// Returns the `.modinfo` of a module: the fields given, one a word, a name and a vermagic. `+` stands for a space in a value.
pub fn modinfo(name: &str, fields: &str) -> String {
    let mut text = format!("name={name}\0");
    if !fields.contains("vermagic=") {
        text += &format!("vermagic={VERMAGIC}\0");
    }
    for field in fields.split_ascii_whitespace() {
        text += &field.replace('+', " ");
        text.push('\0');
    }
    text
}

/// Writes a module file below `root`, with its name from the path.
pub fn write_module(root: &Path, path: &str, fields: &str) {
    let name = super::names::of_file(path).unwrap();
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let bytes = module(Architecture::X86_64, &modinfo(&name, fields));
    let bytes = match path.extension().unwrap().to_str().unwrap() {
        "zst" => zstd::encode_all(bytes.as_slice(), 1).unwrap(),
        _ => bytes,
    };
    fs::write(path, bytes).unwrap();
}
