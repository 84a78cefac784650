use std::{fs, path::Path, process::Command};

use tar::Header;

use super::*;

fn header(path: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_path(path).unwrap();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_cksum();
    header
}

fn member(path: &str, kind: EntryType, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(path, kind, content.len() as u64).as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    bytes
}

fn record(key: &str, value: &str) -> String {
    let rest = format!(" {key}={value}\n");
    let length = (1..).find(|digits| (rest.len() + digits).to_string().len() == *digits).unwrap();
    format!("{}{rest}", rest.len() + length)
}

fn read(bytes: &[u8]) -> Result<Vec<(Member, Vec<u8>)>, Fault> {
    let mut reader = Reader::new(bytes);
    let mut all = Vec::new();
    while let Some(member) = reader.next_member()? {
        let mut content = Vec::new();
        reader.copy_content(&member, &mut content).unwrap();
        all.push((member, content));
    }
    Ok(all)
}

#[test]
fn pax_records_win_over_the_header() {
    let records = [
        record("path", "a/long name"),
        record("uid", "3000000000"),
        record("mtime", "-1.5"),
        record("SCHILY.xattr.user.a", "b=c"),
        record("SCHILY.xattr.user.none", ""),
        record("size", "3"),
    ];
    let mut bytes = member("x", EntryType::XHeader, records.concat().as_bytes());
    bytes.extend(member("short", EntryType::Regular, b"abc"));
    bytes.extend(member("next", EntryType::Regular, b"d"));
    let all = read(&bytes).unwrap();
    let (first, content) = &all[0];
    assert_eq!(
        (first.path.as_slice(), first.uid, first.mtime, content.as_slice()),
        (&b"a/long name"[..], 3_000_000_000, -2, &b"abc"[..])
    );
    assert_eq!(first.xattrs.get(&b"user.a"[..]).unwrap(), b"b=c");
    assert_eq!(first.xattrs.len(), 1);
    assert_eq!((all[1].0.path.as_slice(), all[1].0.xattrs.len()), (&b"next"[..], 0));
}

#[test]
fn long_gnu_names() {
    let name = "d/".repeat(200) + "f";
    let mut bytes = member("././@LongLink", EntryType::GNULongName, format!("{name}\0").as_bytes());
    bytes.extend(member("short", EntryType::Regular, b""));
    assert_eq!(read(&bytes).unwrap()[0].0.path, name.as_bytes());
}

/// Checks that an archive is refused for this reason.
fn refused(bytes: &[u8], part: &str) {
    let mut reader = Reader::new(bytes);
    let fault = loop {
        match reader.next_member() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("{part}: was read"),
            Err(fault) => break fault,
        }
    };
    assert!(fault.reason.contains(part), "{part}: {}", fault.reason);
}

/// Returns a file of three bytes with these PAX records.
fn pax(records: &str) -> Vec<u8> {
    let mut bytes = member("x", EntryType::XHeader, records.as_bytes());
    bytes.extend(member("f", EntryType::Regular, b"abc"));
    bytes
}

