//! No module of the workspace depends on one that depends on it: what two need lies below both. A file is a module; what a file uses is
//! what its paths lead to, through re-exports, outside its tests. The declaration of a child (`mod child;`) is no use of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    str::FromStr,
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// A module's path in its crate; empty is the root.
type Module = Vec<String>;

/// The paths of a file: the names between the `::`.
#[derive(Debug, Default)]
struct File {
    /// Imports: the name here, and where it leads.
    imports: BTreeMap<String, Vec<String>>,
    /// All paths, those of imports among them.
    paths: BTreeSet<Vec<String>>,
}

/// The modules of one crate.
struct Crate(BTreeMap<Module, File>);

impl File {
    fn parse(text: &str) -> Self {
        let mut file = Self::default();
        file.read(TokenStream::from_str(text).expect("Rust"));
        file
    }

    fn read(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            match &tokens[at] {
                TokenTree::Punct(punct) if punct.as_char() == '#' => at = after_attribute(&tokens, at),
                TokenTree::Group(group) => {
                    self.read(group.stream());
                    at += 1;
                }
                // `pub(in crate::a)` uses nothing.
                TokenTree::Ident(ident) if ident == "pub" => {
                    at += 1 + usize::from(matches!(tokens.get(at + 1), Some(TokenTree::Group(_))));
                }
                TokenTree::Ident(ident) if ident == "use" => {
                    let end = (at..tokens.len()).find(|end| is_punct(tokens.get(*end), ';')).unwrap_or(tokens.len());
                    self.import(&[], &tokens[at + 1..end]);
                    at = end;
                }
                TokenTree::Ident(_) => {
                    let (path, end) = path(&tokens, at);
                    // A method or a field of something is no module.
                    if path.len() > 1 && !(at > 0 && is_punct(tokens.get(at - 1), '.')) {
                        self.paths.insert(path);
                    }
                    at = end;
                }
                _ => at += 1,
            }
        }
    }

    /// Reads the tree of a `use`, whose beginning is `prefix`.
    fn import(&mut self, prefix: &[String], tree: &[TokenTree]) {
        let (mut full, mut end) = path(tree, 0);
        full.splice(..0, prefix.iter().cloned());
        if is_punct(tree.get(end), ':') {
            end += 2;
        }
        match tree.get(end) {
            Some(TokenTree::Group(group)) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                inner.split(|token| is_punct(Some(token), ',')).for_each(|part| {
                    if !part.is_empty() {
                        self.import(&full, part);
                    }
                });
                return;
            }
            Some(TokenTree::Ident(word)) if word == "as" => {
                if let Some(TokenTree::Ident(name)) = tree.get(end + 1) {
                    self.imports.insert(name.to_string(), full.clone());
                }
            }
            _ => {
                if full.last().is_some_and(|last| last == "self") {
                    full.pop();
                }
                self.imports.extend(full.last().map(|name| (name.clone(), full.clone())));
            }
        }
        self.paths.insert(full);
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// Returns the names that `::` joins from `at` on, and where they end.
fn path(tokens: &[TokenTree], mut at: usize) -> (Vec<String>, usize) {
    let mut names = Vec::new();
    while let Some(TokenTree::Ident(ident)) = tokens.get(at) {
        names.push(ident.to_string());
        at += 1;
        let joined = is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':');
        if !joined || !matches!(tokens.get(at + 2), Some(TokenTree::Ident(_))) {
            break;
        }
        at += 2;
    }
    (names, at)
}

/// Returns the index behind the attribute at `at`; for `#[cfg(test)]`, the index behind the item that it applies to.
fn after_attribute(tokens: &[TokenTree], at: usize) -> usize {
    let Some(TokenTree::Group(attribute)) = tokens.get(at + 1) else { return at + 1 };
    if attribute.stream().to_string().replace(' ', "") != "cfg(test)" {
        return at + 2;
    }
    let ends = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => is_punct(Some(token), ';'),
    };
    (at + 2..tokens.len()).find(|end| ends(&tokens[*end])).map_or(tokens.len(), |end| end + 1)
}

