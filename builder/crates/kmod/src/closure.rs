//! From the modules asked for to all that must be loaded, in order. Pure: a catalog goes in, a plan comes out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{
    catalog::{Catalog, Found},
    modinfo::ModInfo,
    names,
    note::Note,
    sets::{self, SETS},
    undeclared::{self, Load},
};
use crate::{Error, Result};

/// A load plan: the modules to load, and the findings made while it was resolved.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In load order: every module stands behind all it needs.
    pub modules: Vec<Planned>,
    /// Names that were asked for or needed and are built into the kernel.
    pub built_in: BTreeSet<String>,
    /// Notes for the user.
    pub notes: Vec<Note>,
    /// Modules that were asked for by themselves, not by a set.
    pub asked: BTreeSet<String>,
}

/// A module to load.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// Its name, a key of the catalog.
    pub name: String,
    /// The modules that must be loaded before it, direct ones only.
    pub needs: Vec<String>,
    /// The modules that it wants after it.
    pub post: Vec<String>,
    /// To be loaded at the start of every boot.
    pub always: bool,
}

/// Finds all that `wanted` and `always` need. Each of these is the name of a module with `-` or `_`, an alias, a path below the
/// tree's root, or `@` and the name of a set.
///
/// # Errors
/// A name that the kernel does not have, a set that it has nothing of; a module that another one depends on and that is not there or cannot
/// be read; modules that depend on each other in a circle; modules of two kernels.
pub fn resolve(catalog: &Catalog, wanted: &[String], always: &[String]) -> Result<Plan> {
    let mut plan = Plan { notes: catalog.notes.clone(), ..Plan::default() };
    let (mut asked, mut wrong) = (Vec::new(), Vec::new());
    for name in wanted {
        let Some(found) = known(look_up(catalog, name, &mut plan), &mut wrong)? else { continue };
        if !name.starts_with('@') {
            plan.asked.extend(found.iter().cloned());
        }
        asked.extend(found);
    }
    let mut at_start = BTreeSet::new();
    for name in always {
        let Some(names) = known(look_up(catalog, name, &mut plan), &mut wrong)? else { continue };
        at_start.extend(names.iter().cloned());
        asked.extend(names);
    }
    match wrong.len() {
        0 => {}
        1 => return Err(wrong.remove(0)),
        _ => return Err(Error::UnknownModules(wrong)),
    }
    // A file passed over for another is worth a line only where the module is wanted at all.
    let notes = std::mem::take(&mut plan.notes);
    let mut walk = Walk {
        catalog,
        asked: asked.iter().cloned().collect(),
        marks: BTreeMap::new(),
        path: Vec::new(),
        later: VecDeque::new(),
        plan,
    };
    for name in &asked {
        walk.visit(name)?;
        while let Some(name) = walk.later.pop_front() {
            walk.visit(&name)?;
        }
    }
    let Walk { mut plan, marks, .. } = walk;
    for note in notes {
        let matters = !matches!(&note, Note::Shadowed { name, .. } if !marks.contains_key(name));
        add_note(&mut plan.notes, note, matters);
    }
    for module in &mut plan.modules {
        module.always = at_start.contains(&module.name);
    }
    check_one_kernel(catalog, &plan.modules)?;
    Ok(plan)
}

