//! Definitions of targets that are read at run time: `targets`, `--targets-dir` and files that are wrong.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

fn run(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_initramfs-overlay"));
    command.args(arguments).current_dir(directory).env_remove("INITRAMFS_OVERLAY_TARGETS");
    command.env_remove("INITRAMFS_OVERLAY_SOURCE").output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn definitions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../targets")
}

#[test]
fn a_file_is_a_target() {
    let directory = tempfile::tempdir().unwrap();
    let definition = fs::read_to_string(definitions().join("riscv64.toml")).unwrap();
    let line = definition.lines().find(|line| line.starts_with("aliases")).unwrap();
    let seventh = definition.replace(line, "aliases = [\"ppc64le\"]");
    let at = directory.path().join("definitions");
    fs::create_dir(&at).unwrap();
    fs::write(at.join("ppc64el.toml"), &seventh).unwrap();
    let listed = run(directory.path(), &["targets", "ppc64le", "--json", "--targets-dir", "definitions"]);
    let json: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!((&json[0]["name"], json.as_array().unwrap().len()), (&"ppc64el".into(), 1));
    let help = run(directory.path(), &["--targets-dir=definitions", "build", "--help"]);
    assert!(text(&help.stdout).contains("build for: ppc64el (64-bit RISC-V"), "{}", text(&help.stdout));
    // Without it, those that are compiled in; in the source tree, those of the tree.
    for place in [directory.path(), &definitions()] {
        let listed = text(&run(place, &["targets"]).stdout);
        assert!(listed.contains("target       riscv64\n") && !listed.contains("ppc64el"), "{listed}");
    }
    let unknown = run(directory.path(), &["build", "--target", "riscv", "--targets-dir", "definitions"]);
    assert_eq!(unknown.status.code(), Some(2));
    let said = text(&unknown.stderr);
    assert!(said.contains("there is no target `riscv`. There are: ppc64el"), "{said}");

    fs::write(at.join("ppc64el.toml"), seventh.replace("elf = \"riscv64\"", "elf = \"ppc\\u0000\"")).unwrap();
    let wrong = run(directory.path(), &["targets", "--targets-dir", "definitions"]);
    let (status, said) = (wrong.status.code(), text(&wrong.stderr));
    assert_eq!((status, said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("definitions/ppc64el.toml, line ") && said.contains("key elf: "), "{said}");
}

#[test]
fn a_directory_without_definitions_is_named() {
    let directory = tempfile::tempdir().unwrap();
    for (name, part) in
        [("absent", "absent: --targets-dir: cannot be read: "), (".", ".: --targets-dir: expected a directory")]
    {
        let output = run(directory.path(), &["targets", "--targets-dir", name]);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains(part), "{said}");
    }
}

#[test]
fn this_machines_target_is_said() {
    let output = run(Path::new("/"), &["targets", "auto"]);
    let name = Command::new("uname").arg("-m").output().unwrap().stdout;
    let (shown, said) = (text(&output.stdout), text(&output.stderr));
    let line = shown.lines().next().unwrap_or_default();
    assert!(
        said.contains("--target auto: ") && said.contains(line.split_whitespace().last().unwrap()),
        "{said}{shown}"
    );
    assert!(shown.contains(text(&name).trim()), "{shown}");
}
