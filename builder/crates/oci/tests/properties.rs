//! Properties of what reads images: whatever the bytes, it says something and comes back; whatever the names, what comes of them is a
//! tree that an archive can hold.

use std::fs;

use base::digest::digest;
use initramfs_overlay_oci::{
    blob::Digest,
    config::Config,
    image::Image,
    merge::Merge,
    platform::Platform,
    reference::Reference,
    registry::{lock::Lock, name::Name},
    tarball::Reader,
};
use proptest::{collection::vec, prelude::*, sample};
use serde_json::{Map, Value, json};
use tar::{EntryType, Header};

/// Returns few names and evil ones, so that clashes, links and whiteouts meet.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let part =
        sample::select(vec![&b"a"[..], b"b", b"..", b".", b"", b".wh.a", b".wh..wh..opq", b".wh.", b"\xff", b"a-b"]);
    vec(part, 1..5).prop_map(|parts| parts.join(&b'/'))
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    let kind = sample::select(vec![b'0', b'1', b'2', b'3', b'4', b'5', b'6', b'5', b'0', b'7', b'Z']);
    (path(), path(), kind, vec(any::<u8>(), 0..20)).prop_map(|(path, link, kind, content)| {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(&path);
        header.as_old_mut().linkname[..link.len()].copy_from_slice(&link);
        let kind = EntryType::new(kind);
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let content = if kind == EntryType::Regular { content } else { Vec::new() };
        header.set_size(content.len() as u64);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    })
}

/// Reads all members and their contents; returns how many there were.
fn read(bytes: &[u8], mut visit: impl FnMut(&initramfs_overlay_oci::tarball::Member)) -> usize {
    let mut reader = Reader::new(bytes);
    let mut count = 0;
    while let Ok(Some(member)) = reader.next_member() {
        visit(&member);
        // A sparse file may be as large as it likes: it is not written anywhere here.
        if member.size <= bytes.len() as u64 && reader.copy_content(&member, &mut std::io::sink()).is_err() {
            break;
        }
        count += 1;
    }
    count
}

/// Returns a document with the keys of the specification and values of any kind.
fn document() -> impl Strategy<Value = Value> {
    let text = || {
        sample::select(vec![
            "",
            "linux",
            "amd64",
            "unknown",
            "v1",
            "sha256:..",
            "application/vnd.oci.image.index.v1+json",
            "application/vnd.oci.image.manifest.v1+json",
            "application/vnd.oci.image.config.v1+json",
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ])
    };
    let key = sample::select(vec![
        "schemaVersion", "mediaType", "manifests", "config", "layers", "fsLayers", "digest", "size", "platform", "os",
        "architecture", "variant", "annotations", "rootfs", "diff_ids", "Cmd", "Env", "User", "Volumes", "urls",
    ]);
    let leaf = prop_oneof![
        text().prop_map(Value::from),
        sample::select(vec![json!(null), json!(0), json!(-1), json!(2), json!(u64::MAX), json!(1e300), json!(true)]),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((key.clone(), inner), 0..6).prop_map(|pairs| pairs
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}

/// Puts parts of `odd` over `good`.
fn spoil(mut good: Value, odd: &Value) -> Value {
    if let (Some(good), Some(odd)) = (good.as_object_mut(), odd.as_object()) {
        for (key, value) in odd {
            good.insert(key.clone(), value.clone());
        }
    }
    good
}

proptest! {
    #[test]
    fn any_documents_are_an_image_or_an_error(odd in vec(document(), 4), which in 0..16_u32) {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("blobs/sha256")).unwrap();
        let blob = |bytes: &[u8]| {
            let digits = digest(bytes);
            fs::write(directory.path().join("blobs/sha256").join(&digits), bytes).unwrap();
            json!({ "digest": format!("sha256:{digits}"), "size": bytes.len() })
        };
        let odd = |index: usize, good: Value| if which & 1 << index == 0 { good } else { spoil(good, &odd[index]) };
        let layer = blob(&[0; 1024]);
        let config = json!({ "os": "linux", "architecture": "amd64", "rootfs": { "diff_ids": [layer["digest"]] } });
        let config = blob(odd(0, config).to_string().as_bytes());
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [odd(3, layer)] });
        let manifest = blob(odd(1, manifest).to_string().as_bytes());
        let index = odd(2, json!({ "schemaVersion": 2, "manifests": [manifest] }));
        fs::write(directory.path().join("index.json"), index.to_string()).unwrap();
        fs::write(directory.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let name = format!("oci:{}", directory.path().display());
        let opened = Image::open(&name, &Platform::parse("linux/amd64").unwrap());
        prop_assert!(which != 0 || opened.is_ok());
        if let Ok(image) = opened {
            prop_assert!(image.layers().len() <= 1);
        }
    }

    #[test]
    fn any_name_is_safe_in_an_address(text in "[a-z0-9A-Z:/@._%?#-]{0,40}|\\PC*") {
        if let Ok(name) = Name::parse(&text) {
            let address = format!("{}/v2/{}/{}", name.host(), name.repository, name.tag.clone().unwrap_or_default());
            prop_assert!(!address.contains(['?', '#', '%', '@', '\\', ' ']) && !address.contains("/../") && address.is_ascii());
            prop_assert_eq!(Name::parse(&name.to_string()).unwrap(), name);
        }
    }

    #[test]
    fn any_lock_is_read_or_refused(bytes in vec(any::<u8>(), 0..200), odd in document()) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        for bytes in [bytes, json!({ "images": odd }).to_string().into_bytes()] {
            fs::write(&path, bytes).unwrap();
            let _ = Lock::read(&path);
        }
    }

    #[test]
    fn any_layers_become_a_tree_or_an_error(layers in vec(vec(member(), 0..12), 1..4)) {
        let mut merge = Merge::default();
        for (index, members) in (0..).zip(&layers) {
            merge.begin_layer();
            let mut number = 0;
            read(&members.concat(), |member| {
                // An odd entry is an error and changes nothing that matters: the tree is one all the same.
                let _ = merge.add(member, index, number);
                number += 1;
            });
        }
        prop_assert!(merge.tree.check_parents().is_ok());
        for node in merge.tree.iter() {
            prop_assert!(!node.path.split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b"..") || part.starts_with(b".wh.")));
        }
        prop_assert!(merge.xattrs.keys().all(|path| merge.tree.get(path).is_some()));
    }

    #[test]
    fn damaged_layers_are_read_to_somewhere(members in vec(member(), 1..6), damage in vec((any::<sample::Index>(), any::<u8>()), 1..8)) {
        let mut bytes = members.concat();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            // The sum is right again, so that what is behind it is looked at.
            let block = at / 512 * 512;
            if let Some(header) = bytes.get_mut(block..block + 512) {
                let mut whole = Header::new_old();
                whole.as_mut_bytes().copy_from_slice(header);
                whole.set_cksum();
                header.copy_from_slice(whole.as_bytes());
            }
        }
        prop_assert!(read(&bytes, |_| ()) <= bytes.len() / 512);
    }

    #[test]
    fn any_bytes_are_read_to_somewhere(bytes in vec(any::<u8>(), 0..2048)) {
        read(&bytes, |_| ());
        let _ = Config::parse(&bytes);
    }

    #[test]
    fn any_text_is_read_to_somewhere(text in "\\PC*|(oci|dir|tar|sha256|linux)[:/]\\PC*") {
        let _ = (Reference::parse(&text), Platform::parse(&text));
        if let Some(digest) = Digest::parse(&text) {
            prop_assert!(!digest.digits().contains(['/', '.']));
        }
    }
}
