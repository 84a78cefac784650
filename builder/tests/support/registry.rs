//! A registry that runs on this machine.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

/// Debian's docker-registry, stopped when it is dropped.
pub struct Registry {
    child: Child,
    /// Its host and port.
    pub address: String,
}

impl Registry {
    /// Starts one that keeps its blobs in `directory`; `more` is about its HTTP.
    pub fn start(directory: &Path, more: &str) -> Self {
        let config = directory.join("config.yml");
        let storage = directory.join("storage");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp:\n  addr: '127.0.0.1:0'\n{more}",
            storage.display()
        );
        fs::write(&config, text).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| {
            said += &line;
            let (_, rest) = line.split_once("listening on ")?;
            Some(rest.chars().take_while(|c| c.is_ascii_digit() || b".:".contains(&(*c as u8))).collect::<String>())
        });
        std::thread::spawn(move || lines.for_each(drop));
        Self { address: address.unwrap_or_else(|| panic!("no address: {said}")), child }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
