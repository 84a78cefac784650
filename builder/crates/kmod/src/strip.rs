//! Makes modules smaller and quicker to load: takes off the signature and the sections that only debuggers and tracers read. Pure:
//! bytes in, bytes out. What the kernel reads stays as it was: code, data, relocations, symbols, `.modinfo`, `__versions`.

use object::build::elf::{Builder, SectionData};
use serde::Serialize;

use super::signature;

/// The bytes removed from a module, by kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    /// Bytes of the signature, with its length and its mark. 0 where the module was not signed.
    pub signature: u64,
    /// Bytes of sections, and of the symbols and names that belonged to them.
    pub sections: u64,
    /// Why all sections were kept, where they were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sections_kept: Option<String>,
}

/// Sections of a name that begins so are not for the kernel: DWARF, what points to it, BTF, and what compilers leave behind.
///
/// `.BTF` is for tracers alone: a kernel that finds none in a module goes on without (kernel/bpf/btf.c, btf_module_notify()).
const NEEDLESS: [&[u8]; 10] = [
    b".debug_", b".zdebug_", b".gnu_debug", b".stab", b".BTF", b".comment", b".note.GNU-stack", b".GCC.command.line",
    b".llvm_addrsig", b".annobin.notes",
];

/// These begin like a needless one, but the kernel reads them: sets of kernel functions that BPF programs may call.
const NEEDED: [&[u8]; 1] = [b".BTF_ids"];

/// Takes the signature and the needless sections off a module.
///
/// # Errors
/// The signature is damaged. The text is the end of a sentence.
pub fn strip(mut module: Vec<u8>) -> Result<(Vec<u8>, Removed), String> {
    let signature = signature::length(&module)?;
    module.truncate(module.len() - signature);
    let mut removed = Removed { signature: signature as u64, ..Removed::default() };
    match without_needless_sections(&module) {
        Ok(smaller) => {
            removed.sections = (module.len() as u64).saturating_sub(smaller.len() as u64);
            if removed.sections > 0 {
                module = smaller;
            }
        }
        Err(reason) => removed.sections_kept = Some(reason),
    }
    Ok((module, removed))
}

/// Rewrites the module without the sections. Sections, symbols and relocations are renumbered, all else is kept.
fn without_needless_sections(module: &[u8]) -> Result<Vec<u8>, String> {
    let said = |error: object::build::Error| error.to_string();
    let mut builder = Builder::read(module).map_err(said)?;
    let mut gone = Vec::new();
    for section in &mut builder.sections {
        let name: &[u8] = section.name.as_slice();
        section.delete = NEEDLESS.iter().any(|start| name.starts_with(start)) && !NEEDED.contains(&name);
        if section.delete {
            gone.push(section.id());
        }
    }
    for section in &mut builder.sections {
        section.delete |= section.sh_info_section.is_some_and(|target| gone.contains(&target));
    }
    let before = relocations(&builder);
    builder.delete_orphans();
    if relocations(&builder) != before {
        return Err("code or data refers to a section that only debuggers should need".into());
    }
    let mut written = Vec::new();
    builder.write(&mut written).map_err(said)?;
    Ok(written)
}

/// Counts the relocations in the sections that are kept.
fn relocations(builder: &Builder<'_>) -> usize {
    builder
        .sections
        .iter()
        .filter(|section| !section.delete)
        .map(|section| match &section.data {
            SectionData::Relocation(relocations) => relocations.len(),
            _ => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget};

    use super::{super::testing, *};

    /// Lists all there is in a module, a line each, without the numbers that may change: the content and the relocations of every
    /// section, and every symbol, with the section's name in front.
    fn listing(module: &[u8]) -> Vec<String> {
        let file = object::File::parse(module).unwrap();
        let section_name = |index| file.section_by_index(index).unwrap().name().unwrap().to_string();
        let symbol_name = |index| {
            let symbol = file.symbol_by_index(index).unwrap();
            let section = symbol.section_index().map_or("undefined".into(), section_name);
            format!("{section}: {}+{:#x}", symbol.name().unwrap(), symbol.address())
        };
        let mut lines = Vec::new();
        for section in file.sections() {
            let name = section.name().unwrap();
            if [".symtab", ".strtab", ".shstrtab"].contains(&name) || name.starts_with(".rel") {
                continue;
            }
            lines.push(format!("{name}: {:?} {} {:?}", section.flags(), section.align(), section.data().unwrap()));
            for (offset, relocation) in section.relocations() {
                let RelocationTarget::Symbol(symbol) = relocation.target() else { panic!("{relocation:?}") };
                let (flags, addend, symbol) = (relocation.flags(), relocation.addend(), symbol_name(symbol));
                lines.push(format!("{name}: {offset:#x} {flags:?} {addend} to {symbol}"));
            }
        }
        lines.extend(file.symbols().map(|symbol| format!("{} {:?}", symbol_name(symbol.index()), symbol.flags())));
        lines.sort();
        lines
    }

    #[test]
    fn only_what_debuggers_read_is_taken_off() {
        for (architecture, _) in testing::ARCHITECTURES {
            let whole = testing::module(architecture, &testing::modinfo("a", "license=GPL"));
            let (stripped, removed) = strip(whole.clone()).unwrap();
            assert_eq!(removed.sections, (whole.len() - stripped.len()) as u64);
            assert_eq!((removed.signature, &removed.sections_kept), (0, &None));
            let kept: Vec<String> = listing(&whole)
                .into_iter()
                .filter(|line| ![".debug_", ".comment", ".BTF:"].iter().any(|start| line.starts_with(start)))
                .collect();
            assert_eq!(listing(&stripped), kept, "{architecture:?}");
            for part in
                [".text: 0x4 ", ".gnu.linkonce.this_module: 0x8 ", ".modinfo: ", ".BTF_ids: ", ".text: init_module"]
            {
                assert!(kept.iter().any(|line| line.starts_with(part)), "{architecture:?}: {part}");
            }
            // What is stripped stays as it is when it is stripped again.
            assert_eq!(strip(stripped.clone()).unwrap().0, stripped);
        }
    }

    #[test]
    fn the_signature_goes_first() {
        let mut module = testing::module(object::Architecture::X86_64, &testing::modinfo("a", ""));
        let (plain, without_signature) = strip(module.clone()).unwrap();
        module.extend([7; 100]);
        module.extend([0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 100]);
        module.extend(b"~Module signature appended~\n");
        let (stripped, removed) = strip(module).unwrap();
        assert_eq!(stripped, plain);
        assert_eq!((removed.signature, removed.sections), (140, without_signature.sections));
    }

    #[test]
    fn what_cannot_be_taken_apart_keeps_its_sections() {
        let (bytes, removed) = strip(b"no ELF file".to_vec()).unwrap();
        assert_eq!(bytes, b"no ELF file");
        assert!(removed.sections_kept.is_some());
    }
}