/// Moves the error about a name that is unknown to `wrong`, so that all of them are told at once.
fn known<T>(result: Result<T>, wrong: &mut Vec<Error>) -> Result<Option<T>> {
    match result {
        Err(error @ (Error::UnknownModule { .. } | Error::UnknownSet { .. })) => {
            wrong.push(error);
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Resolves one name given by the user (a set, a path, a module's name or an alias) to modules. Adds built-in ones, and a note about
/// absent members of a set, to `plan`.
fn look_up(catalog: &Catalog, asked: &str, plan: &mut Plan) -> Result<Vec<String>> {
    if let Some(name) = asked.strip_prefix('@') {
        let set = sets::find(name).ok_or_else(|| {
            let known: Vec<String> = SETS.iter().map(|set| format!("@{}", set.name)).collect();
            Error::UnknownSet { asked: asked.to_owned(), known }
        })?;
        let mut names = Vec::new();
        let mut absent = Vec::new();
        for member in set.members {
            match catalog.by_name(member) {
                Found::Modules(found) => names.extend(found),
                Found::BuiltIn(found) => plan.built_in.extend(found),
                Found::Nothing => absent.push(*member),
            }
        }
        if absent.len() == set.members.len() {
            let built_in_known = catalog.built_in.known;
            let version = catalog.version.clone();
            return Err(Error::EmptySet { asked: asked.to_owned(), members: set.members, version, built_in_known });
        }
        if !absent.is_empty() {
            add_note(&mut plan.notes, Note::SetMembersAbsent { set: set.name, names: absent }, true);
        }
        return Ok(names);
    }
    let is_path = asked.contains('/') && !asked.contains(':') || names::without_suffix(asked).is_some();
    let found = if is_path { catalog.by_path(asked) } else { catalog.by_alias(asked) };
    match found {
        Found::Modules(names) => Ok(names),
        Found::BuiltIn(names) => {
            plan.built_in.extend(names);
            Ok(Vec::new())
        }
        Found::Nothing => {
            let name = if is_path { names::of_file(asked) } else { None };
            let name = name.unwrap_or_else(|| asked.rsplit('/').next().unwrap_or(asked).to_string());
            let sets: Vec<String> = SETS.iter().map(|set| format!("@{}", set.name)).collect();
            let all = catalog.all_names().into_iter().chain(sets.iter().map(String::as_str));
            let nearest = names::nearest(&name, all);
            let built_in_known = catalog.built_in.known;
            Err(Error::UnknownModule { name: asked.into(), version: catalog.version.clone(), nearest, built_in_known })
        }
    }
}

fn add_note(notes: &mut Vec<Note>, note: Note, matters: bool) {
    if matters && !notes.contains(&note) {
        notes.push(note);
    }
}

/// The state of a module in a walk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Its needs are being visited.
    Open,
    /// It is in the plan.
    Done,
}

/// A walk over the dependencies, depth first: a module is put down once all it needs is.
struct Walk<'a> {
    catalog: &'a Catalog,
    /// The modules that the user named, sets and aliases resolved.
    asked: BTreeSet<String>,
    marks: BTreeMap<String, Mark>,
    /// The modules whose needs are being visited, outermost first.
    path: Vec<String>,
    /// Modules that are wanted, but need not precede the one that wants them: visited once the current walk is done.
    later: VecDeque<String>,
    plan: Plan,
}

impl Walk<'_> {
    /// Visits all that a module needs, then adds it to the plan.
    fn visit(&mut self, name: &str) -> Result<()> {
        if self.marks.contains_key(name) {
            return Ok(());
        }
        self.marks.insert(name.into(), Mark::Open);
        self.path.push(name.into());
        let catalog = self.catalog;
        let info = info(catalog, name)?;
        let mut module = Planned { name: name.into(), ..Planned::default() };
        for need in &info.depends {
            self.depend(&mut module, need)?;
        }
        for need in &info.pre {
            match catalog.by_alias(need) {
                Found::Modules(names) => self.prefer(&mut module, &names)?,
                Found::BuiltIn(names) => self.plan.built_in.extend(names),
                Found::Nothing => self.note(Note::SoftAbsent { module: name.into(), need: need.clone() }),
            }
        }
        for need in undeclared::needs(name, &info.aliases, catalog.config.as_ref()) {
            self.add_undeclared(&mut module, &need)?;
        }
        for need in &info.post {
            match catalog.by_alias(need) {
                Found::Modules(names) => {
                    self.later.extend(names.iter().cloned());
                    module.post.extend(names);
                }
                Found::BuiltIn(names) => self.plan.built_in.extend(names),
                Found::Nothing => self.note(Note::SoftAbsent { module: name.into(), need: need.clone() }),
            }
        }
        self.path.pop();
        self.marks.insert(name.into(), Mark::Done);
        self.plan.modules.push(module);
        Ok(())
    }

    /// Adds a hard dependency: without it the kernel refuses the module.
    fn depend(&mut self, module: &mut Planned, need: &str) -> Result<()> {
        match self.catalog.by_name(need) {
            Found::Modules(names) => {
                for need in names {
                    if self.marks.get(&need) == Some(&Mark::Open) {
                        let start = self.path.iter().position(|name| *name == need).unwrap_or_default();
                        let mut cycle: Vec<String> = self.path.iter().skip(start).cloned().collect();
                        cycle.push(need);
                        return Err(Error::ModuleCycle { cycle, version: self.catalog.version.clone() });
                    }
                    self.visit(&need)?;
                    add_need(module, &need);
                }
                Ok(())
            }
            Found::BuiltIn(names) => {
                self.plan.built_in.extend(names);
                Ok(())
            }
            Found::Nothing => Err(Error::ModuleNeedsMissing {
                module: module.name.clone(),
                need: need.into(),
                version: self.catalog.version.clone(),
            }),
        }
    }

    /// Adds modules that should be loaded before this one; behind it, with a note, where they depend on it themselves.
    fn prefer(&mut self, module: &mut Planned, needs: &[String]) -> Result<()> {
        for need in needs {
            let blocked = self.hard_closure(need).iter().any(|name| self.marks.get(name) == Some(&Mark::Open));
            if blocked {
                self.note(Note::SoftCycle { module: module.name.clone(), need: need.clone() });
                if *need != module.name {
                    self.later.push_back(need.clone());
                }
                continue;
            }
            self.visit(need)?;
            add_need(module, need);
        }
        Ok(())
    }

    /// Adds what a module needs without saying so, as the table says when that is loaded.
    fn add_undeclared(&mut self, module: &mut Planned, undeclared: &undeclared::UndeclaredNeed) -> Result<()> {
        let mut names: Vec<&String> = undeclared.names.iter().collect();
        if undeclared.load == Load::Transport {
            let asked: Vec<&String> = names.iter().copied().filter(|name| self.asked.contains(*name)).collect();
            let there = names.iter().copied().find(|name| self.catalog.by_alias(name) != Found::Nothing);
            match (asked.as_slice(), there) {
                ([], Some(name)) => names = vec![name],
                ([], None) => {}
                _ => names = asked,
            }
        }
        for name in names {
            match self.catalog.by_alias(name) {
                Found::Modules(found) => {
                    for need in &found {
                        // One that the module declares too is no news.
                        if !self.asked.contains(need) && !module.needs.contains(need) {
                            self.note(Note::HiddenAdded {
                                module: module.name.clone(),
                                need: need.clone(),
                                source: undeclared.source,
                            });
                        }
                    }
                    match undeclared.load {
                        Load::Before | Load::BeforeIfPresent => self.prefer(module, &found)?,
                        Load::Transport | Load::OnDemand => self.later.extend(found),
                    }
                }
                Found::BuiltIn(found) => self.plan.built_in.extend(found),
                // A kernel without the feature has no use for it.
                Found::Nothing if matches!(undeclared.load, Load::OnDemand | Load::BeforeIfPresent) => {}
                Found::Nothing => self.note(Note::HiddenAbsent {
                    module: module.name.clone(),
                    need: name.clone(),
                    source: undeclared.source,
                }),
            }
        }
        Ok(())
    }

    /// Returns the module and all that it cannot be loaded without.
    fn hard_closure(&self, name: &str) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        let mut pending = vec![name.to_string()];
        while let Some(name) = pending.pop() {
            if let Some(Ok(info)) = self.catalog.modules.get(&name).map(|entry| &entry.info) {
                pending.extend(info.depends.iter().filter(|need| !all.contains(*need)).cloned());
            }
            all.insert(name);
        }
        all
    }

    fn note(&mut self, note: Note) {
        add_note(&mut self.plan.notes, note, true);
    }
}

