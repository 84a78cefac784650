//! Tables of the documents that come from the targets' definitions. `REWRITE_PAGES=1 cargo test -p initramfs-overlay-sources --test pages`
//! writes them anew.

use std::{env, fs, path::Path};

use initramfs_overlay_sources::target;

/// Returns `page` with `table` between the marks called `name`.
fn with_table(page: &str, name: &str, table: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- {name}: from targets/*.toml -->\n"), format!("<!-- end of {name} -->\n"));
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some([before, &begin, table, &end, after].concat())
}

/// Returns the tables by page and name.
fn tables() -> [(&'static str, &'static str, String); 3] {
    let targets = target::all().unwrap();
    let short = targets.iter().map(|target| format!("| `{}` | {} |\n", target.name, target.processor));
    let long = targets.iter().map(|target| {
        let names = target.aliases.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let sizes: Vec<String> = target.page_sizes.iter().map(u64::to_string).collect();
        let kernel = format!("`{}`, {}", target.kernel.package, target.kernel.suite);
        let (pages, model) = (sizes.join(", "), &target.qemu.model);
        format!("| `{}` | {} | {names} | {pages} | {model} | {kernel} |\n", target.name, target.processor)
    });
    let boards = targets.iter().flat_map(|target| {
        target.boards.iter().map(|board| format!("| {board} | `init-<version>-{}.gz` |\n", target.name))
    });
    let table = |head: &str, rows: String| {
        let rule = "| --- ".repeat(head.matches(" | ").count() + 1);
        format!("{head}\n{rule}|\n{rows}")
    };
    [
        ("README.md", "targets", table("| target | runs on |", short.collect())),
        (
            "docs/targets.md",
            "targets",
            table(
                "| target | processor | also called | pages, KiB | tried in QEMU on | with Debian's kernel |",
                long.collect(),
            ),
        ),
        ("docs/targets.md", "boards", table("| board | file |", boards.collect())),
    ]
}

#[test]
fn pages_show_the_targets_as_they_are_defined() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    for (page, name, table) in tables() {
        let path = tree.join(page);
        let text = fs::read_to_string(&path).unwrap();
        let wanted = with_table(&text, name, &table).unwrap_or_else(|| panic!("{page} has no marks of {name}"));
        if env::var_os("REWRITE_PAGES").is_some() {
            fs::write(&path, &wanted).unwrap();
        } else {
            assert!(text == wanted, "{page}: {name} is not as targets/ has it; REWRITE_PAGES=1 rewrites it:\n{table}");
        }
    }
}
