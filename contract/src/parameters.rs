//! Parameters of a boot: their names, and how a command line is split. Reading their values is init's.

/// Every parameter whose name begins with `rd.`, those that every build of init knows first. `docs/parameters.md` describes each.
pub const PARAMETERS: [&str; 26] = [
    "rd.img",
    "rd.boot",
    "rd.newimg",
    "rd.overlay",
    "rd.overlay.fallback",
    "rd.overlay.repair",
    "rd.overlay.reset",
    "rd.persistent",
    "rd.image",
    "rd.toram",
    "rd.timeout",
    "rd.newimg.timeout",
    "rd.newimg.tries",
    "rd.newimg.consume",
    "rd.onerror",
    "rd.led",
    "rd.recover",
    "rd.watchdog",
    "rd.break",
    "rd.debug",
    "rd.blackbox",
    "rd.driver.blacklist",
    // PID 1 stays, and has something to report.
    "rd.exit",
    "rd.alive",
    // The initramfs is the root.
    "rd.verify",
    "rd.net",
];

/// Returns the parameters that a build of init knows: one whose PID 1 `stays` beside a program, one that runs a root in memory (`ram`).
pub fn known(stays: bool, ram: bool) -> &'static [&'static str] {
    let others = match (stays, ram) {
        (_, true) => 0,
        (true, false) => 2,
        (false, false) => 4,
    };
    PARAMETERS.get(..PARAMETERS.len().saturating_sub(others)).unwrap_or_default()
}

/// Splits a command line as the kernel does: words are separated by spaces, a double quote keeps them together and is itself dropped
/// where it stands at the ends of a word or of its value (kernel, lib/cmdline.c, next_arg).
pub fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut started = false;
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                started = true;
            }
            c if c.is_ascii_whitespace() && !quoted => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            c => {
                word.push(c);
                started = true;
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}
