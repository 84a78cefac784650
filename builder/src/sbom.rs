//! The bill of materials of an image: SPDX 2.3 as JSON, with what each part is, under which licence, and where its source
//! is. Who ships a device with the image must be able to show it. Says what was put in; puts nothing in itself.

use serde_json::{Value, json};
use sources::{
    busybox::{Origin, SourceImage},
    kernel_package,
    toolchain::{Crate, libblkid, repair::Tool, tools},
};
use uuid::Uuid;

mod bill;
mod repair;

use bill::{Bill, checksums, identifier};

/// The components of an image, as far as licences go.
#[derive(Debug)]
pub struct Materials<'a> {
    /// The image's file name.
    pub file: &'a str,
    /// Its SHA-256, in hexadecimal.
    pub sha256: &'a str,
    /// The version of init and of the image.
    pub version: &'a str,
    /// The time at which it was made, in seconds since 1970: from `SOURCE_DATE_EPOCH` or 0, as the same image has the same bill.
    pub created: u64,
    /// `init`.
    pub init: InitMaterial<'a>,
    /// BusyBox with its SHA-256, and where it comes from if that is known.
    pub busybox: Option<(&'a str, Option<&'a Origin>)>,
    /// Programs that repair a disk.
    pub tools: &'a [Tool],
    /// The kernels whose modules are in it.
    pub kernels: &'a [KernelMaterial<'a>],
    /// True if the user's own files are in it.
    pub has_included_files: bool,
}

/// The program `init`.
#[derive(Debug)]
pub struct InitMaterial<'a> {
    /// Its SHA-256, in hexadecimal.
    pub sha256: &'a str,
    /// Its build; `None` where the user gave it.
    pub build: Option<InitBuild<'a>>,
}

/// The crates and the compiler that `init` was built with.
#[derive(Debug)]
pub struct InitBuild<'a> {
    /// The crates that are compiled in.
    pub crates: &'a [Crate],
    /// Rust's version.
    pub rust_release: &'a str,
    /// The commit of that Rust.
    pub rust_commit: &'a str,
    /// True if libblkid is linked into it.
    pub has_libblkid: bool,
}

/// The kernel that modules are from.
#[derive(Debug)]
pub struct KernelMaterial<'a> {
    /// Its version, as `uname -r` says it.
    pub version: &'a str,
    /// Its package, where that is known.
    pub origin: Option<&'a kernel_package::Origin>,
    /// True if signatures and debugging sections were stripped from its modules.
    pub stripped: bool,
}

/// The instructions for relinking that section 6 of the LGPL asks for, as libblkid is linked statically.
const RELINK: &str = "Linked statically into init; parts of it are left out, as docs/licences.md says. To use another libblkid: take \
                      the complete source of init that this image was built from (MIT OR Apache-2.0, so it may be passed on), \
                      name another tarball in SOURCE in builder/crates/sources/src/toolchain/libblkid.rs, or change there what is compiled, \
                      and run ./build.sh.";

/// Returns the document, with a newline at its end.
#[must_use]
pub fn spdx(materials: &Materials<'_>) -> String {
    let mut bill = Bill::default();
    bill.add(
        "SPDXRef-DOCUMENT",
        "DESCRIBES",
        json!({
            "SPDXID": "SPDXRef-image",
            "name": materials.file,
            "versionInfo": materials.version,
            "primaryPackagePurpose": "ARCHIVE",
            "licenseDeclared": "NOASSERTION",
            "checksums": checksums(Some(materials.sha256)),
        }),
    );
    add_init(&mut bill, materials);
    if let Some((sha256, origin)) = materials.busybox {
        add_busybox(&mut bill, sha256, origin);
    }
    repair::add(&mut bill, materials.tools);
    for kernel in materials.kernels {
        add_kernel(&mut bill, kernel);
    }
    if materials.has_included_files {
        bill.add(
            "SPDXRef-image",
            "CONTAINS",
            json!({
                "SPDXID": "SPDXRef-included",
                "name": "files added with --include",
                "licenseDeclared": "NOASSERTION",
                "comment": "The manifest beside the image lists them.",
            }),
        );
    }
    let namespace = Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{}\n{}", materials.file, materials.sha256).as_bytes());
    let document = json!({
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": materials.file,
        "documentNamespace": format!("urn:uuid:{namespace}"),
        "creationInfo": {
            "created": timestamp(materials.created),
            "creators": [format!("Tool: initramfs-overlay-{}", env!("CARGO_PKG_VERSION"))],
        },
        "packages": bill.packages,
        "relationships": bill.relationships,
    });
    format!("{document:#}\n")
}

