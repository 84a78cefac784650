//! The network of a machine: QEMU's own, which needs no rights, with ports of the host that lead into it. Pure.

use std::{net::Ipv4Addr, str::FromStr};

/// A port of the host that leads to one of the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    /// True for UDP, false for TCP.
    pub udp: bool,
    /// The host's address.
    pub address: Ipv4Addr,
    /// The host's port.
    pub host: u16,
    /// The guest's port.
    pub guest: u16,
}

impl FromStr for Publish {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refuse = || {
            format!(
                "`{text}` is not [ADDRESS:]HOST:GUEST[/tcp|/udp] with ports from 1 to 65535, such as 8080:80 or 0.0.0.0:53:53/udp"
            )
        };
        let (ports, udp) = match text.split_once('/') {
            Some((ports, "udp")) => (ports, true),
            Some((ports, "tcp")) => (ports, false),
            None => (text, false),
            Some(_) => return Err(refuse()),
        };
        let port = |text: &str| text.parse().ok().filter(|port| *port > 0).ok_or_else(refuse);
        let parts: Vec<&str> = ports.split(':').collect();
        let (address, host, guest) = match parts.as_slice() {
            [host, guest] => (Ipv4Addr::LOCALHOST, *host, *guest),
            [address, host, guest] => (address.parse().map_err(|_| refuse())?, *host, *guest),
            _ => return Err(refuse()),
        };
        Ok(Self { udp, address, host: port(host)?, guest: port(guest)? })
    }
}

/// Returns the arguments that give a machine a network card on QEMU's user network, with these ports (QEMU, `-netdev user`).
pub fn arguments(ports: &[Publish]) -> Vec<String> {
    let mut network = "user,id=network".to_owned();
    for Publish { udp, address, host, guest } in ports {
        let protocol = if *udp { "udp" } else { "tcp" };
        network.push_str(&format!(",hostfwd={protocol}:{address}:{host}-:{guest}"));
    }
    // Without a boot ROM, which takes a second.
    ["-netdev", &network, "-device", "virtio-net-pci,netdev=network,romfile="].map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_read() {
        let local = Ipv4Addr::LOCALHOST;
        for (text, udp, address, host, guest) in [
            ("8080:80", false, local, 8080, 80),
            ("53:5353/udp", true, local, 53, 5353),
            ("0.0.0.0:1:65535/tcp", false, Ipv4Addr::UNSPECIFIED, 1, 65535),
        ] {
            assert_eq!(text.parse(), Ok(Publish { udp, address, host, guest }), "{text}");
        }
        for bad in [
            "", "80", "0:80", "80:0", "80:65536", "a:80", ":80", "80:", "1:2:3:4", "host:1:2", "80:80/", "80:80/sctp",
            "-1:1", "1:2,x=y",
        ] {
            let error = bad.parse::<Publish>().unwrap_err();
            assert!(error.contains("[ADDRESS:]HOST:GUEST") && error.starts_with(&format!("`{bad}`")), "{error}");
        }
    }

    #[test]
    fn a_network_becomes_arguments() {
        let ports = ["8080:80", "0.0.0.0:53:53/udp"].map(|text| text.parse().unwrap());
        assert_eq!(
            arguments(&ports).join(" "),
            "-netdev user,id=network,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp:0.0.0.0:53-:53 \
             -device virtio-net-pci,netdev=network,romfile="
        );
    }
}
