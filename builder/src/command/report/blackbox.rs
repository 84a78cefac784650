//! The black box of a disk in sentences: how the last boots ended, and the card and the log of the last one that ended badly.

use std::{fmt::Write as _, path::Path, sync::Arc};

use base::escape::escape;
use contract::{
    blackbox::{self, Content, End, Entry, Record},
    crc32::crc32,
};
use doctor::{
    BootInput,
    blackbox::BlackBox,
    block_reader::{Disk, Shared},
    volume,
};
use serde_json::{Value, json};

use super::boot::{Report, as_text as report_text, parse};
use crate::{Error, Result, command::output::wrapped};

/// Reads the black box of a disk.
///
/// # Errors
/// [`Error::Usage`] for one that has none, else the disk's.
pub fn of_disk(path: &Path) -> Result<BlackBox> {
    let disk = Disk::open(path)?;
    let sector = disk.sector();
    let disk: Shared = Arc::new(disk);
    let (devices, _) = volume::devices(disk, "sda", sector);
    let found = doctor::blackbox::read(&devices, &BootInput::default().config());
    if found.is_empty() {
        return Err(Error::Usage(format!(
            "{} has no black box that tells of a boot; `initramfs-overlay doctor` tells what the disk would boot",
            path.display()
        )));
    }
    Ok(found)
}

/// Reads the file of a black box, or the text that is on `boot`. None for anything else.
pub fn of_bytes(bytes: &[u8]) -> Option<BlackBox> {
    let content = blackbox::read(bytes);
    if !content.entries.is_empty() {
        return Some(BlackBox { content: Some(content), text: None });
    }
    let text = blackbox::record(bytes).filter(|_| blackbox::is_named(bytes))?;
    Some(BlackBox { content: None, text: Some(text) })
}

/// Returns the report of the newest boot that left one.
pub fn newest_report(found: &BlackBox) -> Option<Report> {
    let mut entries = found.content.iter().flat_map(|content| &content.entries);
    entries.find_map(|entry| parse(entry.report.as_bytes(), Path::new("the black box")).ok())
}

fn sentence(entry: &Entry) -> String {
    let number = entry.sequence;
    let (code, step) = (&entry.ended.code, &entry.ended.step);
    match entry.ended.end {
        End::Good => format!("Boot {number} went well."),
        End::Failed => {
            format!("Boot {number} failed in step {step} with {code}; `initramfs-overlay explain {code}` says more.")
        }
        End::Crashed => format!("Boot {number}, or the system that it started, crashed."),
    }
}

fn sentences(content: &Content) -> Vec<String> {
    let mut told: Vec<String> = content.entries.iter().map(sentence).collect();
    match content.torn {
        0 => {}
        1 => told.push("One entry is torn: the power went while it was written, or the disk is damaged.".to_owned()),
        torn => told.push(format!("{torn} entries are torn: the disk is damaged.")),
    }
    told
}

/// Returns the checksum of a card, as its QR code has it.
fn digest(card: &str) -> String {
    format!("{:08x}", crc32(card.trim_end().as_bytes()))
}

/// Returns a text line by line, without what would drive a terminal.
fn lines(text: &str) -> String {
    text.lines().map(|line| format!("{}\n", escape(line.as_bytes()))).collect()
}

/// Tells the black box in sentences; then the newest report, the card and the end of the log.
pub fn as_text(found: &BlackBox) -> String {
    /// Lines of a log that are shown; `--json` has all.
    const LOG: usize = 40;
    let mut text = String::new();
    if let Some(content) = &found.content {
        text = sentences(content).iter().map(|sentence| wrapped("", sentence)).collect();
        let newest = content.entries.iter().find(|entry| !entry.report.is_empty());
        if let (Some(newest), Some(report)) = (newest, newest_report(found)) {
            let _ = write!(text, "\nThe report of boot {}:\n{}", newest.sequence, report_text(&report));
        }
        if let Some(bad) = content.entries.iter().find(|entry| entry.ended.end != End::Good) {
            if !bad.card.is_empty() {
                let _ = write!(text, "\nThe card of boot {}:\n{}", bad.sequence, lines(&bad.card));
                text.push_str(&wrapped("", &format!("The QR code of this card has h={}.", digest(&bad.card))));
            }
            let all: Vec<&str> = bad.log.lines().collect();
            let end = all[all.len().saturating_sub(LOG)..].join("\n");
            let what = if bad.ended.end == End::Crashed { "records of the crash" } else { "kernel's log" };
            if !end.is_empty() {
                let _ = write!(text, "\nThe end of the {what} of boot {}:\n{}", bad.sequence, lines(&end));
            }
        }
        return text;
    }
    match &found.text {
        Some(Record::Whole(card)) => {
            let _ = write!(text, "The last failed boot, as the boot partition has it:\n{}", lines(card));
        }
        Some(Record::Torn) => {
            text.push_str(&wrapped(
                "",
                "The text is torn: the power went while it was written, or the disk is damaged.",
            ));
        }
        None => {}
    }
    text
}

