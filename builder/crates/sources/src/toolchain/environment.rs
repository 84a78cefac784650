//! The environment that compilers run in: what could change their output is taken out of the user's, so that the same
//! sources give the same bytes whoever builds them.

use std::{env, process::Command};

use base::cache::Cache;

use crate::Result;

/// Variables that change what cargo, rustc, cc or zig make. Paths, proxies, homes and CARGO_NET_* stay.
const REMOVED_PREFIXES: [&str; 14] = [
    "AR_", "BINDGEN_", "CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_", "CARGO_UNSTABLE_", "CARGO_ZIGBUILD_", "CC_",
    "CFLAGS", "CLANG_", "CXX", "PKG_CONFIG", "TARGET_", "ZIG_",
];

const REMOVED: [&str; 18] = [
    "AR", "CARGO_ENCODED_RUSTFLAGS", "CARGO_INCREMENTAL", "CC", "CPATH", "CPPFLAGS", "CRATE_CC_NO_DEFAULTS",
    "C_INCLUDE_PATH", "LDFLAGS", "LIBCLANG_PATH", "LIBRARY_PATH", "LLVM_CONFIG_PATH", "RUSTC", "RUSTC_BOOTSTRAP",
    "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER", "RUSTDOCFLAGS", "RUSTFLAGS",
];

/// Takes what could change the output out of the environment of `command`.
pub fn clean(command: &mut Command) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(is_removed) {
            command.env_remove(name);
        }
    }
    // Messages are shown and searched: one language.
    command.env("LC_ALL", "C.UTF-8");
}

fn is_removed(name: &str) -> bool {
    REMOVED.contains(&name) || REMOVED_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Lets zig keep what it compiles (musl, for instance) in our cache and nowhere else.
///
/// # Errors
/// [`crate::Error::Io`] where the directory cannot be made.
pub fn keep_zig_in(command: &mut Command, cache: &Cache) -> Result<()> {
    let directory = cache.room("zig")?;
    command.env("ZIG_GLOBAL_CACHE_DIR", &directory).env("ZIG_LOCAL_CACHE_DIR", &directory);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::is_removed;

    #[test]
    fn what_changes_the_output_goes_and_the_rest_stays() {
        for name in
            ["RUSTFLAGS", "CARGO_PROFILE_INIT_OPT_LEVEL", "CC_x86_64_unknown_linux_musl", "CFLAGS", "ZIG_LIB_DIR"]
        {
            assert!(is_removed(name), "{name}");
        }
        for name in ["PATH", "HOME", "CARGO_HOME", "RUSTUP_HOME", "CARGO_NET_OFFLINE", "https_proxy", "TMPDIR"] {
            assert!(!is_removed(name), "{name}");
        }
    }
}
