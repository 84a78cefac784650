//! Archives that Go's archive/tar, CPython's tarfile and libarchive test their readers with, by their names there.

use crate::{
    Sample,
    block::{
        BLOCK, GNU, Made, V7, archive, device, directory, file, hard_link, joined, long, made, pax, record, symlink,
    },
};

pub fn samples() -> Vec<Sample> {
    [go(), python(), libarchive(), sparse(), records(), ends()].into_iter().flatten().collect()
}

fn small() -> [Made; 2] {
    [file("small.txt").content(b"Kilts"), file("small2.txt").content(b"Google.com\n")]
}

fn go() -> Vec<Sample> {
    go_pax().into_iter().chain(go_others()).collect()
}

fn of_go(name: &str, members: &[Made]) -> Sample {
    Sample::archive(format!("go {name}"), archive(members))
}

fn owned_as_go(made: Made) -> Made {
    made.at(100, "0000640\0").at(108, "0216501\0").at(116, "0011610\0").at(265, "dsymonds").at(297, "eng")
}

fn gnu(made: Made) -> Made {
    made.magic(GNU)
}

fn go_pax() -> Vec<Sample> {
    let (of, owned) = (of_go, owned_as_go);
    vec![
        of(
            "pax.tar",
            &[
                pax(&[
                    record("path", format!("a/{}", "123456789101112131415".repeat(9))),
                    record("mtime", "1350244992.023960108"),
                ]),
                owned(file("a/123")),
                pax(&[record("linkpath", "123456789101112131415".repeat(9)), record("mtime", "1350266320.910238425")]),
                symlink("a/b", "1234"),
            ],
        ),
        of("pax-bad-hdr-file.tar", &[pax(&[b"9 path=a\n".to_vec()]), file("f")]),
        of("pax-bad-mtime-file.tar", &[pax(&[record("mtime", "1350244992.x")]), file("f")]),
        of("pax-pos-size-file.tar", &[pax(&[record("size", "999")]), file("foo").content(&[b'x'; 999]).size(0)]),
        of(
            "pax-records.tar",
            &[
                pax(&[record("GOLANG.pkg", "tar"), record("comment", "Hello"), record("uname", "long".repeat(10))]),
                file("file"),
            ],
        ),
        of(
            "pax-global-records.tar",
            &[
                made("g1", b'g').content(&record("path", "global1")),
                file("file1"),
                file("file2"),
                made("g2", b'g').content(&record("path", "")),
            ],
        ),
        of(
            "pax-multi-hdrs.tar",
            &[pax(&[record("path", "baz")]), pax(&[record("linkpath", "PAX4/".repeat(30))]), symlink("bar", "PAX4")],
        ),
        of("pax-nul-xattrs.tar", &[pax(&[record("SCHILY.xattr.null", "bar\0foo")]), file("bad-null.txt")]),
        of("pax-nul-path.tar", &[pax(&[record("path", "a\0b")]), file("f")]),
        of("pax-path-hdr.tar", &[pax(&[record("path", "PAX1/".repeat(20) + "long-path-name")]), file("f")]),
    ]
}

