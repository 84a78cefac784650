//! Repairs from the menu of the debug variant: a filesystem is checked, a partition gets its label, the black box is copied to a stick.
//! Each asks which device it is for. A device that is in use is left alone.

mod copy;

use contract::{
    card::Card,
    failure::{Class, Code, Role},
    filesystem,
    names::BUSYBOX,
    tag::{Tag, Volume},
};

use super::{
    appliance::Appliance,
    menu::{Action, numbered, position},
    mounts::{in_use, is_in_use},
    task::Task,
};
use crate::{
    boot::block::Probed,
    context::Context,
    kernel::{Kind, exists, read_text},
};

/// The file that takes the words of a program.
const WORDS: &str = "/run/initramfs/repair.txt";
/// Lines of a program's words that are shown; the last ones matter.
const ROWS: usize = 14;
/// Bytes of a program's words that are kept.
const SPOKEN: &str = "8192";
/// Statuses from here on say that a checker could not work: fsck(8) and sh(1).
const FAILED: i32 = 8;
/// The question for a device.
const WHICH: &str = "number, anything else goes back:";
/// The question before something is changed.
const SURE: &str = "y does it, anything else goes back:";

/// Returns the program for a filesystem.
fn program(task: Task, kind: &str) -> Option<&'static str> {
    match task {
        Task::Label => filesystem::labeller(kind),
        Task::Check => Some(checker(kind)?.0),
        Task::Copy => None,
    }
}

/// Returns the program that checks a filesystem, its options for a look that changes nothing, and those that repair all that it finds.
///
/// e2fsck's `-p` is left out: where group descriptors are damaged, e2fsck 1.47.2 deletes the journal before it gives up, and `-y` behind it
/// aborts, though alone it repairs all (`builder/tests/boot/repairs.rs`).
fn checker(kind: &str) -> Option<(&'static str, &'static [&'static str], &'static [&'static str])> {
    match kind {
        "ext2" | "ext3" | "ext4" => Some(("e2fsck", &["-f", "-n"], &["-f", "-y"])),
        "vfat" => Some(("fsck.fat", &["-n"], &["-a"])),
        _ => None,
    }
}

/// The progress of a repair.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Lines are shown, and that was all.
    Show(Vec<String>),
    /// A question is asked below lines.
    Ask(Vec<String>, String),
    /// The boot is tried again.
    Again,
    /// The menu is shown.
    Back,
}

impl Progress {
    /// Asks for one of several things, below a line about them.
    fn pick<'a>(head: &str, labels: impl Iterator<Item = &'a str>) -> Self {
        let lines = [head.to_owned(), String::new()].into_iter().chain(numbered(labels)).collect();
        Self::Ask(lines, WHICH.into())
    }

    fn show(line: &str) -> Self {
        Self::Show(vec![line.to_owned()])
    }
}

/// The thing that a repair asked for last.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Asked {
    Nothing,
    /// One of these devices.
    Device(Task, Vec<Volume>),
    /// One of these labels for a device.
    Label(Volume, Vec<String>),
    /// Permission to give a device this label.
    Sure(Volume, String),
    /// Permission to repair all that is wrong with a filesystem.
    Force(Volume),
}

/// A repair under way.
#[derive(Debug)]
pub(super) struct Repair<'a> {
    card: Option<&'a Card>,
    appliance: &'a Appliance,
    asked: Asked,
}

/// Returns the repairs that make sense after a failure, or without one, with the programs and partitions that are there.
pub(super) fn offered(context: &mut Context<'_>, card: Option<&Card>, appliance: &Appliance) -> Vec<Task> {
    let is_of_disks =
        |card: &Card| matches!(card.code.class(), Class::Missing | Class::Image | Class::Overlay | Class::Root);
    let is_of_disks = card.is_none_or(is_of_disks);
    let volumes = Probed::default().volumes(context.kernel, true);
    let mut is_offered = |task| match task {
        Task::Label => {
            let is_missing = !labels(card, appliance, &volumes).is_empty();
            is_missing && !able(context, task, &unclaimed(&volumes, appliance)).is_empty()
        }
        Task::Check => is_of_disks && !able(context, task, &volumes).is_empty(),
        Task::Copy => !appliance.tags.is_empty(),
    };
    Task::ALL.into_iter().filter(|task| is_offered(*task)).collect()
}

