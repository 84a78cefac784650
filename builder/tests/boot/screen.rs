//! The screen of a failed boot, for somebody who has nothing else, and keys: the display's text is read from the memory of the graphics card, the
//! QR code by zbarimg from a picture of the screen.

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

use crate::{
    lab::{Lab, PATIENCE},
    support,
};

const URL: &str = "https://help.test/b";
const MODULES: &str = "ext4,loop,squashfs,overlay,virtio_pci,virtio_blk,i8042,atkbd";

/// Talks to QEMU (QEMU, docs/interop/qmp-spec.rst).
pub struct Monitor {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
    folder: PathBuf,
}

impl Monitor {
    /// Gives a machine a graphics card and a monitor at a socket in `folder`.
    pub fn prepare(machine: &mut Machine, folder: &Path) {
        let socket = format!("unix:{},server=on,wait=off", folder.join("qmp").display());
        machine.extra.extend(["-vga", "std", "-qmp"].map(Into::into));
        machine.extra.push(socket.into());
    }

    pub fn open(folder: &Path) -> Self {
        let stream = UnixStream::connect(folder.join("qmp")).expect("the monitor");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let answers = BufReader::new(stream.try_clone().expect("a copy"));
        let mut monitor = Self { stream, answers, folder: folder.to_owned() };
        monitor.ask("qmp_capabilities", &json!({}));
        monitor
    }