fn go_others() -> Vec<Sample> {
    let (of, owned) = (of_go, owned_as_go);
    let [one, two] = small();
    vec![
        of("gnu.tar", &[gnu(owned(one.clone())), gnu(owned(two.clone()))]),
        of("v7.tar", &[owned(one.clone()).magic(V7).at(265, [0; 64]), owned(two.clone()).magic(V7).at(265, [0; 64])]),
        of(
            "star.tar",
            &[one.clone().at(508, "tar\0").at(476, "11213575217 11213575217 "), two.clone().at(508, "tar\0")],
        ),
        of(
            "gnu-multi-hdrs.tar",
            &[
                long(b'L', "old"),
                long(b'L', "GNU2/GNU2/long-path-name"),
                long(b'K', "GNU3"),
                long(b'K', "GNU4/GNU4/long-linkpath-name"),
                gnu(symlink("bar", "foo")),
            ],
        ),
        of(
            "gnu-incremental.tar",
            &[
                gnu(directory("test2/")).at(345, "12574544327\x0012574544334\0"),
                gnu(made("test2/", b'D').content(b"Yfoo\0Nsparse\0\0")),
                gnu(file("test2/foo")).at(345, "12574544357\x0012574544334\0"),
            ],
        ),
        of("gnu-not-utf8.tar", &[gnu(file(b"hi\x80\x81\x82\x83bye"))]),
        of("gnu-utf8.tar", &[gnu(file("\u{263a}\u{263b}\u{2639}".repeat(10)))]),
        of("gnu-long-nul.tar", &[long(b'L', b"0123456789\0fill"), gnu(file("f"))]),
        of(
            "xattrs.tar",
            &[
                pax(&[record("SCHILY.xattr.user.key", "value"), record("SCHILY.xattr.user.key2", "value2")]),
                file("small.txt"),
            ],
        ),
        of("neg-size.tar", &[file("f").at(124, [&[0xff; 11][..], &[0xfe]].concat())]),
        of("nil-uid.tar", &[file("P1050238.JPG.log").at(108, [0; 8]).at(116, [0; 8])]),
        of("hardlink.tar", &[file("file.txt").content(b"Slartibartfast"), hard_link("hard.txt", "file.txt")]),
        of("hdr-only.tar", &[directory("dir/").size(0), hard_link("hard", "dir")]),
        of(
            "hdr-only with sizes",
            &[
                file("f"),
                hard_link("hard", "f").size(1234),
                symlink("sym", "f").size(1234),
                device("null", 1, 3).size(1234),
                directory("dir").size(1234),
                made("fifo", b'6').size(1234),
                file("last"),
            ],
        ),
        of("trailing-slash.tar", &[pax(&[record("path", "123456789/".repeat(30))]), directory("123456789/")]),
        of("file-and-dir.tar", &[file("small.txt"), directory("dir/")]),
        of("ustar.tar", &[owned(file("file.txt")).at(345, "longname/".repeat(15) + "longname")]),
        of("ustar-file-reg.tar", &[owned(file("foo"))]),
        of("ustar-file-devs.tar", &[device("file", 1, 1)]),
        of("invalid-go17.tar", &[gnu(file("foo")).at(345, "4/".to_owned() + &"0".repeat(80))]),
        of("issue10968.tar", &[file("\0".repeat(3)).at(100, "\u{7}\u{7}junk")]),
        of("issue11169.tar", &[made("GNUSparseFile.0", b'x').content(b"6 \xff\n"), file("f")]),
        of("issue12435.tar", &[made("f", b'x').content(b"1"), file("f")]),
        of("dangling PAX header", &[pax(&[record("path", "a")])]).refused("no member after it"),
        of(
            "base-256 numbers",
            &[file("f").at(108, [0x80, 0, 0, 0, 0, 0x20, 0, 1]).at(116, [0x80, 0, 0, 0, 0, 0x20, 0, 2])],
        ),
    ]
}

