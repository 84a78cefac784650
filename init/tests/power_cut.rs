//! The promise of `docs/update.md`, kept under every power cut: the rotation runs, with all of the boot around it, on disks that
//! forget what was not synced; after every operation every loss that is possible becomes a disk, which is booted and cut again in
//! the same way, until no new disk appears. So any number of cuts in a row is covered, not only one or two.

#[path = "power_cut/model.rs"]
mod model;

use std::collections::HashSet;

use contract::hex;
use initramfs_overlay_init::{boot, config::Abilities, kernel::recorder::Recorder};
use model::{BLACKBOX, DIRECTORY, Disks, Fault, Files, IMAGE_SIZE, Model, TREE, WORK, image};

const X: &str = "root-squashfs.img";
const OLD: &str = "root-squashfs-old.img";
const REJECTED: &str = "root-squashfs-rejected.img";
const UPDATES: &str = "updates.txt";
const SCRIPT: &str = "root-squash.img";

/// The fate that the delivered image must have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It becomes the current one, and leaves newimg.
    Moved,
    /// It becomes the current one; newimg stays as it is, and it is remembered.
    Copied,
    /// It is deleted, once the reason is durable.
    Deleted,
    /// It stays, and the current image boots.
    Stays,
}

/// The state that a machine starts from. A is the image that boots, B the one that is delivered, Z the one before A.
#[derive(Clone)]
struct Start {
    name: &'static str,
    disks: Disks,
    /// Bytes on img; an image has [`IMAGE_SIZE`].
    room: u64,
    tries: u32,
    trust: bool,
    fate: Fate,
}

/// Returns the writable partition as a boot leaves it that had nothing to do.
fn overlay() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("persistent", TREE.to_vec()),
        ("upper", DIRECTORY.to_vec()),
        ("work", WORK.to_vec()),
        ("discarded", DIRECTORY.to_vec()),
        ("spare", DIRECTORY.to_vec()),
        ("spare/upper", DIRECTORY.to_vec()),
        ("spare/work", WORK.to_vec()),
        ("spare/reserve", text("reserve")),
        ("blackbox", BLACKBOX.to_vec()),
    ]
}

/// Returns the same after a system ran on it: `used` is full, and what the boot before could not make is missing.
fn used_overlay(used: &str, without: &[&str]) -> Files {
    let mut files = overlay();
    files.retain(|(name, _)| !without.contains(name));
    for (name, content) in &mut files {
        if *name == used {
            *content = TREE.to_vec();
        }
    }
    Files::new(&files)
}

fn start(name: &'static str, img: &[(&str, Vec<u8>)], newimg: &[(&str, Vec<u8>)]) -> Start {
    let disks = [Files::new(img), Files::new(newimg), Files::new(&overlay())];
    Start { name, disks, room: 1 << 20, tries: 0, trust: false, fate: Fate::Moved }
}

