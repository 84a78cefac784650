//! Progress, for the person who waits. The libraries say what they are at; a [`Display`] of the caller's shows it.

use std::{
    fmt::{self, Debug},
    io::{self, Write},
};

/// Writes a line to standard error. One that is closed is no reason to stop.
pub fn tell(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// A display that shows progress to a person.
pub trait Display: Debug + Send + Sync {
    /// Begins a step; `text` says what is being done: "armv6l: compiling init". `total` is the number of bytes to come, where that is known.
    fn begin(&self, text: &str, total: Option<u64>) -> Box<dyn Bar>;

    /// Returns a display for several steps at the same time.
    fn group(&self) -> Box<dyn Display>;

    /// Says something that stays: a result, or a warning.
    fn say(&self, text: &str);
}

/// A step on a display. One that is dropped before [`Bar::finish`] disappears without a word: an error follows.
pub trait Bar: Debug + Send + Sync {
    /// Says what the step is at just now.
    fn detail(&self, detail: &str);

    /// Counts bytes that have come.
    fn advance(&self, bytes: u64);

    /// Ends the step; `result` is added to its text.
    fn finish(&self, result: &str);
}

/// The place where progress is shown.
#[derive(Debug, Clone, Copy)]
pub struct Progress(Option<&'static dyn Display>);

/// Several transfers at the same time.
#[derive(Debug)]
pub struct Transfers(Option<Box<dyn Display>>);

/// A step under way, shown until it is finished or dropped.
#[derive(Debug)]
pub struct Step(Option<Box<dyn Bar>>);

impl Progress {
    /// Shows it on `display`.
    #[must_use]
    pub fn on(display: &'static dyn Display) -> Self {
        Self(Some(display))
    }

    /// Shows none at all.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Begins a step; `text` says what is being done: "armv6l: compiling init".
    #[must_use]
    pub fn step(&self, text: impl AsRef<str>) -> Step {
        Step(self.0.map(|display| display.begin(text.as_ref(), None)))
    }

    /// Begins several transfers at the same time.
    #[must_use]
    pub fn transfers(&self) -> Transfers {
        Transfers(self.0.map(Display::group))
    }

    /// Begins a step in which `total` bytes are to come.
    #[must_use]
    pub fn transfer(&self, text: impl AsRef<str>, total: u64) -> Step {
        Step(self.0.map(|display| display.begin(text.as_ref(), Some(total))))
    }

    /// Says something that stays: a result, or a warning.
    pub fn say(&self, text: impl AsRef<str>) {
        if let Some(display) = self.0 {
            display.say(text.as_ref());
        }
    }
}

impl Transfers {
    /// Begins one of them, as [`Progress::transfer`].
    #[must_use]
    pub fn transfer(&self, text: impl AsRef<str>, total: u64) -> Step {
        Step(self.0.as_ref().map(|display| display.begin(text.as_ref(), Some(total))))
    }
}

impl Step {
    /// Says what the step is at just now.
    pub fn detail(&self, detail: &str) {
        if let Some(bar) = &self.0 {
            bar.detail(detail);
        }
    }

    /// Counts bytes that have come.
    pub fn advance(&self, bytes: u64) {
        if let Some(bar) = &self.0 {
            bar.advance(bytes);
        }
    }

    /// Ends the step; `result` is added to its text.
    pub fn finish(self, result: &str) {
        if let Some(bar) = &self.0 {
            bar.finish(result);
        }
    }
}