/// Makes the members of testtar.tar.
fn python() -> Vec<Sample> {
    let noise: Vec<u8> = (0..7011_u32).map(|at| ((at * at) >> 3) as u8).collect();
    let regular =
        |name: &str| file(name).content(&noise).at(108, "0001750\0").at(116, "0000144\0").at(136, "07606136617\0");
    let of = |name: &str, members: &[Made]| Sample::archive(format!("python {name}"), archive(members));
    let umlauts = "umlauts-\u{c4}\u{d6}\u{dc}\u{e4}\u{f6}\u{fc}\u{df}";
    let mut all = vec![
        of("ustar/conttype", &[made("conttype", b'7').content(&noise)]),
        of("ustar/regtype", &[regular("ustar/regtype")]),
        of("ustar/dirtype", &[directory("ustar/dirtype")]),
        of("ustar/dirtype-with-size", &[directory("ustar/dirtype-with-size/").size(255), regular("next")]),
        of("ustar/lnktype", &[regular("ustar/regtype"), hard_link("ustar/lnktype", "ustar/regtype")]),
        of("ustar/symtype", &[symlink("ustar/symtype", "regtype")]),
        of("ustar/blktype", &[made("ustar/blktype", b'4').at(329, "0000003\0").at(337, "0000000\0")]),
        of("ustar/chrtype", &[device("ustar/chrtype", 1, 3)]),
        of("ustar/fifotype", &[made("ustar/fifotype", b'6')]),
        of(
            "ustar/linktest",
            &[
                regular("ustar/linktest1/regtype"),
                hard_link("ustar/linktest2/lnktype", "ustar/linktest1/regtype"),
                symlink("ustar/linktest2/symtype", "../linktest1/regtype"),
            ],
        ),
        of("ustar/umlauts", &[regular(umlauts)]),
        of("misc/regtype-old-v7", &[regular("misc/regtype-old-v7").magic(V7)]),
        of("misc/dirtype-old-v7", &[made("misc/dirtype-old-v7/", 0).magic(V7).at(100, "0040755\0")]),
        of(
            "misc/regtype-hpux-signed-chksum",
            &[regular("misc/x").at(0, b"misc/regtype-hpux-signed-chksum-\xc4\xd6\xdc").signed()],
        ),
        of("misc/regtype-suntar", &[regular("misc/regtype-suntar").at(155, " ").at(329, "0000000\0")]),
        of("misc/regtype-xstar", &[regular("misc/regtype-xstar").at(508, "tar\0").at(476, "00000000001 00000000001 ")]),
        of("misc/eof", &[regular("misc/eof")]),
        of(
            "gnu/regtype-gnu-uid",
            &[regular("gnu/regtype-gnu-uid").magic(GNU).at(108, [0x80, 0, 0, 0, 0, 0x98, 0x96, 0x80])],
        ),
        of("gnu/longlink", &[long(b'L', "gnu/".to_owned() + &"longlink/".repeat(14)), regular("f").magic(GNU)]),
        of(
            "pax/regtype1",
            &[pax(&[record("foo", "bar"), record("uname", "tarfile"), record("gid", "123")]), regular("pax/regtype1")],
        ),
        of("pax/regtype2", &[pax(&[record("uid", "123"), record("mtime", "0.1")]), regular("pax/regtype2")]),
        of(
            "pax/regtype3",
            &[pax(&[record("uid", "123"), record("uid", "124"), record("size", "7011")]), regular("pax/regtype3")],
        ),
        of(
            "pax/regtype4",
            &[pax(&[record("path", umlauts), record("hdrcharset", "ISO-IR 10646 2000 UTF-8")]), regular("f")],
        ),
        of("pax/bad-pax", &[pax(&[record("path", b"\xe4\xf6\xfc")]), regular("f")]),
        of("pax/hdrcharset", &[pax(&[record("hdrcharset", "BINARY"), record("path", b"\xe4")]), regular("f")]),
        of("pax/umlauts", &[pax(&[record("path", umlauts)]), regular("f")]),
    ];
    for format in ["posix", "gnu", "ustar", "v7", "oldgnu"] {
        all.push(Sample::archive(format!("tar --format={format}"), written_by_tar(format)));
    }
    all
}