fn text(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn starts() -> Vec<Start> {
    let (a, b, z) = (|| image('A'), || image('B'), || image('Z'));
    let digest = |content: &[u8]| text(&format!("{}  {X}\n", hex::encode(&Recorder::sum(content, 0))));
    let signed = |mark: char| text(&format!("{mark} by k"));
    let signed_img = |old: bool| {
        let mut files = vec![(X, a()), ("root-squashfs.img.minisig", signed('A'))];
        if old {
            files.extend([(OLD, z()), ("root-squashfs-old.img.minisig", signed('Z'))]);
        }
        files
    };
    let signed_newimg = vec![(X, b()), ("root-squashfs.img.minisig", signed('B'))];
    vec![
        start("a plain update", &[(X, a())], &[(X, b())]),
        start("an old image is there", &[(X, a()), (OLD, z())], &[(X, b())]),
        Start { room: 1200, ..start("room for two images only", &[(X, a()), (OLD, z())], &[(X, b())]) },
        start("the script's names", &[(SCRIPT, a()), ("root-squash.img-old", z())], &[(X, b())]),
        start("the script's names on both", &[(SCRIPT, a())], &[(SCRIPT, b())]),
        start("a digest beside it", &[(X, a()), (OLD, z())], &[(X, b()), ("root-squashfs.img.sha256", digest(&b()))]),
        Start {
            fate: Fate::Deleted,
            ..start("a wrong digest", &[(X, a()), (OLD, z())], &[(X, b()), ("root-squashfs.img.sha256", digest(&a()))])
        },
        start("an orphan", &[(X, a()), ("root-squashfs.img.new", text("half"))], &[(X, b())]),
        start("an orphan that is whole", &[(X, a()), ("root-squashfs.img.new", b())], &[(X, b())]),
        start("only an old image", &[(OLD, a())], &[(X, b())]),
        start("the same image on both sides", &[(X, b()), (OLD, a())], &[(X, b())]),
        start("no image yet", &[], &[(X, b())]),
        start("signatures that nobody checks", &signed_img(true), &signed_newimg),
        start("a signature goes, none comes", &signed_img(false), &[(X, b())]),
        Start { trust: true, ..start("signatures", &signed_img(false), &signed_newimg) },
        Start { trust: true, ..start("signatures, an old image", &signed_img(true), &signed_newimg) },
        Start { trust: true, room: 1200, ..start("signatures, little room", &signed_img(true), &signed_newimg) },
        Start { trust: true, fate: Fate::Stays, ..start("no signature", &signed_img(true), &[(X, b())]) },
        Start {
            trust: true,
            fate: Fate::Stays,
            room: 1200,
            ..start("another key", &signed_img(true), &[(X, b()), ("root-squashfs.img.minisig", text("B by m"))])
        },
        Start { tries: 1, ..start("one try", &[(X, a())], &[(X, b())]) },
        Start { tries: 2, ..start("two tries, an old image", &[(X, a()), (OLD, z())], &[(X, b())]) },
        Start { tries: 1, trust: true, ..start("one try, signatures", &signed_img(true), &signed_newimg) },
        Start { fate: Fate::Copied, ..start("a stick", &[(X, a()), (OLD, z())], &[(X, b())]) },
        Start { fate: Fate::Copied, ..start("a stick with what is in", &[(X, b()), (OLD, a())], &[(X, b())]) },
        Start { room: 800, fate: Fate::Stays, ..start("no room", &[(X, a())], &[(X, b())]) },
        start("memories of others", &[(X, a()), (UPDATES, memory('C', "installed"))], &[(X, b())]),
        Start {
            fate: Fate::Stays,
            ..start("put back before", &[(X, a()), (UPDATES, memory('B', "put-back"))], &[(X, b())])
        },
        layers("an upper of a boot", "upper", &[]),
        layers("a work of a boot", "work", &[]),
        layers("an upper, half a spare", "upper", &["spare/upper", "spare/reserve"]),
        layers(
            "an upper, nothing made for it",
            "upper",
            &["spare", "spare/upper", "spare/work", "spare/reserve", "discarded"],
        ),
        layers("no black box yet", "upper", &["blackbox"]),
    ]
}

/// Returns a start without an update, from a partition that a system ran on.
fn layers(name: &'static str, used: &str, without: &[&str]) -> Start {
    let disks = [Files::new(&[(X, image('A'))]), Files::default(), used_overlay(used, without)];
    Start { disks, ..start(name, &[], &[]) }
}

/// Returns a line of what is remembered of an image.
fn memory(mark: char, verdict: &str) -> Vec<u8> {
    text(&format!("{} {IMAGE_SIZE} {verdict} 6.1.0 {X}\n", hex::encode(&Recorder::sum(&image(mark), 0))))
}

/// The outcomes from one start.
#[derive(Default)]
struct Seen {
    disks: usize,
    cuts: usize,
    unbootable: Vec<String>,
    update_lost: Vec<String>,
    images_lost: Vec<String>,
    unfinished: Vec<String>,
    persistent_lost: Vec<String>,
    stick_changed: Vec<String>,
}

impl Seen {
    fn kinds(&self) -> [(&'static str, &Vec<String>); 6] {
        [
            ("unbootable", &self.unbootable),
            ("update lost", &self.update_lost),
            ("images lost", &self.images_lost),
            ("unfinished", &self.unfinished),
            ("persistent lost", &self.persistent_lost),
            ("stick changed", &self.stick_changed),
        ]
    }

    fn faults(&self) -> usize {
        self.kinds().iter().map(|(_, faults)| faults.len()).sum()
    }
}

fn names(disks: &Disks) -> String {
    let list = |files: &Files| -> Vec<String> {
        let show =
            |(name, inode): (&String, &usize)| format!("{name}={}", String::from_utf8_lossy(&files.contents[*inode]));
        files.names.iter().map(show).collect()
    };
    format!("img {:?} newimg {:?} overlay {:?}", list(&disks[0]), list(&disks[1]), list(&disks[2]))
}

/// Boots from every disk that can come out of `start`, and cuts everywhere.
fn explore(start: &Start, forgets: Fault) -> Seen {
    let (a, b) = (image('A'), image('B'));
    let mut cmdline = String::new();
    if start.tries > 0 {
        cmdline = format!("rd.newimg.tries={}", start.tries);
    }
    let mut seen = Seen::default();
    let mut known: HashSet<Disks> = HashSet::from([start.disks.clone()]);
    let mut pending = vec![start.disks.clone()];
    let had = |content: &Vec<u8>| start.disks[0].contents.contains(content);
    while let Some(disks) = pending.pop() {
        seen.disks += 1;
        let [img, newimg, _] = &disks;
        let here = |files: &Files, names: &[&str], content: &Vec<u8>| {
            names.iter().any(|name| files.content(name) == Some(content))
        };
        let on_newimg = here(newimg, &[X, SCRIPT], &b);
        let put_back = start.tries > 0 && here(img, &[REJECTED, OLD], &b);
        let digest = hex::encode(&Recorder::sum(&b, 0));
        let is_remembered =
            |files: &Files| files.content(UPDATES).is_some_and(|text| String::from_utf8_lossy(text).contains(&digest));
        let is_known = is_remembered(&disks[0]) || is_remembered(&disks[2]);
        let was_delivered = start.disks[1].contents.contains(&b);
        let refused = start.fate == Fate::Deleted && is_known;
        if was_delivered && !(on_newimg || here(img, &[X], &b) || put_back || refused) {
            seen.update_lost.push(names(&disks));
        }
        if had(&a) && !here(img, &[X, OLD, SCRIPT], &a) {
            seen.images_lost.push(names(&disks));
        }
        if disks[2].content("persistent").is_none_or(|content| content != TREE) {
            seen.persistent_lost.push(names(&disks));
        }
        if start.fate == Fate::Copied && *newimg != start.disks[1] {
            seen.stick_changed.push(names(&disks));
        }
        let mut model = Model::new(&disks, &cmdline, start.room, forgets);
        model.is_removable = start.fate == Fate::Copied;
        model.note();
        boot::run(&mut model, &[], Abilities { shell: false, trust: start.trust });
        let booted = model.booted.take();
        if booted != Some(a.clone()) && booted != Some(b.clone()) {
            seen.unbootable.push(format!("{}\n{}", names(&disks), model.said.join("\n")));
        }
        // A boot that is not cut leaves nothing unfinished.
        let after = model.seen();
        let left = after.iter().flat_map(|disk| disk.names.keys()).any(|name| name.contains(".new"));
        let is_fresh =
            |name: &str| after[2].content(name).is_some_and(|content| content == DIRECTORY || content == WORK);
        let is_ready = ["upper", "work", "spare/upper", "spare/work"].into_iter().all(is_fresh)
            && after[2].content("spare/reserve").is_some()
            && after[2].content("blackbox").is_some_and(|content| content == BLACKBOX)
            && !after[2].names.keys().any(|name| name.starts_with("discarded/"));
        let is_b = booted.as_ref() == Some(&b);
        let finished = match start.fate {
            _ if !was_delivered => true,
            Fate::Moved => after[1].names.is_empty() && (start.tries > 0 || is_b),
            Fate::Copied => is_b && (is_remembered(&after[0]) || is_remembered(&after[2])),
            Fate::Deleted => after[1].names.keys().all(|name| name.ends_with(".txt")) && !is_b,
            Fate::Stays => here(&after[1], &[X], &b) && !is_b,
        };
        if left || !finished || !is_ready {
            seen.unfinished.push(format!("{}\nbecame {}\n{}", names(&disks), names(&after), model.said.join("\n")));
        }
        seen.cuts += model.counted;
        for cut in model.cuts {
            if known.insert(cut.clone()) {
                pending.push(cut);
            }
        }
        if seen.faults() > 20 {
            break;
        }
    }
    seen
}

fn nothing(_path: &str) -> bool {
    false
}

#[test]
fn no_power_cut_loses_anything() {
    let starts = starts();
    let all: Vec<Seen> = std::thread::scope(|scope| {
        let running: Vec<_> = starts.iter().map(|start| scope.spawn(|| explore(start, nothing))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    println!("{:<32} {:>8} {:>9}", "start", "disks", "cuts");
    for (start, seen) in starts.iter().zip(&all) {
        println!("{:<32} {:>8} {:>9}", start.name, seen.disks, seen.cuts);
        for (what, which) in seen.kinds() {
            assert!(which.is_empty(), "{}: {what}, {} times, such as\n{}", start.name, which.len(), which[0]);
        }
    }
    let disks: usize = all.iter().map(|seen| seen.disks).sum();
    let cuts: usize = all.iter().map(|seen| seen.cuts).sum();
    println!(
        "power cuts: {cuts} cuts with their losses, {disks} different disks booted; unbootable 0, update lost 0, images lost 0"
    );
    assert!(cuts > 10_000 && disks > 1000, "{cuts} cuts, {disks} disks: the model does not look everywhere");
}

/// The test of the test: an order that is broken on purpose is noticed.
#[test]
fn a_forgotten_sync_is_noticed() {
    let plain = &starts()[1];
    let signed = starts().into_iter().find(|start| start.name == "signatures, an old image").unwrap();
    let faults: [(&str, &Start, Fault); 4] = [
        ("of the copy, before it gets its name", plain, |path| path.ends_with(".img.new")),
        ("of img's directory", plain, |path| path.ends_with("/img")),
        ("of newimg's directory", plain, |path| path.ends_with("/newimg")),
        ("of the signature that comes with the image", &signed, |path| path.ends_with(".minisig")),
    ];
    for (what, start, fault) in faults {
        let seen = explore(start, fault);
        let expected = what != "of newimg's directory";
        assert_eq!(seen.faults() > 0, expected, "a forgotten sync {what}: {} faults", seen.faults());
    }
}