impl Crate {
    /// Reads all files below `directory` but those of tests.
    fn read(directory: &Path) -> Self {
        let mut modules = BTreeMap::new();
        for entry in walkdir::WalkDir::new(directory) {
            let entry = entry.expect("a readable directory");
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let relative = path.strip_prefix(directory).expect("below it").with_extension("");
            let mut module: Module = relative.iter().map(|name| name.to_str().expect("UTF-8").to_owned()).collect();
            if matches!(module.last().map(String::as_str), Some("tests" | "testing")) {
                continue;
            }
            if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
                module.pop();
            }
            modules.insert(module, File::parse(&fs::read_to_string(path).expect("a readable file")));
        }
        Self(modules)
    }

    /// Returns the module that `path`, as `from` says it, leads to: the one that has the item, through imports of others'.
    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<Module> {
        let (first, mut rest) = path.split_first()?;
        let mut module = match first.as_str() {
            "crate" => Vec::new(),
            "self" => from.to_vec(),
            "super" => {
                let ups = 1 + rest.iter().take_while(|name| *name == "super").count();
                rest = &rest[ups - 1..];
                from[..from.len().checked_sub(ups)?].to_vec()
            }
            name => {
                let child = [from, &[name.to_owned()]].concat();
                match self.0.get(from)?.imports.get(name) {
                    _ if self.0.contains_key(&child) => child,
                    Some(target) if depth > 0 && target != path => {
                        return self.resolve(from, &[target, rest].concat(), depth - 1);
                    }
                    _ => return None,
                }
            }
        };
        while let Some((name, after)) = rest.split_first() {
            let child = [&module[..], std::slice::from_ref(name)].concat();
            if !self.0.contains_key(&child) {
                break;
            }
            module = child;
            rest = after;
        }
        match rest.first().and_then(|name| self.0.get(&module)?.imports.get(name)) {
            Some(target) if depth > 0 => {
                self.resolve(&module, &[target, &rest[1..]].concat(), depth - 1).or(Some(module))
            }
            _ => Some(module),
        }
    }

    /// Returns the cycles, each with what ties it: `a -> b`.
    fn cycles(&self) -> Vec<Vec<String>> {
        let mut uses: BTreeMap<&Module, BTreeSet<Module>> = BTreeMap::new();
        for (module, file) in &self.0 {
            let targets = file.paths.iter().filter_map(|path| self.resolve(module, path, 8));
            uses.insert(module, targets.filter(|target| target != module && self.0.contains_key(target)).collect());
        }
        let reach = |start: &Module| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![start]);
            while let Some(module) = next.pop() {
                next.extend(uses[module].iter().filter(|target| seen.insert((*target).clone())));
            }
            seen
        };
        let reached: BTreeMap<&Module, BTreeSet<Module>> =
            self.0.keys().map(|module| (module, reach(module))).collect();
        let mut done = BTreeSet::new();
        let mut cycles = Vec::new();
        for (module, below) in &reached {
            if !below.contains(*module) || done.contains(*module) {
                continue;
            }
            let circle: BTreeSet<&Module> = reached
                .keys()
                .copied()
                .filter(|other| below.contains(*other) && reached[other].contains(*module))
                .collect();
            let name = |module: &Module| format!("crate::{}", module.join("::"));
            cycles.push(
                circle
                    .iter()
                    .flat_map(|from| uses[*from].iter().filter(|to| circle.contains(to)).map(move |to| (from, to)))
                    .map(|(from, to)| format!("{} -> {}", name(from), name(to)))
                    .collect(),
            );
            done.extend(circle);
        }
        cycles
    }
}

#[test]
fn no_module_depends_on_one_that_depends_on_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let manifest: toml::Table = fs::read_to_string(root.join("Cargo.toml")).unwrap().parse().unwrap();
    let members = manifest["workspace"]["members"].as_array().unwrap();
    let mut found = Vec::new();
    for member in members.iter().map(|member| member.as_str().unwrap()) {
        let members: Vec<_> = match member.strip_suffix("/*") {
            Some(parent) => fs::read_dir(root.join(parent)).unwrap().map(|entry| entry.unwrap().path()).collect(),
            None => vec![root.join(member)],
        };
        for member in members {
            let cycles = Crate::read(&member.join("src")).cycles();
            found.extend(cycles.into_iter().map(|cycle| format!("{}:\n  {}", member.display(), cycle.join("\n  "))));
        }
    }
    assert!(found.is_empty(), "modules in circles:\n{}", found.join("\n"));
}

#[test]
fn a_circle_is_found_through_imports_and_tests_make_none() {
    let of = |files: &[(&str, &str)]| {
        let modules = files.iter().map(|(path, text)| {
            let module = path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect();
            (module, File::parse(text))
        });
        Crate(modules.collect()).cycles()
    };
    let root = ("", "pub mod a; pub mod b; pub use b::B;");
    assert_eq!(
        of(&[root, ("a", "use crate::{b::B, x};"), ("b", "#[cfg(test)] mod tests { use crate::a::A; }")]),
        [[""; 0]; 0]
    );
    let tied = [["crate::a -> crate::b", "crate::b -> crate::a"]];
    for (a, b) in [
        ("use crate::b::{self, B};", "fn f() { crate::a::g(); }"),
        ("use crate::B;", "use super::a; fn f() { a::g(); }"),
        ("use super::b as other; fn f() { other::g(); }", "#[derive(Debug)] struct B(Vec<super::a::A>);"),
        ("fn f() { println!(\"{}\", crate::b::g()); }", "pub use crate::a::A;"),
    ] {
        assert_eq!(of(&[root, ("a", a), ("b", b)]), tied, "{a} {b}");
    }
    // A parent's declaration is no use of the child, and a call is.
    let child = ("a::c", "use super::A;");
    assert_eq!(of(&[root, ("a", "mod c; struct A;"), child, ("b", "")]), [[""; 0]; 0]);
    assert_eq!(of(&[root, ("a", "mod c; struct A; fn f() { c::g(); }"), child, ("b", "")]).len(), 1);
}