/// Returns an archive that GNU tar itself writes.
fn written_by_tar(format: &str) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    std::fs::create_dir_all(at("a/b")).unwrap();
    std::fs::write(at("a/b/f"), "content").unwrap();
    std::fs::hard_link(at("a/b/f"), at("a/g")).unwrap();
    std::os::unix::fs::symlink("../b/f", at("a/l")).unwrap();
    std::os::unix::fs::chown(at("a/b"), Some(1000), Some(2_000_000)).unwrap();
    let fits = matches!(format, "posix" | "gnu");
    if fits {
        std::fs::write(at(&"long".repeat(40)), "x").unwrap();
        std::os::unix::fs::symlink("t".repeat(300), at("long-link")).unwrap();
    } else {
        std::os::unix::fs::chown(at("a/b"), Some(1000), Some(2000)).unwrap();
    }
    let output = std::process::Command::new("tar")
        .args([&format!("--format={format}"), "--sort=name", "--mtime=@1000000000", "-cf", "-", "-C"])
        .arg(directory.path())
        .arg(".")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn libarchive() -> Vec<Sample> {
    let of = |name: &str, members: &[Made]| Sample::archive(format!("libarchive {name}"), archive(members));
    let plexus = |made: Made| made.at(108, "        ").at(116, "        ").at(329, "        ").at(337, "        ");
    vec![
        of("compat_plexus_archiver_tar", &[plexus(file("commons-logging-1.2/NOTICE.txt"))]),
        of(
            "compat_gtar_1",
            &[long(b'K', "link/".repeat(30)), long(b'L', "name/".repeat(30) + "f"), symlink("n", "l").magic(GNU)],
        ),
        of("compat_gtar_2", &[file("f").magic(GNU).at(108, [0x80, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff])]),
        of(
            "compat_tar_hardlink",
            &[file("xmcd-3.3.2/docs_d/READMf"), hard_link("xmcd-3.3.2/READMf", "xmcd-3.3.2/docs_d/READMf").size(321)],
        ),
        of(
            "compat_perl_archive_tar",
            &[file("file1").at(329, "        ").at(337, "        "), made("file2", b'0').content(b"")],
        ),
        of("compat_solaris_tar_acl", &[made("file", b'A').content(b"0100644\0user::rw-\0"), file("file")]),
        of("compat_mac", &[made("._d", b'0').content(b"\0\x05\x16\x07"), directory("d")]),
        of("tar_empty_filename", &[file("")]),
        of("tar_empty_pax", &[made("x", b'x').content(b""), file("foo")]),
        of("tar_empty_with_gnulabel", &[made("test", b'V')]),
        of("tar_filename", &[file("\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442}"), file("\u{43f}")]),
        of("tar_invalid_pax_size", &[pax(&[record("size", "x")]), file("f")]),
        of("tar_pax_negative_time", &[pax(&[record("mtime", "-2146608000")]), file("f")]),
        of("tar_pax_large_attr", &[pax(&[record("comment", "x".repeat(100_000))]), file("f")]),
        of("tar_pax_g_large", &[made("g", b'g').content(&record("comment", "x".repeat(100_000))), file("f")]),
        of(
            "gtar_redundant_L",
            &[long(b'L', "dir1/file"), file("dir1/file").magic(GNU), long(b'L', "dir2"), file("dir2").magic(GNU)],
        ),
        of("tar_concatenated without its middle", &[file("file1"), file("file2")]),
        of("hardlink to what comes later", &[hard_link("a", "b"), file("b")]),
        of("symlink with a content", &[symlink("l", "x").content(b"abc"), file("after")]),
        of("zero-length symlink", &[symlink("l", "")]),
        of("tar_V_multi", &[made("part", b'M').content(b"abc")]),
    ]
}

/// Makes sparse files in all forms and shapes.
fn sparse() -> Vec<Sample> {
    let mut all = Vec::new();
    let many: Vec<(usize, usize)> = (0..60).map(|at| (at * 1000, 10)).collect();
    for (shape, size, pieces) in [
        ("data", 10, vec![(0, 10)]),
        ("a hole", 1 << 20, vec![]),
        ("a hole before", 2000, vec![(1000, 1000)]),
        ("a hole behind", 2000, vec![(0, 7), (2000, 0)]),
        ("a hole between", 3000, vec![(0, 512), (2000, 1000)]),
        ("nothing", 0, vec![]),
        ("an empty piece", 100, vec![(0, 0), (50, 50)]),
        ("many pieces", 61_000, many),
    ] {
        let stored: Vec<u8> =
            (0..pieces.iter().map(|(_, length)| length).sum::<usize>()).map(|at| at as u8 | 1).collect();
        let text = |value: usize| value.to_string();
        let map = pieces.iter().map(|(offset, length)| format!("{offset},{length}")).collect::<Vec<_>>().join(",");
        let zero: Vec<Vec<u8>> =
            [record("GNU.sparse.size", text(size)), record("GNU.sparse.numblocks", text(pieces.len()))]
                .into_iter()
                .chain(pieces.iter().flat_map(|(offset, length)| {
                    [record("GNU.sparse.offset", text(*offset)), record("GNU.sparse.numbytes", text(*length))]
                }))
                .collect();
        let one = [
            record("GNU.sparse.size", text(size)),
            record("GNU.sparse.numblocks", text(pieces.len())),
            record("GNU.sparse.map", &map),
            record("GNU.sparse.name", "sparse"),
        ];
        let current = [
            record("GNU.sparse.major", "1"),
            record("GNU.sparse.minor", "0"),
            record("GNU.sparse.name", "sparse"),
            record("GNU.sparse.realsize", text(size)),
        ];
        let mut prefix = format!("{}\n", pieces.len());
        pieces.iter().for_each(|(offset, length)| prefix += &format!("{offset}\n{length}\n"));
        let mut body = prefix.into_bytes();
        body.resize(body.len().next_multiple_of(BLOCK), 0);
        body.extend(&stored);
        let hidden = file("GNUSparseFile.1/sparse");
        let after = file("after");
        let of = |form: &str, members: &[Made]| Sample::archive(format!("sparse {form}: {shape}"), archive(members));
        all.push(of("0.0", &[pax(&zero), file("sparse").content(&stored), after.clone()]));
        all.push(of("0.1", &[pax(&one), hidden.clone().content(&stored), after.clone()]));
        all.push(of("1.0", &[pax(&current), hidden.clone().content(&body), after.clone()]));
        let with_size = [&current[..], &[record("size", text(body.len()))]].concat();
        all.push(of("1.0 with a PAX size", &[pax(&with_size), hidden.content(&body).size(0), after.clone()]));
        all.push(Sample::archive(format!("sparse old GNU: {shape}"), old_gnu(size, &pieces, &stored, &after)));
    }
    all
}

