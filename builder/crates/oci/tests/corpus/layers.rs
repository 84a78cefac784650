//! Layers that containerd, umoci and containers/storage test their unpacking with, by their names there.

use crate::{
    Sample,
    block::{Made, archive, device, directory, file, hard_link, made, symlink},
};

pub fn samples() -> Vec<Sample> {
    [breakouts(), whiteouts(), overwrites()].into_iter().flatten().collect()
}

/// containerd and umoci take such a path from the root on, moby refuses it.
const LEAVES: &str = "a `..` that leaves the root";

fn etc() -> Vec<Made> {
    vec![directory("etc"), file("etc/passwd").content(b"inside"), file("etc/emptied").content(b"")]
}

/// Makes containerd's `TestBreakouts`; one layer each.
fn breakouts() -> Vec<Sample> {
    let of = |name: &str, members: &[Made]| Sample::layers(format!("containerd {name}"), vec![archive(members)]);
    let with_etc = |members: &[Made]| [etc(), members.to_vec()].concat();
    let secret = || file("localetc/unbroken").content(b"evil");
    vec![
        of("SymlinkAbsolute", &with_etc(&[symlink("localetc", "/etc"), secret()])),
        of("SymlinkUpAndOut", &with_etc(&[symlink("localetc", "../etc"), secret()])),
        of("SymlinkMultipleAbsolute", &with_etc(&[symlink("one", "/etc"), symlink("localetc", "/one"), secret()])),
        of("SymlinkMultipleRelative", &with_etc(&[symlink("one", "../etc"), symlink("localetc", "./one"), secret()])),
        of("SymlinkEmptyFile", &with_etc(&[symlink("localfile", "/etc/emptied"), file("localfile").content(b"")])),
        of(
            "HardlinkRelative",
            &with_etc(&[symlink("localetc", "../etc"), hard_link("localpasswd", "localetc/passwd")]),
        ),
        of("HardlinkDownAndOut", &with_etc(&[directory("down"), hard_link("localpasswd", "down/../etc/passwd")])),
        of("HardlinkDownAndFarOut", &with_etc(&[hard_link("localpasswd", "down/../../../etc/passwd")])).refused(LEAVES),
        of("HardlinkAbsolute", &with_etc(&[symlink("localetc", "/etc"), hard_link("localpasswd", "/localetc/passwd")])),
        of(
            "HardlinkRelativeLong",
            &with_etc(&[symlink("localetc", "../../../../../../../etc"), hard_link("localpasswd", "localetc/passwd")]),
        ),
        of(
            "HardlinkRelativeUpAndOut",
            &with_etc(&[symlink("localetc", "upandout/../../../etc"), hard_link("l", "localetc/passwd")]),
        ),
        of("HardlinkDirectAbsolute", &with_etc(&[hard_link("localpasswd", "/etc/passwd")])),
        of("SymlinkParentDirectory", &with_etc(&[symlink("dummy", ".."), symlink("localetc", "/dummy/etc"), secret()])),
        of("SymlinkParentRelative", &with_etc(&[symlink("localetc", "./usr/../etc"), directory("usr"), secret()])),
        of("SymlinkSlashEnded", &with_etc(&[symlink("localetc", "../etc/"), secret()])),
        of(
            "SymlinkOverrideDirectory",
            &with_etc(&[directory("localetc"), file("localetc/x"), symlink("localetc", "/etc")]),
        ),
        of("DirectoryOverrideSymlink", &with_etc(&[symlink("localetc", "/etc"), directory("localetc"), secret()])),
        of(
            "DirectoryOverrideSymlinkAndHardlink",
            &with_etc(&[
                symlink("localetc", "etc"),
                hard_link("localetc2", "localetc"),
                directory("localetc"),
                secret(),
            ]),
        ),
        of("SymlinkOverridePath", &with_etc(&[directory("dir/sub"), symlink("dir", "/etc"), file("dir/sub/f")])),
        of("HardlinkSymlinkBeforeCreateTarget", &[symlink("l", "f"), hard_link("h", "l"), file("f")]),
        of("HardlinkSymlinkRelative", &with_etc(&[symlink("l", "etc/passwd"), hard_link("h", "l")])),
        of("HardlinkSymlinkAbsolute", &with_etc(&[symlink("l", "/etc/passwd"), hard_link("h", "l")])),
        of("EscapeNamed", &[file("../up")]).refused(LEAVES),
        of("InsideAgain", &[directory("d"), file("d/../f"), file("d/./../d/g")]),
    ]
}

