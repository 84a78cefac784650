//! Progress on standard error: a line that moves on a terminal, elsewhere one line for each step, once it is done. Decides nothing and keeps nothing.

use std::{
    io::IsTerminal,
    time::{Duration, Instant},
};

use base::{
    escape::one_line,
    progress::{Bar, Display, Progress, tell},
};
use indicatif::{BinaryBytes, MultiProgress, ProgressBar, ProgressStyle};

/// Standard error as a display.
#[derive(Debug)]
struct Stderr {
    /// True for lines that move.
    moves: bool,
    /// The bars that those of a group are shown with.
    bars: Option<MultiProgress>,
}

/// A step there.
#[derive(Debug)]
struct Step {
    bar: Option<ProgressBar>,
    bars: Option<MultiProgress>,
    text: String,
    /// Bytes of all of it, where that is known.
    total: Option<u64>,
    started: Instant,
}

static MOVING: Stderr = Stderr { moves: true, bars: None };
static LINES: Stderr = Stderr { moves: false, bars: None };

/// Steps that took less are not given a time.
const WORTH_A_TIME: Duration = Duration::from_secs(1);

/// Returns the progress on standard error: moving on a terminal, else lines.
#[must_use]
pub fn on_stderr() -> Progress {
    Progress::on(if std::io::stderr().is_terminal() { &MOVING } else { &LINES })
}

impl Display for Stderr {
    fn begin(&self, text: &str, total: Option<u64>) -> Box<dyn Bar> {
        let text = one_line(text);
        let bar = self.moves.then(|| new_bar(&text, total));
        let bar = match &self.bars {
            Some(bars) => bar.map(|bar| bars.add(bar)),
            None => bar,
        };
        Box::new(Step { bar, bars: self.bars.clone(), text, total, started: Instant::now() })
    }

    fn group(&self) -> Box<dyn Display> {
        Box::new(Self { moves: self.moves, bars: Some(MultiProgress::new()) })
    }

    fn say(&self, text: &str) {
        tell(format_args!("{}", one_line(text)));
    }
}

fn new_bar(text: &str, total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        None => (ProgressBar::new_spinner(), "{spinner:.cyan} {msg} {elapsed:.dim}"),
        Some(total) => (
            ProgressBar::new(total),
            "{msg} {percent:>3} % {wide_bar:.cyan} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}",
        ),
    };
    let bar = bar.with_message(text.to_owned());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    if total.is_none() {
        bar.enable_steady_tick(Duration::from_millis(120));
    }
    bar
}

impl Bar for Step {
    fn detail(&self, detail: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{}: {detail}", self.text));
        }
    }

    fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(bytes);
        }
    }

    fn finish(&self, result: &str) {
        let took = self.started.elapsed();
        let separator = if result.is_empty() { "" } else { ": " };
        let time = if took < WORTH_A_TIME { String::new() } else { told(took, self.total) };
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let say = || tell(format_args!("{}{separator}{}{time}", self.text, one_line(result)));
        // The other bars stay below what is said.
        self.bars.as_ref().map_or_else(say, |bars| bars.suspend(say));
    }
}

/// Returns the time that a step took, and the rate where its size is known.
fn told(took: Duration, total: Option<u64>) -> String {
    let rate = |total: u64| (total as f64 / took.as_secs_f64()) as u64;
    match total {
        Some(total) => format!(" ({} in {} s, {}/s)", BinaryBytes(total), took.as_secs(), BinaryBytes(rate(total))),
        None => format!(" ({} s)", took.as_secs()),
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_tells_its_time_and_rate() {
        let took = Duration::from_secs(4);
        assert_eq!(told(took, None), " (4 s)");
        assert_eq!(told(took, Some(8 << 20)), " (8.00 MiB in 4 s, 2.00 MiB/s)");
    }
}
