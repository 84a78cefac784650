//! Tables of catalogs and the plans that come of them.

use super::super::{
    catalog::{BuiltIn, Entry},
    config::KernelConfig,
    testing,
};
use super::*;

/// Returns a catalog from lines of `name field field …`; a path is made from the name.
fn catalog(lines: &str, built_in: &[&str]) -> Catalog {
    let mut catalog = Catalog { version: "6.1".into(), root: "/m".into(), ..Catalog::default() };
    for line in lines.lines() {
        let (name, fields) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let info = ModInfo::parse(testing::modinfo(name, fields).as_bytes());
        catalog.modules.insert(name.into(), Entry { path: format!("kernel/{name}.ko"), info: Ok(info) });
    }
    catalog.built_in.known = true;
    catalog.built_in.names = built_in.iter().map(ToString::to_string).collect();
    catalog
}

fn plan(catalog: &Catalog, wanted: &[&str]) -> Result<Plan> {
    let wanted: Vec<String> = wanted.iter().map(ToString::to_string).collect();
    resolve(catalog, &wanted, &[])
}

fn order(catalog: &Catalog, wanted: &[&str]) -> Vec<String> {
    plan(catalog, wanted).unwrap().modules.into_iter().map(|module| module.name).collect()
}

fn needs(plan: &Plan, name: &str) -> Vec<String> {
    plan.modules.iter().find(|module| module.name == name).unwrap().needs.clone()
}

const EXT4: &str = "ext4 depends=jbd2,crc16 softdep=pre:+crypto-crc32c alias=fs-ext4 alias=fs-ext3
    jbd2 depends= softdep=pre:+crypto-crc32c
    crc16
    crc32c_intel alias=crypto-crc32c alias=crc32c alias=cpu:type:x86,ven*fam*mod*:feature:*0094*
    crc32c_generic alias=crypto-crc32c-generic alias=crypto-crc32c alias=crc32c
    libcrc32c softdep=pre:+crc32c
    erofs depends=libcrc32c alias=fs-erofs
    other";

#[test]
fn every_module_stands_behind_all_it_needs() {
    let catalog = catalog(EXT4, &[]);
    assert_eq!(order(&catalog, &["ext4"]), ["crc32c_generic", "jbd2", "crc16", "ext4"]);
    assert_eq!(order(&catalog, &["erofs", "ext4"]), ["crc32c_generic", "libcrc32c", "erofs", "jbd2", "crc16", "ext4"]);
    assert_eq!(needs(&plan(&catalog, &["ext4"]).unwrap(), "ext4"), ["jbd2", "crc16", "crc32c_generic"]);
}

#[test]
fn a_name_may_be_an_alias_a_path_or_written_with_dashes() {
    let catalog = catalog(EXT4, &[]);
    for asked in ["libcrc32c", "crc32c-generic", "crc32c_generic"] {
        assert_eq!(order(&catalog, &[asked])[0], "crc32c_generic", "{asked}");
    }
    for asked in ["fs-ext3", "fs_ext4", "kernel/ext4.ko", "kernel/ext4.ko.xz", "ext4.ko", "./kernel/ext4.ko"] {
        assert_eq!(order(&catalog, &[asked]).last().unwrap(), "ext4", "{asked}");
    }
    assert_eq!(order(&catalog, &["cpu:type:x86,ven0fam6mod9:feature:,0094,"]), ["crc32c_intel"]);
    assert_eq!(order(&catalog, &["crypto-crc32c"]), ["crc32c_generic"]);
}

