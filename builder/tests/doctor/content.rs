//! `doctor --check`: the whole content of an image is read, and a byte that flipped is found.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{
    Bench, X, examine,
    support::{noise, program, run},
};

/// Returns bytes that a compressor halves.
fn text(size: usize) -> Vec<u8> {
    noise(size).iter().map(|byte| b'a' + byte % 16).collect()
}

fn disk_with(bench: &Bench, image: &Path) -> PathBuf {
    fs::rename(image, bench.at("a.img")).unwrap();
    bench.disk(&["--no-newimg"])
}

fn pack(bench: &Bench, options: &[&str]) -> PathBuf {
    let image = bench.at("new.img");
    run(program("mksquashfs").arg(bench.at("a")).arg(&image).args(["-noappend", "-quiet", "-all-root"]).args(options));
    image
}

#[test]
fn a_flipped_byte_is_found_wherever_there_is_a_checksum() {
    let Some(bench) = Bench::new(&[]) else { return };
    fs::write(bench.at("a/noise"), text(700_000)).unwrap();
    fs::write(bench.at("a/small"), text(3_000)).unwrap();
    // Blocks that do not shrink are stored without a checksum.
    ["a/sbin/init", "a/bin/sh"].iter().for_each(|name| fs::write(bench.at(name), text(5_000)).unwrap());
    for options in [&["-comp", "gzip"][..], &["-comp", "xz"], &["-comp", "gzip", "-no-fragments"]] {
        let whole = fs::read(pack(&bench, options)).unwrap();
        let used = u64::from_le_bytes(whole[40..48].try_into().unwrap()) as usize;
        let check = |bytes: &[u8]| -> (i32, Value) {
            let image = bench.at("new.img");
            fs::write(&image, bytes).unwrap();
            examine(&disk_with(&bench, &image), &["--check"])
        };
        let (status, json) = check(&whole);
        let checked = &json["image"]["checked"];
        assert_eq!((status, checked["without_checksum"].as_u64()), (0, Some(0)), "{json:#}");
        assert!(checked["blocks"].as_u64().unwrap() >= 6, "{json:#}");
        // From the first block to the last table: the superblock's own fields have no checksum.
        for place in (100..used).step_by(used / 5) {
            let mut damaged = whole.clone();
            damaged[place] ^= 0x10;
            let (status, json) = check(&damaged);
            let text = format!("{} {}", json["findings"], json["failure"]);
            assert!(matches!(status, 1 | 3) && text.contains("damaged"), "{options:?} {place}: {json:#}");
        }
    }
}

#[test]
fn blocks_without_a_checksum_are_told_and_digests_compared() {
    let Some(bench) = Bench::new(&[]) else { return };
    let image = bench.at("a.img");
    let disk = bench.disk(&["--no-newimg"]);
    let (status, json) = examine(&disk, &["--check"]);
    // Noise is stored as it is.
    assert_eq!(status, 0, "{json:#}");
    assert!(json["image"]["checked"]["without_checksum"].as_u64().unwrap() > 0, "{json:#}");
    assert_eq!(json["image"]["checked"]["has_known_digest"], false);
    let digest: String = Sha256::digest(fs::read(&image).unwrap()).iter().map(|byte| format!("{byte:02x}")).collect();
    let size = image.metadata().unwrap().len();
    for (name, content, known) in [
        ("root-squashfs.img.sha256", format!("{digest}  {X}\n"), true),
        ("updates.txt", format!("{digest} {size} installed 6.1 x\n"), true),
        ("root-squashfs.img.sha256", format!("{}  {X}\n", "0".repeat(64)), false),
        ("updates.txt", format!("{} {size} installed 6.1 x\n", "0".repeat(64)), false),
    ] {
        let disk = bench.disk(&["--no-newimg"]);
        fs::write(bench.at("side"), content).unwrap();
        bench.change(&disk, "img", &[&format!("write side {name}")]);
        let (status, json) = examine(&disk, &["--check"]);
        assert_eq!(status, if known { 0 } else { 3 }, "{name}: {json:#}");
        match known {
            true => assert_eq!(json["image"]["checked"]["has_known_digest"], true),
            false => assert!(json["findings"][0].as_str().unwrap().contains(&digest), "{json:#}"),
        }
    }
}

