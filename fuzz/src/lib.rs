//! The fuzz targets and their seeds: a module for each target with `run`, which reads any bytes and panics where something is wrong,
//! and `seeds`, inputs that reach deep. The test `fuzz_targets.rs` of the builder runs the same modules on the seeds and on inputs
//! that were found earlier, so nothing here may need a fuzzer.

pub mod boot;
pub mod disk;
pub mod document;
pub mod initramfs;
pub mod layer;
pub mod registry;

/// Reads any bytes; panics where something is wrong.
pub type Run = fn(&[u8]);
/// Inputs to start from, with their names.
pub type Seeds = fn() -> Vec<(String, Vec<u8>)>;

/// Every target.
pub const TARGETS: [(&str, Run, Seeds); 6] = [
    ("boot", boot::run, boot::seeds),
    ("disk", disk::run, disk::seeds),
    ("document", document::run, document::seeds),
    ("initramfs", initramfs::run, initramfs::seeds),
    ("layer", layer::run, layer::seeds),
    ("registry", registry::run, registry::seeds),
];

/// Seeds by number.
fn numbered<T: AsRef<[u8]>>(seeds: impl IntoIterator<Item = T>) -> Vec<(String, Vec<u8>)> {
    seeds.into_iter().enumerate().map(|(number, seed)| (number.to_string(), seed.as_ref().to_vec())).collect()
}
