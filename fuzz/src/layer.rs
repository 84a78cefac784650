//! A layer, merged over another: an error, or a tree that an archive can hold and whose paths stay inside.

use std::io;

use oci::{merge::Merge, tarball::Reader};
use tar::{Builder, EntryType, Header};

/// No content is copied beyond this, as a sparse file may be as large as it likes.
const LARGE: u64 = 1 << 16;
const BLOCK: usize = 512;

/// Merges the same layer twice: what it has meets itself, whiteouts and links among it.
pub fn run(data: &[u8]) {
    let data = summed(data);
    let mut merge = Merge::default();
    for layer in 0..2 {
        merge.begin_layer();
        let mut reader = Reader::new(data.as_slice());
        let mut number = 0;
        while let Ok(Some(member)) = reader.next_member() {
            if member.size <= LARGE {
                let mut count = Counted(0);
                if reader.copy_content(&member, &mut count).is_err() {
                    return;
                }
                assert_eq!(count.0, member.size, "{}", String::from_utf8_lossy(&member.path));
            }
            // An odd entry is an error and changes nothing that matters.
            let _ = merge.add(&member, layer, number);
            number += 1;
        }
    }
    for node in merge.tree.iter() {
        let is_odd = |part: &[u8]| matches!(part, b"" | b"." | b"..") || part.starts_with(b".wh.");
        assert!(!node.path.split(|byte| *byte == b'/').any(is_odd), "{}", String::from_utf8_lossy(node.path));
        let _ = merge.file(node.path);
    }
    merge.tree.check_parents().expect("every entry has its directory");
    assert!(merge.xattrs.keys().all(|path| merge.tree.get(path).is_some()));
}

struct Counted(u64);

impl io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives every header the right sum, which a fuzzer does not guess.
fn summed(data: &[u8]) -> Vec<u8> {
    let mut data = data.to_vec();
    for block in data.chunks_exact_mut(BLOCK).filter(|block| block[257..262] == *b"ustar") {
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(block);
        header.set_cksum();
        block.copy_from_slice(header.as_bytes());
    }
    data
}

/// Ordinary and evil layers: `(path, kind, link, content)`.
type Row = (&'static str, EntryType, &'static str, &'static [u8]);

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;
const LINK: EntryType = EntryType::Symlink;
const HARD: EntryType = EntryType::Link;
const PAX: EntryType = EntryType::XHeader;

const LAYERS: [(&str, &[Row]); 12] = [
    (
        "plain",
        &[("bin/", DIR, "", b""), ("bin/a", FILE, "", b"abc"), ("bin/b", HARD, "bin/a", b""), ("l", LINK, "bin", b"")],
    ),
    ("nodes", &[("c", EntryType::Char, "", b""), ("b", EntryType::Block, "", b""), ("p", EntryType::Fifo, "", b"")]),
    (
        "whiteouts",
        &[
            ("d/a", FILE, "", b""),
            ("d/.wh.a", FILE, "", b""),
            ("d/.wh..wh..opq", FILE, "", b""),
            (".wh.d", FILE, "", b""),
        ],
    ),
    ("through", &[("x", LINK, "../../etc", b""), ("x/passwd", FILE, "", b"x"), ("x/.wh.y", FILE, "", b"")]),
    ("swapped", &[("a/f", FILE, "", b"1"), ("a", LINK, "/tmp", b""), ("a/f", FILE, "", b"2"), ("a/", DIR, "", b"")]),
    ("circle", &[("a", LINK, "b", b""), ("b", LINK, "a", b""), ("a/x", FILE, "", b"")]),
    (
        "hard",
        &[("h", HARD, "../../etc/shadow", b""), ("i", HARD, "i", b""), ("l", LINK, "q", b""), ("m", HARD, "l", b"")],
    ),
    ("up", &[("a/../../x", FILE, "", b""), ("/abs//./x", FILE, "", b"")]),
    ("long", &[("././@LongLink", EntryType::GNULongName, "", b"a/long/name\0"), ("short", FILE, "", b"x")]),
    ("link", &[("././@LongLink", EntryType::GNULongLink, "", b"a/long/target\0"), ("l", LINK, "t", b"")]),
    (
        "pax",
        &[
            ("g", EntryType::XGlobalHeader, "", b"11 mtime=5\n"),
            ("x", PAX, "", b"10 path=p\n12 uid=3000\n28 SCHILY.xattr.user.a=bcd\n"),
            ("f", FILE, "", b"abc"),
        ],
    ),
    (
        "sparse",
        &[
            (
                "x",
                PAX,
                "",
                b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n28 GNU.sparse.realsize=100\n21 GNU.sparse.name=s\n",
            ),
            ("f", FILE, "", SPARSE),
        ],
    ),
];

/// A sparse file with a single piece, of one byte at the beginning: the list in a block of its own, then the byte.
const SPARSE: &[u8] = &{
    let mut bytes = [0; BLOCK + 1];
    let list = *b"1\n0\n1\n";
    let mut at = 0;
    while at < list.len() {
        bytes[at] = list[at];
        at += 1;
    }
    bytes
};

/// Returns each layer as a tar archive.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let archive = |rows: &[Row]| {
        let mut builder = Builder::new(Vec::new());
        for (path, kind, link, content) in rows {
            let mut header = Header::new_gnu();
            header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(1_000_000_000);
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, *content).expect("memory");
        }
        builder.into_inner().expect("memory")
    };
    LAYERS.iter().map(|(name, rows)| ((*name).to_owned(), archive(rows))).collect()
}