/// Returns all of the black box as JSON.
pub fn as_json(found: &BlackBox) -> String {
    let entry = |entry: &Entry| {
        json!({
            "number": entry.sequence,
            "end": entry.ended.end.name(),
            "code": entry.ended.code,
            "step": entry.ended.step,
            "report": serde_json::from_str(&entry.report).unwrap_or(Value::Null),
            "card": entry.card,
            "card_digest": (!entry.card.is_empty()).then(|| digest(&entry.card)),
            "log": entry.log,
        })
    };
    let content = found.content.clone().unwrap_or_default();
    let text = found.text.as_ref().map(|record| match record {
        Record::Whole(text) => json!({ "torn": false, "text": text }),
        Record::Torn => json!({ "torn": true }),
    });
    let entries: Vec<Value> = content.entries.iter().map(entry).collect();
    format!("{:#}\n", json!({ "boots": entries, "torn": content.torn, "boot_partition": text }))
}

#[cfg(test)]
mod tests {
    use contract::{
        blackbox::{Ended, FILL, HEAD, SIZE, SLOT},
        failure::Code,
        report,
        step::Step,
    };

    use super::*;

    /// Returns a black box after a good boot, a failure and a crash.
    fn example() -> Vec<u8> {
        let mut bytes = vec![FILL; SIZE];
        let mut report = report::Report::default();
        report.begin(Step::Devices, std::time::Duration::from_millis(5));
        for (ended, card, log) in [
            (Ended::plain(End::Good), "", ""),
            (Ended::failed(Code::ImageMissing, Step::Image), " the card\u{1b}[2J\n", "line\n"),
            (Ended::plain(End::Crashed), "", "Oops\n"),
        ] {
            let next = blackbox::survey(&mut |slot| bytes[slot * SLOT..][..HEAD].to_vec()).next(ended.end);
            let entry = blackbox::encode(next, &ended, &report.to_json(None), card, log);
            bytes[next.slot * SLOT..][..entry.len()].copy_from_slice(&entry);
        }
        bytes
    }

    #[test]
    fn a_black_box_is_told() {
        let mut bytes = example();
        let text = as_text(&of_bytes(&bytes).unwrap());
        let flat = text.replace('\n', " ");
        for words in [
            "Boot 3, or the system that it started, crashed. Boot 2 failed in step image with image-missing;",
            "Boot 1 went well. ",
            "The report of boot 3: The boot went well",
            "The end of the records of the crash of boot 3: Oops ",
        ] {
            assert!(flat.contains(words), "{words}: {text}");
        }
        // The crash is in the second slot for failures.
        bytes[3 * SLOT + HEAD] ^= 1;
        let text = as_text(&of_bytes(&bytes).unwrap());
        for words in
            ["One entry is torn", "The card of boot 2:\n the card\\u{1b}[2J\n", "kernel's log of boot 2:\nline\n"]
        {
            assert!(text.contains(words), "{words}: {text}");
        }
        let value: Value = serde_json::from_str(&as_json(&of_bytes(&bytes).unwrap())).unwrap();
        assert_eq!((&value["boots"][0]["code"], &value["torn"]), (&"image-missing".into(), &1.into()));
        assert_eq!(value["boots"][0]["report"]["format"], 1);
        let digest = format!("{:08x}", crc32(b" the card\x1b[2J"));
        assert_eq!(value["boots"][0]["card_digest"], digest);
        assert!(text.contains(&format!("The QR code of this card has h={digest}.")), "{text}");
    }

    #[test]
    fn the_text_of_boot_is_told() {
        let mut file = blackbox::template();
        assert!(of_bytes(&file).is_none() && of_bytes(b"{}").is_none());
        file[4096..4096 + blackbox::WINDOW].copy_from_slice(&blackbox::render("the card\n", "a line\n"));
        let text = as_text(&of_bytes(&file).unwrap());
        assert!(
            text.starts_with("The last failed boot, as the boot partition has it:\nthe card\n")
                && text.ends_with("a line\n")
        );
        file[4096 + 100] ^= 1;
        assert!(as_text(&of_bytes(&file).unwrap()).contains("The text is torn"));
    }
}
