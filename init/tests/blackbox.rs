//! The black box over several boots of a described machine: what the next good boot tells, what stays of an entry whose write a power cut
//! has torn, and what is written of `boot`.

#[allow(dead_code, reason = "the golden boots use the rest of it")]
#[path = "golden/machine.rs"]
mod machine;

use contract::{
    blackbox::{self, End, FILL, Record, SIZE, TEXT_SIZE, WINDOW},
    names,
};
use initramfs_overlay_init::kernel::{
    Kernel,
    recorder::{Files, Node},
};
use serde_json::{Value, json};

/// Returns a machine whose image is good, or missing.
fn description(is_good: bool, more: &str) -> String {
    let image = if is_good { "\"root-squashfs.img\" = { image = 'A', size = 4096 }" } else { "" };
    format!(
        "about = 'x'\n[files]\n'dev/vda1' = {{ text = true }}\n'dev/kmsg' = \"6,1,5,-;a line of the log\\n\"\n{more}\n\
         [[device]]\nname = 'vda1'\ndisk = 'vda'\ntype = 'vfat'\nlabel = 'boot'\n\
         [[device]]\nname = 'vda2'\ndisk = 'vda'\ntype = 'ext4'\nlabel = 'img'\n[device.files]\n{image}\n\
         [[device]]\nname = 'vda3'\ndisk = 'vda'\ntype = 'ext4'\nlabel = 'overlay'\n[device.files]\n\
         [images.A]\n'sbin/init' = {{ program = 'A' }}\n"
    )
}

/// The end of a boot.
struct Outcome {
    /// True if it ended in the new root.
    has_booted: bool,
    report: Value,
    /// The files of the writable partition.
    overlay: Files,
    /// The content of `boot`.
    boot: Vec<u8>,
}

/// Boots a machine with these files on the writable partition.
fn boot(text: &str, overlay: &Files) -> Outcome {
    let mut ready = machine::build(machine::parse(text).unwrap());
    ready.recorder.devices[2].files.clone_from(overlay);
    ready.boot();
    let has_booted = ready.recorder.record.iter().any(|line| line.starts_with("exec "));
    let report = serde_json::from_slice(&ready.recorder.read(names::REPORT, 0, usize::MAX).unwrap()).unwrap();
    let boot = ready.recorder.read("/dev/vda1", 0, usize::MAX).unwrap();
    ready.recorder.switch_off();
    let overlay = ready.recorder.devices[2].files.clone();
    Outcome { has_booted, report, overlay, boot }
}

fn black_box(files: &Files) -> &[u8] {
    match files.get(names::BLACKBOX) {
        Some(Node::File(content, ..)) => content,
        other => panic!("{other:?}"),
    }
}

const CRASH: &str =
    "'sys/module/pstore/parameters/backend' = 'ramoops'\n'sys/fs/pstore/dmesg-ramoops-0' = \"Panic#1\\nOops\\n\"";

#[test]
fn the_next_good_boot_tells_how_those_before_it_ended() {
    let first = boot(&description(true, ""), &Files::new());
    assert_eq!((first.has_booted, &first.report["previous"]), (true, &json!([])));
    let failed = boot(&description(false, ""), &first.overlay);
    assert!(!failed.has_booted);
    let good = boot(&description(true, CRASH), &failed.overlay);
    let wanted = json!([{"end": "failed", "code": "image-missing", "step": "choose"}, {"end": "crashed"}]);
    assert_eq!((good.has_booted, &good.report["previous"]), (true, &wanted));
    let content = blackbox::read(black_box(&good.overlay));
    let ends: Vec<End> = content.entries.iter().map(|entry| entry.ended.end).collect();
    assert_eq!(ends, [End::Good, End::Crashed, End::Failed, End::Good]);
    let [newest, crash, failure, _] = content.entries.as_slice() else { panic!("{content:?}") };
    assert_eq!(serde_json::from_str::<Value>(&newest.report).unwrap(), good.report);
    assert_eq!(crash.log, "dmesg-ramoops-0:\nPanic#1\nOops\n\n");
    assert!(failure.card.contains(" cannot boot: image-missing\n"), "{}", failure.card);
    assert_eq!(failure.log, "[    0.000005] a line of the log\n");
    let report: Value = serde_json::from_str(&failure.report).unwrap();
    assert_eq!((&report["failure"]["code"], &report["status"]), (&json!("image-missing"), &json!("failed")));
    let again = boot(&description(true, ""), &good.overlay);
    assert_eq!(again.report["previous"], json!([]), "a good boot ends the list");
}

