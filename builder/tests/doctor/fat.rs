//! The doctor's reader of FAT against what `mkfs.vfat` and mtools write, whole and damaged. Debian packages: dosfstools, mtools; tests that
//! lack one are skipped.

use std::{
    fs,
    io::{Read, Seek, SeekFrom},
    path::Path,
    sync::Arc,
};

use contract::inventory::Kind;
use doctor::{
    block_reader::{Disk, Shared},
    fat::Volume,
    filesystem::Filesystem,
};

use crate::support::{Numbers, directory_for, noise, program, run};

const PROGRAMS: [&str; 5] = ["mkfs.vfat", "mmd", "mcopy", "mdel", "mdir"];

const LONG: &str = "A rather long name – with UTF-16 in it.tar.gz";

/// Makes a filesystem with these options, in so many KiB.
fn image(directory: &Path, options: &str, size: u32) -> std::path::PathBuf {
    let image = directory.join("fat.img");
    fs::write(directory.join("noise"), noise(100_003)).unwrap();
    fs::write(directory.join("small"), "x").unwrap();
    let mut script = format!(
        "rm -f FILE; mkfs.vfat -C -n BOOT -i 1234abcd {options} FILE {size} >&2\nmmd -i FILE ::sub ::sub/deeper\n"
    );
    let copy = |script: &mut String, from: &str, to: &str| {
        script.push_str(&format!("mcopy -i FILE '{}' '::{to}'\n", directory.join(from).display()));
    };
    // The free clusters are in pieces after this.
    (0..8).for_each(|number| copy(&mut script, "small", &format!("sub/{number}.txt")));
    script.push_str("mdel -i FILE ::sub/1.txt ::sub/3.txt ::sub/5.txt\n");
    copy(&mut script, "noise", LONG);
    copy(&mut script, "noise", "sub/deeper/KERNEL.IMG");
    copy(&mut script, "small", "sub/lower.cas");
    script.push_str("printf '' > FILE.empty; mcopy -i FILE FILE.empty ::empty\n");
    // More entries than a cluster has.
    (0..70).for_each(|number| copy(&mut script, "small", &format!("sub/deeper/a long name, number {number}")));
    let script = format!("set -e; {script}").replace("FILE", image.to_str().unwrap());
    run(program("sh").args(["-c", &script]).env("MTOOLS_SKIP_CHECK", "1"));
    image
}

fn open(image: &Path) -> Volume {
    Volume::open(Arc::new(Disk::open(image).unwrap()) as Shared).unwrap()
}