    fn ask(&mut self, command: &str, arguments: &Value) -> Value {
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
    fn text(&mut self) -> Vec<String> {
        const SIZE: usize = 32 << 10;
        let start = 2 * (self.register(12) << 8 | self.register(13));
        let file = self.folder.join("text");
        self.ask("pmemsave", &json!({ "val": 0xb8000, "size": SIZE, "filename": file }));
        let bytes = fs::read(file).expect("the memory");
        let character = |at: usize| char::from(bytes[(start + 2 * at) % SIZE]);
        (0..25).map(|row| (0..80).map(|column| character(80 * row + column)).collect()).collect()
    }

    /// Reads the screen until one is as wanted.
    fn wait(&mut self, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
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

    /// Compares the screen, five seconds after the card came, with the card on a serial line: all of it is in view.
    pub fn expect_card(&mut self, console: &str) {
        thread::sleep(Duration::from_secs(5));
        let text = self.text().join("\n");
        for line in card_on(console).lines() {
            assert!(text.contains(line), "not on the screen: {line}\n{text}");
        }
    }

    fn press(&mut self, key: &str) {
        self.ask("send-key", &json!({ "keys": [{ "type": "qcode", "data": key }] }));
    }

    /// Reads the QR code on the screen; none where there is none.
    fn code(&mut self) -> Option<String> {
        let file = self.folder.join("screen.ppm");
        self.ask("screendump", &json!({ "filename": file }));
        let output = Command::new("zbarimg").args(["--raw", "--quiet"]).arg(&file).output().expect("zbarimg");
        output.status.success().then(|| String::from_utf8(output.stdout).expect("UTF-8").trim_end().to_owned())
    }

    /// Keeps a picture of the screen for the documentation, if that is asked for (`SCREENSHOTS=DIRECTORY`).
    fn keep_picture(&mut self, name: &str) {
        if let Some(folder) = std::env::var_os("SCREENSHOTS") {
            let file = Path::new(&folder).join(name);
            self.ask("screendump", &json!({ "filename": file, "format": "png" }));
        }
    }

    fn wait_for_code(&mut self) -> String {
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

/// Starts a machine with a screen whose boot fails, and waits for its card on the serial line.
fn fail(lab: &Lab, initrd: &Path, append: &str, extra: &[&str]) -> (Guest, Monitor) {
    let mut disk = lab.disk();
    disk.overlay = None;
    let disk = lab.make(&disk);
    let mut machine = lab.machine(initrd, &[&disk], &format!("rd.timeout=1s console=tty0 {append}"));
    let folder = lab.folder();
    Monitor::prepare(&mut machine, &folder);
    machine.extra.extend(extra.iter().map(Into::into));
    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for("cannot boot: overlay-missing", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.wait_for("in 60 s", PATIENCE).expect("a minute to read it");
    let monitor = Monitor::open(&folder);
    (guest, monitor)
}

/// Stays on the screen, is counted down and held by a key; its QR code takes turns with it and is read.
pub fn card(lab: &Lab) {
    let initrd = lab.build(&["--support-url", URL, "--modules", MODULES]);
    let (mut guest, mut monitor) = fail(lab, &initrd, "", &[]);
    let is_card = |text: &str| text.contains("cannot boot: overlay-missing") && text.contains("try next");
    monitor.wait("the card", is_card);
    thread::sleep(Duration::from_secs(5));
    let text = monitor.wait("the offer of a key", |text| is_card(text) && text.contains("any key holds this"));
    assert!(text.contains("then      the machine powers off in 60 s"), "{text}");
    monitor.keep_picture("card.png");
    monitor.press("spc");
    monitor.wait("the held card", |text| text.contains("held: ") && text.contains("powers off in 9 min"));
    if support::installed("zbarimg") {
        check(&monitor.wait_for_code(), &guest);
        monitor.keep_picture("code.png");
        monitor.wait("the card again", is_card);
    }
    // Nobody gets at the machine that is held.
    assert!(!guest.console().contains("Power down"), "{}", guest.last_lines());
    monitor.ask("quit", &json!({}));
    guest.finish(Some(PATIENCE)).expect("the end");
}

/// Shows card and QR code side by side on a display of 160 columns, driven by DRM.
pub fn wide(lab: &Lab) {
    if !support::installed("zbarimg") {
        return;
    }
    let initrd = lab.build(&["--support-url", URL, "--modules", &format!("{MODULES},bochs")]);
    let (mut guest, mut monitor) = fail(lab, &initrd, "", &[]);
    monitor.keep_picture("wide.png");
    // Neither goes when the other's turn would come.
    for _ in 0..3 {
        check(&monitor.wait_for_code(), &guest);
        thread::sleep(Duration::from_secs(4));
    }
    monitor.ask("quit", &json!({}));
    guest.finish(Some(PATIENCE)).expect("the end");
}

/// Compares what a QR code says with the card on the serial line.
fn check(code: &str, guest: &Guest) {
    let start = format!("{URL}?c=overlay-missing&s=devices&v={}&h=", env!("CARGO_PKG_VERSION"));
    let digest = code.strip_prefix(&start).unwrap_or_else(|| panic!("{code}"));
    assert_eq!(digest, card_digest(&guest.console()), "{code}");
}

/// Returns the card that is on a console.
fn card_on(console: &str) -> String {
    let console = console.replace('\r', "");
    let rule = "-".repeat(64);
    let start = console.find(&rule).expect("a card");
    let end = start + rule.len() + console[start + rule.len()..].find(&rule).expect("its end") + rule.len();
    console[start..end].to_owned()
}

/// Returns the digest of the card that is on a console.
fn card_digest(console: &str) -> String {
    format!("{:08x}", contract::crc32::crc32(card_on(console).as_bytes()))
}

/// Holds a card on a serial line: noise does not, Enter does; a card that nobody holds ends after five seconds.
pub fn line(lab: &Lab) {
    let mut disk = lab.disk();
    disk.overlay = None;
    let disk = lab.make(&disk);
    let machine = lab.machine(&lab.initrd(""), &[&disk], "rd.timeout=1s");
    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for("powers off in 5 s; Enter holds this", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.send("noise").expect("typing");
    guest.finish(Some(PATIENCE)).expect("the end");
    let console = guest.console();
    assert!(console.contains("powers off in 1 s") && console.contains("Power down"), "{console}");
    assert!(!console.contains("held: "), "{console}");

    let mut guest = Guest::start(&machine).expect("QEMU");
    guest.wait_for("powers off in 5 s; Enter holds this", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    guest.send("\r").expect("typing");
    guest.wait_for("held: the machine powers off in 10 min", PATIENCE).unwrap_or_else(|error| panic!("{error}"));
    drop(guest);
}
