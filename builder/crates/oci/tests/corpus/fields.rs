//! Products: every kind of member in every format, every numeric field in every form, names of all lengths in all places.

use crate::{
    Sample,
    block::{GNU, Made, USTAR, V7, archive, device, file, long, made, pax, record},
};

const STAR: &[u8; 8] = USTAR;

pub fn samples() -> Vec<Sample> {
    [kinds(), numbers(), names(), magics()].into_iter().flatten().collect()
}

fn after() -> Made {
    file("after").content(b"zz")
}

/// Makes members of all kinds; those without content may have a size, of which nothing follows.
fn kinds() -> Vec<Sample> {
    let mut all = Vec::new();
    for (format, magic, trailer) in [
        ("v7", V7, &b"\0\0\0\0"[..]),
        ("ustar", USTAR, b"\0\0\0\0"),
        ("star", STAR, b"tar\0"),
        ("gnu", GNU, b"\0\0\0\0"),
    ] {
        for kind in [b'0', 0, b'1', b'2', b'3', b'4', b'5', b'6'] {
            for size in [0, 3, 513, 1_000_000] {
                let is_file = matches!(kind, 0 | b'0');
                if is_file && size > 513 {
                    continue;
                }
                let mut member = made("d/name", kind).size(size).magic(magic).at(508, trailer);
                if is_file {
                    member = member.content(&vec![b'q'; size]);
                }
                match kind {
                    b'1' | b'2' => member = member.at(157, "first"),
                    b'3' | b'4' => member = member.at(329, "0000001\0").at(337, "0000003\0"),
                    _ => {}
                }
                let name = format!("{format} of kind {} with size {size}", char::from(kind.max(b'0')));
                let name = if kind == 0 { format!("{name} (NUL)") } else { name };
                all.push(Sample::archive(name, archive(&[file("first"), member, after()])));
            }
        }
        let old_directory = made("d/name/", 0).magic(magic).size(3);
        all.push(Sample::archive(format!("{format} directory by its slash"), archive(&[old_directory, after()])));
        let slash = made("d/name/", b'0').magic(magic);
        all.push(Sample::archive(format!("{format} file with a slash"), archive(&[slash, after()])));
    }
    all
}

/// Makes numbers in the forms that writers have had.
fn numbers() -> Vec<Sample> {
    let mut all = Vec::new();
    for (field, offset, length, value) in [
        ("mode", 100, 8, 0o640),
        ("uid", 108, 8, 1000),
        ("gid", 116, 8, 100),
        ("size", 124, 12, 3),
        ("mtime", 136, 12, 77),
        ("major", 329, 8, 4),
        ("minor", 337, 8, 65),
    ] {
        let width = length - 1;
        let binary = {
            let mut bytes = vec![0_u8; length];
            bytes[length - 4..].copy_from_slice(&u32::to_be_bytes(value));
            bytes[0] = 0x80;
            bytes
        };
        for (form, bytes) in [
            ("zeros and NUL", format!("{value:0width$o}\0").into_bytes()),
            ("zeros and blank", format!("{value:0width$o} ").into_bytes()),
            ("zeros to the end", format!("{value:0length$o}").into_bytes()),
            ("blanks and NUL", format!("{value:>width$o}\0").into_bytes()),
            ("blank, NUL", format!("{value:>0$o} \0", length - 2).into_bytes()),
            ("digits alone", format!("{value:o}\0").into_bytes()),
            ("a NUL first", format!("\0{value:0width$o}").into_bytes()),
            ("digits, NUL, junk", format!("{value:0>4o}\0xyz").into_bytes()),
            ("base 256", binary),
            ("NULs", vec![0; length]),
            ("blanks", vec![b' '; length]),
            ("junk", vec![b'x'; length]),
            ("not octal", format!("{:0>width$}\0", "8").into_bytes()),
        ] {
            let bytes = [bytes, vec![0; length]].concat()[..length].to_vec();
            let member = match field {
                "major" | "minor" => device("d", 5, 1),
                _ => file("f"),
            };
            all.push(Sample::archive(format!("{field} as {form}"), archive(&[member.at(offset, bytes), after()])));
        }
    }
    for (name, bytes) in [("minus two", [&[0xff; 11][..], &[0xfe]].concat()), ("year 2100", b"36436320100\0".to_vec())]
    {
        all.push(Sample::archive(format!("mtime {name}"), archive(&[file("f").at(136, bytes)])));
    }
    all
}

