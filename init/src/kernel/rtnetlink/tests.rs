use super::*;

fn attribute_bytes(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(value.len() + 4).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(padded(bytes.len()), 0);
    bytes
}

/// Returns a message of that kind about a link, with attributes behind its name.
fn message(kind: u16, hardware: u16, index: u32, flags: u32, name: &[u8], more: &[u8]) -> Vec<u8> {
    let mut body = vec![0, 0];
    body.extend(hardware.to_ne_bytes());
    for number in [index, flags, 0] {
        body.extend(number.to_ne_bytes());
    }
    // Another attribute, of an odd length, stands before the name.
    body.extend(attribute_bytes(13, &[1]));
    body.extend(attribute_bytes(IFLA_IFNAME, &[name, &[0]].concat()));
    body.extend(more);
    let mut bytes = u32::try_from(HEAD + body.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 10]);
    bytes.extend(body);
    bytes
}

fn card(index: u32, name: &str, is_up: bool, has_carrier: bool) -> Change {
    Change::Link(Link { index, name: name.into(), is_card: true, is_up, has_carrier })
}

const ON: u32 = IFF_UP | IFF_LOWER_UP;

#[test]
fn messages_are_read() {
    let kind = attribute_bytes(IFLA_INFO_KIND, b"bridge\0");
    let mut datagram = message(RTM_NEWLINK, 772, 1, ON | 8, b"lo", &[]);
    datagram.extend(message(RTM_NEWLINK, ARPHRD_ETHER, 2, ON, b"eth0", &[]));
    datagram.extend(message(RTM_NEWLINK, ARPHRD_ETHER, 3, ON | IFF_DORMANT, b"wlan0", &[]));
    datagram.extend(message(RTM_NEWLINK, ARPHRD_ETHER, 4, ON, b"br0", &attribute_bytes(IFLA_LINKINFO | 0x8000, &kind)));
    datagram.extend(message(RTM_NEWLINK, ARPHRD_ETHER, 5, ON, b"eth1", &attribute_bytes(IFLA_MASTER, &[4, 0, 0, 0])));
    datagram.extend(message(RTM_NEWLINK, ARPHRD_ETHER, 6, IFF_LOWER_UP, b"eth2", &[]));
    datagram.extend(message(RTM_DELLINK, ARPHRD_ETHER, 7, 0, b"eth3", &[]));
    datagram.extend(message(20, ARPHRD_ETHER, 8, 0, b"eth4", &[]));
    datagram.extend(message(NLMSG_DONE, 0, 0, 0, b"", &[]));
    let theirs = |index, name: &str| {
        Change::Link(Link { index, name: name.into(), is_card: false, is_up: true, has_carrier: true })
    };
    let wanted = [
        theirs(1, "lo"),
        card(2, "eth0", true, true),
        card(3, "wlan0", true, false),
        theirs(4, "br0"),
        theirs(5, "eth1"),
        card(6, "eth2", false, false),
        Change::Gone(7),
        Change::Listed,
    ];
    assert_eq!(parse(&datagram), wanted);
    for name in [&b"a/b"[..], b"", b"..", b"\xff"] {
        assert_eq!(parse(&message(RTM_NEWLINK, ARPHRD_ETHER, 2, 0, name, &[])), [], "{name:?}");
    }
}

#[test]
fn what_is_cut_short_is_passed_over() {
    let whole = message(RTM_NEWLINK, ARPHRD_ETHER, 2, IFF_UP, b"eth0", &[]);
    for length in 0..whole.len() {
        assert_eq!(parse(&whole[..length]), [], "{length}");
    }
    let mut endless = whole.clone();
    endless[..4].copy_from_slice(&0_u32.to_ne_bytes());
    assert_eq!(parse(&endless), []);
    // An attribute that says that it is shorter than its own head.
    let mut short = whole;
    short[32..34].copy_from_slice(&3_u16.to_ne_bytes());
    assert_eq!(parse(&short), []);
}

#[test]
fn the_request_is_as_the_kernel_wants_it() {
    let request = list_request();
    assert_eq!((request.len(), u32_at(&request, 0), u16_at(&request, 4)), (32, Some(32), Some(RTM_GETLINK)));
    assert_eq!(u16_at(&request, 6), Some(0x301));
}
