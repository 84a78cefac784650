//! The console output of a guest so far: waits for words in it, and recognizes those that mean that the machine has stopped.
//! Filled by one thread, read by another. Starts nothing and knows no QEMU.

use std::{
    collections::VecDeque,
    io::Read,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

/// Bytes kept. A guest that writes more loses its oldest ones.
const KEPT: usize = 4 << 20;

/// Bytes of a line that are looked at. The kernel's are below 1 KiB (`LOG_LINE_MAX`).
const LONGEST_LINE: usize = 8 << 10;

/// The messages of a kernel that stops (`kernel/reboot.c`, `kernel/panic.c`); these are shown at every log level but 0.
const ENDS: [(&str, End); 4] = [
    ("reboot: Power down", End::PoweredOff),
    ("reboot: System halted", End::Halted),
    ("reboot: Restarting system", End::Restarted),
    ("Kernel panic - not syncing", End::Panicked),
];

/// The end of a machine, as the kernel announces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It powered off.
    PoweredOff,
    /// It halted: it asked to power off where the machine cannot, or it was told to halt.
    Halted,
    /// It wants to start again.
    Restarted,
    /// The kernel panicked.
    Panicked,
}

/// Finds the first sign of an end in whole lines of `text`. A panic after a power-off is only PID 1 returning from it.
pub fn end_in(text: &[u8]) -> Option<End> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(&text[..0], |end| &text[..end]);
    let mut found: Vec<(usize, End)> =
        ENDS.iter().filter_map(|(words, end)| Some((find(whole, words.as_bytes())?, *end))).collect();
    found.sort_by_key(|(place, _)| *place);
    found.first().map(|(_, end)| *end)
}

/// Returns the offset in `text` of the first occurrence of `words`.
fn find(text: &[u8], words: &[u8]) -> Option<usize> {
    // The first byte narrows it down: a console is megabytes at most and searched once for each part that arrives.
    let first = *words.first()?;
    let mut start = 0;
    while let Some(place) = text[start..].iter().position(|byte| *byte == first).map(|place| place + start) {
        if text[place..].starts_with(words) {
            return Some(place);
        }
        start = place + 1;
    }
    None
}

/// A console.
#[derive(Debug, Default)]
pub struct Console {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    /// Bytes that were there before those kept.
    lost: u64,
    closed: bool,
    end: Option<End>,
    /// The last line as far as it has come, for [`end_in`].
    line: Vec<u8>,
}

/// The reason that a wait returned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    /// A word was seen: its index, and all that was written up to its end.
    Seen(usize, String),
    /// The guest's end of the console was closed first.
    Closed,
    /// The wait timed out.
    TimeOut,
}

