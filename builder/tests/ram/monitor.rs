//! QEMU's monitor (QMP): cards are plugged and wires pulled while a machine runs.

use std::{
    io::{BufRead, BufReader, Lines, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fd::AsFd,
};
use serde_json::{Value, json};

/// A listening socket for the monitor of a QEMU that is to be started, and its path.
pub struct Socket(UnixListener, String);

/// The monitor of a QEMU that runs.
pub struct Monitor {
    stream: UnixStream,
    answers: Lines<BufReader<UnixStream>>,
}

impl Socket {
    pub fn new(directory: &Path) -> Self {
        let path = directory.join("monitor");
        Self(UnixListener::bind(&path).expect("a socket"), path.to_str().expect("UTF-8").to_owned())
    }

    /// Returns QEMU's arguments for it.
    pub fn arguments(&self) -> [String; 4] {
        [
            "-chardev".into(),
            format!("socket,id=monitor,path={}", self.1),
            "-mon".into(),
            "chardev=monitor,mode=control".into(),
        ]
    }

    /// Returns the monitor, once QEMU is there.
    pub fn accept(self) -> Monitor {
        let time = Timespec::try_from(Duration::from_secs(60)).expect("a time");
        let waiting = poll(&mut [PollFd::new(&self.0.as_fd(), PollFlags::IN)], Some(&time));
        assert_eq!(waiting, Ok(1), "QEMU does not come");
        let (stream, _) = self.0.accept().expect("QEMU");
        let answers = BufReader::new(stream.try_clone().expect("a copy")).lines();
        let mut monitor = Monitor { stream, answers };
        monitor.ask("qmp_capabilities", json!({}));
        monitor
    }
}

impl Monitor {
    /// Has QEMU do something; it has to succeed.
    pub fn ask(&mut self, command: &str, arguments: Value) {
        writeln!(self.stream, "{}", json!({ "execute": command, "arguments": arguments })).expect("the monitor");
        let answer = self.answers.by_ref().map(|line| line.expect("an answer"));
        let answer = answer.map(|line| serde_json::from_str::<Value>(&line).expect("JSON"));
        let answer = answer.into_iter().find(|answer| answer["return"].is_object() || answer["error"].is_object());
        let answer = answer.expect("an answer");
        assert!(answer["error"].is_null(), "{command}: {answer}");
    }

    /// Puts a card's wire in, or pulls it.
    pub fn set_link(&mut self, card: &str, is_up: bool) {
        self.ask("set_link", json!({ "name": card, "up": is_up }));
    }
}
