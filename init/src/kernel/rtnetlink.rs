//! Messages about network interfaces (rtnetlink(7)). Pure: bytes in, values out.

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// A physical Ethernet interface that is not enslaved, so DHCP may run on it.
    pub is_card: bool,
    /// True once it is up.
    pub is_up: bool,
    /// True while there is somebody at the other end.
    pub has_carrier: bool,
}

/// A change of an interface.
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

/// Returns the value of the first attribute of that kind.
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

#[cfg(test)]
mod tests;
