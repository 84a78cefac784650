//! Network interfaces as the kernel tells of them (rtnetlink(7)), and what is to be done about each: brought up when it appears,
//! asked for an address while there is somebody at its other end, cleared when nobody is. Pure: bytes in, decisions out.

use std::{mem, time::Duration};

/// What asked for an address and ended by itself is started again after so long.
const PAUSE: Duration = Duration::from_secs(5);

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// A card, and nobody's part: it can be asked for an address. What programs make (bridges, tunnels, pairs) is theirs.
    pub is_card: bool,
    /// Whether it is switched on.
    pub is_up: bool,
    /// Whether there is somebody at the other end.
    pub has_carrier: bool,
}

/// What the kernel says about interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It is there, like this.
    Link(Link),
    /// It is gone.
    Gone(u32),
    /// Words were lost for want of room; all interfaces are told again from here on.
    Lost,
    /// All interfaces have been told.
    Listed,
}

// Kernel, include/uapi/linux/rtnetlink.h, netlink.h, if_link.h, if_arp.h and if.h.
const NLMSG_DONE: u16 = 3;
const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_DUMP: u16 = 0x300;
const IFLA_IFNAME: u16 = 3;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_INFO_KIND: u16 = 1;
/// An attribute's kind without the flags that stand in the same number.
const NLA_TYPE_MASK: u16 = 0x3fff;
const ARPHRD_ETHER: u16 = 1;
const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 1 << 16;
/// Somebody is there, and does not let this machine in yet (kernel, Documentation/networking/operstates.rst).
const IFF_DORMANT: u32 = 1 << 17;
/// The length of a message's head, and of what stands before the attributes of a link.
const HEAD: usize = 16;

/// Asks for all interfaces.
pub fn list_request() -> Vec<u8> {
    let mut bytes = 32_u32.to_ne_bytes().to_vec();
    bytes.extend(RTM_GETLINK.to_ne_bytes());
    bytes.extend((NLM_F_REQUEST | NLM_F_DUMP).to_ne_bytes());
    // Sequence, port and struct ifinfomsg: all left open.
    bytes.extend([0; 24]);
    bytes
}

/// Reads the messages of one datagram. What is cut short or unknown is passed over.
pub fn parse(mut datagram: &[u8]) -> Vec<Change> {
    let mut all = Vec::new();
    while let Some(length) = u32_at(datagram, 0).and_then(|length| usize::try_from(length).ok()) {
        let Some(message) = datagram.get(..length).filter(|_| length >= HEAD) else { break };
        all.extend(change(message));
        datagram = datagram.get(padded(length)..).unwrap_or_default();
    }
    all
}

fn change(message: &[u8]) -> Option<Change> {
    let kind = u16_at(message, 4)?;
    if kind == NLMSG_DONE {
        return Some(Change::Listed);
    }
    let body = message.get(HEAD..)?;
    let (hardware, index, flags) = (u16_at(body, 2)?, u32_at(body, 4)?, u32_at(body, 8)?);
    match kind {
        RTM_DELLINK => Some(Change::Gone(index)),
        RTM_NEWLINK => {
            let attributes = body.get(HEAD..)?;
            let is_made =
                attribute(attributes, IFLA_LINKINFO).is_some_and(|info| attribute(info, IFLA_INFO_KIND).is_some());
            let is_part = attribute(attributes, IFLA_MASTER).is_some();
            Some(Change::Link(Link {
                index,
                name: name(attribute(attributes, IFLA_IFNAME)?)?,
                is_card: hardware == ARPHRD_ETHER && !is_made && !is_part,
                is_up: flags & IFF_UP != 0,
                has_carrier: flags & (IFF_UP | IFF_LOWER_UP | IFF_DORMANT) == IFF_UP | IFF_LOWER_UP,
            }))
        }
        _ => None,
    }
}

fn name(bytes: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(bytes.split(|byte| *byte == 0).next()?).ok()?;
    // It becomes a part of file names. The kernel gives no such names.
    (!name.is_empty() && !name.starts_with('.') && !name.contains('/')).then(|| name.into())
}

/// The value of the first attribute of that kind.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(attributes, 0)?);
        let value = attributes.get(4..length)?;
        if u16_at(attributes, 2)? & NLA_TYPE_MASK == wanted {
            return Some(value);
        }
        attributes = attributes.get(padded(length)..)?;
    }
}

/// Messages and attributes begin at multiples of four.
fn padded(length: usize) -> usize {
    length.checked_next_multiple_of(4).unwrap_or(usize::MAX)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_ne_bytes)
}

/// What is to be done.
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

/// What is done about an interface.
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

    /// The next thing to do, if there is one now.
    pub fn next(&mut self, now: Duration) -> Option<Act> {
        self.known.retain(|known| known.link.is_some() || !matches!(known.phase, Phase::Idle | Phase::Resting(_)));
        self.known.iter_mut().find_map(|interface| interface.next(now))
    }

    /// When there is something to do though nothing happens.
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
