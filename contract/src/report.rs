//! The report of a boot: each step with its start and duration, what was chosen, what was odd. Pure; it becomes
//! `/run/initramfs/report.json`, whose fields `docs/report.md` describes.

use std::{fmt::Write, time::Duration};

use crate::{blackbox::Ended, card::Card, step::Step};

/// A field of the report that says what was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
    /// The running kernel's version.
    Kernel,
    /// The device of the image's partition.
    Img,
    /// The image's file name.
    Image,
    /// The image's filesystem.
    ImageFormat,
    /// True where the system runs from memory (`rd.toram`).
    ToRam,
    /// The device of the writable layer, or `tmpfs`.
    Overlay,
    /// The state of the persistent layer.
    Persistent,
    /// `ro` or `rw`.
    Root,
    /// The outcome of the update.
    Update,
    /// Boots that are left to the image on trial.
    Trial,
    /// The tag of the root (virtiofs).
    Tag,
    /// The program that runs (from memory).
    Program,
    /// The process that it becomes (from memory).
    Pid1,
}

impl Fact {
    /// All of them; `docs/report.md` describes each.
    pub const ALL: [Self; 13] = [
        Self::Kernel,
        Self::Img,
        Self::Image,
        Self::ImageFormat,
        Self::ToRam,
        Self::Overlay,
        Self::Persistent,
        Self::Root,
        Self::Update,
        Self::Trial,
        Self::Tag,
        Self::Program,
        Self::Pid1,
    ];

    /// Returns the field's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Img => "img",
            Self::Image => "image",
            Self::ImageFormat => "image_format",
            Self::ToRam => "toram",
            Self::Overlay => "overlay",
            Self::Persistent => "persistent",
            Self::Root => "root",
            Self::Update => "update",
            Self::Trial => "trial",
            Self::Tag => "tag",
            Self::Program => "program",
            Self::Pid1 => "pid1",
        }
    }
}

/// The report so far.
#[derive(Debug, Default)]
pub struct Report {
    steps: Vec<(Step, Duration, Option<Duration>)>,
    facts: Vec<(Fact, String)>,
    notices: Vec<String>,
    degraded: bool,
    /// Boots since the last good one, where a black box tells of them.
    previous: Option<Vec<Ended>>,
}

impl Report {
    /// Ends the running step and starts `step`, `now` after the kernel started.
    pub fn begin(&mut self, step: Step, now: Duration) {
        self.end(now);
        self.steps.push((step, now, None));
    }

    /// Ends the running step.
    pub fn end(&mut self, now: Duration) {
        if let Some((_, start, duration @ None)) = self.steps.last_mut() {
            *duration = Some(now.saturating_sub(*start));
        }
    }

    /// Returns the running step.
    pub fn step(&self) -> Step {
        self.steps.last().map_or(Step::Api, |(step, _, _)| *step)
    }

    /// Notes what was chosen. A later fact of the same name replaces the earlier.
    pub fn fact(&mut self, fact: Fact, value: impl Into<String>) {
        self.facts.retain(|(known, _)| *known != fact);
        self.facts.push((fact, value.into()));
    }

    /// Notes something odd that does not stop the boot.
    pub fn notice(&mut self, line: &str) {
        self.notices.push(line.into());
    }

    /// Notes how the boots since the last good one ended.
    pub fn previous(&mut self, since: Vec<Ended>) {
        self.previous = Some(since);
    }

    /// Notes that the system runs, but not as it was meant to.
    pub fn degrade(&mut self) {
        self.degraded = true;
    }

    /// Returns what was chosen, if that is known.
    pub fn chosen(&self, fact: Fact) -> Option<&str> {
        self.facts.iter().find(|(known, _)| *known == fact).map(|(_, value)| value.as_str())
    }

    /// Returns the notices so far.
    pub fn notices(&self) -> &[String] {
        &self.notices
    }

    /// Returns the time at which the first step began, after the kernel started.
    pub fn start(&self) -> Duration {
        self.steps.first().map_or(Duration::ZERO, |(_, start, _)| *start)
    }

