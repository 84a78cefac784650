//! The command itself: what it prints where, and how it exits.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use archive::{
    compress::Compression,
    newc::{self, Properties},
    tree::{Content, Entry, OnConflict, Tree},
};

fn image(directory: &Path) -> PathBuf {
    let mut tree = Tree::new();
    tree.create_parents("etc/initrd-release").unwrap();
    let release = Content::Bytes(b"NAME=initramfs-overlay\nVERSION=0.1.0\n".into());
    tree.insert("etc/initrd-release", Entry::file(0o644, release), OnConflict::Refuse).unwrap();
    // Enough lines to fill a pipe that nobody reads.
    for number in 0..5000 {
        let content = Content::Bytes(vec![number as u8; 100]);
        tree.insert(format!("etc/{number}"), Entry::file(0o644, content), OnConflict::Refuse).unwrap();
    }
    let mut encoder = Compression::Gzip.encoder(Vec::new()).unwrap();
    newc::write(&tree, Properties::default(), &mut encoder).unwrap();
    let path = directory.join("init.gz");
    fs::write(&path, encoder.finish().unwrap()).unwrap();
    path
}

fn inspect(arguments: &[&str], file: &Path) -> Output {
    command(arguments, file).output().unwrap()
}

fn command(arguments: &[&str], file: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
    command.arg("inspect").args(arguments).arg(file);
    command
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).unwrap()
}

#[test]
fn a_whole_image() {
    let directory = tempfile::tempdir().unwrap();
    let file = image(directory.path());
    let output = inspect(&[], &file);
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
    assert!(text(&output.stdout).contains("initramfs-overlay 0.1.0"), "{}", text(&output.stdout));
    assert!(!text(&output.stdout).contains("etc/42"));
    assert!(text(&inspect(&["--files"], &file).stdout).contains("etc/42"));

    let output = inspect(&["--json"], &file);
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), value["files"].as_array().map(Vec::len)), (Some(0), Some(5002)));
}

#[test]
fn a_damaged_image_is_listed_and_exits_with_1() {
    let directory = tempfile::tempdir().unwrap();
    let file = image(directory.path());
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    for arguments in [&["--files"][..], &["--json"]] {
        let output = inspect(arguments, &file);
        assert_eq!(output.status.code(), Some(1));
        let errors = text(&output.stderr);
        assert!(errors.contains(&format!("at offset {}", whole.len() / 2)) && errors.contains("truncated"), "{errors}");
        assert_eq!(errors.lines().count(), 1);
        assert!(text(&output.stdout).contains("etc/1"));
    }
}

#[test]
fn what_cannot_be_inspected_is_one_error() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    fs::File::create(&script).unwrap().write_all(b"#!/bin/sh\n").unwrap();
    for (file, status, part) in [
        (script.as_path(), 1, "is not an initramfs: it is text"),
        (&directory.path().join("missing"), 2, "cannot read"),
        (directory.path(), 2, "cannot read"),
    ] {
        let output = inspect(&[], file);
        assert_eq!((output.status.code(), text(&output.stdout)), (Some(status), ""));
        assert!(text(&output.stderr).contains(part), "{}", text(&output.stderr));
    }
    let output = command(&["--fils"], &script).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let directory = tempfile::tempdir().unwrap();
    let mut child =
        command(&["--json"], &image(directory.path())).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), text(&output.stderr)), (Some(0), ""));
}

#[test]
fn one_file_a_directory_a_comparison_and_a_picture() {
    let directory = tempfile::tempdir().unwrap();
    let image = image(directory.path());
    let run = |arguments: &[&str]| {
        let output = command(arguments, &image).current_dir(directory.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap(), text(&output.stderr).to_owned())
    };
    let (_, listed, _) = run(&["--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let files = listed["files"].as_array().unwrap();
    let file = files.iter().find(|file| file["size"].as_u64() > Some(0)).unwrap();
    let (path, size) = (file["path"].as_str().unwrap(), file["size"].as_u64().unwrap());
    let output = command(&["--cat", path], &image).output().unwrap();
    assert_eq!((output.status.code(), output.stdout.len() as u64), (Some(0), size));
    let (status, _, said) = run(&["--cat", "none\n"]);
    assert!(status == Some(2) && said.contains("--cat none\\n: there is no such file"), "{said}");

    let (status, told, _) = run(&["--extract", "out", "--json"]);
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((status, &told["left_out"]), (Some(0), &0.into()));
    assert_eq!(fs::metadata(directory.path().join("out").join(path)).unwrap().len(), size);

    let (status, said, _) = run(&["--diff", image.to_str().unwrap()]);
    assert_eq!((status, said.as_str()), (Some(0), "No differences.\n"));
    let other = directory.path().join("other");
    let script = "mkdir r && cd r && echo x > new && echo new | cpio -o -H newc --quiet > ../other";
    assert!(Command::new("sh").args(["-ec", script]).current_dir(directory.path()).status().unwrap().success());
    let (status, said, _) = run(&["--diff", other.to_str().unwrap()]);
    assert!(status == Some(1) && said.contains("+ new  (2 B)") && said.contains(&format!("- {path}")), "{said}");
    let (status, picture, _) = run(&["--treemap"]);
    assert!(status == Some(0) && picture.starts_with("<svg ") && picture.contains(path), "{picture}");
}

#[test]
fn what_cannot_be_unpacked_is_told_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let entry = |mode: u32, name: &str| {
        let mut fields = [0; 13];
        (fields[1], fields[11]) = (mode, name.len() as u32 + 1);
        let header: String = fields.iter().map(|field| format!("{field:08X}")).collect();
        let mut bytes = format!("070701{header}{name}\0").into_bytes();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let bytes = [entry(0o100_644, &"n".repeat(300)), entry(0, "TRAILER!!!")].concat();
    let path = directory.path().join("long.cpio");
    fs::write(&path, bytes).unwrap();
    let output = inspect(&["--extract", directory.path().join("out").to_str().unwrap()], &path);
    let said = text(&output.stderr);
    assert!(said.ends_with(": File name too long\n") && output.status.code() == Some(1), "{said}");
}
