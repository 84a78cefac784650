//! Archives as they come, whole and broken.

use std::{
    io::{Read, Write},
    path::Path,
};

use super::{Listing, entry, read, read_within};
use crate::{
    Error,
    compress::Compression,
    decompress::Format,
    manifest::Type,
    newc::{self, Properties},
    tree::{Content, Entry, OnConflict, Tree},
};

/// Returns an archive of one file and its parent directories.
fn archive(path: &str, content: &[u8]) -> Vec<u8> {
    let mut tree = Tree::new();
    tree.create_parents(path).unwrap();
    tree.insert(path, Entry::file(0o644, Content::Bytes(content.into())), OnConflict::Refuse).unwrap();
    let mut bytes = Vec::new();
    newc::write(&tree, Properties::default(), &mut bytes).unwrap();
    bytes
}

fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    let mut encoder = compression.encoder(Vec::new()).unwrap();
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn try_read(bytes: &[u8]) -> Result<Listing, Error> {
    read(bytes, Path::new("test"))
}

fn contents(bytes: &[u8]) -> Listing {
    try_read(bytes).unwrap()
}

fn paths(contents: &Listing) -> Vec<&str> {
    contents.files.iter().map(|file| file.record.path.text.as_str()).collect()
}

/// Returns a header by hand, for what the writer would never write.
fn entry(name: &[u8], mode: u32, links: u32, inode: u32, content: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "070701{inode:08X}{mode:08X}{:08X}{:08X}{links:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}{:08X}",
        0,
        0,
        0,
        content.len(),
        0,
        0,
        0,
        0,
        name.len() + 1,
        0
    )
    .into_bytes();
    bytes.extend(name);
    bytes.push(0);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn trailer() -> Vec<u8> {
    entry(b"TRAILER!!!", 0, 1, 0, b"")
}

#[test]
fn every_compression_is_read_back() {
    let plain = archive("etc/motd", b"hello");
    for compression in Compression::ALL {
        let bytes = compressed(compression, &plain);
        let contents = contents(&bytes);
        assert_eq!(paths(&contents), ["etc", "etc/motd"]);
        assert_eq!((contents.problems, contents.notes, contents.size), (vec![], vec![], bytes.len() as u64));
        let segment = &contents.segments[0];
        assert_eq!((segment.compression.name(), segment.entries), (compression.name(), 2));
        assert_eq!(segment.size + segment.padding, bytes.len() as u64);
        assert_eq!(contents.files[1].record.size, Some(5));
    }
}

#[test]
fn segments_follow_each_other() {
    let early = archive("kernel/x86/microcode/GenuineIntel.bin", b"microcode");
    let mut bytes = early.clone();
    bytes.extend([0; 1024]);
    bytes.extend(compressed(Compression::Zstd, &archive("init", b"1")));
    bytes.resize(bytes.len().next_multiple_of(4) + 8, 0);
    let third = bytes.len() as u64;
    bytes.extend(compressed(Compression::Gzip, &archive("etc/motd", b"2")));
    bytes.extend(compressed(Compression::Gzip, &archive("etc/motd", b"3")));
    // Two archives in one member.
    let two = [archive("a", b"4"), archive("b", b"5")].concat();
    bytes.extend(compressed(Compression::Xz, &two));

    let contents = contents(&bytes);
    assert_eq!((&contents.problems, &contents.notes), (&vec![], &vec![]));
    let formats: Vec<_> = contents.segments.iter().map(|segment| segment.compression).collect();
    assert_eq!(formats, [Format::None, Format::Zstd, Format::Gzip, Format::Gzip, Format::Xz]);
    let first = &contents.segments[0];
    // Trailer at a multiple of four, then the archive's own padding and ours.
    assert_eq!(first.size + first.padding, early.len() as u64 + 1024);
    assert_eq!(contents.segments[2].offset, third);
    assert_eq!(contents.segments[4].entries, 2);
    let ends: Vec<_> =
        contents.segments.iter().map(|segment| segment.offset + segment.size + segment.padding).collect();
    let begins: Vec<_> =
        contents.segments.iter().skip(1).map(|segment| segment.offset).chain([bytes.len() as u64]).collect();
    assert_eq!(ends, begins);
    assert_eq!(contents.files.last().unwrap().segment, 4);
}