/// Makes an ELF program whose loader is `loader`, filled to `size` bytes with what a compressor halves.
fn program_with(loader: &str, size: usize) -> Vec<u8> {
    let mut bytes = vec![0; 64 + 56];
    bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
    bytes[18..20].copy_from_slice(&62_u16.to_le_bytes());
    bytes[32..40].copy_from_slice(&64_u64.to_le_bytes());
    bytes[54..56].copy_from_slice(&56_u16.to_le_bytes());
    bytes[56..58].copy_from_slice(&1_u16.to_le_bytes());
    bytes[64..68].copy_from_slice(&3_u32.to_le_bytes());
    bytes[72..80].copy_from_slice(&120_u64.to_le_bytes());
    bytes[96..104].copy_from_slice(&(loader.len() as u64 + 1).to_le_bytes());
    bytes.extend(loader.bytes().chain([0]));
    bytes.extend(text(size));
    bytes
}

#[test]
fn erofs_is_read_and_checked() {
    let Some(bench) = Bench::new(&["mkfs.erofs", "fsck.erofs"]) else { return };
    fs::create_dir_all(bench.at("a/usr/lib")).unwrap();
    std::os::unix::fs::symlink("usr/lib", bench.at("a/lib")).unwrap();
    (0..300).for_each(|number| fs::write(bench.at(&format!("a/usr/lib/a-name-{number}")), "x").unwrap());
    fs::write(bench.at("a/text"), text(200_000)).unwrap();
    // Programs as large as real ones, with a loader that is there, and one that is not.
    for (name, loader) in [("dynamic", "/lib/loader"), ("broken", "/lib/nowhere"), ("small", "/lib/nowhere")] {
        let path = bench.at(&format!("a/sbin/{name}"));
        fs::write(&path, program_with(loader, if name == "small" { 30_000 } else { 300_000 })).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::write(bench.at("a/usr/lib/loader"), "x").unwrap();
    let compact = ["-zlz4hc", "-Eforce-inode-compact"];
    for options in [&[][..], &compact, &["-zlz4hc", "-Eforce-inode-extended"], &["-zlz4", "-Elegacy-compress"]] {
        let image = bench.at("new.img");
        let _ = fs::remove_file(&image);
        run(program("mkfs.erofs").args(["--quiet", "-T0", "--all-root"]).args(options).arg(&image).arg(bench.at("a")));
        let mut bytes = fs::read(&image).unwrap();
        let disk = disk_with(&bench, &image);
        let (status, json) = examine(&disk, &["--check"]);
        assert_eq!((status, &json["image"]["format"]), (0, &"erofs".into()), "{json:#}");
        let (status, json) = examine(&disk, &["--append", "init=/lib/a-name-299"]);
        assert_eq!((status, &json["failure"]["code"]), (1, &"init-unusable".into()), "{json:#}");
        let (status, json) = examine(&disk, &["--append", "init=/sbin/dynamic"]);
        assert_eq!(status, 0, "{options:?}: {json:#}");
        for name in ["broken", "small"] {
            let (status, json) = examine(&disk, &["--append", &format!("init=/sbin/{name}")]);
            assert_eq!((status, &json["failure"]["code"]), (1, &"init-unusable".into()), "{options:?}: {json:#}");
            assert!(json["failure"].to_string().contains("/lib/nowhere"), "{options:?}: {json:#}");
        }
        let (status, json) = examine(&disk, &["--append", "init=/lib/none"]);
        assert_eq!((status, &json["failure"]["code"]), (1, &"init-missing".into()), "{json:#}");
        bytes[1024 + 64] ^= 1;
        fs::write(&image, &bytes).unwrap();
        let (status, json) = examine(&disk_with(&bench, &image), &[]);
        assert_eq!((status, &json["failure"]["code"]), (1, &"image-mount".into()), "{json:#}");
    }
}
