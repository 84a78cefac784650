//! Archives of `docker save`.

use super::*;

#[test]
fn saved_images_come_compressed_and_with_nulls() {
    use std::io::Write as _;
    let directory = tempfile::tempdir().unwrap();
    let saved = |manifest: &Value| {
        let layer = vec![0; 1024];
        let config = json!({ "rootfs": { "diff_ids": [format!("sha256:{}", digest(&layer))] } }).to_string();
        let empty = json!({ "os": "linux", "rootfs": { "diff_ids": null } }).to_string();
        let mut builder = tar::Builder::new(Vec::new());
        let manifest = manifest.to_string();
        for (name, bytes) in [
            ("manifest.json", manifest.as_bytes()),
            ("c.json", config.as_bytes()),
            ("e.json", empty.as_bytes()),
            ("l/layer.tar", &layer),
        ] {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            builder.append_data(&mut header, name, bytes).unwrap();
        }
        builder.into_inner().unwrap()
    };
    let open = |bytes: &[u8]| open_saved(&directory, bytes, "");
    let one = json!({ "Config": "c.json", "RepoTags": null, "Layers": ["l/layer.tar"] });
    let plain = saved(&json!([one]));
    let gzip = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let bzip2 = {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let xz = {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(&plain).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
    // A frame to be skipped, with four bytes in it.
    let skippable = [&[0x5e, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4], zstd.as_slice()].concat();
    for bytes in [&plain, &gzip, &bzip2, &xz, &zstd, &skippable] {
        let image = open(bytes).unwrap();
        assert_eq!(
            crate::merge(&image, &Default::default(), 1 << 20, base::progress::Progress::none()).unwrap().tree.len(),
            0
        );
        assert_eq!(image.unpacked.is_none(), bytes == &plain);
        let file = image.unpacked.as_ref().map(|scratch| scratch.path().to_owned());
        drop(image);
        assert!(file.is_none_or(|file| !file.exists()));
    }
    let again = json!({ "Config": "c.json", "RepoTags": ["x:1"], "Layers": ["l/layer.tar"] });
    assert!(open(&saved(&json!([one, again]))).is_ok());
    assert_eq!(
        open(&saved(&json!([{ "Config": "e.json", "RepoTags": null, "Layers": null }]))).unwrap().layers().len(),
        0
    );
    assert!(open(&gzip[..gzip.len() / 2]).unwrap_err().to_string().contains("cannot be unpacked"));
}

fn open_saved(directory: &tempfile::TempDir, bytes: &[u8], tag: &str) -> crate::Result<Image> {
    let path = directory.path().join("saved.tar");
    fs::write(&path, bytes).unwrap();
    Image::open(&format!("docker-archive:{}{tag}", path.display()), &Platform::parse("linux/amd64").unwrap())
}

#[test]
fn saved_images_have_layers_behind_links_and_places() {
    let directory = tempfile::tempdir().unwrap();
    let layer = vec![0; 1024];
    let diff_id = format!("sha256:{}", digest(&layer));
    let config = |layers: usize| json!({ "rootfs": { "diff_ids": vec![&diff_id; layers] } }).to_string();
    let layers = |names: &[&str]| names.iter().map(|name| format!("{name}/layer.tar")).collect::<Vec<_>>();
    let manifest = json!([
        { "Config": "3.json", "RepoTags": ["a:1"], "Layers": layers(&["first", "second", "third"]) },
        { "Config": "1.json", "RepoTags": null, "Layers": layers(&["first"]) },
        { "Config": "1.json", "RepoTags": null, "Layers": layers(&["round"]) },
    ])
    .to_string();
    let mut builder = tar::Builder::new(Vec::new());
    let (three, one) = (config(3), config(1));
    let files = [
        ("manifest.json", manifest.as_bytes()),
        ("3.json", three.as_bytes()),
        ("1.json", one.as_bytes()),
        ("first/layer.tar", &layer),
    ];
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        builder.append_data(&mut header, name, bytes).unwrap();
    }
    let links = [("second", "../first/layer.tar"), ("third", "../second/layer.tar"), ("round", "layer.tar")];
    for (name, target) in links {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, format!("{name}/layer.tar"), target).unwrap();
    }
    let saved = builder.into_inner().unwrap();
    for (tag, count) in [(":a:1", 3), (":@0", 3), (":@1", 1)] {
        let image = open_saved(&directory, &saved, tag).unwrap();
        assert_eq!(image.layers().len(), count, "{tag}");
        assert!(image.layers().iter().all(|found| found.blob.place == image.layers()[0].blob.place), "{tag}");
    }
    for (tag, part) in [
        ("", "name one of a:1, or by its place: @0 to @2"),
        (":@2", "its layer `round/layer.tar` is not there"),
        (":@3", "it has no image `@3`; its images are @0 to @2"),
        (":@-1", "no image `@-1`"),
        (":@", "no image `@`"),
    ] {
        let error = open_saved(&directory, &saved, tag).unwrap_err().to_string();
        assert!(error.contains(part), "{tag}: {error}");
    }
}