#[test]
fn of_boot_nothing_is_written_but_the_text() {
    let before = boot(&description(true, ""), &Files::new()).boot;
    let after = boot(&description(false, ""), &Files::new()).boot;
    // Behind the boot sector, the table and the root directory (`boot_partition` of the golden boots).
    let start = 34 * 512;
    let window = start + usize::try_from(blackbox::window(start as u64).unwrap()).unwrap();
    assert!(before.len() == start + TEXT_SIZE && after.len() == before.len());
    let differ: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
    assert!(differ.iter().all(|at| (window..window + WINDOW).contains(at)), "{differ:?}");
    let Some(Record::Whole(text)) = blackbox::record(&after[start..]) else { panic!("it is torn") };
    assert!(text.contains(" cannot boot: image-missing\n"), "{text}");
    assert!(text.contains("\n[    0.000005] a line of the log\n"), "{text}");
}

#[test]
fn parameters_for_one_boot_cost_four_bytes_of_boot_and_count_once() {
    let text = description(true, "").replace("{ text = true }", "{ parameters = \"once rd.overlay=tmpfs\" }");
    let boot = |content: Option<Vec<u8>>| {
        let mut ready = machine::build(machine::parse(&text).unwrap());
        if let Some(content) = content {
            ready.recorder.files.insert("dev/vda1".into(), Node::file(content, 0o600));
        }
        let before = ready.recorder.read("/dev/vda1", 0, usize::MAX).unwrap();
        ready.boot();
        let report = ready.recorder.read(names::REPORT, 0, usize::MAX).unwrap();
        let report: Value = serde_json::from_slice(&report).unwrap();
        let after = ready.recorder.read("/dev/vda1", 0, usize::MAX).unwrap();
        (before, after, (report["overlay"].clone(), report["status"].clone()))
    };
    let (before, after, first) = boot(None);
    let (_, last, second) = boot(Some(after.clone()));
    assert_eq!(first, (json!("tmpfs"), json!("degraded")));
    assert_eq!((second, last == after), ((json!("/dev/vda3"), json!("ok")), true));
    let differ: Vec<u8> = (0..before.len()).filter(|at| before[*at] != after[*at]).map(|at| after[at]).collect();
    assert_eq!((differ.as_slice(), after.len()), (&b"don"[..], before.len()), "the e is the same");
}

/// Returns what a power cut can leave of a write: each sector is the old one, the new one, or zeros.
fn torn(old: &[u8], new: &[u8]) -> Vec<Vec<u8>> {
    const SECTOR: usize = 512;
    let changed: Vec<usize> =
        (0..new.len() / SECTOR).filter(|at| old[at * SECTOR..][..SECTOR] != new[at * SECTOR..][..SECTOR]).collect();
    let mix = |fate: &dyn Fn(usize) -> u8| {
        let mut bytes = new.to_vec();
        for (number, sector) in changed.iter().enumerate() {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            match fate(number) {
                0 => bytes[range.clone()].copy_from_slice(&old[range]),
                1 => bytes[range].fill(0),
                _ => {}
            }
        }
        bytes
    };
    assert!(!changed.is_empty() && changed.len() < 64, "{} sectors", changed.len());
    let count = changed.len();
    let mut all = Vec::new();
    for lost in [0, 1] {
        for cut in 0..=count {
            // The first ones are there, the last ones, all but one, one alone.
            all.push(mix(&|number| if number < cut { 2 } else { lost }));
            all.push(mix(&|number| if number >= cut { 2 } else { lost }));
            all.push(mix(&|number| if number == cut { lost } else { 2 }));
            all.push(mix(&|number| if number == cut { 2 } else { lost }));
        }
    }
    let mut state = 0x1234_5678_9abc_def1_u64;
    for _ in 0..64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        all.push(mix(&|number| (state >> (number % 60)) as u8 & 3));
    }
    all
}

