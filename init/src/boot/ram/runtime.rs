//! Files and settings that container engines put beside an image, and that programs rely on. Pure: what there is goes in, what there is to
//! be comes out.

/// Settings of the network in containers (moby, `libnetwork/osl`; containerd's CRI): every user may listen on low ports and may ping.
pub const SETTINGS: [(&str, &str); 2] =
    [("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0"), ("/proc/sys/net/ipv4/ping_group_range", "0 2147483647")];

/// The machine's name where nobody says one.
pub const HOSTNAME: &str = "localhost";

/// Returns `/etc/hosts` with `localhost` and the machine's own `name`, or `None` where it has both.
pub fn hosts(text: &str, name: &str) -> Option<String> {
    let knows = |wanted: &str| {
        let mut lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        lines.any(|line| line.split_ascii_whitespace().skip(1).any(|known| known == wanted))
    };
    let mut all = text.to_string();
    if !all.is_empty() && !all.ends_with('\n') {
        all.push('\n');
    }
    let length = all.len();
    if !knows("localhost") {
        all.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    }
    if name != HOSTNAME && !knows(name) {
        // Debian's address for the name of a machine without a fixed one.
        all.push_str("127.0.1.1\t");
        all.push_str(name);
        all.push('\n');
    }
    (all.len() > length).then_some(all)
}

/// Returns the resolvers that the kernel's own configuration (`ip=`) got, as `/etc/resolv.conf` has them (kernel,
/// Documentation/admin-guide/nfs/nfsroot.rst, `/proc/net/pnp`).
pub fn resolvers(pnp: &str) -> String {
    let mut all = String::new();
    for line in pnp.lines() {
        let mut words = line.split_ascii_whitespace();
        let (key, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let key = match key {
            "nameserver" if value != "0.0.0.0" => "nameserver",
            "domain" => "search",
            _ => continue,
        };
        if !value.is_empty() {
            for part in [key, " ", value, "\n"] {
                all.push_str(part);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_know_the_machine() {
        let full = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\tbox\n";
        assert_eq!(hosts("", "box").as_deref(), Some(full));
        assert_eq!(hosts(full, "box"), None);
        assert_eq!(
            hosts("127.0.0.1 a localhost # box", "box").unwrap(),
            "127.0.0.1 a localhost # box\n127.0.1.1\tbox\n"
        );
        assert_eq!(hosts("1.2.3.4 box", "box").unwrap().lines().count(), 3);
        assert_eq!(hosts("127.0.0.1 localhost", "localhost"), None);
    }

    #[test]
    fn resolvers_of_the_kernel() {
        let pnp = "#PROTO: DHCP\ndomain test\nnameserver 10.0.2.3\nnameserver 0.0.0.0\nbootserver 10.0.2.2\ndomain\n";
        assert_eq!(resolvers(pnp), "search test\nnameserver 10.0.2.3\n");
        assert_eq!(resolvers(""), "");
    }
}
