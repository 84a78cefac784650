//! Properties of anything on an update medium: sidecars and superblocks made of any bytes never fail the boot, and only valid ones are
//! accepted. Bounded, with the number of inputs printed.

use std::sync::atomic::{AtomicU64, Ordering};

use contract::{
    hex,
    superblock::{Format, HEAD, Superblock},
    tag::Volume,
};
use initramfs_overlay_init::{
    boot::{self, overlay::image::inspect},
    config::Abilities,
    error::Error,
    kernel::recorder::{Device, Files, Node, Recorder},
};
use proptest::{prelude::*, test_runner::TestRunner};

const X: &str = "root-squashfs.img";

/// Runs a property on so many inputs and says so.
fn check<S: Strategy>(name: &str, cases: u32, inputs: &S, property: impl Fn(S::Value) -> Result<(), TestCaseError>) {
    let seen = AtomicU64::new(0);
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let outcome = TestRunner::new(config).run(inputs, |input| {
        seen.fetch_add(1, Ordering::Relaxed);
        property(input)
    });
    println!("{name}: {} inputs", seen.load(Ordering::Relaxed));
    outcome.unwrap_or_else(|error| panic!("{error}"));
}

/// Returns a squashfs superblock of 4096 bytes with a mark by which the recorder knows the image.
fn image(mark: char) -> Vec<u8> {
    let mut bytes = vec![0; 48];
    bytes[..4].copy_from_slice(b"hsqs");
    bytes[40..48].copy_from_slice(&4096_u64.to_le_bytes());
    bytes.extend(format!("[{mark}]").bytes());
    bytes
}

fn device(name: &str, label: &str, files: &[(&str, Node)]) -> Device {
    let volume = Volume {
        name: name.into(),
        disk: "vda".into(),
        size: 1 << 30,
        kind: Some("ext4".into()),
        label: Some(label.into()),
        ..Volume::default()
    };
    let files = files.iter().map(|(path, node)| ((*path).into(), node.clone())).collect();
    Device { volume, files, capacity: 1 << 40, ..Device::default() }
}

/// Boots a machine whose current image is A, with these files on `newimg`. Returns what was done.
fn boot_with(delivered: &[(&str, Node)], trust: bool) -> String {
    let root: Files = [("sbin/init".to_owned(), Node::file("i", 0o755))].into();
    let mut recorder = Recorder {
        release: "6.1.0".into(),
        processors: 1,
        files: [("etc/trust/1.pub".to_owned(), Node::file("k", 0o444))].into(),
        filesystems: ["ext4", "squashfs", "erofs", "overlay"].map(String::from).to_vec(),
        devices: vec![
            device(
                "vda2",
                "img",
                &[(X, Node::File(image('A'), 4096, 0o644)), ("root-squashfs.img.minisig", Node::file("A by k", 0o644))],
            ),
            device("vda3", "overlay", &[]),
            device("vda4", "newimg", delivered),
        ],
        images: [("A".to_owned(), root.clone()), ("B".to_owned(), root)].into(),
        ..Recorder::default()
    };
    boot::run(&mut recorder, &[], Abilities { shell: false, trust });
    recorder.record.join("\n")
}

/// Returns an update with one more file beside it; whether it was installed. The machine boots in any case.
fn installs(suffix: &str, bytes: &[u8], trust: bool) -> Result<bool, TestCaseError> {
    let beside = format!("{X}.{suffix}");
    let record = boot_with(&[(X, Node::File(image('B'), 4096, 0o644)), (&beside, Node::file(bytes, 0o644))], trust);
    prop_assert!(record.ends_with("exec /sbin/init"), "{}", record);
    let installed = record.contains("root-squashfs.img: installed");
    let refused = record.contains("root-squashfs.img rejected: ");
    prop_assert!(installed != refused, "{}", record);
    Ok(installed)
}

/// Returns bytes that are a given text, nearly that, or anything.
fn around(text: &str) -> impl Strategy<Value = Vec<u8>> + use<> {
    let good = text.as_bytes().to_vec();
    let (spoiled, cut) = (good.clone(), good.clone());
    prop_oneof![
        1 => Just(good.clone()),
        2 => ("[ \t\r\n]{0,3}", "[ \n][ -~\n]{0,40}").prop_map(move |(before, after)| [before.as_bytes(), &good, after.as_bytes()].concat()),
        4 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(move |(at, byte)| {
            let mut bytes = spoiled.clone();
            bytes[at.index(spoiled.len())] = byte;
            bytes
        }),
        1 => any::<prop::sample::Index>().prop_map(move |at| cut[..at.index(cut.len())].to_vec()),
        1 => "[0-9a-fA-F]{60,68}".prop_map(String::into_bytes),
        2 => prop::collection::vec(any::<u8>(), 0..9000),
    ]
}

