#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| initramfs_overlay_fuzz::registry::run(data));
