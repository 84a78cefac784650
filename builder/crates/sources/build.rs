//! Puts the definitions in `targets/` into the command, so that adding a target is adding a file there.

use std::{env, fmt::Write, fs, path::Path};

fn main() {
    let directory = Path::new(&env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../../targets");
    println!("cargo::rerun-if-changed={}", directory.display());
    let mut files: Vec<_> = fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", directory.display()))
        .map(|entry| entry.expect("a readable directory").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    files.sort();
    let mut list = String::from("&[\n");
    for path in files {
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a target's name is UTF-8");
        writeln!(list, "    ({name:?}, include_str!({path:?})),").expect("a string takes everything");
    }
    list.push(']');
    let output = Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("targets.rs");
    fs::write(output, list).expect("cargo's own directory is writable");
}
