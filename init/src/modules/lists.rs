//! The lists that `modprobe` reads, made from the index: whoever works in the debug shell, and the kernel that asks for a module
//! there, finds what is baked in. Pure.

use contract::module_index::{Index, Module};

/// Returns `modules.dep` (modules.dep(5)): each module's file with those of all that it needs, what must be loaded first last.
pub fn dependencies(index: &Index) -> String {
    let mut text = String::new();
    for (position, module) in index.modules.iter().enumerate() {
        let mut needed: Vec<&Module> = Vec::new();
        // The index is in load order: what a module needs stands before it.
        for other in index.modules.iter().take(position).rev() {
            let is_needed = |by: &Module| by.needs.contains(&other.name);
            if is_needed(module) || needed.iter().any(|by| is_needed(by)) {
                needed.push(other);
            }
        }
        text.push_str(&module.path);
        text.push(':');
        for other in needed {
            text.push(' ');
            text.push_str(&other.path);
        }
        text.push('\n');
    }
    text
}

/// Returns `modules.alias`: the names by which the kernel asks for each module.
pub fn aliases(index: &Index) -> String {
    let mut text = String::from("# Aliases of the modules in this initramfs\n");
    for module in &index.modules {
        for alias in &module.aliases {
            text.push_str("alias ");
            text.push_str(alias);
            text.push(' ');
            text.push_str(&module.name);
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modprobe_finds_modules_with_all_they_need() {
        let index = Index::parse(
            "crc16 lib/crc16.ko\njbd2 fs/jbd2.ko needs=crc16\nmbcache fs/mbcache.ko\n\
             ext4 fs/ext4.ko needs=jbd2,mbcache alias=fs-ext4 alias=ext3\n",
        )
        .unwrap();
        let expected = "lib/crc16.ko:\nfs/jbd2.ko: lib/crc16.ko\nfs/mbcache.ko:\n\
                        fs/ext4.ko: fs/mbcache.ko fs/jbd2.ko lib/crc16.ko\n";
        assert_eq!(dependencies(&index), expected);
        assert!(aliases(&index).ends_with("\nalias fs-ext4 ext4\nalias ext3 ext4\n"), "{}", aliases(&index));
    }
}
