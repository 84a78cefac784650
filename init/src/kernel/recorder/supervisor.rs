//! Operations on processes, networks and consoles of a described machine.

use std::{
    io::{ErrorKind, Result},
    time::Duration,
};

use super::{Node, Recorder};
use crate::kernel::{
    Power,
    supervisor::{self, Event, Program, Shares, Shell, Supervisor, System},
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

    fn report_status(&mut self, path: &str, offset: u64, byte: u8) -> Result<()> {
        self.note(format!("tell {path} {offset:#x} {byte}"));
        Ok(())
    }

    fn symlink(&mut self, target: &str, link: &str) -> Result<()> {
        if self.node(link).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.note(format!("symlink {link} -> {target}"));
        self.put(link, Node::Symlink(target.into()));
        Ok(())
    }
}

impl Shell for Recorder {
    fn shell(&mut self, banner: &str) -> Result<()> {
        self.note(format!("shell: {banner}"));
        if self.has_shell { Ok(()) } else { Err(ErrorKind::NotFound.into()) }
    }
}

impl Shares for Recorder {
    fn make_node(&mut self, node: &supervisor::Node<'_>) -> Result<()> {
        if self.node(node.path).is_ok() {
            return Err(ErrorKind::AlreadyExists.into());
        }
        self.note(format!("mknod {:04o} {} {}:{}", node.mode, node.path, node.major, node.minor));
        self.put(node.path, Node::file("", node.mode));
        Ok(())
    }

    fn virtiofs_tags(&mut self) -> Vec<String> {
        self.shares.keys().cloned().collect()
    }
}

impl System for Recorder {
    fn set_attribute(&mut self, path: &str, name: &str, value: &[u8]) -> Result<()> {
        self.note(format!("setxattr {path} {name} {value:02x?}"));
        // As tmpfs had it before Linux 6.6.
        if name.starts_with("user.") { Err(ErrorKind::Unsupported.into()) } else { self.node(path).map(drop) }
    }

    fn set_mode(&mut self, path: &str, mode: u32) -> Result<()> {
        self.note(format!("chmod {mode:04o} {path}"));
        Ok(())
    }

    fn link_up(&mut self, interface: &str) -> Result<()> {
        self.note(format!("up {interface}"));
        Ok(())
    }

    fn start(&mut self, program: &Program, _terminal: &str) -> Result<u32> {
        self.note(format!("start {} {}", program.path, program.arguments.join(" ")));
        self.state.processes = self.state.processes.saturating_add(1);
        Ok(self.state.processes)
    }

    fn stop(&mut self, process: u32) {
        self.note(format!("stop {process}"));
    }

    fn watch(&mut self, links: bool) -> Result<()> {
        self.note(format!("watch devices{}", if links { " and networks" } else { "" }));
        Ok(())
    }

    fn next_events(&mut self, _deadline: Option<Duration>) -> Result<Vec<Event>> {
        self.events.pop_front().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn run_getty(&mut self, program: &Program) -> Result<Power> {
        self.note(format!("on every console {} {}", program.path, program.arguments.join(" ")));
        Ok(Power::Reboot)
    }
}