/// Returns the free bytes as mtools count them.
fn free(image: &Path) -> u64 {
    let text = run(program("mdir").args(["-i", image.to_str().unwrap(), "::"]));
    let line = text.lines().find(|line| line.contains("bytes free")).unwrap_or_else(|| panic!("{text}"));
    line.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

const KINDS: [(&str, u32); 4] =
    [("-F 12 -s 1", 1440), ("-F 16 -s 2 -r 512", 16_384), ("-F 32 -s 1", 36_864), ("-F 16 -S 4096 -s 1", 65_536)];

#[test]
fn every_kind_reads_as_it_was_written() {
    let Some(directory) = directory_for(&PROGRAMS) else { return };
    for (options, size) in KINDS {
        let image = image(directory.path(), options, size);
        let volume = open(&image);
        assert!(volume.is_named(), "{options}");
        assert_eq!((volume.label().as_deref(), volume.uuid().as_str()), (Some("BOOT"), "1234-abcd"), "{options}");
        assert_eq!(volume.list("").unwrap(), [LONG, "empty", "sub"], "{options}");
        let names = ["0.txt", "2.txt", "4.txt", "6.txt", "7.txt", "deeper", "lower.cas"];
        assert_eq!(volume.list("sub").unwrap(), names, "{options}");
        assert_eq!(volume.list("SUB/Deeper").unwrap().len(), 71, "{options}");
        assert_eq!(volume.capacity().free, free(&image), "{options}");
        for path in [LONG, "sub/deeper/kernel.img"] {
            assert_eq!(volume.stat(path).unwrap().size, 100_003, "{options}");
            let mut file = volume.open(path).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            assert!(bytes == noise(100_003), "{options}: {path}");
            file.seek(SeekFrom::Start(70_001)).unwrap();
            let mut piece = [0; 5000];
            file.read_exact(&mut piece).unwrap();
            assert!(piece == bytes[70_001..75_001], "{options}: {path}");
        }
        assert_eq!(volume.open("empty").unwrap().read_to_end(&mut Vec::new()).unwrap(), 0);
        assert_eq!(volume.stat("sub").unwrap().kind, Kind::Directory);
        let kind = |path: &str| volume.open(path).map(drop).map_err(|error| error.kind());
        assert_eq!(kind("sub"), Err(std::io::ErrorKind::IsADirectory));
        assert_eq!(kind("sub/nothing"), Err(std::io::ErrorKind::NotFound));
        assert_eq!(kind("empty/x"), Err(std::io::ErrorKind::NotADirectory));
    }
}

/// Reads everything that can be found; returns the number of names.
fn walk(volume: &Volume, path: &str, depth: usize) -> usize {
    let names = volume.list(path).unwrap_or_default();
    let count = names.len();
    let below = names.into_iter().take(10).map(|name| {
        let path = if path.is_empty() { name } else { format!("{path}/{name}") };
        if let Ok(content) = volume.open(&path) {
            let _ = std::io::copy(&mut content.take(1 << 18), &mut std::io::sink());
        }
        if depth == 0 { 0 } else { walk(volume, &path, depth - 1) }
    });
    count + below.sum::<usize>()
}

#[test]
fn damage_is_an_error_and_nothing_worse() {
    let Some(directory) = directory_for(&PROGRAMS) else { return };
    let image = image(directory.path(), "-F 12 -s 1 -f 2", 360);
    let whole = fs::read(&image).unwrap();
    let (mut opened, mut refused) = (0, 0);
    let mut numbers = Numbers(1);
    for round in 0..450 {
        let mut bytes = whole.clone();
        // The boot sector, the tables, then the directories.
        let reach = [90, 2048, 16_384][round % 3];
        for _ in 0..=numbers.below(4) {
            let place = numbers.below(reach);
            bytes[place] = [0, 0xff, numbers.below(256) as u8, bytes[place] ^ 1 << numbers.below(8)][numbers.below(4)];
        }
        fs::write(&image, &bytes).unwrap();
        match Volume::open(Arc::new(Disk::open(&image).unwrap()) as Shared) {
            Ok(volume) => {
                opened += 1;
                let _ = (walk(&volume, "", 2), volume.label(), volume.capacity().free);
            }
            Err(_) => refused += 1,
        }
    }
    assert!(opened > 200 && refused > 10, "{opened} opened, {refused} refused");
}

#[test]
fn chains_without_an_end_are_told() {
    let Some(directory) = directory_for(&PROGRAMS) else { return };
    let image = image(directory.path(), "-F 16 -s 2 -r 512", 16_384);
    let mut bytes = fs::read(&image).unwrap();
    // Every cluster from the third on is followed by itself.
    let table = 512 * usize::from(u16::from_le_bytes([bytes[14], bytes[15]]));
    for cluster in 2_u16..5000 {
        let place = table + 2 * usize::from(cluster);
        bytes[place..place + 2].copy_from_slice(&cluster.to_le_bytes());
    }
    fs::write(&image, &bytes).unwrap();
    let error = open(&image).list("sub").unwrap_err();
    assert!(error.to_string().contains("has no end"), "{error}");
    // A file's first cluster, over and over: as long as it says.
    let mut text = Vec::new();
    open(&image).open(LONG).unwrap().read_to_end(&mut text).unwrap();
    assert_eq!(text.len(), 100_003);
}