impl Console {
    /// Reads `source` to its end: the work of the thread that fills the console.
    pub fn fill(&self, mut source: impl Read) {
        let mut buffer = [0; 4096];
        loop {
            match source.read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => self.append(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                // As good as closed: a pipe has no other errors.
                Err(_) => break,
            }
        }
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn append(&self, bytes: &[u8]) {
        let mut state = self.lock();
        state.bytes.extend(bytes);
        let surplus = state.bytes.len().saturating_sub(KEPT);
        state.bytes.drain(..surplus);
        state.lost += surplus as u64;
        if state.end.is_none() {
            state.line.extend(bytes);
            state.end = end_in(&state.line);
            let rest = state.line.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
            state.line.drain(..rest);
            let surplus = state.line.len().saturating_sub(LONGEST_LINE);
            state.line.drain(..surplus);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Waits until one of `words` is written after the place `from`, the end of the console or the `deadline`. Moves
    /// `from` behind the words that were seen: what was read once is not seen again.
    pub fn wait(&self, from: &mut u64, words: &[&str], deadline: Option<Instant>) -> Waited {
        let mut searched = *from;
        let longest = words.iter().map(|word| word.len()).max().unwrap_or(0) as u64;
        let mut state = self.lock();
        loop {
            let text = state.after(searched.max(*from));
            let base = searched.max(*from).max(state.lost);
            let hits = words.iter().enumerate().filter_map(|(which, word)| {
                let place = find(&text, word.as_bytes())?;
                Some((place + word.len(), which))
            });
            if let Some((length, which)) = hits.min() {
                let end = base + length as u64;
                let read = state.after(*from);
                let begin = (*from).max(state.lost);
                let length = usize::try_from(end - begin).unwrap_or(read.len());
                *from = end;
                return Waited::Seen(which, String::from_utf8_lossy(&read[..length]).into_owned());
            }
            // Words may stand across two parts: look at the end of this one again.
            searched = (base + text.len() as u64).saturating_sub(longest);
            if state.closed {
                return Waited::Closed;
            }
            match self.changed_before(state, deadline) {
                Ok(next) => state = next,
                Err(()) => return Waited::TimeOut,
            }
        }
    }

    /// Waits until the kernel says that the machine ends. `None` where the console was closed first or the wait timed out.
    pub fn wait_for_end(&self, deadline: Option<Instant>) -> Option<End> {
        let mut state = self.lock();
        loop {
            if state.end.is_some() || state.closed {
                return state.end;
            }
            state = self.changed_before(state, deadline).ok()?;
        }
    }

    /// Waits until the guest's end of the console is closed. Returns false if the wait timed out.
    pub fn wait_closed(&self, deadline: Option<Instant>) -> bool {
        let mut state = self.lock();
        while !state.closed {
            match self.changed_before(state, deadline) {
                Ok(next) => state = next,
                Err(()) => return false,
            }
        }
        true
    }

    fn changed_before<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> Result<MutexGuard<'a, State>, ()> {
        let Some(deadline) = deadline else {
            return Ok(self.changed.wait(state).unwrap_or_else(PoisonError::into_inner));
        };
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(());
        }
        Ok(self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Returns the end of the machine that the kernel has announced so far.
    pub fn end(&self) -> Option<End> {
        self.lock().end
    }

    /// Returns all that is kept.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lock().after(0)).into_owned()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns the kept bytes from the place `from` on.
    fn after(&self, from: u64) -> Vec<u8> {
        let skip = usize::try_from(from.saturating_sub(self.lost)).unwrap_or(usize::MAX).min(self.bytes.len());
        self.bytes.range(skip..).copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, thread, time::Duration};

    #[test]
    fn ends_are_known_by_whole_lines() {
        for (text, end) in [
            ("[    5.1] reboot: Power down\r\n", Some(End::PoweredOff)),
            ("[    5.1] reboot: Power down", None),
            ("reboot: System halted\n", Some(End::Halted)),
            ("reboot: Restarting system\n", Some(End::Restarted)),
            ("x\nKernel panic - not syncing: VFS: no root\n", Some(End::Panicked)),
            ("reboot: Power down\nKernel panic - not syncing: init returned\n", Some(End::PoweredOff)),
            ("Kernel panic - not syncing: no\nreboot: Restarting system\n", Some(End::Panicked)),
            ("all is well\n", None),
        ] {
            assert_eq!(end_in(text.as_bytes()), end, "{text}");
        }
    }

    #[test]
    fn words_are_seen_once_and_in_order() {
        let console = Console::default();
        console.fill(&b"login: one\n# two\n# "[..]);
        let mut place = 0;
        assert_eq!(console.wait(&mut place, &["two", "one"], None), Waited::Seen(1, "login: one".to_owned()));
        assert_eq!(console.wait(&mut place, &["# "], None), Waited::Seen(0, "\n# ".to_owned()));
        assert_eq!(console.wait(&mut place, &["# "], None), Waited::Seen(0, "two\n# ".to_owned()));
        assert_eq!(console.wait(&mut place, &["# "], None), Waited::Closed);
        assert_eq!(console.text(), "login: one\n# two\n# ");
    }

    #[test]
    fn words_across_parts_are_seen_and_end_the_wait() {
        let console = Arc::new(Console::default());
        let filled = Arc::clone(&console);
        let (reader, mut writer) = std::io::pipe().unwrap();
        let thread = thread::spawn(move || filled.fill(reader));
        let mut place = 0;
        use std::io::Write;
        for part in ["abc mar", "k", "er\nreboot: Po", "wer down\n"] {
            writer.write_all(part.as_bytes()).unwrap();
        }
        let deadline = Some(Instant::now() + Duration::from_secs(20));
        assert_eq!(console.wait(&mut place, &["marker"], deadline), Waited::Seen(0, "abc marker".to_owned()));
        assert_eq!(console.wait_for_end(deadline), Some(End::PoweredOff));
        let soon = Some(Instant::now() + Duration::from_millis(5));
        assert_eq!(console.wait(&mut place, &["never"], soon), Waited::TimeOut);
        assert!(!console.wait_closed(Some(Instant::now())));
        drop(writer);
        assert!(console.wait_closed(deadline));
        thread.join().unwrap();
    }

    #[test]
    fn a_guest_that_never_stops_writing_does_not_fill_the_memory() {
        let console = Console::default();
        console.fill(std::io::repeat(b'x').take(KEPT as u64 + 10).chain(&b"end"[..]));
        let state = console.lock();
        assert_eq!((state.bytes.len(), state.lost), (KEPT, 13));
        drop(state);
        let mut place = 0;
        assert!(matches!(console.wait(&mut place, &["xend"], None), Waited::Seen(0, text) if text.len() == KEPT));
    }
}
