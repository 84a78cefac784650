//! The report of one boot: read as anybody may have written it, told in sentences, drawn as bars.

use std::{fmt::Write as _, path::Path};

use base::escape::escape;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    Error, Result,
    command::output::wrapped,
    svg::{Anchor, COLOURS, Svg},
};

/// Longer ones are no report, in bytes.
pub(super) const LIMIT: u64 = 1 << 20;

/// The fields that are read; those that are unknown are let be.
#[derive(Debug, Deserialize)]
pub(super) struct Report {
    init: String,
    status: String,
    #[serde(default)]
    notices: Vec<String>,
    #[serde(default)]
    steps: Vec<Step>,
    failure: Option<Failure>,
    /// Choices by name.
    #[serde(flatten)]
    facts: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Step {
    name: String,
    start_us: u64,
    duration_us: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    code: String,
    step: String,
    #[serde(default)]
    next: String,
}

/// Returns true for the beginning of a disk or a partition.
pub(super) fn is_disk(bytes: &[u8]) -> bool {
    bytes.get(510..512) == Some(&[0x55, 0xaa]) || bytes.get(1080..1082) == Some(&[0x53, 0xef])
}

pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Report> {
    let refuse = |reason: &str| Error::NoReport { path: path.to_owned(), reason: reason.to_owned() };
    if is_disk(bytes) {
        let words = "this is a disk: give its path, as it cannot be read from standard input; `initramfs-overlay doctor` tells what it would boot";
        return Err(refuse(words));
    }
    if bytes.len() as u64 > LIMIT {
        return Err(refuse("it is longer than 1 MiB"));
    }
    let no_json = |error| {
        format!(
            "{error}; expected report.json of init, a black box, or the disk that has one (an image or a block device)"
        )
    };
    let value: Value = serde_json::from_slice(bytes).map_err(|error| refuse(&no_json(error)))?;
    match value["format"].as_u64() {
        Some(1) => serde_json::from_value(value).map_err(|error| refuse(&error.to_string())),
        Some(other) => Err(refuse(&format!("its format is {other}, and this command knows 1"))),
        None => Err(refuse("it has no `format`")),
    }
}

impl Report {
    fn fact(&self, name: &str) -> Option<String> {
        self.facts.get(name).and_then(Value::as_str).map(|text| escape(text.as_bytes()).to_string())
    }

    /// Returns the time from the first step to the end of the last one that has ended.
    fn total(&self) -> u64 {
        let end = |step: &Step| step.start_us.saturating_add(step.duration_us.unwrap_or(0));
        let end = self.steps.iter().map(end).max().unwrap_or(0);
        end.saturating_sub(self.steps.first().map_or(0, |step| step.start_us))
    }

