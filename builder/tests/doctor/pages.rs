//! Images that the memory pages of a kernel do not fit.

use std::fs;

use super::{Bench, X, command, examine, program, run};

/// `mksquashfs -b 8K`: for kernels with pages of 4 KiB, and not for larger ones.
#[test]
fn blocks_smaller_than_pages_do_not_boot() {
    let Some(bench) = Bench::new(&[]) else { return };
    run(program("mksquashfs")
        .arg(bench.at("a"))
        .arg(bench.at("a.img"))
        .args(["-noappend", "-quiet", "-all-root", "-b", "8K"]));
    let disk = bench.disk(&[]);
    let (status, json) = examine(&disk, &[]);
    assert_eq!((status, &json["image"]["name"], &json["page_size"]), (0, &X.into(), &4096.into()), "{json:#}");
    let (status, json) = examine(&disk, &["--page-size", "16K"]);
    assert_eq!((status, &json["verdict"], &json["page_size"]), (1, &"fails".into(), &16384.into()), "{json:#}");
    let reason = "the image: squashfs with blocks of 8 KiB is not mounted by a kernel with pages of 16 KiB";
    assert!(json["findings"].as_array().unwrap().contains(&reason.into()), "{json:#}");
}

/// EROFS with blocks of 4 KiB needs a later kernel where pages are larger, and with blocks of 16 KiB such pages.
#[test]
fn erofs_is_told_by_its_blocks() {
    let Some(bench) = Bench::new(&["mkfs.erofs"]) else { return };
    fs::remove_file(bench.at("a.img")).unwrap();
    run(program("mkfs.erofs").arg("--quiet").arg(bench.at("a.img")).arg(bench.at("a")));
    let disk = bench.disk(&[]);
    assert_eq!(examine(&disk, &[]).0, 0);
    let (status, json) = examine(&disk, &["--page-size", "64K"]);
    assert_eq!((status, &json["verdict"]), (3, &"boots".into()), "{json:#}");
    assert!(json["findings"].to_string().contains("needs, where pages have 64 KiB, Linux 6.8"), "{json:#}");

    // The checksum of its superblock is not looked at before the size of its blocks.
    let mut image = fs::read(bench.at("a.img")).unwrap();
    image[1024 + 12] = 14;
    image.resize(4 * image.len(), 0);
    fs::write(bench.at("a.img"), image).unwrap();
    let made = |arguments: &[&str]| {
        let mut command = command();
        command.current_dir(bench.at("")).args(["disk", "other.img", "--image", "a.img", "--force"]).args(arguments);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let text = "root-squashfs.img: erofs with blocks of 16 KiB is not mounted by a kernel with pages of 4 KiB";
    let (status, said) = made(&[]);
    assert!(status == Some(0) && said.contains(&format!("warning: {text}; give the size")), "{said}");
    let (status, said) = made(&["--page-size", "4K"]);
    assert!(status == Some(2) && said.contains(text), "{said}");
    let (status, said) = made(&["--page-size", "16K"]);
    assert!(status == Some(0) && !said.contains("blocks"), "{said}");
    let (status, said) = made(&["--page-size", "12K"]);
    assert!(status == Some(2) && said.contains("expected a power of two from 4K to 64K"), "{said}");
}
