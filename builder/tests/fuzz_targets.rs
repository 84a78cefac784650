//! The fuzz targets of `fuzz/`, each run on what fuzzing starts from and on what it has found: without a fuzzer, in a moment.
//!
//! `FUZZ_CORPUS=DIR` writes what fuzzing starts from to `DIR/TARGET/`, beside what is there.

use std::{fs, path::Path};

#[path = "../../fuzz/src/lib.rs"]
#[allow(dead_code, reason = "a library of its own elsewhere")]
mod fuzz;
mod support;

#[test]
fn targets_take_what_they_start_from_and_what_was_found() {
    for (target, run, seeds) in fuzz::TARGETS {
        let mut inputs = seeds();
        // Other seeds need no program.
        if target == "disk" && !support::all_installed(&["mke2fs", "mkfs.vfat", "mmd", "mcopy", "mksquashfs"]) {
            continue;
        }
        assert!(inputs.len() > 3, "{target}");
        if let Some(corpus) = std::env::var_os("FUZZ_CORPUS") {
            let directory = Path::new(&corpus).join(target);
            fs::create_dir_all(&directory).unwrap();
            inputs.iter().for_each(|(name, bytes)| fs::write(directory.join(format!("seed-{name}")), bytes).unwrap());
        }
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/found").join(target);
        for entry in fs::read_dir(directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            inputs.push((path.display().to_string(), fs::read(path).unwrap()));
        }
        for (name, bytes) in inputs {
            let result = std::panic::catch_unwind(|| run(&bytes));
            assert!(result.is_ok(), "{target}: {name}");
            // Cut off and changed, they are something else.
            for part in [1, 2, 3] {
                let mut bytes = bytes[..bytes.len() * part / 4].to_vec();
                run(&bytes);
                if let Some(byte) = bytes.last_mut() {
                    *byte ^= 0x55;
                    run(&bytes);
                }
            }
        }
    }
}