/// Makes whiteouts of all kinds, on a layer of everything.
fn whiteouts() -> Vec<Sample> {
    let base = archive(&[
        directory("d"),
        file("d/a"),
        file("d/b").content(b"b"),
        directory("d/e"),
        file("d/e/f"),
        symlink("l", "d"),
        symlink("dangling", "../../nowhere"),
        file("top"),
        device("null", 1, 3),
        made("pipe", b'6'),
    ]);
    let empty = |name: &str| file(name).content(b"");
    let mut all = Vec::new();
    let mut add = |name: &str, members: &[Made]| {
        all.push(Sample::layers(format!("whiteout {name}"), vec![base.clone(), archive(members)]));
    };
    for (name, path) in [
        ("of a file", "d/.wh.a"),
        ("of a directory", ".wh.d"),
        ("of a directory below", "d/.wh.e"),
        ("of a link", ".wh.l"),
        ("of a dangling link", ".wh.dangling"),
        ("of a device", ".wh.null"),
        ("of a pipe", ".wh.pipe"),
        ("of nothing", ".wh.nothing"),
        ("in nothing", "nothing/.wh.x"),
        ("through a link", "l/.wh.a"),
        ("with a dot", "./d/.wh.a"),
        ("with dots inside", "d/e/../.wh.a"),
        ("absolute", "/d/.wh.a"),
        ("of a directory's content", "d/.wh..wh..opq"),
        ("of the root's content", ".wh..wh..opq"),
        ("of a linked directory's content", "l/.wh..wh..opq"),
    ] {
        add(name, &[empty(path)]);
        add(&format!("{name}, with content"), &[file(path)]);
        add(&format!("{name}, as a hard link"), &[file("z"), hard_link(path, "z")]);
        add(&format!("{name}, as a link"), &[symlink(path, "z")]);
        add(&format!("{name}, as a device"), &[device(path, 0, 0)]);
        add(&format!("{name}, as a pipe"), &[made(path, b'6')]);
        add(&format!("{name}, and a new file"), &[empty(path), file("d/new")]);
    }
    add("before the name", &[empty("d/.wh.a"), file("d/a").content(b"new")]);
    add("behind the name", &[file("d/a").content(b"new"), empty("d/.wh.a")]);
    add("of a directory with something new", &[file("d/new"), empty(".wh.d")]);
    add("opaque first", &[directory("d"), empty("d/.wh..wh..opq"), file("d/new")]);
    add("opaque last", &[directory("d"), file("d/new"), empty("d/.wh..wh..opq")]);
    add("opaque below opaque", &[empty("d/.wh..wh..opq"), directory("d/e"), empty("d/e/.wh..wh..opq"), file("d/e/n")]);
    add("then a file of that name", &[empty(".wh.d"), file("d").content(b"file")]);
    add("of a target that a hard link keeps", &[hard_link("kept", "d/a"), empty("d/.wh.a")]);
    all.push(Sample::layers(
        "three layers",
        vec![
            base.clone(),
            archive(&[empty("d/.wh.a"), file("d/c")]),
            archive(&[file("d/a").content(b"again"), empty("d/.wh.c")]),
        ],
    ));
    all.push(Sample::layers("the same layer twice", vec![base.clone(), base.clone()]));
    all.push(Sample::layers("an empty layer", vec![base, archive(&[])]));
    all
}

/// Makes every kind over every kind, in one layer and in two.
fn overwrites() -> Vec<Sample> {
    let mut all = Vec::new();
    let of = |kind: &str, path: &str| -> Vec<Made> {
        match kind {
            "file" => vec![file(path).content(kind.as_bytes())],
            "directory" => vec![directory(path)],
            "full directory" => vec![directory(path), file(format!("{path}/x"))],
            "symlink" => vec![symlink(path, "target")],
            "hard link" => vec![file("first"), hard_link(path, "first")],
            "device" => vec![device(path, 1, 3)],
            _ => vec![made(path, b'6')],
        }
    };
    let kinds = ["file", "directory", "full directory", "symlink", "hard link", "device", "pipe"];
    for lower in kinds {
        for upper in kinds {
            let (lower_members, upper_members) = (of(lower, "d/name"), of(upper, "d/name"));
            all.push(Sample::layers(
                format!("{upper} over {lower}"),
                vec![archive(&lower_members), archive(&upper_members)],
            ));
            all.push(Sample::layers(
                format!("{upper} over {lower} of the same layer"),
                vec![archive(&[lower_members, upper_members].concat())],
            ));
        }
    }
    all
}