#[test]
fn an_algorithm_comes_from_what_runs_everywhere() {
    let hash = "user softdep=pre:+crypto-hash";
    for (providers, chosen) in [
        ("hash_generic alias=crypto-hash\nhash_x alias=crypto-hash", vec!["hash_generic", "user"]),
        ("hash_a alias=crypto-hash\nhash_x alias=crypto-hash alias=cpu:*", vec!["hash_a", "user"]),
        ("hash_x alias=crypto-hash alias=cpu:*", vec!["hash_x", "user"]),
        ("nothing", vec!["user"]),
    ] {
        assert_eq!(order(&catalog(&format!("{hash}\n{providers}"), &[]), &["user"]), chosen, "{providers}");
    }
    let mut catalog = catalog(&format!("{hash}\nhash_x alias=crypto-hash"), &[]);
    catalog.built_in.add_modinfo(b"hash_generic.alias=crypto-hash\0hash_generic.file=crypto/hash_generic\0");
    let plan = plan(&catalog, &["user"]).unwrap();
    assert_eq!(plan.modules.len(), 1);
    assert!(plan.built_in.contains("hash_generic"));
}

#[test]
fn what_is_built_in_is_not_missing() {
    let mut catalog = catalog("ext4 depends=jbd2 softdep=post:+late", &["jbd2", "late", "loop"]);
    catalog.built_in.add_modinfo(b"squashfs.alias=fs-squashfs\0");
    let plan = plan(&catalog, &["ext4", "loop", "fs-squashfs", "kernel/drivers/block/loop.ko"]).unwrap();
    assert_eq!(plan.modules.len(), 1);
    assert_eq!(Vec::from_iter(&plan.built_in), ["jbd2", "late", "loop", "squashfs"]);
    assert!(plan.notes.is_empty());
}

#[test]
fn post_comes_after_and_brings_its_own() {
    let catalog = catalog("a softdep=post:+p+gone depends=b\nb\np depends=a,c\nc", &[]);
    let plan = plan(&catalog, &["a"]).unwrap();
    let order: Vec<&str> = plan.modules.iter().map(|module| module.name.as_str()).collect();
    assert_eq!(order, ["b", "a", "c", "p"]);
    assert_eq!(plan.modules[1].post, ["p"]);
    assert_eq!(plan.notes, [Note::SoftAbsent { module: "a".into(), need: "gone".into() }]);
}

