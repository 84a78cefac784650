//! The parsers of everything that init reads at boot: PID 1 never panics.

use std::{io::Write, time::Duration};

use archive::compress::Compression;
use contract::{
    attributes,
    hex::digest,
    inventory,
    module_index::Index,
    superblock::{Superblock, ext4::is_empty},
    text::{is_tmpfs_size, parse_duration},
    workload::Workload,
};
use initramfs_overlay_init::{
    boot::ram::network::Watch,
    config::{Abilities, Config, ModeConfig},
    kernel::rtnetlink::parse,
    modules::file,
};

use super::numbered;

/// Runs each reader in turn, as all of them take any bytes.
pub fn run(data: &[u8]) {
    let _ = (Superblock::read(data), is_empty(data), file::modinfo(data, "depends"));
    for name in ["a.ko.gz", "a.ko.xz", "a.ko.zst"] {
        let _ = file::decompress(name, data.to_vec());
    }
    let text = String::from_utf8_lossy(data);
    let (baked, given) = text.split_once('\n').unwrap_or((&text, ""));
    for shell in [false, true] {
        let (config, _) = Config::parse([baked, given, ""], Abilities { shell, trust: shell }, false);
        assert!(config.common.init.starts_with('/'));
        if let ModeConfig::Overlay(own) = config.mode {
            assert!(!own.image.is_empty() && !own.image.contains('/'));
        }
    }
    if let Ok(index) = Index::parse(&text) {
        let _ = Index::parse(&index.to_string());
    }
    if let Ok(records) = inventory::parse(&text) {
        let mut writer = inventory::Writer::default();
        records.iter().for_each(|record| writer.add(record));
        let again = String::from_utf8(writer.finish()).expect("it was text");
        assert_eq!(inventory::parse(&again), Ok(records));
    }
    let _ = (digest(&text), parse_duration(&text), is_tmpfs_size(&text));
    let read = attributes::parse(&text);
    let again = String::from_utf8(attributes::to_bytes(read.clone())).expect("it was text");
    assert_eq!(attributes::parse(&again), read);
    let mut watch = Watch::default();
    let changes = parse(data);
    let most = changes.len() * 2;
    changes.into_iter().for_each(|change| watch.see(change));
    // Each interface is brought up and asked for an address, no more.
    assert!(std::iter::from_fn(|| watch.next(Duration::ZERO)).take(most + 1).count() <= most);
    let workload = Workload::parse(&text);
    let again = workload.to_bytes().expect("what was read between NULs holds none");
    assert_eq!(Workload::parse(&String::from_utf8_lossy(&again)), workload);
}

/// Returns at least one input for each parser.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut squashfs = b"hsqs".to_vec();
    squashfs.resize(96, 1);
    let mut erofs = vec![0; 1024];
    erofs.extend([0xe2, 0xe1, 0xf5, 0xe0, 0, 0, 0, 0, 0, 0, 0, 0, 12]);
    erofs.resize(1024 + 128, 0);
    let module = b"\x7fELF\0alias=fs-ext4\0depends=jbd2,mbcache,crc16\0intree=Y\0";
    // Two interfaces as the kernel tells of them, and the end of the list: heads of 16 bytes and attributes.
    let link = b"\x28\0\0\0\x10\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x02\0\0\0\x03\0\x01\0\0\0\0\0\x08\0\x03\0eth0";
    let mut links = [&link[..], link, b"\x14\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"].concat();
    links[60] = 3;
    let mut seeds = numbered([
        &b"rd.img=LABEL=img rd.overlay=tmpfs:50% rd.timeout=10s quiet\nroot=x init=/sbin/init rd.break=mount -- a \"b c\""[..],
        b"\nrd.boot=PARTUUID=12-01 rd.newimg=UUID=1-2 rd.image=root.img rd.onerror=shell rd.overlay.fallback=ram rd.verify rd.toram",
        b"\nrootfs=t rootfstype=virtiofs mount=a mount-ro=b rd.exit=ioport:0xf4 rd.net=dhcp rd.net=no",
        b"jbd2 kernel/fs/jbd2.ko\next4 kernel/fs/ext4.ko.xz needs=jbd2,crc16 post=x always alias=fs-ext4 alias=pci:v*\n",
        b"- 3 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad init\0d - - bin\0l - - lib\0end 3\0",
        b"etc/x\0user.a\0ff00\0bin/p\0security.capability\x000100000200200000\0",
        b"entrypoint=/bin/sh\0cmd=a b\0env=A=1\0directory=/srv\0user=1:2\0stop-signal=SIGTERM\0hostname=h\0on-consoles=yes\0memory=12\0",
        b"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  root-squashfs.img\n",
        module,
        &squashfs,
        &erofs,
        &links,
        &[0; 64],
    ]);
    for (name, compression) in [("gzip", Compression::Gzip), ("xz", Compression::Xz), ("zstd", Compression::Zstd)] {
        let mut encoder = compression.encoder(Vec::new()).expect("an encoder");
        encoder.write_all(module).expect("memory");
        seeds.push((name.to_owned(), encoder.finish().expect("memory")));
    }
    seeds
}