fn add_init(bill: &mut Bill, materials: &Materials<'_>) {
    let InitMaterial { sha256, build } = &materials.init;
    bill.add("SPDXRef-image", "CONTAINS", json!({
        "SPDXID": "SPDXRef-init",
        "name": "init",
        "versionInfo": build.is_some().then_some(materials.version),
        "primaryPackagePurpose": "APPLICATION",
        "licenseDeclared": if build.is_some() { "MIT OR Apache-2.0" } else { "NOASSERTION" },
        "checksums": checksums(Some(sha256)),
        "comment": build.is_none().then_some("Given by the user with --init-program; what it is made of is not known here."),
    }));
    let Some(build) = build else { return };
    for found in build.crates.iter().filter(|found| found.sha256.is_some()) {
        let id = format!("SPDXRef-crate-{}-{}", identifier(&found.name), identifier(&found.version));
        bill.add("SPDXRef-init", "STATIC_LINK", json!({
            "SPDXID": id,
            "name": found.name,
            "versionInfo": found.version,
            "primaryPackagePurpose": "LIBRARY",
            // The old way to write OR in Cargo.toml.
            "licenseDeclared": found.licence.as_ref().map_or("NOASSERTION".to_owned(), |licence| licence.replace('/', " OR ")),
            "checksums": checksums(found.sha256.as_deref()),
            "externalRefs": purl(format!("pkg:cargo/{}@{}", found.name, found.version)),
            "homepage": found.repository,
        }));
    }
    let (rust, zig) = (build.rust_release, tools::ZIG_VERSION);
    let std = format!("compiled from the component rust-src of Rust {rust}, commit {}", build.rust_commit);
    let musl = format!("as it comes with Zig {zig}, in its directory lib/libc/musl");
    let compiler_rt = format!("what the processor cannot do itself; from Zig {zig}, its directory lib/compiler_rt");
    for (id, name, version, licence, source) in [
        ("rust-std", "rust-std", rust, "MIT OR Apache-2.0", std),
        ("musl", "musl", tools::MUSL_VERSION, "MIT", musl),
        ("compiler-rt", "zig-compiler-rt", zig, "MIT", compiler_rt),
    ] {
        bill.add(
            "SPDXRef-init",
            "STATIC_LINK",
            json!({
                "SPDXID": format!("SPDXRef-{id}"),
                "name": name,
                "versionInfo": version,
                "primaryPackagePurpose": "LIBRARY",
                "licenseDeclared": licence,
                "sourceInfo": source,
            }),
        );
    }
    if build.has_libblkid {
        add_libblkid(bill);
    }
}

fn add_libblkid(bill: &mut Bill) {
    bill.add(
        "SPDXRef-init",
        "STATIC_LINK",
        json!({
            "SPDXID": "SPDXRef-libblkid",
            "name": "libblkid",
            "versionInfo": libblkid::VERSION,
            "primaryPackagePurpose": "LIBRARY",
            "licenseDeclared": "LGPL-2.1-or-later",
            "downloadLocation": libblkid::SOURCE.upstream,
            "sourceInfo": format!(
                "from util-linux {}, tarball with SHA-256 {}, changed for size as docs/licences.md says",
                libblkid::VERSION, libblkid::SOURCE.sha256
            ),
            "comment": RELINK,
        }),
    );
}