/// Returns the labels that the boot asks for and no partition has, the one that it failed for first; none where it did not fail for one. An
/// update medium is not among them: it comes and goes.
fn labels(card: Option<&Card>, appliance: &Appliance, volumes: &[Volume]) -> Vec<String> {
    let Some(Code::PartitionMissing(missing)) = card.map(|card| card.code) else { return Vec::new() };
    let mut labels: Vec<String> = Vec::new();
    for (role, tag) in &appliance.tags {
        match tag {
            // It has come meanwhile: the boot is to be tried again.
            Tag::Label(_) if *role == missing && volumes.iter().any(|volume| volume.matches(tag)) => return Vec::new(),
            Tag::Label(label) if *role == missing => labels.insert(0, label.clone()),
            Tag::Label(label) if *role != Role::NewImg && !volumes.iter().any(|volume| volume.matches(tag)) => {
                labels.push(label.clone());
            }
            _ if *role == missing => return Vec::new(),
            _ => {}
        }
    }
    labels
}

/// Returns the devices that no tag of the boot names.
fn unclaimed(volumes: &[Volume], appliance: &Appliance) -> Vec<Volume> {
    let is_claimed = |volume: &Volume| appliance.tags.iter().any(|(_, tag)| volume.matches(tag));
    volumes.iter().filter(|volume| !is_claimed(volume)).cloned().collect()
}

/// Returns the label as a filesystem keeps it: FAT in capitals. None where it has no room for it (e2label(8), fatlabel(8)).
fn kept(kind: &str, label: &str) -> Option<String> {
    let (most, label) = if kind == "vfat" { (11, label.to_ascii_uppercase()) } else { (16, label.into()) };
    (label.len() <= most).then_some(label)
}

/// Returns those of the devices that the image has the task's program for.
fn able(context: &mut Context<'_>, task: Task, volumes: &[Volume]) -> Vec<Volume> {
    let mut has = |volume: &&Volume| {
        let program = volume.kind.as_deref().and_then(|kind| program(task, kind));
        program.is_some_and(|program| exists(context.kernel, &path(program)))
    };
    volumes.iter().filter(&mut has).cloned().collect()
}

fn path(program: &str) -> String {
    ["/bin/", program].concat()
}

impl<'a> Repair<'a> {
    /// Returns a repair that has not begun.
    pub(super) fn new(card: Option<&'a Card>, appliance: &'a Appliance) -> Self {
        Self { card, appliance, asked: Asked::Nothing }
    }

    /// Returns the line to be read while an action of the menu takes effect, if that takes long.
    pub(super) fn patience(&self, action: &Action) -> Option<&'static str> {
        match (action, &self.asked) {
            (Action::Repair(Task::Copy), _) => Some("looking for a stick, for 30 s at most: put one in"),
            (Action::Answer(_), Asked::Device(Task::Check, _) | Asked::Force(_)) => {
                Some("working on it; a large filesystem takes minutes")
            }
            _ => None,
        }
    }

    /// Begins, or goes on.
    pub(super) fn take(&mut self, context: &mut Context<'_>, action: &Action) -> Progress {
        match action {
            Action::Repair(task) => self.start(context, *task),
            Action::Answer(answer) => self.answer(context, answer),
            _ => Progress::Back,
        }
    }

    /// Begins.
    fn start(&mut self, context: &mut Context<'_>, task: Task) -> Progress {
        let mut volumes = Probed::default().volumes(context.kernel, true);
        volumes = match task {
            Task::Copy => copy::wait(context, self.appliance),
            Task::Label => able(context, task, &unclaimed(&volumes, self.appliance)),
            Task::Check => able(context, task, &volumes),
        };
        if volumes.is_empty() {
            return Progress::show(match task {
                Task::Copy => "no stick with FAT or ext4, beside the disks that this machine boots from",
                _ => "no partition with a filesystem that this image can handle",
            });
        }
        let lines: Vec<String> = volumes.iter().map(ToString::to_string).collect();
        self.asked = Asked::Device(task, volumes);
        Progress::pick(task.label(), lines.iter().map(String::as_str))
    }

    /// Goes on with an answer.
    fn answer(&mut self, context: &mut Context<'_>, answer: &str) -> Progress {
        let is_sure = answer.trim() == "y";
        match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Device(task, volumes) => {
                let Some(volume) = position(answer).and_then(|place| volumes.into_iter().nth(place)) else {
                    return Progress::Back;
                };
                match task {
                    Task::Label => self.ask_label(context, volume),
                    Task::Check => self.check(context, volume),
                    Task::Copy => Progress::Show(vec![copy::copy(context, self.card, &volume)]),
                }
            }
            Asked::Label(volume, labels) => match position(answer).and_then(|place| labels.get(place)) {
                Some(label) => self.ask_sure(volume, label),
                None => Progress::Back,
            },
            Asked::Sure(volume, label) if is_sure => relabel(context, &volume, &label),
            Asked::Force(volume) if is_sure => {
                let kind = volume.kind.as_deref().unwrap_or_default();
                let Some((program, _, options)) = checker(kind) else { return Progress::Back };
                match objection(context, &volume) {
                    Some(reason) => Progress::Show(vec![reason]),
                    None => Progress::Show(run(context, program, options, &[&volume.path()]).1),
                }
            }
            _ => Progress::Back,
        }
    }

    /// Asks for the label, if there is a choice.
    fn ask_label(&mut self, context: &mut Context<'_>, volume: Volume) -> Progress {
        let labels = labels(self.card, self.appliance, &Probed::default().volumes(context.kernel, true));
        match labels.as_slice() {
            [] => return Progress::show("the partition is there by now: try again"),
            [label] => return self.ask_sure(volume, label),
            _ => {}
        }
        let progress =
            Progress::pick(&["the label for ", &volume.to_string()].concat(), labels.iter().map(String::as_str));
        self.asked = Asked::Label(volume, labels);
        progress
    }

    fn ask_sure(&mut self, volume: Volume, label: &str) -> Progress {
        let Some(label) = kept(volume.kind.as_deref().unwrap_or_default(), label) else {
            return Progress::show("that label is longer than this filesystem takes");
        };
        let lines = vec![volume.to_string(), ["gets the label ", &label, "; the boot is tried again then"].concat()];
        self.asked = Asked::Sure(volume, label);
        Progress::Ask(lines, SURE.into())
    }

    /// Checks a filesystem, and asks before anything is repaired.
    fn check(&mut self, context: &mut Context<'_>, volume: Volume) -> Progress {
        if let Some(reason) = objection(context, &volume) {
            return Progress::Show(vec![reason]);
        }
        let kind = volume.kind.as_deref().unwrap_or_default();
        let Some((program, options, _)) = checker(kind) else { return Progress::Back };
        let (status, lines) = run(context, program, options, &[&volume.path()]);
        if !(1..FAILED).contains(&status) {
            return Progress::Show(lines);
        }
        self.asked = Asked::Force(volume);
        Progress::Ask(lines, "y repairs all that it finds, anything else goes back:".into())
    }
}

