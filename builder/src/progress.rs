//! What is being done, for the person who waits: a line that moves on a terminal, plain lines elsewhere, all on standard
//! error. Decides nothing and keeps nothing.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use indicatif::{BinaryBytes, MultiProgress, ProgressBar, ProgressStyle};

/// Where progress is shown.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    shown: Shown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Moving,
    Lines,
    Nothing,
}

/// Several transfers at the same time, each with a bar of its own.
#[derive(Debug)]
pub struct Transfers {
    progress: Progress,
    bars: MultiProgress,
}

/// Something that takes a while. Dropped before [`Step::finish`], it leaves the last word to an error.
#[derive(Debug)]
pub struct Step {
    bar: Option<ProgressBar>,
    /// The bars that it is one of.
    bars: Option<MultiProgress>,
    shown: Shown,
    text: String,
    started: Instant,
}

/// Steps that took less are not given a time.
const WORTH_A_TIME: Duration = Duration::from_secs(1);

impl Progress {
    /// Moving on a terminal, else lines.
    #[must_use]
    pub fn on_stderr() -> Self {
        Self { shown: if std::io::stderr().is_terminal() { Shown::Moving } else { Shown::Lines } }
    }

    /// None at all.
    #[must_use]
    pub fn none() -> Self {
        Self { shown: Shown::Nothing }
    }

    /// Begins a step; `text` says what is being done: "armv6l: compiling init".
    #[must_use]
    pub fn step(&self, text: impl Into<String>) -> Step {
        let text = text.into();
        let bar = (self.shown == Shown::Moving).then(|| {
            let bar = ProgressBar::new_spinner().with_message(text.clone());
            if let Ok(style) = ProgressStyle::with_template("{spinner:.cyan} {msg} {elapsed:.dim}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        if self.shown == Shown::Lines {
            eprintln!("{text} ...");
        }
        Step { bar, bars: None, shown: self.shown, text, started: Instant::now() }
    }

    /// Begins a step in which `total` bytes are to come: a bar on a terminal.
    #[must_use]
    pub fn transfer(&self, text: impl Into<String>, total: u64) -> Step {
        let text = text.into();
        let bar = (self.shown == Shown::Moving).then(|| {
            let bar = ProgressBar::new(total).with_message(text.clone());
            let template = "{msg} {wide_bar:.cyan} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar
        });
        if self.shown == Shown::Lines {
            eprintln!("{text}, {} ...", BinaryBytes(total));
        }
        Step { bar, bars: None, shown: self.shown, text, started: Instant::now() }
    }

    /// For several of them at the same time.
    #[must_use]
    pub fn transfers(&self) -> Transfers {
        Transfers { progress: *self, bars: MultiProgress::new() }
    }

    /// Says something that stays: a result, or a warning.
    pub fn say(&self, text: impl AsRef<str>) {
        if self.shown != Shown::Nothing {
            eprintln!("{}", text.as_ref());
        }
    }
}

impl Transfers {
    /// Begins one of them, as [`Progress::transfer`].
    #[must_use]
    pub fn transfer(&self, text: impl Into<String>, total: u64) -> Step {
        let mut step = self.progress.transfer(text, total);
        step.bar = step.bar.take().map(|bar| self.bars.add(bar));
        step.bars = Some(self.bars.clone());
        step
    }
}

impl Step {
    /// What the step is at just now. Only shown where it can be overwritten.
    pub fn detail(&self, detail: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {detail}", self.text));
        }
    }

    /// So many bytes more have come.
    pub fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    /// Ends the step; `result` is added to its text.
    pub fn finish(self, result: &str) {
        let took = self.started.elapsed();
        let separator = if result.is_empty() { "" } else { ": " };
        let time = if took < WORTH_A_TIME { String::new() } else { format!(" ({} s)", took.as_secs()) };
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.shown != Shown::Nothing {
            let say = || eprintln!("{}{separator}{result}{time}", self.text);
            // The other bars stay below what is said.
            self.bars.as_ref().map_or_else(say, |bars| bars.suspend(say));
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