/// A start of the power cuts: the boots before, and the one whose write is cut.
type Start = (&'static str, Vec<String>, String);

#[test]
fn a_power_cut_costs_the_last_entry_and_no_boot() {
    let (good, failed) = (|| description(true, ""), || description(false, ""));
    let crashed = || description(true, CRASH);
    let starts: [Start; 6] = [
        ("a good boot", vec![good()], good()),
        ("a good boot after failures", vec![good(), good(), failed(), failed()], good()),
        ("a failure", vec![good()], failed()),
        ("a failure after failures", vec![good(), failed(), failed()], failed()),
        ("the oldest failure is overwritten", vec![failed(); 6], failed()),
        ("a crash", vec![good(), failed()], crashed()),
    ];
    let (mut cuts, mut boots) = (0, 0);
    for (name, before, last) in starts {
        let mut files = Files::new();
        for text in &before {
            files = boot(text, &files).overlay;
        }
        let old = black_box(&files).to_vec();
        let known = blackbox::read(&old).entries;
        let outcome = boot(&last, &files);
        let new = black_box(&outcome.overlay).to_vec();
        for (number, content) in torn(&old, &new).into_iter().enumerate() {
            cuts += 1;
            let left = blackbox::read(&content).entries;
            // An entry that makes room goes, whether the new one comes or not; a crash and the boot after it are two.
            let lost: Vec<u64> =
                known.iter().filter(|entry| !left.contains(entry)).map(|entry| entry.sequence).collect();
            let room = if name == "a good boot after failures" || name.contains("oldest") { 1 } else { 0 };
            assert!(lost.len() <= room, "{name}: {lost:?} are lost");
            // Those that differ in one sector boot alike.
            for next in [&good(), &failed()].into_iter().filter(|_| number % 5 == 0) {
                boots += 1;
                let mut files = outcome.overlay.clone();
                files.insert(names::BLACKBOX.into(), Node::file(content.clone(), 0o600));
                let after = boot(next, &files);
                assert_eq!(after.has_booted, *next == good(), "{name}");
                let entries = blackbox::read(black_box(&after.overlay)).entries;
                assert_eq!(entries[0].ended.end == End::Good, after.has_booted, "{name}");
            }
        }
    }
    println!(
        "black box: {cuts} torn writes, {boots} boots on what they left; 0 harmed, no entry lost but the one written"
    );
    assert!(cuts > 300 && boots > 100, "{cuts} {boots}");
}

#[test]
fn a_file_that_was_cut_while_it_was_made_is_made_again() {
    for length in [0, 4096, SIZE - 1, SIZE] {
        for byte in [0, FILL] {
            let files: Files = [(names::BLACKBOX.to_owned(), Node::file(vec![byte; length], 0o600))].into();
            for is_good in [true, false] {
                let after = boot(&description(is_good, ""), &files);
                let content = blackbox::read(black_box(&after.overlay));
                assert_eq!((after.has_booted, content.entries.len(), content.torn), (is_good, 1, 0), "{length} {byte}");
            }
        }
    }
}

#[test]
fn a_text_that_was_cut_takes_the_next_failure() {
    let first = boot(&description(false, ""), &Files::new()).boot;
    let start = 34 * 512;
    let window = start + usize::try_from(blackbox::window(start as u64).unwrap()).unwrap();
    for bytes in [0..512, 512..4096, 0..WINDOW] {
        let mut ready = machine::build(machine::parse(&description(false, "")).unwrap());
        let mut torn = first.clone();
        torn[window + bytes.start..window + bytes.end].fill(0);
        assert!(blackbox::record(&torn[start..]).is_none_or(|record| record == Record::Torn));
        ready.recorder.files.insert("dev/vda1".into(), Node::file(torn, 0o600));
        ready.boot();
        let after = ready.recorder.read("/dev/vda1", 0, usize::MAX).unwrap();
        assert!(blackbox::record(&after[start..]).is_some_and(|record| record != Record::Torn));
    }
}