fn old_gnu(size: usize, pieces: &[(usize, usize)], stored: &[u8], after: &Made) -> Vec<u8> {
    let pair = |(offset, length): &(usize, usize)| format!("{offset:011o}\0{length:011o}\0");
    let (first, rest) = pieces.split_at(pieces.len().min(4));
    let mut header = made("sparse", b'S').magic(GNU).size(stored.len()).at(483, format!("{size:011o}\0"));
    for (at, piece) in first.iter().enumerate() {
        header = header.at(386 + 24 * at, pair(piece));
    }
    let mut bytes = header.at(482, [u8::from(!rest.is_empty())]).bytes();
    let mut chunks = rest.chunks(21).peekable();
    while let Some(chunk) = chunks.next() {
        let mut block: Vec<u8> = chunk.iter().map(pair).collect::<String>().into_bytes();
        block.resize(504, 0);
        block.push(u8::from(chunks.peek().is_some()));
        block.resize(BLOCK, 0);
        bytes.extend(block);
    }
    bytes.extend(stored);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    [bytes, archive(std::slice::from_ref(after))].concat()
}

/// Makes PAX records that say the same as the header, something else, or nonsense.
fn records() -> Vec<Sample> {
    let mut all = Vec::new();
    for (name, records) in [
        ("uid", vec![record("uid", "3000000000")]),
        ("gid", vec![record("gid", "70000")]),
        ("negative uid", vec![record("uid", "-1")]),
        ("uid too large", vec![record("uid", "4294967296")]),
        ("uid with a fraction", vec![record("uid", "1.5")]),
        ("uid empty", vec![record("uid", "")]),
        ("path empty", vec![record("path", "")]),
        ("path absolute", vec![record("path", "/etc/f")]),
        ("mtime with a fraction", vec![record("mtime", "12.75")]),
        ("mtime without digits behind the point", vec![record("mtime", "12.")]),
        ("mtime before 1970", vec![record("mtime", "-3.5")]),
        ("mtime far away", vec![record("mtime", "4102444800")]),
        ("mtime no number", vec![record("mtime", "now")]),
        ("atime and ctime", vec![record("atime", "5.5"), record("ctime", "6.5")]),
        ("a key twice", vec![record("path", "one"), record("path", "two")]),
        ("an unknown key", vec![record("VENDOR.key", "value"), record("LIBARCHIVE.creationtime", "1")]),
        ("an equals sign in a value", vec![record("path", "a=b")]),
        ("a newline in a value", vec![record("path", "a\nb")]),
        ("a NUL in a comment", vec![record("comment", "a\0b")]),
        ("the same size", vec![record("size", "3")]),
        ("no equals sign", vec![b"6 abc\n".to_vec()]),
        ("a length too large", vec![b"99 path=a\n".to_vec()]),
        ("a length too small", vec![b"3 path=a\n".to_vec()]),
        ("no length", vec![b"path=a\n".to_vec()]),
        ("no newline", vec![b"8 path=ab".to_vec()]),
        ("a sparse record alone", vec![record("GNU.sparse.name", "x")]),
        ("an unknown sparse version", vec![record("GNU.sparse.major", "2"), record("GNU.sparse.minor", "0")]),
    ] {
        all.push(Sample::archive(format!("record: {name}"), archive(&[pax(&records), file("f"), file("after")])));
    }
    let sizes = |said: usize, header: usize, stored: usize| {
        let member = file("f").content(&vec![b'q'; stored]).size(header);
        archive(&[pax(&[record("size", said.to_string())]), member, file("after")])
    };
    all.push(Sample::archive("record: size larger than the header's", sizes(600, 3, 600)));
    all.push(Sample::archive("record: size smaller than the header's", sizes(3, 600, 3)));
    all.push(Sample::archive("record: size where the header has none", sizes(1025, 0, 1025)));
    for kind in *b"123456" {
        let member = made("m", kind)
            .at(157, if matches!(kind, b'1' | b'2') { "f" } else { "" })
            .at(329, "0000001\0")
            .at(337, "0000003\0");
        let members = [file("f"), pax(&[record("size", "600")]), member, file("after")];
        all.push(Sample::archive(format!("record: size of kind {}", char::from(kind)), archive(&members)));
    }
    for (name, headers) in [
        ("PAX twice", vec![pax(&[record("uid", "5"), record("path", "one")]), pax(&[record("path", "two")])]),
        ("GNU name twice", vec![long(b'L', "one"), long(b'L', "two")]),
        ("GNU link and name", vec![long(b'K', "one"), long(b'L', "two")]),
        ("PAX and the same GNU name", vec![pax(&[record("path", "one")]), long(b'L', "one")]),
        ("PAX and another GNU name", vec![pax(&[record("path", "one")]), long(b'L', "two")]),
        ("GNU name and other records", vec![long(b'L', "one"), pax(&[record("uid", "5")])]),
        ("three of a kind", vec![pax(&[record("uid", "1")]), pax(&[record("uid", "2")]), pax(&[record("uid", "3")])]),
        ("global comment", vec![made("g", b'g').content(&record("comment", "commit"))]),
        ("global owner", vec![made("g", b'g').content(&record("uid", "7"))]),
        ("PAX, then global", vec![pax(&[record("path", "one")]), made("g", b'g').content(&record("comment", "x"))]),
    ] {
        all.push(Sample::archive(
            format!("headers: {name}"),
            archive(&[headers, vec![file("f"), file("after")]].concat()),
        ));
    }
    all
}

