//! QEMU's monitor: the text on a machine's display, read from the memory of the graphics card, pictures of it, and keys.

#![allow(dead_code, reason = "no test needs all of it")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use vm::qemu::{Guest, Machine};

use super::{Lab, PATIENCE};

/// Talks to QEMU (QEMU, docs/interop/qmp-spec.rst).
pub struct Monitor {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
    directory: PathBuf,
}

impl Monitor {
    /// Gives a machine a graphics card and a monitor at a socket in `directory`.
    pub fn prepare(machine: &mut Machine, directory: &Path) {
        let socket = format!("unix:{},server=on,wait=off", directory.join("qmp").display());
        machine.extra.extend(["-vga", "std", "-qmp"].map(Into::into));
        machine.extra.push(socket.into());
    }

    pub fn open(directory: &Path) -> Self {
        let stream = UnixStream::connect(directory.join("qmp")).expect("the monitor");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let answers = BufReader::new(stream.try_clone().expect("a copy"));
        let mut monitor = Self { stream, answers, directory: directory.to_owned() };
        monitor.ask("qmp_capabilities", &json!({}));
        monitor
    }

    pub fn ask(&mut self, command: &str, arguments: &Value) -> Value {
        writeln!(self.stream, "{}", json!({ "execute": command, "arguments": arguments })).expect("a question");
        loop {
            let mut line = String::new();
            self.answers.read_line(&mut line).expect("an answer");
            let answer: Value = serde_json::from_str(&line).expect("JSON");
            // Greetings and events come between.
            if let Some(found) = answer.get("return") {
                return found.clone();
            }
            assert!(answer.get("error").is_none(), "{command}: {answer}");
        }
    }

    /// Reads a register of the graphics card's controller.
    fn register(&mut self, number: u8) -> usize {
        let mut human = |line: String| self.ask("human-monitor-command", &json!({ "command-line": line }));
        human(format!("o /b 0x3d4 {number}"));
        let answer = human("i /b 0x3d5".into());
        let value = answer.as_str().and_then(|answer| answer.trim().rsplit_once("0x")).expect("a value").1;
        usize::from_str_radix(value, 16).expect("a number")
    }

    /// Reads the screen in text mode: 25 lines of 80 characters, each with its colours behind it, in 32 KiB from 0xb8000 on. The kernel
    /// scrolls by the start address (registers 12 and 13), in characters.
    pub fn text(&mut self) -> Vec<String> {
        const SIZE: usize = 32 << 10;
        let start = 2 * (self.register(12) << 8 | self.register(13));
        let file = self.directory.join("text");
        self.ask("pmemsave", &json!({ "val": 0xb8000, "size": SIZE, "filename": file }));
        let bytes = fs::read(file).expect("the memory");
        let character = |at: usize| char::from(bytes[(start + 2 * at) % SIZE]);
        (0..25).map(|row| (0..80).map(|column| character(80 * row + column)).collect()).collect()
    }

    /// Reads the screen until one is as wanted.
    pub fn wait(&mut self, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let start = Instant::now();
        loop {
            let text = self.text().join("\n");
            if is_wanted(&text) {
                return text;
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{what} does not come:\n{text}");
            thread::sleep(Duration::from_millis(200));
        }
    }

    /// Compares the screen, five seconds after the card came, with the card on the guest's serial line: all of it is in view.
    pub fn expect_card(&mut self, guest: &Guest) {
        thread::sleep(Duration::from_secs(5));
        // The end of the card may have come meanwhile.
        let console = guest.console();
        let text = self.text().join("\n");
        for line in card_on(&console).lines() {
            assert!(text.contains(line), "not on the screen: {line}\n{text}");
        }
    }

    pub fn press(&mut self, key: &str) {
        self.ask("send-key", &json!({ "keys": [{ "type": "qcode", "data": key }] }));
    }

    /// Reads the QR code on the screen; none where there is none.
    pub fn code(&mut self) -> Option<String> {
        let file = self.directory.join("screen.ppm");
        self.ask("screendump", &json!({ "filename": file }));
        let output = Command::new("zbarimg").args(["--raw", "--quiet"]).arg(&file).output().expect("zbarimg");
        output.status.success().then(|| String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned())
    }

    /// Keeps a picture of the screen for the documentation, if that is asked for (`SCREENSHOTS=DIRECTORY`).
    pub fn keep_picture(&mut self, name: &str) {
        if let Some(directory) = std::env::var_os("SCREENSHOTS") {
            let file = Path::new(&directory).join(name);
            self.ask("screendump", &json!({ "filename": file, "format": "png" }));
        }
    }

    pub fn wait_for_code(&mut self) -> String {
        let start = Instant::now();
        loop {
            if let Some(code) = self.code() {
                return code;
            }
            assert!(start.elapsed() < PATIENCE, "no QR code comes:\n{}", self.text().join("\n"));
            thread::sleep(Duration::from_millis(500));
        }
    }
}

/// Returns true where each failure's card is to be read from the screen as well (`BOOT_SCREEN=all`).
pub fn is_wanted(lab: &Lab) -> bool {
    lab.target.name == "x86_64" && std::env::var_os("BOOT_SCREEN").is_some_and(|wish| wish == "all")
}

/// Returns the card that is on a console.
pub fn card_on(console: &str) -> String {
    let console = console.replace('\r', "");
    let rule = "-".repeat(64);
    let start = console.find(&rule).expect("a card");
    let end = start + rule.len() + console[start + rule.len()..].find(&rule).expect("its end") + rule.len();
    console[start..end].to_owned()
}

/// Returns the digest of the card that is on a console.
pub fn card_digest(console: &str) -> String {
    format!("{:08x}", contract::crc32::crc32(card_on(console).as_bytes()))
}