/// Returns the recorder's digest of B, as told by a machine whose sidecar has another one.
fn digest_of_b() -> String {
    let beside = format!("{X}.sha256");
    let record =
        boot_with(&[(X, Node::File(image('B'), 4096, 0o644)), (&beside, Node::file("0".repeat(64), 0o644))], false);
    let (_, rest) = record.split_once("its digest is ").expect("the digests differ");
    rest[..64].to_owned()
}

#[test]
fn only_the_right_digest_installs() {
    let right = digest_of_b();
    check("digest sidecars", 4000, &around(&right), |bytes| {
        // Said once more, in other words than the code's: the first word, in either case, is the digest.
        let head = &bytes[..bytes.len().min(4096)];
        let mut words = head.split(|byte| b" \t\r\n\x0c".contains(byte)).filter(|word| !word.is_empty());
        let expected = words.next().is_some_and(|word| word.eq_ignore_ascii_case(right.as_bytes()));
        prop_assert_eq!(installs("sha256", &bytes, false)?, expected);
        Ok(())
    });
}

#[test]
fn no_signature_sidecar_ends_the_boot() {
    check("signature sidecars in a boot", 4000, &around("B by k"), |bytes| {
        let installed = installs("minisig", &bytes, true)?;
        prop_assert!(!installed || bytes.starts_with(b"B by"), "{:?}", bytes);
        // Nobody checks it: it is carried along.
        prop_assert!(installs("minisig", &bytes, false)?);
        Ok(())
    });
}

#[test]
fn digests_are_read_back() {
    check("digests", 4000, &any::<[u8; 32]>(), |digest| {
        prop_assert_eq!(hex::digest(&hex::encode(&digest)), Some(digest));
        Ok(())
    });
    check("texts for a digest", 20_000, &prop_oneof!["\\PC{0,70}", "[0-9a-fA-F]{62,66}", "[0-9a-g]{64}"], |text| {
        let is_one = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        prop_assert_eq!(hex::digest(&text).is_some(), is_one);
        Ok(())
    });
}

/// Returns the first bytes of a file: of neither filesystem, or with a magic number and anything behind it; and the file's size.
fn heads() -> impl Strategy<Value = (Vec<u8>, u64)> {
    (prop::collection::vec(any::<u8>(), 0..HEAD + 50), 0..4_usize, any::<u64>(), 0..8_u32, 0..6_u64).prop_map(
        |(mut bytes, kind, number, shift, near)| {
            let magic: &[(usize, &[u8])] = match kind {
                0 => &[(0, b"hsqs")],
                1 => &[(1024, b"\xe2\xe1\xf5\xe0")],
                2 => &[(0, b"hsqs"), (1024, b"\xe2\xe1\xf5\xe0")],
                _ => &[],
            };
            for (at, text) in magic {
                if bytes.len() >= at + text.len() {
                    bytes[*at..at + text.len()].copy_from_slice(text);
                }
            }
            // Sizes of every magnitude, so that both sides of what they claim are seen.
            let small = number >> (8 * shift);
            if bytes.len() >= 48 {
                bytes[40..48].copy_from_slice(&small.to_le_bytes());
            }
            if bytes.len() >= 1064 {
                bytes[1036] %= 70;
                bytes[1060..1064].copy_from_slice(&u32::try_from(small >> 32).unwrap().to_le_bytes());
            }
            let size = match near {
                0..=2 => small.saturating_add(near).saturating_sub(1),
                3 => bytes.len() as u64,
                _ => number >> (8 * (7 - shift)),
            };
            (bytes, size)
        },
    )
}

/// Returns the format and the size that a superblock claims, per the formats' documents, in numbers that do not overflow.
fn claimed(head: &[u8]) -> Option<(Format, u128)> {
    let number = |at: usize, length: usize| {
        let bytes = head.get(at..at + length)?;
        Some(bytes.iter().rev().fold(0_u128, |number, byte| (number << 8) | u128::from(*byte)))
    };
    if number(0, 4) == Some(0x7371_7368) {
        return number(40, 8).map(|size| (Format::Squashfs, size));
    }
    if number(1024, 4) != Some(0xE0F5_E1E2) {
        return None;
    }
    let (bits, blocks) = (number(1036, 1)?, number(1060, 4)?);
    let size = if bits < 64 { blocks << bits } else { u128::MAX };
    (size <= u128::from(u64::MAX)).then_some((Format::Erofs, size))
}

