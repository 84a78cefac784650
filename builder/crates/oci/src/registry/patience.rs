//! Waits between tries at a registry: none behind a connection that brought something, else one that doubles, and no further try once
//! nothing has come for too long. A wait that the registry asks for (`Retry-After`) takes precedence.

use std::{
    error::Error as StdError,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base::in_one_line;

/// The cause of a failed exchange: a message for the user, or an error of a library.
pub(super) type Fault = Box<dyn StdError + Send + Sync>;

/// An exchange that failed.
pub(super) enum Failure {
    /// Another try would end the same way.
    Final(Fault),
    /// Another try may do, after the time that the registry names.
    Passing(Fault, Option<Duration>),
}

impl<T: Into<Fault>> From<T> for Failure {
    fn from(fault: T) -> Self {
        Self::Final(fault.into())
    }
}

/// The first wait, and the longest one.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// A registry that sends the same beginning again and again brings nothing, however fast it is.
const TRIES: u32 = 20;
/// The interval at which a wait checks if it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

/// The time for which something may still be tried.
pub(super) struct Patience<'a> {
    limit: Duration,
    stop: &'a AtomicBool,
    /// The time at which something came last.
    since: Instant,
    /// Tries since something new came.
    tries: u32,
    /// Something new came since the last failure.
    is_fresh: bool,
}

impl<'a> Patience<'a> {
    /// Begins to wait, for `limit` without progress, as long as nobody says `stop`.
    pub(super) fn new(limit: Duration, stop: &'a AtomicBool) -> Self {
        Self { limit, stop, since: Instant::now(), tries: 0, is_fresh: false }
    }

    /// Notes that something new came.
    pub(super) fn renew(&mut self) {
        (self.tries, self.is_fresh) = (0, true);
        self.since = Instant::now();
    }

    /// Notes that something came which was there already: the registry answers, and the number of tries stays.
    pub(super) fn prolong(&mut self) {
        self.since = Instant::now();
    }

    /// Returns true once nobody wants it any more.
    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits before another try; not at all where something new came before the failure.
    ///
    /// # Errors
    /// `fault` where that would take too long.
    pub(super) fn wait(&mut self, fault: Fault, after: Option<Duration>) -> Result<(), Fault> {
        if std::mem::take(&mut self.is_fresh) && after.is_none() && !self.is_over() {
            return Ok(());
        }
        self.tries += 1;
        let delay = after.unwrap_or_else(|| FIRST.saturating_mul(1 << (self.tries - 1).min(10)).min(LONGEST));
        let waited = self.since.elapsed();
        if self.is_over() || self.tries > TRIES || waited.saturating_add(delay) > self.limit {
            let told = match after {
                Some(after) if !self.is_over() && after > self.limit => {
                    format!(
                        "; it asks to wait {} s, and {} s are waited (--registry-timeout)",
                        after.as_secs(),
                        self.limit.as_secs()
                    )
                }
                _ if self.tries > 1 => {
                    format!(
                        "; tried {} times, and nothing arrived for {:.1} s (--registry-timeout)",
                        self.tries,
                        waited.as_secs_f32()
                    )
                }
                _ => return Err(fault),
            };
            return Err(format!("{}{told}", in_one_line(&*fault)).into());
        }
        let until = Instant::now() + delay;
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|_| !self.is_over()) {
            thread::sleep(left.min(LOOK));
        }
        Ok(())
    }
}

/// Reads `Retry-After` (RFC 9110, 10.2.3): seconds, or a date.
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = date(value)?;
    let now = now.duration_since(UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(now))
}

/// Reads a date in the one form that is sent today: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(text: &str) -> Option<Duration> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let [_, day, month, year, time, "GMT"] = words.as_slice() else { return None };
    let month = MONTHS.iter().position(|name| name == month)? as u64 + 1;
    let (day, year): (u64, u64) = (day.parse().ok()?, year.parse().ok()?);
    let mut parts = time.split(':').map(|part| part.parse::<u64>().ok());
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1..=31).contains(&day) || !(1970..=9999).contains(&year) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    // Days of the Gregorian calendar, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 1;
    let days = days.checked_sub(719_468)?;
    Some(Duration::from_secs(((days * 24 + hour) * 60 + minute) * 60 + second))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_to_wait() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Mon, 07 Nov 1994 08:49:37 GMT", Some(86_400)),
            ("Wed, 01 Mar 1995 00:00:00 GMT", Some(9_904_223)),
            ("Sat, 05 Nov 1994 08:49:37 GMT", Some(0)),
            ("Sun, 06 Nov 1994 08:49:37 CET", None),
            ("Sun, 99 Nov 1994 08:49:37 GMT", None),
            ("soon", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }

    #[test]
    fn waits_end() {
        let stop = AtomicBool::new(false);
        let mut patience = Patience::new(Duration::from_millis(350), &stop);
        let mut tries = 0;
        let error = loop {
            tries += 1;
            if let Err(error) = patience.wait("no".into(), None) {
                break error.to_string();
            }
        };
        assert!(tries >= 2 && error.starts_with("no; tried "), "{tries}: {error}");
        let error = Patience::new(Duration::from_secs(9), &stop).wait("no".into(), Some(Duration::from_secs(10)));
        assert!(error.unwrap_err().to_string().contains("it asks to wait 10 s, and 9 s are waited"));
        stop.store(true, Ordering::Relaxed);
        assert!(Patience::new(Duration::from_secs(9), &stop).wait("no".into(), None).is_err());
    }
}