#[test]
fn a_hard_circle_is_named() {
    let catalog = catalog("top depends=a\na depends=b\nb depends=c\nc depends=a", &[]);
    match plan(&catalog, &["top"]) {
        Err(Error::ModuleCycle { cycle, .. }) => assert_eq!(cycle, ["a", "b", "c", "a"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_soft_circle_is_cut_at_its_soft_side() {
    for lines in [
        "a softdep=pre:+b\nb depends=a",
        "a softdep=pre:+x\nx depends=b\nb depends=a",
        "a depends=a1 softdep=pre:+b\na1\nb softdep=pre:+a",
    ] {
        let catalog = catalog(lines, &[]);
        let plan = plan(&catalog, &["a"]).unwrap();
        for (place, module) in plan.modules.iter().enumerate() {
            for need in &module.needs {
                let stands = plan.modules.iter().position(|other| other.name == *need).unwrap();
                assert!(stands < place, "{need} before {} in {lines}", module.name);
            }
        }
        assert_eq!(plan.modules.len(), catalog.modules.len(), "{lines}");
        assert!(plan.notes.iter().any(|note| matches!(note, Note::SoftCycle { .. })), "{lines}: {:?}", plan.notes);
    }
}

#[test]
fn undeclared_needs_are_added_and_told() {
    let mut catalog = catalog(
        "vfat depends=fat alias=fs-vfat\nfat\nnls_cp437\nnls_ascii\nnls_iso8859_1\nnls_utf8\nmsdos depends=fat",
        &[],
    );
    let tables = ["fat", "nls_cp437", "nls_ascii", "nls_iso8859_1", "nls_utf8", "vfat"];
    assert_eq!(order(&catalog, &["vfat"]), tables);
    catalog.config = KernelConfig::parse("CONFIG_FAT_DEFAULT_CODEPAGE=437\nCONFIG_FAT_DEFAULT_IOCHARSET=\"ascii\"\n");
    let plan = plan(&catalog, &["vfat", "nls_ascii"]).unwrap();
    assert_eq!(needs(&plan, "vfat"), ["fat", "nls_cp437", "nls_ascii"]);
    let told: Vec<&str> = plan
        .notes
        .iter()
        .filter_map(|note| match note {
            Note::HiddenAdded { need, .. } => Some(need.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["nls_cp437"], "what was asked for anyway needs no line");
    catalog.modules.remove("nls_cp437");
    let plan = self::plan(&catalog, &["vfat"]).unwrap();
    assert!(plan.notes.iter().any(|note| matches!(note, Note::HiddenAbsent { need, .. } if need == "nls_cp437")));
}

#[test]
fn a_filesystem_brings_the_modules_of_its_features_and_does_not_need_them() {
    let both = catalog("ext4 depends=jbd2\njbd2\nquota_v2 depends=quota_tree\nquota_tree", &[]);
    let all = plan(&both, &["ext4"]).unwrap();
    assert_eq!(needs(&all, "ext4"), ["jbd2"]);
    assert!(["quota_v2", "quota_tree"].iter().all(|name| all.modules.iter().any(|module| module.name == *name)));
    let plain = catalog("ext4 depends=jbd2\njbd2", &[]);
    assert!(plan(&plain, &["ext4"]).unwrap().notes.is_empty());
}

#[test]
fn a_virtio_driver_brings_a_transport_that_its_own_device_loads() {
    let lines =
        "virtio\nvirtio_pci depends=virtio alias=pci:v00001AF4d*\nvirtio_mmio depends=virtio alias=of:N*T*Cvirtio,mmio
        virtio_blk depends=virtio alias=virtio:d00000002v*";
    let both = catalog(lines, &[]);
    let names = |catalog: &Catalog, wanted: &[&str]| {
        let plan = plan(catalog, wanted).unwrap();
        assert_eq!(needs(&plan, "virtio_blk"), ["virtio"]);
        let mut names: Vec<String> = plan.modules.into_iter().map(|module| module.name).collect();
        names.sort();
        names
    };
    assert_eq!(names(&both, &["virtio_blk"]), ["virtio", "virtio_blk", "virtio_pci"]);
    assert_eq!(names(&both, &["virtio_blk", "virtio_mmio"]), ["virtio", "virtio_blk", "virtio_mmio"]);
    let mut mmio = both.clone();
    mmio.modules.remove("virtio_pci");
    assert_eq!(names(&mmio, &["virtio_blk"]), ["virtio", "virtio_blk", "virtio_mmio"]);
    let mut built_in = mmio.clone();
    built_in.built_in.names.insert("virtio_pci".into());
    assert_eq!(names(&built_in, &["virtio_blk"]), ["virtio", "virtio_blk"]);
    mmio.modules.remove("virtio_mmio");
    assert!(!plan(&mmio, &["virtio_blk"]).unwrap().notes.is_empty());
}

#[test]
fn sets_take_what_there_is() {
    let catalog = catalog("ext4\nsquashfs\noverlay\nloop", &["vfat"]);
    let plan = plan(&catalog, &["@overlay"]).unwrap();
    let order: Vec<&str> = plan.modules.iter().map(|module| module.name.as_str()).collect();
    assert_eq!(order, ["ext4", "loop", "squashfs", "overlay"]);
    assert!(plan.built_in.contains("vfat"));
    assert_eq!(plan.notes, [Note::SetMembersAbsent { set: "overlay", names: vec!["erofs"] }]);
    let error = self::plan(&catalog, &["@overlays"]).unwrap_err().to_string();
    assert!(error.contains("@overlay,"), "{error}");
}

#[test]
fn a_set_without_any_member_is_an_error() {
    let mut catalog = catalog("ext4", &["virtio_pci"]);
    assert_eq!(plan(&catalog, &["@virtio"]).unwrap().modules, [], "built in is not missing");
    let error = plan(&catalog, &["ext4", "@storage"]).unwrap_err().to_string();
    assert!(error.starts_with("kernel 6.1 has no module of @storage (ahci, ") && error.ends_with("not even built in"));
    catalog.built_in = BuiltIn::default();
    let error = plan(&catalog, &["@virtio"]).unwrap_err().to_string();
    assert!(error.contains("its directory has no modules.builtin"), "{error}");
    let error = plan(&catalog, &["loop"]).unwrap_err().to_string();
    assert_eq!(
        error,
        "kernel 6.1 has no module loop, and its directory has no modules.builtin, which would list what is built in: leave out what is"
    );
}

#[test]
fn always_is_marked_and_only_there() {
    let catalog = catalog(EXT4, &[]);
    let plan = resolve(&catalog, &["ext4".into()], &["fs-erofs".into()]).unwrap();
    let always: Vec<&str> =
        plan.modules.iter().filter(|module| module.always).map(|module| module.name.as_str()).collect();
    assert_eq!(always, ["erofs"]);
}

#[test]
fn what_does_not_exist_is_told_with_its_neighbours() {
    let catalog = catalog(EXT4, &["squashfs"]);
    for (asked, nearest) in [
        ("sqashfs", "squashfs"),
        ("kernel/fs/erof.ko", "erofs"),
        ("ext5", "ext4"),
        ("fs/jdb2.ko", "jbd2"),
        ("virtio", "@virtio"),
    ] {
        let error = plan(&catalog, &[asked]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("kernel 6.1 has no module {asked}, not even built in. Did you mean {nearest}?")
        );
    }
    let error = plan(&catalog, &["zzzz"]).unwrap_err().to_string();
    assert_eq!(error, "kernel 6.1 has no module zzzz, not even built in");
}

#[test]
fn a_missing_dependency_names_both() {
    let catalog = catalog("ext4 depends=jbd2", &[]);
    let error = plan(&catalog, &["ext4"]).unwrap_err().to_string();
    assert!(error.starts_with("module ext4 depends on jbd2, which is neither"), "{error}");
}

#[test]
fn a_bad_file_is_an_error_only_where_it_is_needed() {
    let mut catalog = catalog(EXT4, &[]);
    catalog.modules.get_mut("jbd2").unwrap().info = Err("it is empty".into());
    assert_eq!(order(&catalog, &["crc16"]), ["crc16"]);
    let error = plan(&catalog, &["ext4"]).unwrap_err().to_string();
    assert_eq!(error, "cannot use the kernel module /m/kernel/jbd2.ko: it is empty");
}

#[test]
fn a_module_of_another_kernel_is_refused() {
    let catalog = catalog("ext4 depends=jbd2\njbd2 vermagic=6.2+SMP", &[]);
    match plan(&catalog, &["ext4"]) {
        Err(Error::ModulesOfTwoKernels { first_vermagic, second_vermagic, .. }) => {
            assert_eq!((first_vermagic.as_str(), second_vermagic.as_str()), ("6.2 SMP", testing::VERMAGIC));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_filesystem_brings_the_crypto_of_its_checksums() {
    let catalog = catalog(
        "btrfs depends=raid6_pq softdep=pre:+crypto-crc32c alias=fs-btrfs
        raid6_pq
        f2fs alias=fs-f2fs
        crc32_generic alias=crypto-crc32
        crc32c_generic alias=crypto-crc32c
        xxhash_generic alias=crypto-xxhash64
        blake2b_generic alias=crypto-blake2b-256 alias=crypto-blake2b-512",
        &["sha256_generic"],
    );
    let found = plan(&catalog, &["btrfs"]).unwrap();
    assert_eq!(needs(&found, "btrfs"), ["raid6_pq", "crc32c_generic", "xxhash_generic", "blake2b_generic"]);
    let news: Vec<String> = found.notes.iter().map(ToString::to_string).collect();
    assert!(news.len() == 2 && news[0].starts_with("xxhash_generic is added because btrfs needs it"), "{news:?}");
    assert_eq!(order(&catalog, &["f2fs"]), ["crc32_generic", "f2fs"]);
}
