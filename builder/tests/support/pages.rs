//! The pages of the source tree.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Returns the pages of the source tree at `top`.
pub fn all(top: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    let mut pending: Vec<PathBuf> =
        ["docs", "init", "contract", "builder", ".github"].map(|name| top.join(name)).into();
    let is_page = |path: &Path| path.extension().is_some_and(|end| end == "md");
    pages.extend(
        fs::read_dir(top).expect("the workspace").flatten().map(|entry| entry.path()).filter(|path| is_page(path)),
    );
    while let Some(directory) = pending.pop() {
        for path in fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path()) {
            if path.is_dir() {
                pending.push(path);
            } else if is_page(&path) {
                pages.push(path);
            }
        }
    }
    pages
}