/// Makes names in the header, in its prefix, in PAX records and in GNU's long names.
fn names() -> Vec<Sample> {
    let mut all = Vec::new();
    for length in [1, 99, 100, 101, 155, 156, 200, 255, 256, 300, 1000] {
        let part = |length: usize| "n".repeat(length);
        // Parts of at most 60 bytes.
        let path: String = (0..length).map(|at| if at % 60 == 59 && at + 1 < length { '/' } else { 'n' }).collect();
        if length <= 100 {
            all.push(Sample::archive(format!("name of {length}"), archive(&[file(&path)])));
            all.push(Sample::archive(format!("link of {length}"), archive(&[made("l", b'2').at(157, &path)])));
            let names = [file(&path), made("h", b'1').at(157, &path)];
            all.push(Sample::archive(format!("hard link of {length}"), archive(&names)));
        }
        if (101..=256).contains(&length)
            && let Some(at) =
                path.bytes().enumerate().position(|(at, byte)| byte == b'/' && at <= 155 && length - at <= 101)
        {
            let prefixed = file(&path[at + 1..]).at(345, &path[..at]);
            all.push(Sample::archive(format!("prefix of {at} of {length}"), archive(&[prefixed])));
        }
        for (form, header) in [("PAX", pax(&[record("path", &path)])), ("GNU", long(b'L', &path))] {
            all.push(Sample::archive(format!("{form} name of {length}"), archive(&[header, file("short"), after()])));
        }
        for (form, header) in [("PAX", pax(&[record("linkpath", &path)])), ("GNU", long(b'K', &path))] {
            let short = made("l", b'2').at(157, "short");
            all.push(Sample::archive(format!("{form} link of {length}"), archive(&[header, short, after()])));
        }
        if length <= 256 {
            let whole = part(length);
            all.push(Sample::archive(
                format!("PAX part of {length}"),
                archive(&[pax(&[record("path", whole)]), file("s")]),
            ));
        }
    }
    for (name, text) in [
        ("a dot", "./f"),
        ("dots", "././/a/./f"),
        ("latin", "gr\u{f6}\u{df}e"),
        ("a blank", "a b"),
        ("a newline", "a\nb"),
        ("a backslash", "a\\b"),
        ("three dots", ".../f"),
        ("a star", "*?[a]"),
        ("a dash", "-rf"),
        ("a colon", "C:/f"),
    ] {
        all.push(Sample::archive(format!("name with {name}"), archive(&[file(text), after()])));
        all.push(Sample::archive(
            format!("PAX name with {name}"),
            archive(&[pax(&[record("path", text)]), file("s"), after()]),
        ));
    }
    for (name, bytes) in [("Latin-1", &b"gr\xf6\xdfe"[..]), ("no text", b"\xff\xfe\x80")] {
        all.push(Sample::archive(format!("name in {name}"), archive(&[file(bytes), after()])));
        all.push(Sample::archive(format!("name in {name}, signed sum"), archive(&[file(bytes).signed(), after()])));
    }
    all
}

/// Makes headers of all magics: the magic decides, and nothing else.
fn magics() -> Vec<Sample> {
    let unknown = "no known tar format";
    let of = |name: &str, magic: &[u8; 8]| {
        let members = [file("f").magic(magic).at(345, "dir"), device("c", 1, 3).magic(magic).at(345, "dir")];
        Sample::archive(name, archive(&members))
    };
    vec![
        of("ustar, version 00", USTAR),
        of("ustar, version NUL", b"ustar\0\0\0"),
        of("ustar, version blank", b"ustar\0  "),
        of("ustar, version 0 NUL", b"ustar\x000\0"),
        of("ustar, version junk", b"ustar\0zz"),
        of("GNU with a prefix", GNU),
        of("GNU with version 00", b"ustar 00").refused(unknown),
        of("no tar at all", b"usTAR\x0000").refused(unknown),
        of("blank magic", b"        ").refused(unknown),
        Sample::archive("GNU with its times", archive(&[file("f").magic(GNU).at(345, "00000000001\x0000000000002\0")])),
        Sample::archive(
            "a mode with a kind",
            archive(&[file("f").at(100, "0100644\0"), made("d", b'5').at(100, "0040755\0")]),
        ),
        Sample::archive("all permission bits", archive(&[file("f").at(100, "0007777\0")])),
        Sample::archive(
            "star with a prefix and times",
            archive(&[file("f").at(345, "dir").at(476, "00000000001 00000000002 ").at(508, "tar\0")]),
        ),
        Sample::archive(
            "owners by name",
            archive(&[file("f").at(265, "nobody").at(297, "nogroup").at(108, "0000005\0").at(116, "0000006\0")]),
        ),
    ]
}