    /// Returns the report as JSON (RFC 8259), times in microseconds since the kernel started.
    pub fn to_json(&self, failure: Option<&Card>) -> String {
        let status = match (failure, self.degraded) {
            (Some(_), _) => "failed",
            (None, true) => "degraded",
            (None, false) => "ok",
        };
        let mut out = String::from("{\n  \"format\": 1,\n  \"init\": ");
        string(&mut out, env!("CARGO_PKG_VERSION"));
        out.push_str(",\n  \"status\": ");
        string(&mut out, status);
        for (fact, value) in &self.facts {
            out.push_str(",\n  ");
            string(&mut out, fact.name());
            out.push_str(": ");
            string(&mut out, value);
        }
        if let Some(card) = failure {
            out.push_str(",\n  \"failure\": {");
            for (name, value) in
                [("code", card.code.name()), ("step", card.step.name()), ("wanted", &card.wanted), ("next", &card.next)]
            {
                string(&mut out, name);
                out.push_str(": ");
                string(&mut out, value);
                out.push_str(", ");
            }
            out.push_str("\"seen\": ");
            strings(&mut out, &card.seen);
            out.push_str(", \"kernel\": ");
            strings(&mut out, &card.kernel);
            out.push('}');
        }
        if let Some(previous) = &self.previous {
            out.push_str(",\n  \"previous\": [");
            for (number, ended) in previous.iter().enumerate() {
                out.push_str(if number == 0 { "{\"end\": " } else { ", {\"end\": " });
                string(&mut out, ended.end.name());
                for (name, value) in [("code", &ended.code), ("step", &ended.step)] {
                    if !value.is_empty() {
                        out.push_str(", ");
                        string(&mut out, name);
                        out.push_str(": ");
                        string(&mut out, value);
                    }
                }
                out.push('}');
            }
            out.push(']');
        }
        out.push_str(",\n  \"notices\": ");
        strings(&mut out, &self.notices);
        out.push_str(",\n  \"steps\": [");
        for (number, (step, start, duration)) in self.steps.iter().enumerate() {
            out.push_str(if number == 0 { "\n" } else { ",\n" });
            out.push_str("    {\"name\": ");
            string(&mut out, step.name());
            out.push_str(", \"start_us\": ");
            out.push_str(&micros(*start).to_string());
            if let Some(duration) = duration {
                out.push_str(", \"duration_us\": ");
                out.push_str(&micros(*duration).to_string());
            }
            out.push('}');
        }
        out.push_str("\n  ]\n}\n");
        out
    }
}

/// Microseconds in 64 bits: enough for half a million years.
fn micros(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000).saturating_add(u64::from(time.subsec_micros()))
}

fn strings(out: &mut String, lines: &[String]) {
    out.push('[');
    for (number, line) in lines.iter().enumerate() {
        if number > 0 {
            out.push_str(", ");
        }
        string(out, line);
    }
    out.push(']');
}

fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if u32::from(c) < 0x20 || c == '\u{7f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{blackbox::End, failure::Code};

    #[test]
    fn the_report_is_json() {
        let mut report = Report::default();
        report.begin(Step::Api, Duration::from_micros(5));
        report.begin(Step::Modules, Duration::from_micros(15));
        report.fact(Fact::Image, "a \"quoted\"\n\\name");
        report.fact(Fact::Image, "b\u{1}");
        report.notice("odd\tthing");
        let json: serde_json::Value = serde_json::from_str(&report.to_json(None)).unwrap();
        assert_eq!(json["status"], "ok");
        assert_eq!(json["image"], "b\u{1}");
        assert_eq!(json["notices"][0], "odd\tthing");
        assert_eq!(json["steps"][0]["duration_us"], 10);
        assert_eq!(json["steps"][1]["name"], "modules");
        assert!(json["steps"][1].get("duration_us").is_none());
        report.degrade();
        assert!(report.to_json(None).contains("\"degraded\"") && !report.to_json(None).contains("previous"));
        report.previous(vec![Ended::failed(Code::Io, Step::Image), Ended::plain(End::Crashed)]);
        let json: serde_json::Value = serde_json::from_str(&report.to_json(None)).unwrap();
        assert_eq!(
            json["previous"],
            serde_json::json!([{"end": "failed", "code": "io", "step": "image"}, {"end": "crashed"}])
        );
        let card = Card {
            code: Code::Io,
            step: Step::Api,
            wanted: "w".into(),
            seen: vec!["s".into()],
            kernel: vec!["k".into()],
            notices: Vec::new(),
            next: "n".into(),
            then: "t".into(),
        };
        let json: serde_json::Value = serde_json::from_str(&report.to_json(Some(&card))).unwrap();
        assert_eq!(json["status"], "failed");
        assert_eq!((&json["failure"]["seen"][0], &json["failure"]["kernel"][0]), (&"s".into(), &"k".into()));
    }
}
