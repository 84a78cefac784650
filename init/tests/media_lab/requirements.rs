//! Requirements of tests on real media, and the tools that they run.

use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Command};

/// Returns why this machine cannot run a suite that needs these tools and these filesystems.
pub fn missing(tools: &[&str], filesystems: &[&str]) -> Option<String> {
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return Some("they need root".into());
    }
    for tool in tools {
        let found = std::env::split_paths(&std::env::var_os("PATH")?).any(|dir| dir.join(tool).exists());
        if !found {
            return Some(format!("{tool} is not installed"));
        }
    }
    if let Some(absent) = filesystems.iter().find(|name| !knows(name)) {
        return Some(format!("the kernel has no {absent}"));
    }
    (!Path::new("/dev/loop-control").exists()).then(|| "there are no loop devices".into())
}

/// Returns true where the kernel can mount `filesystem` now.
pub fn knows(filesystem: &str) -> bool {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known.lines().any(|line| line.split('\t').nth(1) == Some(filesystem))
}

/// Runs a tool that has to succeed.
pub fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
