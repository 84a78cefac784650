use std::path::Path;

use super::{Mirror, options, packages_in, source_list};

#[test]
fn stanzas_of_the_index_are_read() {
    let text = "Package: busybox-static\nSource: busybox (1:1.35.0-4+deb12u1)\nVersion: 1:1.35.0-4+deb12u1+b1\n\
                Built-Using: glibc (= 2.36-9+deb12u14)\n\
                Description: tiny\n Depends: nothing, this is text\nSHA256: aa\n\n\
                Package: linux-image-686\nSource: linux-signed-i386 (6.1.176+1)\nVersion: 6.1.176-1\n\
                Depends: linux-image-6.1.0-50-686 (= 6.1.176-1), kmod:any, linux-base\nSHA256: bb\n\n\
                Package: linux-image-686\nVersion: 6.1.170-1\nSHA256: cc\n";
    let busybox = packages_in(text, "busybox-static");
    assert_eq!(busybox.len(), 1);
    assert_eq!((busybox[0].source.as_str(), busybox[0].source_version.as_str()), ("busybox", "1:1.35.0-4+deb12u1"));
    assert!(busybox[0].depends.is_empty());
    assert_eq!(busybox[0].built_using, [("glibc".to_owned(), "2.36-9+deb12u14".to_owned())]);

    let kernels = packages_in(text, "linux-image-686");
    assert_eq!(kernels[0].depends, ["linux-image-6.1.0-50-686", "kmod", "linux-base"]);
    assert_eq!((kernels[1].source.as_str(), kernels[1].source_version.as_str()), ("linux-image-686", "6.1.170-1"));
    assert_eq!(packages_in("", "linux-image-686"), []);
}

#[test]
fn apt_reads_and_writes_only_in_its_own_directory() {
    let options = options(Path::new("/state"), Some("armel"));
    for name in ["Dir::State", "Dir::State::Lists", "Dir::State::status", "Dir::Cache", "Dir::Etc::sourcelist"] {
        let option = options.iter().find(|option| option.starts_with(&format!("{name}="))).unwrap();
        assert!(option.contains("=/state"), "{option}");
    }
    assert!(options.contains(&"APT::Architectures=armel".to_owned()));
}

/// Skips a machine without apt.
#[test]
fn apt_takes_nothing_unsigned_whatever_the_machine_says() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("apt.conf");
    let names = [
        "APT::Get::AllowUnauthenticated",
        "Acquire::AllowInsecureRepositories",
        "Acquire::AllowWeakRepositories",
        "Acquire::AllowDowngradeToInsecureRepositories",
    ];
    std::fs::write(&config, names.map(|name| format!("{name} \"true\";\n")).concat()).unwrap();
    let shown = |options: &[String]| {
        let mut command = std::process::Command::new("apt-config");
        command
            .env("APT_CONFIG", &config)
            .args(options.iter().map(|option| format!("-o{option}")))
            .arg("dump")
            .args(names);
        Some(String::from_utf8(command.output().ok()?.stdout).unwrap())
    };
    let Some(machine) = shown(&[]) else {
        eprintln!("skipped: apt is not installed");
        return;
    };
    let ours = shown(&options(directory.path(), None)).unwrap();
    for name in names {
        assert!(machine.contains(&format!("{name} \"true\"")), "{machine}");
        assert!(ours.contains(&format!("{name} \"false\"")), "{ours}");
    }
}

#[test]
fn every_mirror_must_show_debians_signature() {
    let mirrors = [Mirror { uri: "http://a.example/debian".to_owned(), signed_by: Some("/own.gpg".to_owned()) }];
    assert_eq!(
        source_list(&mirrors, "bookworm", false, true),
        "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://a.example/debian bookworm main\n"
    );
    assert_eq!(
        source_list(&mirrors, "trixie", true, false),
        "deb-src [signed-by=/own.gpg] http://a.example/debian trixie main\n"
    );
}