/// Makes ends of archives.
fn ends() -> Vec<Sample> {
    let [one, two] = small();
    let members = joined(&[one.clone(), two.clone()]);
    let of = |name: &str, bytes: Vec<u8>| Sample::archive(format!("end: {name}"), bytes);
    let zeros = |blocks: usize| vec![0; blocks * BLOCK];
    vec![
        of("two blocks", [members.clone(), zeros(2)].concat()),
        of("none", members.clone()),
        of("one block", [members.clone(), zeros(1)].concat()),
        of("a whole record", [members.clone(), zeros(17)].concat()),
        of("nothing but the end", zeros(2)),
        of("nothing at all", Vec::new()),
        of("another archive behind it", [members.clone(), zeros(2), joined(&[file("hidden")])].concat()),
        of(
            "a lone block of zeros",
            [joined(std::slice::from_ref(&one)), zeros(1), joined(std::slice::from_ref(&two))].concat(),
        ),
        of("cut in a header", [members.clone(), joined(std::slice::from_ref(&one))[..100].to_vec()].concat()),
        of("cut in a content", members[..members.len() - BLOCK].to_vec()),
        of("junk behind the end", [members.clone(), zeros(2), vec![b'x'; 700]].concat()),
        of("junk for a header", [members, vec![b'x'; BLOCK]].concat()),
    ]
}