/// Returns the reason why a device is left alone: it is in use, or another one than the one that was chosen minutes ago.
fn objection(context: &mut Context<'_>, volume: &Volume) -> Option<String> {
    if is_in_use(context, &volume.path()) {
        return Some(in_use(&volume.path()));
    }
    let is_there = Probed::default().volumes(context.kernel, true).contains(volume);
    (!is_there).then(|| [&volume.path(), " is gone or was replaced"].concat())
}

/// Gives a device a label.
fn relabel(context: &mut Context<'_>, volume: &Volume, label: &str) -> Progress {
    let device = volume.path();
    let Some(program) = volume.kind.as_deref().and_then(filesystem::labeller) else {
        return Progress::Back;
    };
    if let Some(reason) = objection(context, volume) {
        return Progress::Show(vec![reason]);
    }
    match run(context, program, &[], &[&device, label]) {
        (0, _) => Progress::Again,
        (_, lines) => Progress::Show(lines),
    }
}

/// Runs a program of this image. Returns its status (127 where it would not start) and the last lines of its words, its status below them.
fn run(context: &mut Context<'_>, program: &str, options: &[&str], operands: &[&str]) -> (i32, Vec<String>) {
    // The last boot's words are no answer to this one.
    let _ = context.kernel.remove(WORDS, Kind::File);
    // e2fsck has a line for each block that it doubts.
    let end = ["tail -c ", SPOKEN, " >", WORDS].concat();
    let script = ["set -o pipefail; \"$0\" \"$@\" 2>&1 </dev/null | ", BUSYBOX, " ", &end].concat();
    let path = path(program);
    let mut all = vec!["sh", "-c", &script, &path];
    all.extend(options.iter().chain(operands));
    let outcome = context.kernel.run("/", BUSYBOX, &all);
    let text = read_text(context.kernel, WORDS);
    let lines = text.split(['\n', '\r']).map(str::trim_end).filter(|line| !line.is_empty());
    let mut lines: Vec<String> = lines.map(String::from).collect();
    lines.drain(..lines.len().saturating_sub(ROWS));
    let command = [&[program], options, operands].concat().join(" ");
    let (status, end) = match outcome {
        Ok(status) => (status, format!("{command}: exit status {status}")),
        Err(error) => (127, format!("{command}: would not start: {error}")),
    };
    context.say(&end);
    lines.push(end);
    (status, lines)
}

#[cfg(test)]
mod tests;