#[test]
fn a_cut_is_noticed_wherever_it_is() {
    let plain = archive("etc/initrd-release", b"ID=initramfs-overlay\n");
    let end_of_trailer = contents(&plain).segments[0].size;
    for compression in Compression::ALL {
        let bytes = compressed(compression, &plain);
        for length in 0..bytes.len() {
            let whole = compression == Compression::None && length as u64 >= end_of_trailer;
            match try_read(&bytes[..length]) {
                Err(Error::NotInitramfs { .. }) => assert!(length < 9, "{compression:?} {length}"),
                Err(error) => panic!("{compression:?} {length}: {error}"),
                Ok(contents) => {
                    // Plain entries up to a boundary are an archive without a trailer.
                    let told = !contents.problems.is_empty() || !contents.notes.is_empty();
                    assert_eq!(told, !whole, "{compression:?} cut at {length} of {}", bytes.len());
                }
            }
        }
    }
}

#[test]
fn what_was_read_before_the_damage_is_there() {
    let noise: Vec<u8> = (0..300_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let mut tree = Tree::new();
    for name in ["a", "b", "c"] {
        tree.insert(name, Entry::file(0o644, Content::Bytes(noise.clone())), OnConflict::Refuse).unwrap();
    }
    let mut plain = Vec::new();
    newc::write(&tree, Properties::default(), &mut plain).unwrap();
    let bytes = compressed(Compression::Gzip, &plain);
    let contents = contents(&bytes[..bytes.len() / 2]);
    assert_eq!(paths(&contents), ["a"]);
    let problem = &contents.problems[0];
    assert!(problem.problem.contains("truncated"), "{problem:?}");
    assert_eq!(problem.offset, bytes.len() as u64 / 2);
    assert!(problem.problem.contains("`b`"), "{problem:?}");
    // Where the data ended, not where the file began.
    assert!(problem.unpacked_offset > Some(310_000), "{problem:?}");
}

#[test]
fn a_flipped_bit_is_noticed() {
    let plain = archive("etc/motd", &[b'x'; 1000]);
    for compression in [Compression::Gzip, Compression::Zstd, Compression::Xz] {
        let mut bytes = compressed(compression, &plain);
        // In the checksum at the end: the contents are all right, and it must be noticed all the same.
        let at = bytes.len() - if compression == Compression::Xz { 20 } else { 2 };
        bytes[at] ^= 1;
        let contents = contents(&bytes);
        assert_eq!(contents.problems.len(), 1, "{compression:?}");
    }
}

#[test]
fn junk_at_the_end() {
    let mut bytes = archive("init", b"x");
    let at = bytes.len() as u64;
    bytes.extend(b"\x1bjunk");
    let with_junk = contents(&bytes);
    assert_eq!(paths(&with_junk), ["init"]);
    assert_eq!(with_junk.problems[0].offset, at);
    assert!(with_junk.problems[0].problem.contains("5 bytes follow"), "{:?}", with_junk.problems);
    assert_eq!(with_junk.size, at + 5);

    bytes.truncate(at as usize);
    bytes.extend(b"kernel.console = ttyS0\n\0\x17\0\0\0\x11\x22\x33\x44#BOOTCONFIG\n");
    let with_bootconfig = contents(&bytes);
    assert_eq!(with_bootconfig.problems, []);
    assert!(with_bootconfig.notes[0].contains("bootconfig"), "{:?}", with_bootconfig.notes);

    // What only looks like an entry, too: it must neither be read as one nor be looked at for ever.
    for junk in [&b"junk"[..], b"070703", b"0707"] {
        let inside = [&archive("init", b"x"), junk].concat();
        let inside = contents(&compressed(Compression::Gzip, &inside));
        assert_eq!(inside.problems[0].unpacked_offset, Some(512));
    }
}

#[test]
fn what_is_no_initramfs() {
    for (bytes, part) in [
        (&b""[..], "it is empty"),
        (&[0; 100], "only zero bytes"),
        (b"\x7fELF\x02\x01", "ELF"),
        (b"070707000", "newc"),
        (b"hello\n", "text"),
        (&compressed(Compression::Gzip, b"hello"), "gzip data"),
        (&compressed(Compression::Gzip, b"07070x"), "gzip data"),
        (&compressed(Compression::Zstd, b""), "zstd data without"),
    ] {
        let Err(error @ Error::NotInitramfs { .. }) = try_read(bytes) else { panic!("{part}: taken for an initramfs") };
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn what_the_kernel_refuses() {
    let cases: [(Vec<u8>, &str); 6] = [
        ([entry(b"a", 0o100_644, 1, 1, b""), b"070707".to_vec(), vec![b'0'; 200]].concat(), "old portable format"),
        ([compressed(Compression::Gzip, &archive("a", b"")), vec![0; 4]].concat(), "multiple of four"),
        ([b"\x04\x22\x4d\x18".to_vec(), vec![1; 50]].concat(), "lz4 -l"),
        ([b"\x89LZO\0\r\n\x1a\n".to_vec(), vec![1; 50]].concat(), "lzop"),
        ([entry(b"a", 0o100_644, 1, 1, b""), entry(b"bc", 0, 1, 1, b"")].concat(), "no end"),
        (entry(b"a", 0o100_644, 1, 1, b""), "broken"),
    ];
    for (number, (mut bytes, part)) in cases.into_iter().enumerate() {
        match number {
            // An archive right behind gzip data, off by one.
            1 => {
                bytes.resize(bytes.len().next_multiple_of(4) + 1, 0);
                bytes.extend(archive("b", b""));
            }
            // The NUL after the name taken away.
            4 => {
                let end = bytes.iter().rposition(|byte| *byte == b'c').unwrap();
                bytes[end + 1..].fill(b'c');
            }
            // A digit of the mode that is none.
            5 => bytes[20] = b'x',
            _ => {}
        }
        let contents = contents(&bytes);
        let text: Vec<_> = contents.problems.iter().map(|problem| problem.problem.as_str()).collect();
        assert!(text.iter().any(|problem| problem.contains(part)), "{part}: {text:?}");
    }
}

#[test]
fn the_check_of_xz_data() {
    let stream = liblzma::stream::Stream::new_easy_encoder(6, liblzma::stream::Check::Crc64).unwrap();
    let mut encoder = liblzma::write::XzEncoder::new_stream(Vec::new(), stream);
    encoder.write_all(&archive("init", b"x")).unwrap();
    let contents = contents(&encoder.finish().unwrap());
    assert_eq!(paths(&contents), ["init"]);
    assert!(contents.problems[0].problem.contains("--check=crc32"), "{:?}", contents.problems);
}

#[test]
fn formats_that_are_only_read() {
    let plain = archive("init", b"x");
    let mut lzma = liblzma::write::XzEncoder::new_stream(
        Vec::new(),
        liblzma::stream::Stream::new_lzma_encoder(&liblzma::stream::LzmaOptions::new_preset(6).unwrap()).unwrap(),
    );
    lzma.write_all(&plain).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    bzip2.write_all(&plain).unwrap();
    for (bytes, format) in [(lzma.finish().unwrap(), Format::Lzma), (bzip2.finish().unwrap(), Format::Bzip2)] {
        let next = bytes.len() as u64;
        let contents = contents(&[bytes, compressed(Compression::Gzip, &archive("b", b""))].concat());
        assert_eq!((paths(&contents), contents.segments[0].compression), (vec!["init", "b"], format));
        assert_eq!(contents.segments[1].offset, next);
    }
}

#[test]
fn names_and_links_of_other_tools() {
    let file = 0o100_644;
    let bytes = [
        // GNU cpio's `.`, and its hard links with the content at the last name.
        entry(b".", 0o040_755, 2, 1, b""),
        entry(b"./a", file, 3, 7, b""),
        entry(b"./b", file, 3, 7, b""),
        entry(b"./c", file, 3, 7, b"content"),
        // The same number, but another type, and one that has a single name.
        entry(b"./tty", 0o020_600, 2, 7, b""),
        entry(b"./d", file, 1, 7, b"d"),
        // dracut's name, filled up with NUL bytes.
        entry(b"./e\0\0\0\0", file, 1, 9, b"e"),
        // Numbers start over in every archive.
        trailer(),
        entry(b"f", file, 2, 7, b"f"),
        trailer(),
    ]
    .concat();
    let contents = contents(&bytes);
    assert_eq!((&contents.problems, &contents.notes), (&vec![], &vec![]));
    assert_eq!(paths(&contents), [".", "a", "b", "c", "tty", "d", "e", "f"]);
    let links: Vec<_> =
        contents.files.iter().map(|file| file.record.hard_link.as_ref().map(|name| name.text.as_str())).collect();
    assert_eq!(links, [None, None, Some("a"), Some("a"), None, None, None, None]);
    assert_eq!((contents.files[1].record.size, contents.files[3].record.size), (Some(7), None));
    assert_eq!(contents.files[4].record.kind, Type::CharDevice);
}

#[test]
fn what_is_odd_is_noted() {
    let file = 0o100_644;
    let long = vec![b'x'; 4096];
    let odd = contents(&[entry(&long, file, 1, 1, b"abc"), entry(b"etc/motd", file, 1, 2, b""), trailer()].concat());
    assert_eq!((paths(&odd), &odd.problems), (vec!["etc/motd"], &vec![]));
    assert!(odd.notes[0].contains("longer than Linux allows"), "{:?}", odd.notes);
    assert!(odd.notes[1].contains("`etc/motd`"), "{:?}", odd.notes);

    let plain = entry(b"init", file, 1, 1, b"");
    for (bytes, size) in [(plain.clone(), plain.len()), ([plain.clone(), vec![0; 8]].concat(), plain.len())] {
        let contents = contents(&bytes);
        assert!(contents.notes[0].contains("no trailer"), "{:?}", contents.notes);
        let segment = &contents.segments[0];
        assert_eq!((segment.size, segment.size + segment.padding), (size as u64, bytes.len() as u64));
    }
}

#[test]
fn a_checksum_that_does_not_match() {
    let mut bytes = entry(b"a", 0o100_644, 1, 1, b"\x01\x02");
    bytes[5] = b'2';
    bytes[102..110].copy_from_slice(b"00000003");
    assert_eq!(contents(&bytes).problems, []);
    bytes[109] = b'4';
    assert!(contents(&bytes).problems[0].problem.contains("checksum"));
}

#[test]
fn huge_promises_cost_nothing() {
    for at in [54..62, 94..102] {
        let mut bytes = entry(b"a", 0o100_644, 1, 1, b"");
        bytes[at].copy_from_slice(b"ffffffff");
        let contents = contents(&bytes);
        assert!(contents.problems[0].problem.contains("in the middle of"), "{:?}", contents.problems);
    }
}

#[test]
fn a_reader_that_fails_is_no_damage() {
    struct Failing;
    impl Read for Failing {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("I/O error"))
        }
    }
    let whole = compressed(Compression::Gzip, &archive("init", &[b'x'; 1000]));
    for length in [0, 5, 20, whole.len() - 5] {
        let error = read(whole[..length].chain(Failing), Path::new("test")).unwrap_err();
        assert!(matches!(error, Error::Base(base::Error::Io { action: "read", .. })), "{length}: {error}");
    }
}

#[test]
fn endless_entries_do_not_take_endless_memory() {
    /// The same entry, over and over.
    struct Endless(Vec<u8>, usize);
    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if self.1 == 0 {
                return Ok(0);
            }
            self.1 -= 1;
            buffer[..self.0.len()].copy_from_slice(&self.0);
            Ok(self.0.len())
        }
    }
    let one = entry(b"name", 0o100_644, 1, 1, b"");
    let cost = entry::cost(b"name", b"");
    let read = |entries| read_within(Endless(one.clone(), entries), Path::new("test"), 1000 * cost).unwrap();
    let all = read(1000);
    assert_eq!((all.files.len(), all.problems.len()), (1000, 0));
    let some = read(5000);
    assert_eq!((some.files.len(), some.problems.len()), (1000, 1));
    assert!(some.problems[0].problem.contains("1000 are, the rest is not read"), "{:?}", some.problems);
    assert_eq!((some.problems[0].offset, some.size), (1001 * one.len() as u64, 5000 * one.len() as u64));
}