#[test]
fn sparse_files_that_can_be_read_in_two_ways_are_refused() {
    let sparse = |word: &str| {
        let (key, value) = word.split_once('=').unwrap();
        record(&format!("GNU.sparse.{key}"), value)
    };
    for (records, part) in [
        ("map=0,3", "damaged"),
        ("size=9 realsize=8", "two sizes"),
        ("size=2 map=0,3", "leave the file"),
        ("size=2 map=0,2", "2 bytes and 3 are stored"),
        ("size=9 map=2,2,1,1", "overlap"),
        ("size=9 map=0,3", "end at 3 and its size is 9"),
        ("size=3 numblocks=2 map=0,3", "says that they are 2"),
    ] {
        refused(&pax(&records.split(' ').map(sparse).collect::<String>()), part);
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let joined = |parts: &[Vec<u8>]| parts.concat();
    let named = |magic: &[u8; 8], at: usize, bytes: &[u8]| {
        let mut header = header("f", EntryType::Regular, 0);
        header.as_mut_bytes()[257..265].copy_from_slice(magic);
        header.as_mut_bytes()[at..at + bytes.len()].copy_from_slice(bytes);
        header.set_cksum();
        header.as_bytes().to_vec()
    };
    let global = |key: &str| member("g", EntryType::XGlobalHeader, record(key, "1").as_bytes());
    let long = member("././@LongLink", EntryType::GNULongName, b"b\0");
    let zeros = vec![0; BLOCK];
    let mut huge = header("x", EntryType::XHeader, 1 << 40).as_bytes().to_vec();
    huge.resize(2 * BLOCK, 0);
    let mut damaged = member("f", EntryType::Regular, b"abc");
    damaged[0] ^= 1;
    // GNU's base 256: found by fuzzing, where rounding it up to whole blocks went past the end of all numbers.
    let mut endless = header("f", EntryType::Regular, 0);
    endless.as_old_mut().size = [0xff; 12];
    endless.set_cksum();
    for (bytes, part) in [
        (endless.as_bytes().to_vec(), "its size is negative"),
        (pax(&record("size", "-1")), "`size` is -1"),
        (pax(&record("size", "99999999999999999999999999999")), "`size` is 9999"),
        (pax(&record("size", "9223372036854775808")), "larger than any file's"),
        (pax(&record("size", "x")), "`size` is not a number"),
        (pax(&record("uid", "-1")), "`uid` is -1"),
        (pax(&record("path", "a\0b")), "NUL byte"),
        (named(b"usTAR\x0000", 0, b"f"), "magic `usTAR\\x0000`"),
        (named(b"ustar 00", 0, b"f"), "no known tar format"),
        (named(b"ustar  \0", 345, b"dir/of/go"), "its GNU header has a prefix"),
        (
            named(b"ustar\x0000", 345, &[&[b'p'; 150][..], b"12345", b"\0\0\0\0\0\0\0\0tar\0"].concat()),
            "ends in one place for star",
        ),
        (joined(&[member("d/", EntryType::Regular, b"")]), "GNU tar takes for a directory"),
        (joined(&[global("uid"), member("f", EntryType::Regular, b"")]), "sets `uid` for all members"),
        (joined(&[global("SCHILY.xattr.user.a"), member("f", EntryType::Regular, b"")]), "sets `SCHILY.xattr.user.a`"),
        (
            joined(&[long.clone(), global("comment"), member("f", EntryType::Regular, b"")]),
            "a global header comes between",
        ),
        (joined(&[long.clone(), pax(&record("path", "a"))]), "its GNU long name another"),
        (
            joined(&[member("f", EntryType::Regular, b""), zeros.clone(), member("g", EntryType::Regular, b"")]),
            "stands alone",
        ),
        (pax("9 path=a"), "PAX header is damaged"),
        (pax("999 path=a\n"), "PAX header is damaged"),
        (pax("0 path=a\n"), "PAX header is damaged"),
        (huge, "1048576 at most"),
        (damaged, "wrong checksum"),
        (member("x", EntryType::XHeader, record("path", "a").as_bytes()), "no member after it"),
        (header("f", EntryType::Regular, 9).as_bytes().to_vec(), "cut off in its content"),
        (
            header("f", EntryType::Regular, 9).as_bytes()[..100].to_vec(),
            "cut off in a header: it does not begin as a tar archive does",
        ),
    ] {
        refused(&bytes, part);
    }
}

/// GNU tar itself writes the file; each of its forms must give the same bytes.
#[test]
fn sparse_files_as_gnu_tar_writes_them() {
    use std::os::unix::fs::FileExt;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("holes");
    let file = fs::File::create(&path).unwrap();
    // More pieces than an old header and one continuation hold.
    for piece in 0..60_u64 {
        file.write_all_at(&[piece as u8 + 1; 100], piece * (1 << 16)).unwrap();
    }
    file.set_len(61 << 16).unwrap();
    let whole = fs::read(&path).unwrap();
    let tar = |arguments: &[&str]| {
        let output = Command::new("tar")
            .args(arguments)
            .args(["-cSf", "-", "-C"])
            .arg(directory.path())
            .arg("holes")
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    for arguments in [
        &["--format=gnu"][..],
        &["--format=posix", "--sparse-version=0.0"],
        &["--format=posix", "--sparse-version=0.1"],
        &["--format=posix", "--sparse-version=1.0"],
    ] {
        let bytes = tar(arguments);
        assert!(bytes.len() < whole.len() / 2, "{arguments:?}: the filesystem of this test has no holes");
        let all = read(&bytes).unwrap();
        assert_eq!(all.len(), 1, "{arguments:?}");
        assert_eq!(Path::new(str::from_utf8(&all[0].0.path).unwrap()), Path::new("holes"), "{arguments:?}");
        assert!(all[0].0.size == whole.len() as u64 && all[0].1 == whole, "{arguments:?}");
    }
}