#[test]
fn superblocks_are_read_as_documented() {
    check("superblocks", 20_000, &heads(), |(bytes, size)| {
        let head = &bytes[..bytes.len().min(HEAD)];
        let read = Superblock::read(head);
        prop_assert_eq!(read.map(|found| (found.format, u128::from(found.size))), claimed(head));
        let mut recorder = Recorder::default();
        recorder.files.insert("i".into(), Node::File(bytes, size, 0o644));
        match (inspect(&mut recorder, "/i"), read) {
            (Ok(found), Some(read)) => prop_assert!(found == read && read.size <= size - size % 512),
            (Err(Error::ImageUnpadded { hidden, .. }), Some(read)) => {
                prop_assert!(hidden == size % 512 && read.size <= size && read.size > size - hidden)
            }
            (Err(Error::ImageTruncated { wanted, .. }), Some(read)) => {
                prop_assert!(wanted == read.size && wanted > size)
            }
            (Err(Error::ImageUnknown { .. }), None) => {}
            (outcome, read) => prop_assert!(false, "{:?} of {:?}", outcome, read),
        }
        Ok(())
    });
}

#[test]
fn no_superblock_ends_the_boot() {
    check("superblocks in a boot", 4000, &heads(), |(mut bytes, size)| {
        // The recorder mounts what carries a mark, which chance may write; without one they are only refused for what they are.
        bytes.iter_mut().filter(|byte| **byte == b'[').for_each(|byte| *byte = b'(');
        let record = boot_with(&[(X, Node::File(bytes, size, 0o644))], false);
        prop_assert!(record.ends_with("exec /sbin/init"), "{}", record);
        prop_assert!(record.contains("root-squashfs.img rejected: "), "{}", record);
        Ok(())
    });
}

/// Real signatures, by the code that checks them in an init built for that.
#[cfg(feature = "disks")]
mod signatures {
    use std::fs;

    use initramfs_overlay_init::kernel::{
        disks::{Signatures, Signed},
        linux::Linux,
    };

    use super::*;

    const CONTENT: &[u8] = b"an image";
    const KEY: &str = "untrusted comment: minisign public key 58BBE8FB346977DE\n\
        RWTed2k0++i7WPBq7ED+wFdLIF/eSfND05Qf2m5tQTgaX6kzF36tuejf\n";
    const SIGNATURE: &str = "untrusted comment: signature from minisign secret key\n\
        RUTed2k0++i7WIqmwsG8H9Gxgb7W8vLsXM/KfHX/cO1sYxVjR+Bx0ynQQGwbRxUv1MQrzfHILjoaDcPAcqZEk82CsDB66yzskAM=\n\
        trusted comment: of a test\n\
        1677+qTP+2Ia7bxOKxx/+DE7U2CwKpo0UUdKIC+IJGCzFoVKqSlJXTcxbfd/IM2ovnVkPfERhynarYhrLtmoBg==\n";

    /// Returns true if the byte at `at` has to be as it is: an untrusted comment may say anything, and the last letters of a line
    /// in base64 hold bits that stand for nothing.
    fn counts(at: usize) -> bool {
        let mut start = 0;
        for (number, line) in SIGNATURE.lines().enumerate() {
            let end = start + line.len();
            if (start..end).contains(&at) {
                return number == 2 || (number > 0 && at + 4 < end);
            }
            start = end + 1;
        }
        false
    }

    #[test]
    fn a_changed_signature_or_file_is_refused() {
        let mut kernel = Linux::new();
        let directory = std::env::temp_dir().join(format!("delivered-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join("image");
        let name = path.to_str().unwrap().to_owned();
        fs::write(&path, CONTENT).unwrap();
        kernel.verify(Signed::File(&name), SIGNATURE, KEY, &mut |_, _| None).expect("the signature is good");
        let kernel = std::cell::RefCell::new(kernel);
        check("changed signatures", 3000, &(0..SIGNATURE.len(), 0x20..0x7f_u8), |(at, byte)| {
            let mut changed = SIGNATURE.as_bytes().to_vec();
            let same = changed[at] == byte;
            changed[at] = byte;
            let outcome = kernel.borrow_mut().verify(
                Signed::File(&name),
                std::str::from_utf8(&changed).unwrap(),
                KEY,
                &mut |_, _| None,
            );
            prop_assert!(same || !counts(at) || outcome.is_err(), "{}", String::from_utf8_lossy(&changed));
            Ok(())
        });
        check("any signature and key", 3000, &(around(SIGNATURE), around(KEY)), |(signature, key)| {
            let (signature, key) = (String::from_utf8_lossy(&signature), String::from_utf8_lossy(&key));
            let outcome = kernel.borrow_mut().verify(Signed::File(&name), &signature, &key, &mut |_, _| None);
            prop_assert!(outcome.is_err() || (signature.contains("of a test") && key.contains("RWTed2k0")));
            Ok(())
        });
        check("changed files", 500, &(prop::collection::vec(any::<u8>(), 0..20)), |content| {
            fs::write(&path, &content).unwrap();
            prop_assert_eq!(
                kernel.borrow_mut().verify(Signed::File(&name), SIGNATURE, KEY, &mut |_, _| None).is_ok(),
                content == CONTENT
            );
            Ok(())
        });
        fs::remove_dir_all(&directory).unwrap();
    }
}
