//! This command as a static program, which runs on any Linux of its machine: for bundles. Its bytes do not tell where it was built.

use std::{
    ffi::{OsStr, OsString},
    path::PathBuf,
};

use base::program;

use super::{Toolchain, cargo_features, crates, environment};
use crate::{Result, target::Target};

/// The variable that tells the compiled command to know nothing of the machine that builds it.
const VARIABLE: &str = "INITRAMFS_OVERLAY_STATIC";

/// Flags for rustc: the start files come from Zig's musl, as for init.
const RUSTFLAGS: [&str; 1] = ["-Clink-self-contained=no"];

/// Std is built with it, so that no other target has to be installed.
const BUILD_STD: &str = "-Zbuild-std=std,panic_unwind";

impl Toolchain<'_> {
    /// Compiles this command for `target`, as far as it changed. Returns its path.
    ///
    /// # Errors
    /// As [`Toolchain::init`].
    pub fn command(&self, target: &Target) -> Result<PathBuf> {
        let super::Prepared { tools, sysroot } = self.prepare()?;
        let step = self.progress.step(format!("{}: compiling the command", target.name));
        let log = self.cache.room("log")?.join(format!("command-{}.log", target.name));
        let (_, registries) = crates::of_init(
            &mut self.cargo(OsStr::new("cargo")),
            &self.source.root,
            &target.triple,
            &cargo_features("overlay"),
        )?;
        let output = self.source.root.join("target/cross");
        let mut build = self.cargo(tools.zigbuild.as_os_str());
        build.args(["zigbuild", "--locked", "--release", "--target", &target.triple, BUILD_STD]);
        build.args(["--package", "initramfs-overlay", "--bin", "initramfs-overlay"]);
        build.arg("--target-dir").arg(&output);
        let remapped = self.remapped(sysroot, &registries, &output);
        let mut flags = OsString::from(RUSTFLAGS.join("\x1f"));
        let mut c_flags = OsString::from("-g0");
        for flag in &target.rust_flags {
            flags.push("\x1f");
            flags.push(flag);
        }
        for (path, name) in remapped {
            flags.push("\x1f--remap-path-prefix=");
            flags.push(&path);
            flags.push("=");
            flags.push(name);
            // C is in crates only.
            if ["/cargo", "/crates"].contains(&name) {
                c_flags.push(" '-ffile-prefix-map=");
                c_flags.push(&path);
                c_flags.push(format!("={name}'"));
            }
        }
        build.env("CARGO_ENCODED_RUSTFLAGS", flags).env(VARIABLE, "1");
        // The crate cc splits them at spaces otherwise; a directory may have one in its name.
        build.env(format!("CFLAGS_{}", target.triple.replace('-', "_")), c_flags).env("CC_SHELL_ESCAPED_FLAGS", "1");
        build.env("CARGO_ZIGBUILD_ZIG_PATH", &tools.zig).env("CARGO_ZIGBUILD_CACHE_DIR", self.cache.room("zigbuild")?);
        environment::keep_zig_in(&mut build, self.cache)?;
        program::run_logged(&mut build, &format!("compiling the command for {}", target.name), &log)?;
        step.finish("");
        Ok(output.join(&target.triple).join("release/initramfs-overlay"))
    }
}
