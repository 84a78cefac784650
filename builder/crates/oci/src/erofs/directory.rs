//! A directory as EROFS has it: blocks of entries, sorted by name throughout, each block with its names behind its entries. Pure.

use zerocopy::IntoBytes;

use super::structures::DirectoryEntry;

/// A block, in bytes: a page of the kernels that read it.
pub(super) const BLOCK: u64 = 4096;
const ENTRY: usize = size_of::<DirectoryEntry>();

/// A directory entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name<'a> {
    pub(super) name: &'a [u8],
    pub(super) nid: u64,
    /// `FT_*` of the kernel's `include/linux/fs_types.h`.
    pub(super) kind: u8,
}

/// Returns the directory of these names, sorted by them. How long it is does not depend on the `nid`s.
pub(super) fn pack(names: &[Name<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = names;
    while !rest.is_empty() {
        // The last block has its length from the inode; the others are filled with zeros, which end the last name.
        bytes.resize(bytes.len().next_multiple_of(BLOCK as usize), 0);
        let mut room = BLOCK as usize;
        let count = rest.iter().take_while(|name| match room.checked_sub(ENTRY + name.name.len()) {
            Some(left) => {
                room = left;
                true
            }
            None => false,
        });
        let (block, others) = rest.split_at(count.count());
        let mut offset = ENTRY * block.len();
        for name in block {
            let Name { nid, kind, .. } = *name;
            let entry = DirectoryEntry { nid: nid.into(), name: (offset as u16).into(), kind, unused: 0 };
            bytes.extend(entry.as_bytes());
            offset += name.name.len();
        }
        block.iter().for_each(|name| bytes.extend(name.name));
        rest = others;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses entries as the kernel does (`fs/erofs/dir.c`, `erofs_fill_dentries`).
    fn unpack(bytes: &[u8]) -> Vec<(Vec<u8>, u64, u8)> {
        let mut names = Vec::new();
        for block in bytes.chunks(BLOCK as usize) {
            let offset =
                |index: usize| usize::from(u16::from_le_bytes([block[index * ENTRY + 8], block[index * ENTRY + 9]]));
            let count = offset(0) / ENTRY;
            for index in 0..count {
                let end = if index + 1 < count { offset(index + 1) } else { block.len() };
                let name = &block[offset(index)..end];
                let name = name.split(|byte| *byte == 0).next().unwrap();
                let nid = u64::from_le_bytes(block[index * ENTRY..index * ENTRY + 8].try_into().unwrap());
                names.push((name.to_vec(), nid, block[index * ENTRY + 10]));
            }
        }
        names
    }

    #[test]
    fn names_go_in_and_come_out() {
        for count in [1, 2, 100, 3000] {
            for length in [1, 7, 255] {
                let names: Vec<Vec<u8>> = (0..count).map(|number| format!("{number:0>length$}").into_bytes()).collect();
                let names: Vec<Name<'_>> =
                    names.iter().zip(5..).map(|(name, nid)| Name { name, nid, kind: (nid % 8) as u8 }).collect();
                let bytes = pack(&names);
                let expected: Vec<_> = names.iter().map(|name| (name.name.to_vec(), name.nid, name.kind)).collect();
                assert_eq!(unpack(&bytes), expected, "{count} of {length}");
                let without: Vec<Name<'_>> = names.iter().map(|name| Name { nid: 0, ..*name }).collect();
                assert_eq!(pack(&without).len(), bytes.len());
            }
        }
    }
}
