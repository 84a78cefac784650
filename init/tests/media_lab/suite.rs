//! Chooses the cases of a run, has them run, and prints what came of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Debug,
    sync::Mutex,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{Random, deadline, runner, seed, templates::Templates};

/// Places that are listed of one kind of fault, where not all are asked for; up to `FEW` variants are always named.
const SHOWN: usize = 24;
const FEW: usize = 8;

/// Cases after which a long run says how far it is.
const PROGRESS: usize = 1000;

/// A case of a suite.
pub trait Case: Serialize {
    /// Names the case.
    fn title(&self) -> String;
    /// Names the group of cases that share a line of the output.
    fn group(&self) -> String;
    /// Says what was hit: faults are listed by it.
    fn place(&self) -> String;
    /// Says what it was hit with.
    fn variant(&self) -> String;
}

/// The outcome of a case.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Faults: the kind and what was seen.
    pub faults: Vec<(String, String)>,
    /// Codes of failure cards that are right answers.
    pub cards: Vec<String>,
    /// Boots that were started.
    pub boots: usize,
    /// Operations of a boot on the medium that is filled.
    #[serde(default)]
    pub operations: usize,
}

impl Outcome {
    /// Adds a fault.
    pub fn fault(&mut self, kind: impl Debug, line: impl Into<String>) {
        self.faults.push((format!("{kind:?}"), line.into()));
    }
}

/// A suite.
pub struct Suite {
    /// Its name in the output.
    pub name: &'static str,
    /// Variable of the environment that chooses the cases: `long` for all, a part of titles for some. `…_SEED` repeats a sample,
    /// `…_VERBOSE` shows every fault.
    pub variable: &'static str,
    /// Cases of a sample.
    pub sample: usize,
    /// Time after which a sample starts no more cases.
    pub time: Duration,
}

impl Suite {
    /// Runs the cases that were asked for and prints what came of them; returns how many passed and how many failed.
    pub fn run<C: Case + Sync>(&self, mut cases: Vec<C>, templates: &Templates) -> (usize, usize) {
        let (name, total) = (self.name, cases.len());
        let mode = std::env::var(self.variable).unwrap_or_default();
        let mut budget = Duration::MAX;
        match mode.as_str() {
            "long" => println!("{name}: all {total} cases"),
            "" => {
                let variable = format!("{}_SEED", self.variable);
                let seed = seed(&variable);
                println!("{name}: a sample of {total} cases, {variable}={seed}");
                Random::new(seed).shuffle(&mut cases);
                cases.truncate(self.sample);
                budget = self.time;
            }
            part => {
                cases.retain(|case| case.title().contains(part));
                println!("{name}: {} of {total} cases", cases.len());
            }
        }
        let start = Instant::now();
        let outcomes: Mutex<BTreeMap<usize, Outcome>> = Mutex::default();
        let texts: Vec<String> = cases.iter().map(|case| serde_json::to_string(case).unwrap()).collect();
        // A case boots a few times.
        let limit = 4 * deadline();
        runner::run_cases(&texts, &templates.dir, limit, budget, |place, printed| {
            let outcome = printed.and_then(|text| serde_json::from_str(&text).ok());
            let outcome = outcome.unwrap_or_else(|| {
                let mut outcome = Outcome::default();
                outcome.faults.push(("Laboratory".into(), "the case's process left no result".into()));
                outcome
            });
            let mut outcomes = outcomes.lock().unwrap();
            outcomes.insert(place, outcome);
            if outcomes.len().is_multiple_of(PROGRESS) {
                eprintln!("{name}: {} of {} cases, {} s", outcomes.len(), cases.len(), start.elapsed().as_secs());
            }
        });
        let outcomes = outcomes.into_inner().unwrap();
        self.print(&cases, &outcomes, start.elapsed());
        let failed = outcomes.values().filter(|outcome| !outcome.faults.is_empty()).count();
        (outcomes.len() - failed, failed)
    }

    fn print<C: Case>(&self, cases: &[C], outcomes: &BTreeMap<usize, Outcome>, time: Duration) {
        let name = self.name;
        let mut groups: BTreeMap<String, [usize; 3]> = BTreeMap::new();
        let mut cards: BTreeMap<&String, Vec<String>> = BTreeMap::new();
        for (place, outcome) in outcomes {
            let case = &cases[*place];
            let [count, boots, bad] = groups.entry(case.group()).or_default();
            (*count, *boots) = (*count + 1, *boots + outcome.boots);
            *bad += usize::from(!outcome.faults.is_empty());
            for card in &outcome.cards {
                cards.entry(card).or_default().push(case.title());
            }
        }
        for (group, [count, boots, bad]) in &groups {
            let verdict = if *bad == 0 { "ok".into() } else { format!("{bad} FAILED") };
            println!("{name}: {group}, {count} cases, {boots} boots ... {verdict}");
        }
        for (card, titles) in &cards {
            println!("  card {card}, which is right: {} boots, such as {}", titles.len(), titles[0]);
        }
        self.print_faults(cases, outcomes);
        let boots: usize = groups.values().map(|[_, boots, _]| boots).sum();
        println!("  {} cases, {boots} boots, {} s", outcomes.len(), time.as_secs());
    }

    /// Prints each kind of fault with what was hit by what, and an example of each.
    fn print_faults<C: Case>(&self, cases: &[C], outcomes: &BTreeMap<usize, Outcome>) {
        let mut faults: BTreeMap<&String, BTreeMap<String, BTreeMap<String, Vec<String>>>> = BTreeMap::new();
        let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
        for (place, outcome) in outcomes {
            let case = &cases[*place];
            let mut kinds: Vec<&String> = outcome.faults.iter().map(|(kind, _)| kind).collect();
            kinds.dedup();
            kinds.into_iter().for_each(|kind| *counts.entry(kind).or_default() += 1);
            for (kind, line) in &outcome.faults {
                let variants = faults.entry(kind).or_default().entry(case.place()).or_default();
                variants.entry(case.variant()).or_default().push(format!("{}: {line}", case.title()));
            }
        }
        // What a place was hit with in this run.
        let mut all_variants: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for place in outcomes.keys() {
            all_variants.entry(cases[*place].place()).or_default().insert(cases[*place].variant());
        }
        let shows_all = std::env::var_os(format!("{}_VERBOSE", self.variable)).is_some();
        for (kind, places) in &faults {
            println!("  {kind}: {} cases", counts[kind]);
            for (place, variants) in places.iter().take(if shows_all { usize::MAX } else { SHOWN }) {
                let list: Vec<&str> = variants.keys().map(String::as_str).collect();
                let is_any = all_variants.get(place).is_some_and(|all| all.len() == list.len() && list.len() > FEW);
                println!("    {place}: {}", if is_any { "whatever is there".into() } else { list.join(" ") });
                let examples = variants.values().flatten();
                for example in examples.take(if shows_all { usize::MAX } else { 1 }) {
                    println!("      {example}");
                }
            }
            if !shows_all && places.len() > SHOWN {
                println!("    and {} more", places.len() - SHOWN);
            }
        }
    }
}
