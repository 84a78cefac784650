//! throwaway
use initramfs_overlay::kmod::ModuleTree;
fn main() {
    let mut a = std::env::args().skip(1);
    let tree = a.next().unwrap();
    let out = std::path::PathBuf::from(a.next().unwrap());
    let strip = a.next().unwrap() == "strip";
    let mut names: Vec<String> = a.collect();
    let t = std::time::Instant::now();
    let mut run = || -> initramfs_overlay::Result<()> {
        let tree = ModuleTree::open(tree.as_ref())?;
        eprintln!("open {:?}: {} plain={}", t.elapsed(), tree.version(), tree.is_plain());
        let t = std::time::Instant::now();
        if names == ["ALL"] {
            names = tree.names().map(String::from).collect();
            for m in tree.resolve(&names, &[])?.index().modules {
                println!("{} {} needs={}", m.name, m.path, m.needs.join(","));
            }
            return Ok(());
        }
        let sel = tree.resolve(&names, &[])?;
        eprintln!("resolve {:?}", t.elapsed());
        for n in &sel.notes {
            eprintln!("note: {n}");
        }
        eprintln!("built in: {:?}", sel.built_in);
        let base = out.join("lib/modules").join(&sel.version);
        let mut total = (0, 0);
        for m in &sel.modules {
            let c = m.content(strip)?;
            total.0 += c.bytes.len();
            total.1 += c.removed.signature + c.removed.sections;
            if strip {
                eprintln!("{} {} {:?}", m.entry.name, c.bytes.len(), c.removed);
            }
            let p = base.join(&m.entry.path);
            std::fs::create_dir_all(p.parent().unwrap()).unwrap();
            std::fs::write(p, c.bytes).unwrap();
        }
        eprintln!("total {} removed {}", total.0, total.1);
        if !sel.modules.is_empty() {
            std::fs::write(base.join("initramfs.modules"), sel.index().to_string()).unwrap();
        }
        for m in &sel.index().modules {
            println!(
                "{} {} needs={} post={} aliases={}",
                m.name,
                m.path,
                m.needs.join(","),
                m.post.join(","),
                m.aliases.len()
            );
        }
        Ok(())
    };
    if let Err(e) = run() {
        eprintln!("{e}");
        std::process::exit(1)
    }
}