fn add_busybox(bill: &mut Bill, sha256: &str, origin: Option<&Origin>) {
    let package = origin.and_then(Origin::package);
    bill.add("SPDXRef-image", "CONTAINS", json!({
        "SPDXID": "SPDXRef-busybox",
        "name": "busybox",
        "versionInfo": package.map(|package| &package.version),
        "primaryPackagePurpose": "APPLICATION",
        "licenseDeclared": "GPL-2.0-only",
        "checksums": checksums(Some(sha256)),
        "externalRefs": match origin {
            Some(Origin::Debian(package)) => {
                purl(format!("pkg:deb/debian/{}@{}?arch={}", package.package, encode(&package.version), package.architecture))
            }
            Some(Origin::Image(SourceImage { name: Some(name), digest: Some(digest) })) => {
                let short = name.rsplit('/').next().unwrap_or(name);
                purl(format!("pkg:oci/{short}@{}?repository_url={}", encode(digest), encode(name)))
            }
            _ => None,
        },
        "sourceInfo": match origin {
            Some(Origin::Debian(package)) => format!(
                "Debian's package {} {} for {}, SHA-256 {}; complete source: Debian's source package {} {}, for good at {}",
                package.package, package.version, package.architecture, package.sha256, package.source, package.source_version,
                snapshot(&package.source, &package.source_version),
            ),
            Some(Origin::Image(SourceImage { name, digest })) => format!(
                "from the OCI image {} with manifest {}; whoever ships it must offer its complete source, as its makers do",
                name.as_deref().unwrap_or("in a file of the user's"), digest.as_deref().unwrap_or("of unknown digest"),
            ),
            None => "given by the user with --busybox; whoever ships it must offer its complete source".to_owned(),
        },
    }));
    for (name, version) in package.iter().flat_map(|package| &package.built_using) {
        let id = format!("SPDXRef-busybox-{}", identifier(name));
        bill.add("SPDXRef-busybox", "STATIC_LINK", json!({
            "SPDXID": id,
            "name": name,
            "versionInfo": version,
            "primaryPackagePurpose": "LIBRARY",
            "licenseDeclared": if name == "glibc" { "LGPL-2.1-or-later" } else { "NOASSERTION" },
            "sourceInfo": format!("Debian's source package {name} {version}, for good at {}", snapshot(name, version)),
        }));
    }
}

fn add_kernel(bill: &mut Bill, kernel: &KernelMaterial<'_>) {
    let id = format!("SPDXRef-modules-{}", identifier(kernel.version));
    bill.add("SPDXRef-image", "CONTAINS", json!({
        "SPDXID": id,
        "name": "linux modules",
        "versionInfo": kernel.version,
        "licenseDeclared": "GPL-2.0-only",
        "sourceInfo": match kernel.origin {
            Some(origin) => format!("from Debian's package {} {}, SHA-256 {}", origin.package, origin.version, origin.sha256),
            None => format!("from a module tree of kernel {} that the user named", kernel.version),
        },
        "comment": kernel.stripped.then_some("Signatures and debugging sections were taken off."),
    }));
}

fn purl(locator: String) -> Option<Value> {
    Some(json!([{
        "referenceCategory": "PACKAGE-MANAGER",
        "referenceType": "purl",
        "referenceLocator": locator,
    }]))
}

/// Returns the address of a source package on snapshot.debian.org, where Debian keeps every version for ever.
fn snapshot(source: &str, version: &str) -> String {
    format!("https://snapshot.debian.org/package/{}/{}/", encode(source), encode(version))
}

/// Encodes a text for an address or a package URL.
fn encode(text: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(byte).collect()
}

