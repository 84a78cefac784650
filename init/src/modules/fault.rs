//! Modules that would not load.

use contract::errno::ENOEXEC;

use super::file;
use crate::{
    error::Error,
    kernel::{Machine, ModuleFile, read_file, release},
};

/// Returns the error of a module that would not load, with both versions where it is for another kernel.
pub(super) fn load_error(kernel: &mut dyn Machine, module: &ModuleFile, source: std::io::Error) -> Error {
    let path = module.path.as_str();
    if source.raw_os_error() == Some(ENOEXEC)
        && let Ok(bytes) = module.content.clone().map_or_else(|| read_file(kernel, path), Ok)
        && let Ok(bytes) = file::decompress(path, bytes)
        && let Some(magic) = file::modinfo(&bytes, "vermagic")
    {
        let running = release(kernel);
        let module = magic.split(' ').next().unwrap_or_default().to_string();
        if module != running {
            return Error::ModuleKernel { path: path.into(), module, kernel: running };
        }
    }
    Error::ModuleLoad { path: path.into(), source }
}
