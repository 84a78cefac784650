//! Every golden boot with every call failing in turn, with each error number that the call can give: once, and from there on for
//! everything on the same device. Each run ends in the new root or in a card; a card about a device names it, says what the device does
//! and is not `io`; the boot keeps its deadline; and once the fault is gone the machine boots, with everything that it held.
//!
//! A sample by default, whose seed is printed; `FAULTS=long` runs all, `FAULTS_SEED=N` repeats a sample, `FAULTS_BOOT=NAME` one boot.

#[allow(dead_code, reason = "the golden boots use the rest of it")]
#[path = "golden/machine.rs"]
mod machine;

use std::{
    collections::BTreeMap,
    env, fs,
    path::Path,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use contract::names;
use initramfs_overlay_init::kernel::recorder::{Files, Node, injection::Injection};

/// The golden boots.
const BOOTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/boots");

/// The longest that a boot may take: the default of `rd.timeout=`, and as much for an update medium.
const DEADLINE: Duration = Duration::from_secs(20);

/// The number of runs of which one, on average, is in the sample.
const SAMPLED: u64 = 16;

/// The outcomes of the runs of one boot.
#[derive(Default)]
struct Tally {
    runs: usize,
    booted: usize,
    cards: usize,
    faults: Vec<String>,
}

/// Returns true if the files of a device hold an image that boots.
fn has_image(files: &Files) -> bool {
    files.iter().any(|(path, node)| {
        !path.contains('/') && matches!(node, Node::File(content, ..) if content.starts_with(b"hsqs"))
    })
}

/// Returns the files of `persistent` on all devices.
fn persistent(ready: &machine::Ready) -> Vec<(String, Node)> {
    let prefix = format!("{}/", names::PERSISTENT);
    let files = ready.recorder.devices.iter().flat_map(|device| device.files.iter());
    let mut all: Vec<_> = files
        .filter(|(path, node)| path.starts_with(&prefix) && !matches!(node, Node::Directory))
        .map(|(path, node)| (path.clone(), node.clone()))
        .collect();
    all.sort_by(|(one, _), (other, _)| one.cmp(other));
    all
}

/// Returns true if the record ends in another program, or in a program that was supervised.
fn has_booted(record: &[String]) -> bool {
    record.iter().any(|line| line.starts_with("exec ") || line.starts_with("start ") || line.starts_with("supervise "))
}

/// Returns true for a boot of which somebody types a repair: with a fault the same keys choose something else, a wait for a stick or another
/// partition to be labelled.
fn is_typed(text: &str) -> bool {
    text.contains("\nkeys = ") && (text.contains("\nshell_ends = ") || text.contains("\nshell = true"))
}

/// Runs a boot with one fault; returns what is wrong with the outcome.
fn run(text: &str, injection: Injection, usual: bool, tally: &mut Tally) -> Result<(), String> {
    let build = || machine::build(machine::parse(text).unwrap());
    let mut ready = build();
    let before = persistent(&ready);
    let images = ready.recorder.devices.iter().filter(|device| has_image(&device.files)).count();
    ready.recorder.injection = Some(injection);
    ready.boot();
    tally.runs += 1;
    let record = ready.recorder.record.clone();
    let device = ready.recorder.calls().get(injection.at).and_then(|(_, device)| *device);
    let device = device.map(|number| ready.recorder.devices[number].volume.path());
    let booted = has_booted(&record);
    // The last of them is that of the last try.
    let card = record.iter().rfind(|line| line.contains(" cannot boot: "));
    // A card that stays up is no part of the boot.
    if !is_typed(text) && ready.recorder.clock().saturating_sub(ready.recorder.held()) > DEADLINE {
        return Err(format!("it took {:?}", ready.recorder.clock()));
    }
    match (booted, card) {
        (true, _) => tally.booted += 1,
        // Somebody ended it in the shell of a breakpoint.
        (false, None) if record.iter().any(|line| line.starts_with("shell: Stopped")) => tally.cards += 1,
        (false, None) => return Err("neither a new root nor a card".into()),
        (false, Some(card)) => {
            tally.cards += 1;
            // What fails without the fault has its own cause; what is about no device names none.
            if let (true, Some(device)) = (usual, &device) {
                if !card.contains(device.as_str()) {
                    return Err(format!("the card does not name {device}:\n{card}"));
                }
                let reason = std::io::Error::from_raw_os_error(injection.number).to_string();
                let reason = reason.split(" (").next().unwrap_or_default();
                let is_told = card.split_whitespace().collect::<Vec<_>>().join(" ").contains(reason)
                    || card.contains("EUCLEAN")
                    || card.contains("EBADMSG")
                    || card.contains("  notice    update ");
                let hides = ["image-missing", "init-missing"].iter().any(|code| card.contains(&format!(": {code}\n")));
                if card.contains(": io\n") || hides && !is_told {
                    return Err(format!("the card hides what {device} does:\n{card}"));
                }
            }
        }
    }
    // The fault is gone.
    ready.recorder.switch_off();
    let devices = std::mem::take(&mut ready.recorder.devices);
    ready = build();
    ready.recorder.devices = devices;
    let after = persistent(&ready);
    let is_reset = ["rd.overlay.reset", "remake", "factory-reset"].iter().any(|word| text.contains(word));
    if before != after && !is_reset {
        return Err(format!("persistent was {before:?} and is {after:?}"));
    }
    let left = ready.recorder.devices.iter().filter(|device| has_image(&device.files)).count();
    if images > 0 && left == 0 {
        return Err("no image is left".into());
    }
    ready.boot();
    if usual && !has_booted(&ready.recorder.record) {
        return Err(format!("the next boot fails:\n{}", ready.recorder.record.join("\n")));
    }
    Ok(())
}

/// Runs one golden boot with all its faults, or a sample.
fn explore(name: &str, text: &str, mut is_chosen: impl FnMut() -> bool) -> Tally {
    let mut tally = Tally::default();
    let mut ready = machine::build(machine::parse(text).unwrap());
    ready.boot();
    let usual = has_booted(&ready.recorder.record) && !is_typed(text);
    let calls = ready.recorder.calls().to_vec();
    for (at, (call, device)) in calls.iter().enumerate() {
        for number in call.numbers() {
            for lasts in [false, true].into_iter().take(1 + usize::from(device.is_some())) {
                if !is_chosen() {
                    continue;
                }
                let injection = Injection { at, number: *number, lasts };
                if let Err(fault) = run(text, injection, usual, &mut tally) {
                    tally.faults.push(format!("{name}: {call:?} {at} gives {number}, lasts: {lasts}: {fault}"));
                }
            }
        }
    }
    tally
}

/// Returns numbers that look random, the same for the same seed (splitmix64).
fn numbers(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[test]
fn every_call_may_fail() {
    let is_long = env::var("FAULTS").is_ok_and(|value| value == "long");
    let only = env::var("FAULTS_BOOT").ok();
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let seed = env::var("FAULTS_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(clock);
    let mut boots: Vec<(String, String)> = fs::read_dir(Path::new(BOOTS))
        .unwrap()
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let text = fs::read_to_string(entry.path().join("machine.toml")).ok()?;
            Some((entry.file_name().into_string().unwrap(), text))
        })
        .filter(|(name, _)| only.as_ref().is_none_or(|only| only == name))
        .collect();
    boots.sort();
    let next = AtomicUsize::new(0);
    let tallies = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((name, text)) = boots.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut random = numbers(
                        seed ^ name.bytes().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())),
                    );
                    let is_all = is_long || only.is_some();
                    let tally = explore(name, text, || is_all || random().is_multiple_of(SAMPLED));
                    tallies.lock().unwrap().insert(name.clone(), tally);
                }
            });
        }
    });
    let tallies = tallies.into_inner().unwrap();
    println!("{:<34} {:>7} {:>8} {:>7}", "boot", "runs", "booted", "cards");
    for (name, tally) in &tallies {
        println!("{name:<34} {:>7} {:>8} {:>7}", tally.runs, tally.booted, tally.cards);
    }
    let runs: usize = tallies.values().map(|tally| tally.runs).sum();
    let faults: Vec<&String> = tallies.values().flat_map(|tally| &tally.faults).collect();
    println!("faults: seed {seed}, {} boots, {runs} runs, {} wrong", tallies.len(), faults.len());
    for fault in faults.iter().take(if is_long { 100_000 } else { 4000 }) {
        println!("{fault}\n");
    }
    assert!(faults.is_empty(), "{} of {runs} runs end wrong", faults.len());
    assert!(runs > 10_000 || only.is_some(), "{runs} runs: the sample is too small");
}