/// Writes seconds since 1970 as SPDX takes a time: ISO 8601, UTC. The days are counted as in Howard Hinnant's
/// `civil_from_days` ("chrono-Compatible Low-Level Date Algorithms"): eras of 400 years that begin in March.
fn timestamp(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(seconds), text);
        }
    }

    fn bill(busybox: Option<(&str, Option<&Origin>)>, has_init_build: bool) -> Value {
        let found = |name: &str, licence: &str, sha256: Option<&str>| Crate {
            name: name.to_owned(),
            version: "1.0.0+x".to_owned(),
            licence: Some(licence.to_owned()),
            sha256: sha256.map(str::to_owned),
            repository: None,
        };
        let crates = [found("initramfs-overlay-init", "MIT", None), found("nix", "MIT/Apache-2.0", Some("cc"))];
        let build = InitBuild { crates: &crates, rust_release: "1.95.0", rust_commit: "abc", has_libblkid: true };
        let materials = Materials {
            file: "init-0.1.0-i686.gz",
            sha256: "aa",
            version: "0.1.0",
            created: 0,
            init: InitMaterial { sha256: "bb", build: has_init_build.then_some(build) },
            busybox,
            tools: &[],
            kernels: &[KernelMaterial { version: "6.1.0-50-686", origin: None, stripped: true }],
            has_included_files: true,
        };
        serde_json::from_str(&spdx(&materials)).unwrap()
    }

    fn package<'a>(bill: &'a Value, name: &str) -> &'a Value {
        bill["packages"].as_array().unwrap().iter().find(|package| package["name"] == name).unwrap_or(&Value::Null)
    }

    #[test]
    fn it_says_what_whoever_ships_it_must_show() {
        let origin = Origin::Debian(sources::busybox::DebianPackage {
            architecture: "armel".to_owned(),
            package: "busybox-static".to_owned(),
            version: "1:1.35.0-4+deb12u1+b1".to_owned(),
            sha256: "dd".to_owned(),
            source: "busybox".to_owned(),
            source_version: "1:1.35.0-4+deb12u1".to_owned(),
            built_using: vec![("glibc".to_owned(), "2.36-9".to_owned())],
        });
        let bill = bill(Some(("ee", Some(&origin))), true);
        assert_eq!(package(&bill, "libblkid")["licenseDeclared"], "LGPL-2.1-or-later");
        assert!(package(&bill, "libblkid")["comment"].as_str().unwrap().contains("./build.sh"));
        let busybox = package(&bill, "busybox");
        assert_eq!(busybox["licenseDeclared"], "GPL-2.0-only");
        let source = busybox["sourceInfo"].as_str().unwrap();
        assert!(source.ends_with("https://snapshot.debian.org/package/busybox/1%3A1.35.0-4%2Bdeb12u1/"), "{source}");
        assert_eq!(package(&bill, "nix")["licenseDeclared"], "MIT OR Apache-2.0");
        assert_eq!(package(&bill, "glibc")["licenseDeclared"], "LGPL-2.1-or-later");
        assert_eq!(*package(&bill, "initramfs-overlay-init"), Value::Null, "init is listed as init");
        assert_eq!(bill["creationInfo"]["created"], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn an_image_is_named_by_its_digest() {
        let digest = Some(format!("sha256:{}", "a".repeat(64)));
        let of =
            |name: Option<&str>| Origin::Image(SourceImage { name: name.map(str::to_owned), digest: digest.clone() });
        let bill_of = |origin: &Origin| bill(Some(("ee", Some(origin))), true);
        let bill = bill_of(&of(Some("docker.io/library/busybox")));
        let busybox = package(&bill, "busybox");
        assert_eq!(
            busybox["externalRefs"][0]["referenceLocator"],
            format!("pkg:oci/busybox@sha256%3A{}?repository_url=docker.io%2Flibrary%2Fbusybox", "a".repeat(64))
        );
        let source = busybox["sourceInfo"].as_str().unwrap();
        assert!(
            source.starts_with("from the OCI image docker.io/library/busybox with manifest sha256:aaaa"),
            "{source}"
        );
        let bill = bill_of(&of(None));
        assert!(package(&bill, "busybox")["sourceInfo"].as_str().unwrap().contains("sha256:aaaa"));
    }

    #[test]
    fn every_package_is_complete_and_belongs_to_the_image() {
        for bill in [bill(None, false), bill(Some(("ee", None)), true)] {
            let packages = bill["packages"].as_array().unwrap();
            let related: Vec<&Value> =
                bill["relationships"].as_array().unwrap().iter().map(|found| &found["relatedSpdxElement"]).collect();
            for package in packages {
                for field in ["SPDXID", "name", "downloadLocation", "licenseConcluded", "licenseDeclared"] {
                    assert!(package[field].is_string(), "{field} is missing in {package}");
                }
                let id = package["SPDXID"].as_str().unwrap();
                assert!(id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte)), "{id}");
                assert!(related.contains(&&package["SPDXID"]), "{id} hangs in the air");
            }
        }
    }
}
