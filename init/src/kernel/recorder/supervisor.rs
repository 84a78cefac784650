//! Operations on processes, networks and consoles of a described machine.

use std::io::{ErrorKind, Result};

use contract::{errno::EINVAL, names, workload::SIGTERM};

use super::{Node, Recorder, ShellEnd, injection::Call};
use crate::kernel::{
    Power,
    input::Input,
    supervisor::{self, Attribute, Program, Shell, Supervisor, System},
};

impl Supervisor for Recorder {
    fn supervise(&mut self, program: &Program) -> Result<u8> {
        if let Some(setting) = &program.setting {
            let identity = &setting.identity;
            self.note(format!(
                "as {}:{} {:?} in {} with {:?}, ended by {}",
                identity.uid, identity.gid, identity.groups, setting.directory, setting.environment, setting.stop
            ));
        }
        self.note(format!(
            "supervise {}",
            [std::slice::from_ref(&program.path), &program.arguments].concat().join(" ")
        ));
        self.exit_status.ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn make_node(&mut self, path: &str, node: supervisor::Node<'_>) -> Result<()> {
        if self.node(path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        let made = match node {
            supervisor::Node::Link(target) => {
                self.note(format!("symlink {path} -> {target}"));
                Node::Symlink(target.into())
            }
            supervisor::Node::Device { mode, major, minor } => {
                self.note(format!("mknod {mode:04o} {path} {major}:{minor}"));
                Node::file("", mode)
            }
        };
        self.put(path, made);
        Ok(())
    }
}

impl Input for Recorder {
    fn is_key_down(&mut self, device: &str, code: u16) -> Result<Option<bool>> {
        self.strike(Call::Read, device)?;
        self.check(device)?;
        let clock = self.state.clock;
        let buttons = self.buttons.get(device).ok_or_else(|| self.failed(EINVAL))?;
        let is_held = buttons.held.is_some_and(|(from, to)| (from..to).contains(&clock));
        Ok(buttons.keys.contains(&code).then_some(is_held))
    }
}

impl Shell for Recorder {
    fn shell(&mut self, banner: &str) -> Result<Option<Power>> {
        self.note(format!("shell: {banner}"));
        if !self.has_shell {
            return Err(ErrorKind::NotFound.into());
        }
        match self.shell_ends.pop_front() {
            Some(ShellEnd::Power(power)) => return Ok(Some(power)),
            Some(ShellEnd::Recover) => self.put(names::RECOVER_REQUEST, Node::file("", 0o644)),
            Some(ShellEnd::Exit) | None => {}
        }
        Ok(None)
    }
}

impl System for Recorder {
    fn set_attribute(&mut self, path: &str, attribute: Attribute<'_>) -> Result<()> {
        match attribute {
            Attribute::Mode(mode) => {
                self.note(format!("chmod {mode:04o} {path}"));
                Ok(())
            }
            Attribute::Extended(name, value) => {
                self.note(format!("setxattr {path} {name} {value:02x?}"));
                // As tmpfs had it before Linux 6.6.
                if name.starts_with("user.") { Err(ErrorKind::Unsupported.into()) } else { self.node(path).map(drop) }
            }
        }
    }

    fn start(&mut self, program: &Program, _terminal: &str, controls: bool) -> Result<u32> {
        let how = if controls { "on every console" } else { "start" };
        self.note(format!("{how} {} {}", program.path, program.arguments.join(" ")));
        self.state.processes = self.state.processes.saturating_add(1);
        Ok(self.state.processes)
    }

    fn signal(&mut self, process: i32, signal: i32) {
        if process > 0 && signal == SIGTERM {
            self.note(format!("stop {process}"));
        }
    }
}
