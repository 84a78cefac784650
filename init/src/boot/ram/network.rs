//! Network interfaces and the action that each needs: brought up when it appears, asked for an address while there is somebody at its
//! other end, cleared when nobody is. Pure: changes in, decisions out.

use std::{mem, time::Duration};

use crate::kernel::rtnetlink::{Change, Link};

/// Pause before a DHCP client that exited by itself is started again.
const PAUSE: Duration = Duration::from_secs(5);

/// An action on an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Switch that interface on.
    BringUp(String),
    /// Ask for an address on the interface of that number and name, and keep it. What does so is told to [`Watch::started`].
    Ask(u32, String),
    /// Ask that process to end.
    Stop(u32),
    /// Take away what was set on that interface, which may be gone. What does so is told to [`Watch::started`].
    Clear(u32, String),
}

/// The state of an interface's configuration.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Idle,
    /// A process asks for an address, and keeps it.
    Asking(u32),
    /// It was told to end.
    Stopping(u32),
    /// It has ended. The time, if any, is when it may be started again.
    Left(Option<Duration>),
    /// A process takes away what it set.
    Clearing(u32, Option<Duration>),
    Resting(Duration),
}

#[derive(Debug, Default)]
struct Interface {
    index: u32,
    /// None: it is gone.
    link: Option<Link>,
    /// The name that it was asked by.
    name: String,
    phase: Phase,
    was_seen: bool,
    is_listed: bool,
}

/// The interfaces that there are, and what is done about each.
#[derive(Debug, Default)]
pub struct Watch {
    known: Vec<Interface>,
}

impl Watch {
    fn find(&mut self, index: u32) -> Option<&mut Interface> {
        self.known.iter_mut().find(|known| known.index == index)
    }

    /// Takes a change in.
    pub fn see(&mut self, change: Change) {
        match change {
            Change::Link(link) => {
                if self.find(link.index).is_none() {
                    self.known.push(Interface { index: link.index, ..Interface::default() });
                }
                if let Some(interface) = self.find(link.index) {
                    interface.link = Some(link);
                    interface.is_listed = true;
                }
            }
            Change::Gone(index) => {
                if let Some(interface) = self.find(index) {
                    interface.link = None;
                }
            }
            Change::Lost => self.known.iter_mut().for_each(|interface| interface.is_listed = false),
            Change::Listed => {
                self.known
                    .iter_mut()
                    .filter(|interface| !interface.is_listed)
                    .for_each(|interface| interface.link = None);
            }
        }
    }

    /// Takes in what process was started for the interface; none where none would start.
    pub fn started(&mut self, index: u32, process: Option<u32>, now: Duration) {
        let Some(interface) = self.find(index) else { return };
        match (&mut interface.phase, process) {
            (Phase::Asking(cell) | Phase::Clearing(cell, _), Some(process)) => *cell = process,
            (Phase::Asking(_), None) => interface.phase = Phase::Resting(now.saturating_add(PAUSE)),
            (Phase::Clearing(_, rest), None) => interface.phase = rest.map_or(Phase::Idle, Phase::Resting),
            _ => {}
        }
    }

    /// Takes in that a process has ended. One that nobody knows is nobody's concern.
    pub fn ended(&mut self, process: u32, now: Duration) {
        for interface in &mut self.known {
            match interface.phase {
                Phase::Asking(known) if known == process => {
                    interface.phase = Phase::Left(Some(now.saturating_add(PAUSE)));
                }
                Phase::Stopping(known) if known == process => interface.phase = Phase::Left(None),
                Phase::Clearing(known, rest) if known == process => {
                    interface.phase = rest.map_or(Phase::Idle, Phase::Resting);
                }
                _ => {}
            }
        }
    }

    /// Returns the next thing to do, if there is one now.
    pub fn next(&mut self, now: Duration) -> Option<Act> {
        self.known.retain(|known| known.link.is_some() || !matches!(known.phase, Phase::Idle | Phase::Resting(_)));
        self.known.iter_mut().find_map(|interface| interface.next(now))
    }

    /// Returns the time at which there is something to do though nothing happens.
    pub fn due(&self) -> Option<Duration> {
        self.known
            .iter()
            .filter_map(|interface| match interface.phase {
                Phase::Resting(until) => Some(until),
                _ => None,
            })
            .min()
    }
}

impl Interface {
    fn next(&mut self, now: Duration) -> Option<Act> {
        let card = self.link.as_ref().filter(|link| link.is_card);
        // Once: what somebody switched off stays off.
        if let Some(card) = card
            && !mem::replace(&mut self.was_seen, true)
            && !card.is_up
        {
            return Some(Act::BringUp(card.name.clone()));
        }
        let served = card.filter(|card| card.has_carrier);
        match (self.phase, served) {
            (Phase::Resting(until), Some(_)) if now < until => None,
            (Phase::Resting(_), None) => {
                self.phase = Phase::Idle;
                None
            }
            (Phase::Idle | Phase::Resting(_), Some(card)) => {
                self.name.clone_from(&card.name);
                self.phase = Phase::Asking(0);
                Some(Act::Ask(self.index, self.name.clone()))
            }
            (Phase::Asking(process), served) if served.is_none_or(|card| card.name != self.name) => {
                self.phase = Phase::Stopping(process);
                Some(Act::Stop(process))
            }
            (Phase::Left(rest), _) => {
                self.phase = Phase::Clearing(0, rest);
                Some(Act::Clear(self.index, self.name.clone()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