fn add_need(module: &mut Planned, need: &str) {
    if !module.needs.iter().any(|name| name == need) {
        module.needs.push(need.into());
    }
}

fn info<'a>(catalog: &'a Catalog, name: &str) -> Result<&'a ModInfo> {
    let missing = || Error::UnknownModule {
        name: name.into(),
        version: catalog.version.clone(),
        nearest: Vec::new(),
        built_in_known: catalog.built_in.known,
    };
    let entry = catalog.modules.get(name).ok_or_else(missing)?;
    entry
        .info
        .as_ref()
        .map_err(|reason| Error::ModuleFile { path: catalog.root.join(&entry.path), reason: reason.clone() })
}

/// Checks that all modules are for one kernel: it loads only those with its own vermagic.
fn check_one_kernel(catalog: &Catalog, modules: &[Planned]) -> Result<()> {
    let mut first: Option<(&str, &ModInfo)> = None;
    for module in modules {
        let info = info(catalog, &module.name)?;
        let path = |name: &str| catalog.root.join(catalog.modules.get(name).map_or(name, |entry| &entry.path));
        match first {
            Some((other, other_info)) if other_info.vermagic != info.vermagic => {
                return Err(Error::ModulesOfTwoKernels {
                    first: path(other),
                    first_vermagic: other_info.vermagic.clone(),
                    second: path(&module.name),
                    second_vermagic: info.vermagic.clone(),
                });
            }
            Some(_) => {}
            None => first = Some((&module.name, info)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
