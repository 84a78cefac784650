//! Operations on images of a described machine.

use std::io::{Error, ErrorKind, Result};

use contract::{
    Digest,
    errno::{EINVAL, ENOSPC},
    names,
    tag::Volume,
};

use super::{Node, Recorder, injection::Call, sysfs};
use crate::kernel::{
    Kernel, Pace,
    disks::{Contents, Disks, Signatures, Signed},
};

impl Contents for Recorder {
    fn digest(&mut self, path: &str, copy: Option<&str>, _pace: Pace<'_>) -> Result<Digest> {
        self.strike(Call::Read, path)?;
        if let Some(copy) = copy {
            self.strike(Call::Change, copy)?;
            self.copy(path, copy)?;
        }
        self.check_readable(path, 0, u64::MAX)?;
        match self.node(path)? {
            Node::File(content, size, _) => Ok(Self::sum(&content, size)),
            _ => Err(ErrorKind::IsADirectory.into()),
        }
    }
}

impl Signatures for Recorder {
    /// Stands in for minisign: the signature of the image or module marked `[B]` by the key `k` reads `B by k`.
    fn verify(&mut self, signed: Signed<'_>, signature: &str, key: &str, _pace: Pace<'_>) -> Result<()> {
        let content = match signed {
            Signed::File(path) => self.read(path, 0, usize::MAX)?,
            Signed::Bytes(bytes) => bytes.into(),
        };
        match signature.split_once(" by ") {
            Some((_, by)) if by.trim() != key.trim() => Err(Error::other("the signature is by another key")),
            Some((mark, _)) if String::from_utf8_lossy(&content).contains(&format!("[{mark}]")) => Ok(()),
            Some(_) => Err(Error::other(names::WRONG_SIGNATURE)),
            None => Err(Error::other("it is no signature")),
        }
    }
}

impl Disks for Recorder {
    fn probe(&mut self, volume: &mut Volume, details: bool) {
        sysfs::probe(&self.volumes(), volume, details);
    }

    fn attach_loop(&mut self, path: &str) -> Result<String> {
        self.strike(Call::Loop, path)?;
        self.note(format!("loop {path}"));
        if let Some(number) = self.loop_fails {
            return Err(self.failed(number));
        }
        let Node::File(content, _, _) = self.node(path)? else { return Err(self.failed(EINVAL)) };
        let name = path.rsplit('/').next().unwrap_or(path).to_string();
        // Images are told apart by their names, or, once renamed, by a mark in their content.
        let key = self
            .images
            .keys()
            .find(|key| String::from_utf8_lossy(&content).contains(&format!("[{key}]")))
            .cloned()
            .unwrap_or(name);
        let device = format!("/dev/loop{}", self.state.loops.len());
        self.state.loops.push(key);
        Ok(device)
    }

    fn run(&mut self, root: &str, program: &str, arguments: &[&str]) -> Result<i32> {
        self.note(format!("run in {root}: {program} {}", arguments.join(" ")));
        // A shell runs a program for its output's sake: `busybox sh -c SCRIPT PROGRAM …`.
        let program = if program == names::BUSYBOX { arguments.get(3).copied().unwrap_or_default() } else { program };
        let Some((name, status)) = self.programs.iter().find(|(end, _)| program.ends_with(end.as_str())) else {
            return Ok(127);
        };
        let (makes, labels) = (name.contains("mke2fs"), name.contains("label"));
        for device in self.devices.iter_mut().filter(|device| arguments.contains(&device.volume.path().as_str())) {
            if *status & !3 == 0 {
                device.mount_fails = None;
                device.fails.clear();
                if makes {
                    device.files.clear();
                }
                if labels {
                    device.volume.label = arguments.last().map(|label| (*label).to_owned());
                }
            }
        }
        Ok(*status)
    }
}

impl Recorder {
    /// Returns the devices that have appeared.
    pub(super) fn volumes(&self) -> Vec<&Volume> {
        let there = self.devices.iter().filter(|device| device.appears <= self.state.clock);
        there.map(|device| &device.volume).collect()
    }

    fn copy(&mut self, from: &str, to: &str) -> Result<()> {
        let node = self.node(from)?;
        self.note(format!("copy {from} {to}"));
        if self.node(to).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        if let Node::File(_, size, _) = &node
            && self.space(to)?.free < *size
        {
            return Err(self.failed(ENOSPC));
        }
        self.check_readable(from, 0, u64::MAX)?;
        self.check_writable(to)?;
        self.put(to, node);
        Ok(())
    }
}
