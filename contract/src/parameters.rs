//! Parameters of a boot: their names, and how a command line is split. Reading their values is init's.

/// Every parameter whose name begins with `rd.`, those that every build of init knows first. Then come two of a PID 1 that
/// stays and has something to report, and two of an initramfs that is the root. `docs/parameters.md` describes each.
pub const PARAMETERS: [&str; 28] = [
    "rd.img", "rd.boot", "rd.newimg", "rd.overlay", "rd.overlay.fallback", "rd.overlay.repair", "rd.overlay.reset",
    "rd.persistent", "rd.image", "rd.toram", "rd.timeout", "rd.newimg.timeout", "rd.newimg.tries", "rd.newimg.consume",
    "rd.onerror", "rd.led", "rd.recover", "rd.watchdog", "rd.button", "rd.break", "rd.debug", "rd.blackbox",
    "rd.parameters", "rd.driver.blacklist", "rd.exit", "rd.alive", "rd.verify", "rd.net",
];

/// Parameters that give whoever can write to a medium nothing that they could not have without them: `docs/threat-model.md` says why.
pub const HARMLESS: [&str; 6] = ["rd.timeout", "rd.onerror", "rd.led", "rd.watchdog", "rd.blackbox", "rd.debug"];

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

/// Most bytes of a file of parameters.
pub const MOST: u32 = 4096;
/// First words of a file of parameters: for every boot, for one, and what [`ONCE`] is overwritten with.
const ALWAYS: &str = "always";
const ONCE: &str = "once";
/// As long as [`ONCE`]. Whatever part of it a power cut leaves, the word is no longer that one.
pub const DONE: &str = "done";

/// The parameters in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileWords {
    /// The parameters, with their line breaks. No quote spans one.
    pub words: String,
    /// The byte at which [`DONE`] has to be written before they count; none for a file that is for every boot.
    pub once: Option<usize>,
}

/// Reads a file of parameters: ASCII, `#` and what follows it in a line is a comment, the first word is `always` or `once`. None where it has
/// been marked done, or names no parameter.
///
/// # Errors
/// The objection to it, as the end of a sentence that begins with its name.
pub fn read_file(bytes: &[u8]) -> Result<Option<FileWords>, &'static str> {
    if !bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n')) {
        return Err("is not plain ASCII text");
    }
    // In place of each comment there are as many spaces, so that a byte has the same place in both.
    let (mut text, mut is_comment, mut is_quoted, mut before) = (String::new(), false, false, '\n');
    // The last line ends like any other.
    for c in bytes.iter().copied().map(char::from).chain(['\n']) {
        if c == '\n' && is_quoted {
            return Err("has an unterminated quote");
        }
        is_quoted ^= c == '"' && !is_comment;
        is_comment = c != '\n' && (is_comment || c == '#' && !is_quoted && before.is_ascii_whitespace());
        text.push(if is_comment { ' ' } else { c });
        before = c;
    }
    let body = text.trim_start();
    let start = text.len().saturating_sub(body.len());
    let (first, words) = body.split_at(body.find(|c: char| c.is_ascii_whitespace()).unwrap_or(body.len()));
    let once = match first {
        ALWAYS => None,
        ONCE => Some(start),
        DONE => return Ok(None),
        _ => return Err("begins neither with always nor with once"),
    };
    Ok((!words.trim().is_empty()).then(|| FileWords { words: words.trim().into(), once }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_parameters_is_for_every_boot_or_for_one() {
        for (text, words, once) in [
            ("always rd.toram", "rd.toram", None),
            ("once\r\nrd.overlay=tmpfs\r\n", "rd.overlay=tmpfs", Some(0)),
            ("# why\n\n  once # not again\n a b\n#c\nd", "a b\n  \nd", Some(9)),
            ("always rd.img=\"LABEL=a #1\" x#y\n", "rd.img=\"LABEL=a #1\" x#y", None),
        ] {
            let found = read_file(text.as_bytes()).unwrap().unwrap();
            assert_eq!((found.words.as_str(), found.once), (words, once), "{text}");
            if let Some(at) = once {
                let mut bytes = text.as_bytes().to_vec();
                for kept in 1..=DONE.len() {
                    bytes[at..at + kept].copy_from_slice(&DONE.as_bytes()[..kept]);
                    assert!(!matches!(read_file(&bytes), Ok(Some(_))), "cut after {kept} bytes");
                }
                assert_eq!(read_file(&bytes), Ok(None));
            }
        }
        for open in ["always a=\"b\n#c\nd", "once rd.img=\"LABEL=a\nrd.toram", "always \"", "always a=\"b\r\n\""] {
            assert_eq!(read_file(open.as_bytes()), Err("has an unterminated quote"), "{open}");
        }
        for nothing in ["always", "once\n# rd.toram\n", "done rd.toram", "# x\ndone"] {
            assert_eq!(read_file(nothing.as_bytes()), Ok(None), "{nothing}");
        }
    }

    #[test]
    fn what_is_no_file_of_parameters_says_why() {
        for text in ["", "#", "rd.toram", "Once x", "oncex", "always=x", "# always"] {
            assert_eq!(read_file(text.as_bytes()), Err("begins neither with always nor with once"), "{text:?}");
        }
        for text in ["always \u{fc}", "once \0", "\u{feff}once x", "once a\x1b[2J"] {
            assert_eq!(read_file(text.as_bytes()), Err("is not plain ASCII text"), "{text:?}");
        }
    }

    #[test]
    fn what_is_harmless_is_a_parameter() {
        assert!(HARMLESS.iter().all(|name| PARAMETERS.contains(name)));
    }
}