    fn sentences(&self) -> Vec<String> {
        let mut told = Vec::new();
        let by = match self.fact("kernel") {
            Some(kernel) => format!("initramfs-overlay {} on Linux {kernel}", escape(self.init.as_bytes())),
            None => format!("initramfs-overlay {}", escape(self.init.as_bytes())),
        };
        told.push(match self.status.as_str() {
            "ok" => format!("The boot went well ({by})."),
            "degraded" => format!("The system runs, but not as it was meant to ({by})."),
            "failed" => format!("The boot failed ({by})."),
            other => format!("The status of the boot is {} ({by}).", escape(other.as_bytes())),
        });
        if let Some(Failure { code, step, next }) = &self.failure {
            let (code, step) = (escape(code.as_bytes()), escape(step.as_bytes()));
            let next = if next.is_empty() { String::new() } else { format!(" Try next: {}.", escape(next.as_bytes())) };
            told.push(format!(
                "It failed in step {step} with {code}; `initramfs-overlay explain {code}` says more.{next}"
            ));
        }
        if let (Some(image), Some(img)) = (self.fact("image"), self.fact("img")) {
            let format = self.fact("image_format").map(|format| format!(" ({format})")).unwrap_or_default();
            told.push(format!("The system is {image}{format} on {img}."));
        }
        if let Some(tag) = self.fact("tag") {
            told.push(format!("The root is the directory that the host shares as {tag}."));
        }
        if let Some(program) = self.fact("program") {
            told.push(format!("The system is in memory and runs {program}."));
        }
        match (self.fact("overlay").as_deref(), self.fact("root").as_deref()) {
            (Some("tmpfs"), _) => told.push("What it writes stays in memory and is lost at power-off.".to_owned()),
            (Some(device), Some("ro")) => {
                told.push(format!("Its root is read-only; the writable layer is on {device}."))
            }
            (Some(device), _) => told.push(format!("What it writes goes to {device}.")),
            (None, _) => {}
        }
        match self.fact("toram").as_deref() {
            Some("yes") => told.push("The image was copied to memory.".to_owned()),
            Some("no") => told.push("The image was to be copied to memory, and was not.".to_owned()),
            _ => {}
        }
        match self.fact("persistent").as_deref() {
            Some("no") => told.push("Persistent files are left out.".to_owned()),
            Some("unsigned") => told.push("Something that no signature covers lies over the image.".to_owned()),
            _ => {}
        }
        if let Some(update) = self.fact("update").filter(|update| update != "none") {
            told.push(format!("The update that was delivered: {update}."));
        }
        if let Some(left) = self.fact("trial") {
            told.push(format!("The image is on trial, with {left} boots left after this one."));
        }
        told.extend(
            self.notices.iter().map(|notice| format!("Notice: {}.", escape(notice.trim_end_matches('.').as_bytes()))),
        );
        told
    }
}

pub(super) fn as_json(report: &Report) -> String {
    let steps: Vec<_> = report
        .steps
        .iter()
        .map(|step| json!({ "name": step.name, "start_us": step.start_us, "duration_us": step.duration_us }))
        .collect();
    let value = json!({
        "status": report.status,
        "sentences": report.sentences(),
        "total_us": report.total(),
        "steps": steps,
    });
    format!("{value:#}\n")
}

/// Returns a time in milliseconds, with one digit behind the point.
fn milliseconds(us: u64) -> String {
    format!("{}.{} ms", us / 1000, us % 1000 / 100)
}

pub(super) fn as_text(report: &Report) -> String {
    /// Characters of the longest bar.
    const BAR: u64 = 30;
    let mut text: String = report.sentences().iter().map(|sentence| wrapped("", sentence)).collect();
    let Some(first) = report.steps.first() else { return text };
    let total = report.total();
    let _ = writeln!(
        text,
        "\nInit took {}, beginning {} after the kernel.\n",
        milliseconds(total),
        milliseconds(first.start_us)
    );
    let longest = report.steps.iter().filter_map(|step| step.duration_us).max().unwrap_or(0).max(1);
    for step in &report.steps {
        let name = escape(step.name.as_bytes()).to_string();
        let Some(duration) = step.duration_us else { continue };
        let filled = usize::try_from((duration.saturating_mul(BAR) / longest).min(BAR)).unwrap_or(0);
        let _ = writeln!(
            text,
            "{}",
            format!("{name:<12} {:>12}  {}", milliseconds(duration), "#".repeat(filled)).trim_end()
        );
    }
    text
}

/// Draws the steps one below the other, each from its beginning to its end.
pub(super) fn picture(report: &Report) -> String {
    const WIDTH: f64 = 960.0;
    const NAMES: f64 = 110.0;
    const TIMES: f64 = 90.0;
    let steps: Vec<&Step> = report.steps.iter().filter(|step| step.duration_us.is_some()).collect();
    let sentences = report.sentences();
    let head = Svg::LINE * (sentences.len() as f64 + 1.5);
    let mut svg = Svg::new(WIDTH, head + Svg::LINE * (steps.len() as f64 + 1.0));
    for (number, sentence) in sentences.iter().enumerate() {
        svg.label([0.0, Svg::LINE * number as f64, WIDTH, Svg::LINE], sentence);
    }
    let begin = report.steps.first().map_or(0, |step| step.start_us);
    let total = report.total().max(1) as f64;
    let scale = (WIDTH - NAMES - TIMES) / total;
    for (number, step) in steps.into_iter().enumerate() {
        let duration = step.duration_us.unwrap_or(0);
        let y = head + Svg::LINE * number as f64;
        let x = NAMES + step.start_us.saturating_sub(begin) as f64 * scale;
        // A step of no time is still seen.
        let width = (duration as f64 * scale).max(1.0);
        let colour = COLOURS.get(number % COLOURS.len()).copied().unwrap_or_default();
        svg.text(NAMES - 6.0, y + 13.0, Anchor::End, &step.name);
        svg.rectangle(
            [x, y + 2.0, width, Svg::LINE - 4.0],
            colour,
            &format!("{}: {}", step.name, milliseconds(duration)),
        );
        svg.text(x + width + 4.0, y + 13.0, Anchor::Start, &milliseconds(duration));
    }
    svg.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use contract::{report, step::Step};

    use super::*;

    fn example() -> Report {
        let mut report = report::Report::default();
        report.fact(report::Fact::Kernel, "6.1.0");
        report.fact(report::Fact::Image, "root-squashfs.img");
        report.fact(report::Fact::ImageFormat, "squashfs");
        report.fact(report::Fact::Img, "/dev/vda2");
        report.fact(report::Fact::Overlay, "/dev/vda3\u{1b}");
        report.fact(report::Fact::Update, "installed");
        report.notice("parameter rd.timeot: did you mean rd.timeout?");
        for (step, ms) in [(Step::Api, 1000), (Step::Devices, 1010), (Step::Image, 1310), (Step::SwitchRoot, 1400)] {
            report.begin(step, Duration::from_millis(ms));
        }
        parse(report.to_json(None).as_bytes(), Path::new("x")).unwrap()
    }

    #[test]
    fn what_init_writes_is_told() {
        let report = example();
        assert_eq!(report.total(), 400_000);
        let text = as_text(&report);
        for words in [
            "The boot went well (initramfs-overlay ",
            "on Linux 6.1.0).\n",
            "The system is root-squashfs.img (squashfs) on /dev/vda2.\n",
            "What it writes goes to /dev/vda3\\u{1b}.\n",
            "The update that was delivered: installed.\n",
            "Notice: parameter rd.timeot: did you mean rd.timeout?.\n",
            "\nInit took 400.0 ms, beginning 1000.0 ms after the kernel.\n",
            &format!("\ndevices          300.0 ms  {}\n", "#".repeat(30)),
            &format!("\nimage             90.0 ms  {}\n", "#".repeat(9)),
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(!text.contains("switch-root"), "{text}");
        let value: Value = serde_json::from_str(&as_json(&report)).unwrap();
        assert_eq!((&value["total_us"], &value["steps"][1]["duration_us"]), (&400_000.into(), &300_000.into()));
        let picture = picture(&report);
        // 760 wide for 400 ms: devices begins after 10 ms and takes 300.
        assert!(picture.contains(r#"<rect x="129.0" y="#) && picture.contains(r#"width="570.0""#), "{picture}");
        assert!(picture.contains("<title>devices: 300.0 ms</title>"));
    }

    #[test]
    fn what_is_no_report_is_refused() {
        let mut disk = vec![0; 2048];
        disk[510..512].copy_from_slice(&[0x55, 0xaa]);
        for (bytes, words) in [
            (&b"{}"[..], "no `format`"),
            (b"{\"format\": 2}", "its format is 2"),
            (b"hello", "expected value"),
            (b"{\"format\": 1}", "missing field"),
            (&disk, "initramfs-overlay doctor"),
            (&vec![b' '; (LIMIT + 1) as usize], "longer than"),
        ] {
            let error = parse(bytes, Path::new("x")).unwrap_err().to_string();
            assert!(error.starts_with("x is not a report: ") && error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_failure_names_its_explanation() {
        let text = br#"{"format": 1, "init": "0.1.0", "status": "failed", "failure": {"code": "img-missing", "step": "devices", "next": "label it"}, "steps": []}"#;
        let text = as_text(&parse(text, Path::new("x")).unwrap());
        assert!(text.contains("The boot failed") && text.contains("explain"), "{text}");
        assert!(text.replace('\n', " ").contains("img-missing") && !text.contains("Init took"), "{text}");
    }
}
